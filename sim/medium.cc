#include "sim/medium.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::sim {

Bytes Medium::read(std::uint64_t offset, std::size_t size) const {
  return offset < cached_.size() ? cached_.substr(offset, size) : Bytes{};
}

void Medium::write(std::uint64_t offset, BytesView data, Rng& rng) {
  if (data.empty()) return;
  if (offset + data.size() > cached_.size()) resize(offset + data.size());
  mark(offset, offset + data.size(), &rng);
  cached_.replace(offset, data.size(), data);
}

void Medium::resize(std::uint64_t size) {
  const auto old = cached_.size();
  cached_.resize(size);
  unsynced_.resize((size + kSectorBytes - 1) / kSectorBytes);
  if (size > old) mark(old, size, nullptr);
}

// Called before the content of [from, to) changes.
void Medium::mark(std::uint64_t from, std::uint64_t to, Rng* rng) {
  for (auto sector = from / kSectorBytes; sector * kSectorBytes < to; ++sector) {
    if (unsynced_[sector]) {
      if (rng != nullptr && rng->one_in(4)) write_back(sector);
      continue;
    }
    unsynced_[sector] = true;
    unsynced_list_.push_back(sector);
  }
}

// The part of a sector that lies beyond the durable size is not reachable after a power cut.
void Medium::write_back(std::uint64_t sector) {
  const auto from = sector * kSectorBytes;
  const auto to = std::min(
      {from + kSectorBytes, std::uint64_t{cached_.size()}, std::uint64_t{durable_.size()}});
  if (from < to) durable_.replace(from, to - from, BytesView(cached_).substr(from, to - from));
}

std::uint64_t Medium::write_back_some(Rng& rng) {
  if (durable_.size() != cached_.size() && rng.one_in(2)) durable_.resize(some_size(rng));
  const auto kept_of_4 = rng.below(5);  // from none to all
  std::uint64_t lost = 0;
  for (const auto sector : unsynced_list_) {
    if (sector >= unsynced_.size()) continue;
    if (rng.below(4) < kept_of_4) {
      write_back(sector);
    } else {
      ++lost;
    }
  }
  return lost;
}

// A file that grew in several steps may have any of the sizes.
std::uint64_t Medium::some_size(Rng& rng) const {
  if (rng.one_in(2)) return cached_.size();
  const auto [least, most] = std::minmax({durable_.size(), cached_.size()});
  return rng.between(least, most);
}

void Medium::forget_unsynced() {
  unsynced_.assign(unsynced_.size(), false);
  unsynced_list_.clear();
}

void Medium::sync() {
  durable_.resize(cached_.size());
  for (const auto sector : unsynced_list_)
    if (sector < unsynced_.size()) write_back(sector);
  forget_unsynced();
}

void Medium::fail_sync(Rng& rng) {
  write_back_some(rng);
  forget_unsynced();
}

std::uint64_t Medium::lose_power(Rng& rng) {
  const auto lost = write_back_some(rng);
  cached_ = durable_;
  unsynced_.assign((cached_.size() + kSectorBytes - 1) / kSectorBytes, false);
  unsynced_list_.clear();
  return lost;
}

void Medium::flip_bit(std::uint64_t offset, unsigned bit) {
  CHECK(offset < cached_.size());
  CHECK(bit < 8);
  const auto flip = [&](Bytes& bytes) {
    if (offset >= bytes.size()) return;
    bytes[offset] = static_cast<char>(static_cast<unsigned char>(bytes[offset]) ^ (1u << bit));
  };
  flip(cached_);
  flip(durable_);
}

}  // namespace conclave::sim
