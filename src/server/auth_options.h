#pragma once
// How this member hashes passwords and makes tokens.

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "node/options.h"

namespace conclave::server {

// `auth_token` as etcd's flag: "simple", or as in auth_token.h. kInvalid: what is wrong with it;
// kIo: a key cannot be read.
Result<node::AuthOptions> auth_options(const std::string& auth_token, Duration simple_token_ttl,
                                       std::uint32_t bcrypt_cost);

}  // namespace conclave::server
