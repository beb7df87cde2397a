#pragma once
// The write-ahead log of one member: all groups in one sequence of segment files, one sync for
// everything that waited (docs/formats/log.md). It stores (group, index, epoch, kind, bytes) and an
// opaque hard state per group; the later record for an index wins, which serves every engine.
//
// Appends are asynchronous: while the disk works on one batch the next one fills. Everything in
// `directory`/wal belongs to it. It never forgets silently: a torn tail (an unfinished last batch)
// is cut off and logged; damage anywhere else is an error that names the file, the offset and what
// to do.
//
// Threading: called on the loop; files are touched only by jobs. Batches are written on Lane::kLog;
// segments are made ready and let go on Lane::kSnapshot.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "consensus/entry.h"
#include "io/clock.h"
#include "io/disk.h"

namespace conclave::wal {

// Whose log it is; written into every segment and checked at open (kMismatch).
struct Identity {
  ClusterId cluster;
  NodeId member;
  bool operator==(const Identity&) const = default;
};

struct Options {
  std::uint64_t segment_bytes = 64ull << 20;
};

// Told, in the order written, what the log holds.
struct Replay {
  std::function<void(GroupId, Bytes hard_state)> on_hard_state;
  std::function<void(GroupId, consensus::Entry)> on_entry;
};

class Log {
 public:
  // Opens or creates the log and replays it. Blocks; called before the loop runs. kCorrupt: damage
  // that the message locates. kMismatch: another member's log. kInvalid: senseless options.
  static Result<std::unique_ptr<Log>> open(io::Disk& disk, io::Clock& clock,
                                           const std::string& directory, const Identity& identity,
                                           const Options& options, const Replay& replay);
  // Outstanding appends may or may not be written; their `done` is not called.
  ~Log();

  // Makes these durable in one step, after everything appended before. `done` comes on the loop, in
  // order. While the disk is full the log waits and tries again (see is_full); any other failure
  // stops it for good: `done` gets the error, and so does everything after it. The member must stop
  // then; a failed sync is never retried.
  void append(GroupId group, std::optional<Bytes> hard_state, std::vector<consensus::Entry> entries,
              std::move_only_function<void(Result<void>)> done);

  // A durable snapshot covers `group` up to `index`: segments that hold nothing else are removed in
  // the background.
  void release(GroupId group, LogIndex index);

  // The disk has no room for another segment. What was accepted so far still fits or waits; the
  // owner refuses new writes until this is false again (checked against the disk about once a
  // second).
  bool is_full() const;
  // Why the log has stopped for good, if it has. Appends hear of it too, but there may be none: a
  // member whose disk was full refuses writes.
  const std::optional<Error>& failure() const;

  struct Stats {
    std::uint64_t syncs = 0;
    std::uint64_t bytes = 0;        // written, with padding
    std::uint64_t segments = 0;     // on disk now
    std::int64_t last_sync_us = 0;  // last write + sync, from hand-over to answer
    std::size_t queued_bytes = 0;   // accepted, not yet durable
  };
  Stats stats() const;

 private:
  struct State;
  explicit Log(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace conclave::wal
