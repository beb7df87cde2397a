#pragma once
// One HTTP/1.1 request at a time, for the commands of the command line. The caller waits.

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "io/network.h"

namespace conclave::server {

struct HttpAnswer {
  unsigned status = 0;
  std::string body;
};

enum class HttpMethod { kGet, kPost };

// kIo if there is no complete answer within `limit`, connecting included. `body` is sent as JSON.
Result<HttpAnswer> http_request(const io::Address& server, HttpMethod method, std::string_view path,
                                std::string_view body, Duration limit);

}  // namespace conclave::server
