#include "store/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>

namespace conclave::store {

static_assert(std::endian::native == std::endian::little,
              "hashes cover numbers as they are in memory");

std::uint64_t hash_bytes(BytesView bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::uint64_t hash_bytes(BytesView bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t hash_words(std::span<const std::uint64_t> words) {
  return XXH3_64bits(words.data(), words.size_bytes());
}

void HashRing::add(LogIndex index, std::uint64_t hash) {
  slots_[index.value % kSize] = {index, hash};
}

std::optional<std::uint64_t> HashRing::at(LogIndex index) const {
  const Slot& slot = slots_[index.value % kSize];
  if (!index || slot.index != index) return std::nullopt;
  return slot.hash;
}

}  // namespace conclave::store
