#pragma once
// Hashes of the replicated state (docs/formats/snapshot.md, "The state hash").
//
// The state hash is a hash over a fixed row of numbers. The small parts (revision, stamp, ...) are
// in the row as they are. The large ones (records, answers to request ids) are in it as sums,
// modulo 2^64, of the hashes of their elements: adding and removing an element costs one hash of
// that element, and the order of arrival does not matter.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"

namespace conclave::store {

// XXH3, 64 bits.
std::uint64_t hash_bytes(BytesView bytes);
std::uint64_t hash_bytes(BytesView bytes, std::uint64_t seed);
// Of the numbers in little-endian order.
std::uint64_t hash_words(std::span<const std::uint64_t> words);

// This member's state hashes at the last indexes it applied, to answer CheckHash. Not replicated:
// it starts empty after a snapshot was loaded, and what is not in it cannot be compared.
class HashRing {
 public:
  static constexpr std::size_t kSize = 4096;

  void add(LogIndex index, std::uint64_t hash);
  std::optional<std::uint64_t> at(LogIndex index) const;

 private:
  struct Slot {
    LogIndex index;
    std::uint64_t hash = 0;
  };
  std::vector<Slot> slots_ = std::vector<Slot>(kSize);
};

}  // namespace conclave::store
