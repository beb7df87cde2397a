#pragma once
// How ZooKeeper's `digest` scheme writes who somebody is: `user:` and the SHA-1 of `user:password`
// in base64. SHA-1 (FIPS 180-4) is what the scheme prescribes; nothing else may rest on it.

#include <array>

#include "base/bytes.h"

namespace conclave::zookeeper {

std::array<unsigned char, 20> sha1(BytesView bytes);

// The id of who shows `credentials`, "user:password". As in ZooKeeper, without a colon all of it is
// the user.
Bytes digest_id(BytesView credentials);

// Whether `id` looks like one of digest_id()'s.
bool is_digest_id(BytesView id);

}  // namespace conclave::zookeeper
