#pragma once
// Hashes of passwords: bcrypt, as etcd's, by libcrypt. They take long on purpose (about 60 ms at a
// cost of 10; one more doubles that).
//
// Thread-safe.

#include <cstdint>

#include "base/bytes.h"

namespace conclave::server {

inline constexpr std::uint32_t kMinBcryptCost = 4;
inline constexpr std::uint32_t kMaxBcryptCost = 31;

// With a salt of its own. bcrypt reads 72 bytes, and none after a zero: longer passwords, and those
// with a zero, are replaced by their SHA-256 first.
//
// Hashes that etcd made ("$2a$", by Go's bcrypt) match what they match there: of a password its
// first 72 bytes count. One with a zero among these does not match.
Bytes hash_password(BytesView password, std::uint32_t cost);
bool password_matches(BytesView password, BytesView hash);

// From the operating system.
Bytes random_bytes(std::size_t count);

}  // namespace conclave::server
