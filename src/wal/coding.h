#pragma once
// Fixed-width little-endian numbers and checksums, as every file of this folder uses them.

#include <xxhash.h>

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace conclave::wal {

template <class Number>
void put(Bytes& out, Number value) {
  for (std::size_t i = 0; i < sizeof(Number); ++i)
    out.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i)));
}

// REQUIRES: at + sizeof(Number) <= bytes.size().
template <class Number>
Number get(BytesView bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i)
    value |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return static_cast<Number>(value);
}

// XXH3-64. Chaining: the checksum of what comes before is the seed of what follows.
inline std::uint64_t checksum(BytesView bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace conclave::wal
