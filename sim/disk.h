#pragma once
// A simulated disk of one member: io::Disk in memory and in virtual time, with everything that real
// disks do to software. It forgets what was not synced when the power goes (any part of it:
// sectors, sizes, names), fills up, fails calls, rots, writes to the wrong place, is slow, and
// hangs. Deterministic from its seed and the calls made.
//
// One Disk lives through many runs of its member: crash() or kill() ends a run, after which every
// File, lock and job of that run is dead, and the next run finds what survived.
//
// It runs on its member's clock: a member that is paused has its jobs paused too.
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
#include "sim/fault_counts.h"
#include "sim/names.h"

namespace conclave::sim {

enum class DiskCall : std::uint8_t { kRead, kWrite, kSync, kPreallocate, kNames, kSyncDirectory };

// Rates are of a million.
struct DiskFaults {
  // Calls of a kind that fail with kIo.
  std::uint32_t reads = 0;
  std::uint32_t writes = 0;
  std::uint32_t syncs = 0;
  // Calls that need room and are told there is none, as when something else filled the disk for a
  // moment.
  std::uint32_t no_space = 0;
  // Writes that land in another sector of the file. What they overwrite may have been synced, so
  // use it only where other members hold the data.
  std::uint32_t misdirected = 0;
  // Jobs that take up to `longest_spike`.
  std::uint32_t spikes = 0;
  Duration longest_spike = milliseconds(500);
  // Jobs at whose start their lane hangs, for up to `longest_hang`.
  std::uint32_t hangs = 0;
  Duration longest_hang = seconds(10);
};

// How long a job takes.
struct JobLatency {
  Duration shortest = microseconds(50);
  Duration longest = milliseconds(2);
};

struct DiskFaultCounts {
  std::uint64_t read_errors = 0;
  std::uint64_t write_errors = 0;
  std::uint64_t sync_errors = 0;
  std::uint64_t other_errors = 0;
  std::uint64_t no_space = 0;  // calls, for want of capacity too
  std::uint64_t misdirected = 0;
  std::uint64_t rotten = 0;  // bits
  std::uint64_t spikes = 0;
  std::uint64_t hangs = 0;
  std::uint64_t power_cuts = 0;
  std::uint64_t lost_sectors = 0;  // unsynced ones that a power cut took
  std::uint64_t lost_disks = 0;

  static const std::array<CountField<DiskFaultCounts>, 12> kFields;
  DiskFaultCounts& operator+=(const DiskFaultCounts& more) { return add_counts(*this, more); }
};

inline constexpr std::array<CountField<DiskFaultCounts>, 12> DiskFaultCounts::kFields{{
    {"failed reads", &DiskFaultCounts::read_errors},
    {"failed writes", &DiskFaultCounts::write_errors},
    {"failed syncs", &DiskFaultCounts::sync_errors},
    {"other failed calls", &DiskFaultCounts::other_errors},
    {"disk full", &DiskFaultCounts::no_space},
    {"misdirected writes", &DiskFaultCounts::misdirected},
    {"rotten bits", &DiskFaultCounts::rotten},
    {"latency spikes", &DiskFaultCounts::spikes},
    {"disk hangs", &DiskFaultCounts::hangs},
    {"power cuts", &DiskFaultCounts::power_cuts},
    {"sectors lost", &DiskFaultCounts::lost_sectors},
    {"disks lost", &DiskFaultCounts::lost_disks},
}};

struct FileInfo {
  std::string path;
  std::uint64_t bytes = 0;
  std::uint64_t used_bytes = 0;  // up to the last byte that is not zero: the rest is reserve
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
  // The process ends and the disk is exchanged for an empty one.
  void lose_everything();

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
  // The next write to such a path turns out to have landed `by` bytes further on, or before, once a
  // later one to the same file is synced: the newest write of a file is spared, since its loss
  // cannot be told from a power cut. Nothing happens if the run ends between the two, if there is
  // no such place, or if everything is lost first.
  void misdirect_write(const std::string& path_part, std::uint64_t by);
  // What fail_next and misdirect_write announced and has not happened yet never will.
  void forget_scripted() {
    scripted_.clear();
    misplaced_.reset();
  }
  // One bit of the byte at `offset` changes. REQUIRES: the file has that byte.
  void rot(const std::string& path, std::uint64_t offset);
  // The files, by path: where a fault plan picks a place for rot.
  std::vector<FileInfo> files() const;

  // The lane stops where it is: what runs does not end and nothing begins, for so long, or
  // (nullopt) until crash() or kill(). Hanging longer replaces hanging shorter.
  void hang(io::Lane lane, std::optional<Duration> duration);
  bool hangs(io::Lane lane) const { return lanes_.at(static_cast<std::size_t>(lane)).hanging; }

  const DiskFaultCounts& fault_counts() const { return counts_; }

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
    bool hanging = false;
    Instant hangs_until;                      // the end of the clock: until the run ends
    std::move_only_function<void()> stopped;  // what the lane would do next
  };
  struct Scripted {
    DiskCall call = DiskCall::kRead;
    std::string path_part;
    ErrorCode code = ErrorCode::kIo;
    std::uint64_t misdirect_by = 0;  // not a failure but a write to another place
  };

  // A write that will have landed elsewhere.
  struct Misplaced {
    std::shared_ptr<Medium> medium;
    std::uint64_t offset = 0;
    Bytes was;  // what it overwrote
    std::uint64_t by = 0;
    std::optional<std::uint64_t> later;  // where the writes after it begin
    std::uint64_t later_end = 0;
  };

  Lane& lane_of(io::Lane lane) { return lanes_.at(static_cast<std::size_t>(lane)); }
  void start_next(io::Lane lane);
  void run_job(io::Lane lane, std::shared_ptr<Task> task, Duration after);
  void finish(io::Lane lane, Task& task, Result<void> result);
  // Goes on with `step` after `delay` if this run is still alive and the lane does not hang; once
  // the lane goes on if it does.
  void then(io::Lane lane, Duration delay, std::move_only_function<void()> step);
  void go_on(io::Lane lane);
  Duration draw_job_time(io::Lane lane);
  void end_run();

  // Counts the call and says whether it may go on.
  Result<void> enter(const Run& run, const std::string& path);
  // The failure that this call meets, if any.
  Result<void> meet_fault(DiskCall call, const std::string& path);
  std::optional<Scripted> take_scripted(DiskCall call, const std::string& path, bool misdirected);
  void note_write(const std::shared_ptr<Medium>& medium, const std::string& path,
                  std::uint64_t offset, std::uint64_t size);
  void misplace_if_due(const Medium& synced);
  Result<void> begin(DiskCall call, const std::string& path);
  // A failure, counted.
  Failure no_space(const std::string& path);
  bool of_million(std::uint32_t rate) { return rate != 0 && rng_.below(1'000'000) < rate; }
  // How many more bytes the files may come to hold.
  std::uint64_t room() const;
  // The same, or sometimes none.
  std::uint64_t draw_room();

  io::Clock& clock_;
  Rng rng_;
  Names names_;
  std::shared_ptr<Run> run_ = std::make_shared<Run>();
  std::array<Lane, 3> lanes_;
  DiskFaults faults_;
  DiskFaultCounts counts_;
  std::vector<Scripted> scripted_;
  std::optional<Misplaced> misplaced_;
  std::uint64_t capacity_ = 0;
  std::uint64_t calls_ = 0;
  std::uint64_t stop_at_ = ~std::uint64_t{0};
};

}  // namespace conclave::sim
