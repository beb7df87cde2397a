#pragma once
// The content of one simulated file, twice: as the operating system shows it, and as it would be
// found after a power cut. Sectors of 512 bytes are written whole or not at all; which of the
// unsynced ones survive is up to the seed.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"

namespace conclave::sim {

inline constexpr std::uint64_t kSectorBytes = 512;

class Medium {
 public:
  std::uint64_t size() const { return cached_.size(); }
  // Up to the last byte that is not zero.
  std::uint64_t used_bytes() const { return cached_.find_last_not_of('\0') + 1; }
  // Fewer bytes at the end.
  Bytes read(std::uint64_t offset, std::size_t size) const;
  // Grows the file if needed. A sector that is written again before it was synced may, by the seed,
  // have reached the medium with its earlier content in between, as it does when the system writes
  // back on its own.
  void write(std::uint64_t offset, BytesView data, Rng& rng);
  // New bytes are zero.
  void resize(std::uint64_t size);

  void sync();
  // Some of the unsynced sectors reached the medium. None counts as unsynced any more: they go on
  // being shown, the next sync succeeds without writing them, and a power cut brings the old
  // content back.
  void fail_sync(Rng& rng);
  // What is found afterwards: any subset of the unsynced sectors, and a size between the synced one
  // and the one shown. How many sectors were lost.
  std::uint64_t lose_power(Rng& rng);

  // Changes a bit on the medium, and in what is shown. REQUIRES: offset < size().
  void flip_bit(std::uint64_t offset, unsigned bit);

 private:
  void mark(std::uint64_t from, std::uint64_t to, Rng* rng);
  void write_back(std::uint64_t sector);
  // How many were not.
  std::uint64_t write_back_some(Rng& rng);
  std::uint64_t some_size(Rng& rng) const;
  void forget_unsynced();

  Bytes cached_;
  Bytes durable_;
  std::vector<bool> unsynced_;                // by sector
  std::vector<std::uint64_t> unsynced_list_;  // the same sectors, in the order written
};

}  // namespace conclave::sim
