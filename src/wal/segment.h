#pragma once
// One segment file: its header, making it, and reading batches out of it (docs/formats/log.md).
//
// Threading: blocking; called at open, or inside a job.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "io/disk.h"
#include "wal/batch.h"
#include "wal/log.h"

namespace conclave::wal {

struct SegmentHeader {
  Identity identity;
  std::uint64_t id = 0;    // 1, 2, 3, ...: the order of the log; never used twice
  std::uint64_t salt = 0;  // seed of the checksums of its batches
};

// A segment on disk, as the log remembers it.
struct Segment {
  std::uint64_t id = 0;
  std::uint64_t salt = 0;
  std::uint64_t bytes = 0;           // size of the file
  std::map<GroupId, LogIndex> last;  // the highest index of each group with entries in it
};

inline constexpr std::uint64_t kFirstBatchAt = kBlockBytes;

std::string segment_name(std::uint64_t id);
// nullopt for names that are none of a segment's.
std::optional<std::uint64_t> parse_segment_name(const std::string& name);
// A released segment that waits to be used again.
std::string spare_name(std::uint64_t old_id);
bool is_spare_name(const std::string& name);
// A new segment before it is whole.
inline constexpr const char* kUnfinishedName = "unfinished.tmp";

Bytes encode_segment_header(const SegmentHeader& header);
// kCorrupt, or kMismatch if it belongs to another cluster or member.
Result<SegmentHeader> decode_segment_header(BytesView block, const Identity& expected);

struct SegmentRecipe {
  std::string directory;
  SegmentHeader header;
  std::uint64_t bytes = 0;
  std::optional<std::string> spare;  // name of a file of exactly `bytes` to use again
  bool paced =
      false;  // sync every piece, so that the log's own syncs never wait for a whole segment
};

// Makes a segment that is wholly allocated, written and synced before it gets its name, so that a
// later sync of a batch has no metadata to write, and a file with a segment's name always has a
// whole header. kNoSpace leaves nothing behind.
Result<std::unique_ptr<io::File>> make_segment(io::Disk& disk, const SegmentRecipe& recipe);

// Reads a segment front to back through a window, so that neither small reads nor big files cost
// much.
class SegmentReader {
 public:
  SegmentReader(std::unique_ptr<io::File> file, std::uint64_t bytes);

  std::uint64_t bytes() const { return bytes_; }
  // Fewer bytes at the end of the file. Valid until the next call.
  Result<BytesView> view(std::uint64_t offset, std::uint64_t size);
  // The batch that starts at `offset`, nullopt if there is no whole one. Valid until the next call.
  Result<std::optional<Batch>> batch_at(std::uint64_t offset, const SegmentHeader& header);

 private:
  std::unique_ptr<io::File> file_;
  std::uint64_t bytes_ = 0;
  std::uint64_t window_at_ = 0;
  Bytes window_;
};

}  // namespace conclave::wal
