#pragma once
// --auth-token jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=5m: etcd's flag.

#include <string>

#include "base/result.h"
#include "base/time.h"

namespace conclave::server {

struct JwtOptions {
  std::string method;            // RS, PS, ES or HS, and 256, 384 or 512
  std::string public_key_file;   // PEM; may be left out where the other one is given
  std::string private_key_file;  // PEM, or for HS any bytes; without it tokens are only read
  Duration ttl = seconds(300);
};

// kInvalid says which part, and why.
Result<JwtOptions> parse_auth_token(const std::string& text);

}  // namespace conclave::server
