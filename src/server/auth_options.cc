#include "server/auth_options.h"

#include <memory>
#include <utility>

#include "server/auth_token.h"
#include "server/jwt.h"
#include "server/passwords.h"

namespace conclave::server {

Result<node::AuthOptions> auth_options(const std::string& auth_token, Duration simple_token_ttl,
                                       std::uint32_t bcrypt_cost) {
  node::AuthOptions options;
  options.hash_password = [bcrypt_cost](BytesView password) {
    return hash_password(password, bcrypt_cost);
  };
  options.password_matches = password_matches;
  options.random_bytes = random_bytes;
  options.token_lasts = simple_token_ttl;
  if (auth_token == "simple") return options;
  const JwtOptions jwt_options = TRY(parse_auth_token(auth_token));
  auto jwt = std::make_shared<const Jwt>(TRY(Jwt::open(jwt_options)));
  options.make_token = [jwt](const api::Identity& who, std::uint64_t wall_s) {
    return jwt->make(who, wall_s);
  };
  options.read_token = [jwt](BytesView token, std::uint64_t wall_s) {
    return jwt->read(token, wall_s);
  };
  return options;
}

}  // namespace conclave::server
