#pragma once
// Opening a log: finds or makes its files, replays them, and leaves its end in a state that a
// running log can go on from and that the next replay cannot misread.
//
// Threading: blocking; called at open.

#include <cstdint>
#include <map>
#include <string>

#include "io/clock.h"
#include "wal/segment_pool.h"

namespace conclave::wal {

struct Recovered {
  SegmentPool::Found found;
  std::uint64_t end = kFirstBatchAt;  // in the current segment: where the next batch goes
  std::uint64_t next_sequence = 1;
  std::map<GroupId, Bytes> hard_states;
};

// `config.directory` is created if needed. Errors: those of Log::open.
Result<Recovered> recover(const SegmentPool::Config& config, const Replay& replay);

// Different for each use of a file, and known to nobody who writes to the log: then neither what an
// earlier use left behind nor any content can look like a batch. `previous`: another salt, or 0.
std::uint64_t make_salt(const io::Clock& clock, std::uint64_t id, std::uint64_t previous);

}  // namespace conclave::wal
