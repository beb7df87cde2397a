#pragma once
// The segment files of a running log: which one is written, which is next, which can go.
//
// One segment is always prepared ahead, by jobs on Lane::kSnapshot, so that moving on costs the log
// nothing. Released segments are kept for reuse (a few) or removed. A disk without room shows here
// first, a whole segment before the log itself has to wait.
//
// Threading: called on the loop. A segment's file is touched only by whoever holds it: a job that
// makes it, and once it is in use, the log's jobs.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/clock.h"
#include "io/disk.h"
#include "wal/segment.h"

namespace conclave::wal {

// Until a disk that was full is tried again.
inline constexpr Duration kFullRetry = seconds(1);

class SegmentPool : public std::enable_shared_from_this<SegmentPool> {
 public:
  struct Config {
    io::Disk* disk = nullptr;
    io::Clock* clock = nullptr;
    std::string directory;
    Identity identity;
    std::uint64_t segment_bytes = 0;
  };
  struct Events {
    std::function<void()> on_next;         // has_next() has become true
    std::function<void(Error)> on_failed;  // an I/O failure that waiting cannot heal
  };
  struct OpenSegment {
    Segment segment;
    std::shared_ptr<io::File> file;
  };
  // What open found: full segments, the one to write to, unused ones behind it, and names of
  // spares.
  struct Found {
    std::deque<Segment> full;
    OpenSegment current;
    std::deque<OpenSegment> unused;
    std::deque<std::string> spares;
  };

  SegmentPool(Config config, Found found, Events events);
  // Nothing is called back afterwards.
  void stop();

  OpenSegment& current() { return current_; }
  bool has_next() const { return !unused_.empty(); }
  // Makes the next segment the current one. REQUIRES: has_next().
  void advance();
  // The current segment holds a durable batch, and with it all hard states: what is before may go.
  void begun();
  void release(GroupId group, LogIndex index);
  // Starts whatever background work is due.
  void maintain();

  // The next segment could not be made for want of room.
  bool is_full() const { return full_; }
  std::size_t files() const;

 private:
  struct Made;
  bool releasable() const;
  void retire_oldest();
  void make_next();
  void run(std::move_only_function<Result<void>()> job, void (SegmentPool::*then)(Result<void>));
  void retired(Result<void> result);
  void made(Result<void> result);
  void wait_for_room();

  Config config_;
  Events events_;
  std::deque<Segment> full_segments_;  // oldest first
  OpenSegment current_;
  std::deque<OpenSegment> unused_;
  std::deque<std::string> spares_;
  std::map<GroupId, LogIndex> released_;
  std::shared_ptr<Made> making_;
  bool busy_ = false;  // a job is under way: one at a time
  bool full_ = false;
  bool current_begun_ = false;
  bool stopped_ = false;
  std::optional<io::Clock::TimerId> retry_;
};

}  // namespace conclave::wal
