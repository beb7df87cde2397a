#pragma once
// Reading a whole log back, and telling a torn tail from damage.
//
// Batch n + 1 is written only after batch n was synced. So a batch that cannot be read is the
// unfinished last one (nobody was told that it is durable) exactly when no later batch can be read
// anywhere; otherwise the medium lost something that was durable, and the log refuses to open.
//
// Threading: blocking; called at open.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/disk.h"
#include "wal/segment.h"

namespace conclave::wal {

// The records of the last batch in their stored form.
struct LastBatch {
  Bytes body;
  std::uint32_t records = 0;
};

struct Replayed {
  std::vector<Segment> segments;  // oldest first, without a gap
  std::size_t current =
      0;  // of `segments`: the last that holds a batch; those behind it are unused
  std::uint64_t end = kFirstBatchAt;  // in the current segment: behind its last batch
  std::uint64_t next_sequence = 1;
  std::optional<LastBatch> last;
  std::map<GroupId, Bytes> hard_states;
  // Where an unfinished batch was begun: (segment id, offset).
  std::vector<std::pair<std::uint64_t, std::uint64_t>> torn;
};

// Reads the segments `ids` (sorted, not empty) in `directory`. kCorrupt names the file, the offset
// and what to do; kMismatch if the log is another member's.
Result<Replayed> replay_log(io::Disk& disk, const std::string& directory,
                            const std::vector<std::uint64_t>& ids, const Identity& identity,
                            const Replay& replay);

}  // namespace conclave::wal
