#pragma once
// One HTTP/1.1 request at a time, for the commands of the command line. The caller waits.

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "base/time.h"
#include "io/network.h"
#include "server/cluster_options.h"

namespace conclave::server {

struct HttpAnswer {
  unsigned status = 0;
  std::string body;
};

enum class HttpMethod { kGet, kPost };

// Speaks TLS with servers whose address says so: its certificate has to be valid for their host.
class HttpClient {
 public:
  explicit HttpClient(ClientTls tls = {}) : tls_(std::move(tls)) {}

  // The token of a user, shown with every request from here on; empty: none.
  void set_token(std::string token) { token_ = std::move(token); }

  // kIo if there is no complete answer within `limit`, connecting included, or if the server is not
  // to be trusted; kInvalid for files that make no sense. `body` is sent as JSON.
  Result<HttpAnswer> request(const io::Address& server, HttpMethod method, std::string_view path,
                             std::string_view body, Duration limit) const;

  // A POST whose answer may be of any length: with status 200 it is given to `take` as it comes,
  // and the body of the answer is empty; else it is in there. kIo if the answer does not begin
  // within `first_patience`, if nothing comes for `patience` at another time, or if the answer is
  // cut short; and the failures of `take`.
  Result<HttpAnswer> stream(const io::Address& server, std::string_view path, std::string_view body,
                            Duration first_patience, Duration patience,
                            const std::function<Result<void>(std::string_view)>& take) const;

 private:
  ClientTls tls_;
  std::string token_;
};

}  // namespace conclave::server
