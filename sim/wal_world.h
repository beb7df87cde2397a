#pragma once
// A log on a simulated disk, and the model of what it must hold: the vocabulary of the log's tests.
//
// Every append is remembered in order. After a crash the log must hold exactly what some prefix of
// the appends left behind, one that contains all that were acknowledged: nothing lost, nothing
// invented, nothing out of order.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/clock.h"
#include "sim/disk.h"
#include "wal/log.h"

namespace conclave::sim {

class WalWorld {
 public:
  explicit WalWorld(std::uint64_t seed, std::uint64_t segment_bytes = 32 * 1024);

  // Opens the log and checks what it replays against the model; the error is that of Log::open.
  Result<void> open();
  // The run ends: with a power cut, or only the process.
  void crash();
  void kill();

  // Appends `count` entries of `bytes` bytes from `first` on; what was at `first` and behind it is
  // replaced.
  void append(std::uint64_t group, std::uint64_t first, std::size_t count, std::size_t bytes);
  void set_hard_state(std::uint64_t group, Bytes state);
  void release(std::uint64_t group, std::uint64_t index);
  // Index of the last entry of a group in the model.
  std::uint64_t last(std::uint64_t group) const;

  void run_for(Duration duration) { clock_.run_for(duration); }
  // Until every append has been answered, for at most ten seconds of virtual time.
  void settle();

  std::size_t asked() const { return operations_.size(); }
  std::size_t acknowledged() const { return acknowledged_; }
  const std::optional<Error>& failure() const { return failure_; }
  // Prefix of the operations that the last open() found.
  std::size_t found() const { return found_; }

  Clock& clock() { return clock_; }
  Disk& disk() { return disk_; }
  wal::Log& log() { return *log_; }
  bool running() const { return log_ != nullptr; }
  wal::Identity identity{ClusterId{0xc1}, NodeId{0xa}};
  std::uint64_t segment_bytes;

  static constexpr const char* kDirectory = "member";
  static constexpr const char* kWalDirectory = "member/wal";
  // Names of the segment files, oldest first.
  std::vector<std::string> segments();

 private:
  struct Operation {
    GroupId group;
    std::optional<Bytes> hard_state;
    std::vector<consensus::Entry> entries;
  };
  struct Group {
    std::optional<Bytes> hard_state;
    std::map<LogIndex, consensus::Entry> entries;
    bool operator==(const Group&) const = default;
  };
  using State = std::map<GroupId, Group>;

  static void apply(State& state, const Operation& operation);
  State after(std::size_t operations) const;
  State without_released(State state) const;
  void submit(Operation operation);
  void check_replayed(const State& replayed);

  Clock clock_;
  Disk disk_;
  std::vector<Operation> operations_;
  std::map<GroupId, LogIndex> released_;
  std::size_t acknowledged_ = 0;
  std::size_t found_ = 0;
  std::uint64_t epoch_ = 1;
  std::optional<Error> failure_;
  std::unique_ptr<wal::Log> log_;
};

}  // namespace conclave::sim
