#pragma once
// JSON Web Tokens (RFC 7519) that say who somebody is: etcd's claims "username", "revision" and
// "exp", signed with any of RS, PS, ES and HS (RFC 7518), over OpenSSL.
//
// Thread-safe once open.

#include <cstdint>
#include <memory>
#include <optional>

#include "api/auth.h"
#include "base/bytes.h"
#include "base/result.h"
#include "server/auth_token.h"

namespace conclave::server {

class Jwt {
 public:
  // kIo: a key file cannot be read; kInvalid: it has no key, or one that does not fit the method.
  static Result<Jwt> open(const JwtOptions& options);
  ~Jwt();
  Jwt(Jwt&&) noexcept;
  Jwt& operator=(Jwt&&) noexcept;

  // `wall_s`: seconds since 1970. Empty if there is no key to sign with.
  Bytes make(const api::Identity& who, std::uint64_t wall_s) const;
  // nullopt: not signed by the one method with the one key, expired, or without a claim.
  std::optional<api::Identity> read(BytesView token, std::uint64_t wall_s) const;

 private:
  struct State;
  explicit Jwt(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace conclave::server
