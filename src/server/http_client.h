#pragma once
// One HTTP/1.1 request at a time, for the commands of the command line. The caller waits.

#include <functional>
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

// A POST whose answer may be of any length: with status 200 it is given to `take` as it comes, and
// the body of the answer is empty; else it is in there. kIo if nothing comes for `patience`, or if
// the answer is cut short; and the failures of `take`.
Result<HttpAnswer> http_stream(const io::Address& server, std::string_view path,
                               std::string_view body, Duration patience,
                               const std::function<Result<void>(std::string_view)>& take);

}  // namespace conclave::server
