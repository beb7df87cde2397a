#pragma once
// A simulated disk of one member: io::Disk in memory and in virtual time, with everything that real
// disks do to software. It forgets what was not synced when the power goes (any part of it:
// sectors, sizes, names), fills up, fails calls, rots, writes to the wrong place, and is slow.
// Deterministic from its seed and the calls made.
//
// One Disk lives through many runs of its member: crash() or kill() ends a run, after which every
// File, lock and job of that run is dead, and the next run finds what survived.
//
// A job runs at one instant of virtual time, somewhere between run() and `done`. To interrupt a job
// between two of its calls, use stop_before().
//
// Not thread-safe: one loop.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "io/clock.h"
#include "io/disk.h"
#include "sim/names.h"

namespace conclave::sim {

enum class DiskCall : std::uint8_t { kRead, kWrite, kSync, kPreallocate, kNames, kSyncDirectory };

// Of a million calls of a kind, how many fail with kIo.
struct DiskFaults {
  std::uint32_t reads = 0;
  std::uint32_t writes = 0;
  std::uint32_t syncs = 0;
};

// How long a job takes.
struct JobLatency {
  Duration shortest = microseconds(50);
  Duration longest = milliseconds(2);
};

class Disk final : public io::Disk {
 public:
  Disk(io::Clock& clock, std::uint64_t seed);
  ~Disk() override;

  Result<std::unique_ptr<io::File>> open(const std::string& path, io::OpenMode mode) override;
  Result<void> create_directories(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& directory) override;
  Result<bool> exists(const std::string& path) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> remove(const std::string& path) override;
  Result<void> sync_directory(const std::string& directory) override;
  Result<std::uint64_t> free_bytes(const std::string& directory) override;
  Result<std::unique_ptr<io::DirectoryLock>> lock(const std::string& directory) override;
  void run(io::Lane lane, std::move_only_function<Result<void>()> job,
           std::move_only_function<void(Result<void>)> done) override;

  // The power goes: what was not synced survives in part or not at all.
  void crash();
  // The process ends, as by SIGKILL: what it wrote stays visible, synced or not.
  void kill();

  // Calls made on the disk and its files so far, over all runs.
  std::uint64_t calls() const { return calls_; }
  // From call number `call` on (the first is 0) nothing happens any more: calls fail without
  // effect, and no `done` is called, until crash() or kill().
  void stop_before(std::uint64_t call) { stop_at_ = call; }
  bool stopped() const { return calls_ > stop_at_; }

  // 0: unlimited.
  void set_capacity(std::uint64_t bytes) { capacity_ = bytes; }
  std::uint64_t used_bytes() const;
  void set_faults(const DiskFaults& faults) { faults_ = faults; }
  void set_latency(io::Lane lane, const JobLatency& latency) { lane_of(lane).latency = latency; }
  // The next call of this kind on a path that contains `path_part` fails with `code`, leaving
  // behind what such a failure leaves behind: a part of a write, or a part of what a sync should
  // have written.
  void fail_next(DiskCall call, const std::string& path_part, ErrorCode code);
  // The next write to such a path lands `by` bytes further on (not beyond what the file has).
  void misdirect_next_write(const std::string& path_part, std::uint64_t by);
  // What fail_next and misdirect_next_write announced and has not happened yet never will.
  void forget_scripted() { scripted_.clear(); }
  // One bit of the byte at `offset` changes. REQUIRES: the file has that byte.
  void rot(const std::string& path, std::uint64_t offset);

 private:
  class OpenFile;
  class HeldLock;

  // What belongs to one run of the member; dead ones are never revived.
  struct Run {
    bool alive = true;
    std::set<std::string> locks;
  };
  struct Task {
    std::move_only_function<Result<void>()> job;
    std::move_only_function<void(Result<void>)> done;
  };
  struct Lane {
    JobLatency latency;
    std::deque<Task> waiting;
    bool busy = false;
  };
  struct Scripted {
    DiskCall call = DiskCall::kRead;
    std::string path_part;
    ErrorCode code = ErrorCode::kIo;
    std::uint64_t misdirect_by = 0;  // not a failure but a write to another place
  };

  Lane& lane_of(io::Lane lane) { return lanes_.at(static_cast<std::size_t>(lane)); }
  void start_next(io::Lane lane);
  void finish(io::Lane lane, Task& task, Result<void> result);
  void end_run();

  // Counts the call and says whether it may go on.
  Result<void> enter(const Run& run, const std::string& path);
  // The failure that this call meets, if any.
  Result<void> meet_fault(DiskCall call, const std::string& path);
  std::optional<Scripted> take_scripted(DiskCall call, const std::string& path, bool misdirected);
  Result<void> begin(DiskCall call, const std::string& path);
  // How many more bytes the files may come to hold.
  std::uint64_t room() const;

  io::Clock& clock_;
  Rng rng_;
  Names names_;
  std::shared_ptr<Run> run_ = std::make_shared<Run>();
  std::array<Lane, 2> lanes_;
  DiskFaults faults_;
  std::vector<Scripted> scripted_;
  std::uint64_t capacity_ = 0;
  std::uint64_t calls_ = 0;
  std::uint64_t stop_at_ = ~std::uint64_t{0};
};

}  // namespace conclave::sim
