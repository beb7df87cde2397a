#pragma once
// The bytes of a batch: what is written and synced as one unit, a header and a sequence of records
// (docs/formats/log.md). Pure: bytes in, bytes out.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "consensus/entry.h"
#include "io/disk.h"

namespace conclave::wal {

// Batches start at multiples of this, so that no later write touches a sector that was already
// synced.
inline constexpr std::size_t kBlockBytes = 4096;
static_assert(kBlockBytes % io::kDirectBlockBytes == 0);
inline constexpr std::size_t kBatchHeaderBytes = 48;
inline constexpr std::size_t kRecordHeaderBytes = 32;

// Bytes on disk of a batch with `body_bytes` of records.
constexpr std::uint64_t padded_batch_bytes(std::uint64_t body_bytes) {
  return (kBatchHeaderBytes + body_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

enum class BatchFlag : std::uint16_t {
  kNone = 0,
  // Holds all records of the batch numbered one less, and stands in for it where that one is
  // unreadable. Written at open, since the last batch of a killed process may be in the page cache
  // and not on the medium.
  kRepeat = 1,
};

// Where a batch belongs; all of it is under the checksum, and so is the segment's salt.
struct BatchPlace {
  std::uint64_t segment = 0;
  std::uint64_t salt = 0;
  std::uint64_t sequence = 0;
};

// Collects records, then becomes the bytes to write.
class BatchBuilder {
 public:
  // `body_bytes`: how much will be put, to allocate once.
  explicit BatchBuilder(std::size_t body_bytes);

  void put_hard_state(GroupId group, BytesView state);
  void put_entry(GroupId group, const consensus::Entry& entry);
  // Records in their stored form, `count` of them.
  void put_records(BytesView records, std::uint32_t count);

  // Header filled in, padded to whole blocks.
  Bytes finish(const BatchPlace& place, BatchFlag flag) &&;

 private:
  Bytes bytes_;
  std::uint32_t records_ = 0;
};

struct Batch {
  std::uint16_t version = 0;
  BatchFlag flag = BatchFlag::kNone;
  std::uint64_t sequence = 0;
  std::uint32_t records = 0;
  BytesView body;  // into the bytes it was parsed from
};

// What the header at the front of `bytes` claims, before its checksum has been looked at.
struct BatchClaim {
  std::uint64_t sequence = 0;
  std::uint64_t body_bytes = 0;
};

// nullopt unless `bytes` starts like a batch of segment `segment`. Needs kBatchHeaderBytes.
std::optional<BatchClaim> claimed_batch(BytesView bytes, std::uint64_t segment);

// The batch at the front of `bytes`; nullopt if it is not a whole one of this segment and salt.
std::optional<Batch> parse_batch(BytesView bytes, std::uint64_t segment, std::uint64_t salt);

struct RecordSink {
  std::function<void(GroupId, BytesView state)> on_hard_state;
  std::function<void(GroupId, consensus::Entry)> on_entry;
};

// Gives each record to `sink`. kCorrupt: a record this version does not know (the message says so)
// or a grammar error under a correct checksum.
Result<void> read_records(const Batch& batch, const RecordSink& sink);

}  // namespace conclave::wal
