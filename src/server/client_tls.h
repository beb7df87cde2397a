#pragma once
// TLS of the commands of the command line: their side of it, over OpenSSL.

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "base/result.h"
#include "server/cluster_options.h"

namespace conclave::server {

// With what the files hold now; TLS 1.2 at least. kInvalid names the file that is missing or makes
// no sense.
Result<std::unique_ptr<boost::asio::ssl::context>> make_client_context(const ClientTls& tls);

// Why a handshake failed: `why`, or that the server's certificate is refused, and for what.
std::string handshake_failure(const std::string& why, const SSL& ssl);

}  // namespace conclave::server
