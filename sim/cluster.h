#pragma once
// A whole cluster of the shipped code in one thread and in virtual time: node::Node over the
// simulated disk, network and clock. Everything follows from the seed.

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "node/joining.h"
#include "node/node.h"
#include "sim/clock.h"
#include "sim/disk.h"
#include "sim/fault_counts.h"
#include "sim/member_clock.h"
#include "sim/network.h"

namespace conclave::sim {

struct ClusterOptions {
  std::size_t members = 3;
  node::Consensus engine = node::Consensus::kRaft;
  // Of the first members, by number; and what elects and writes. 0, or too few: 1, and more than
  // half.
  std::vector<std::uint32_t> weights = {};
  std::uint64_t election_quorum = 0;
  std::uint64_t write_quorum = 0;
  std::vector<std::size_t> witnesses = {};  // of the first members, by number
  std::uint64_t snapshot_entries = 0;
  std::uint64_t snapshot_log_bytes = 64 << 20;
  std::uint64_t keep_entries = 5'000;  // in memory after they are applied
  std::uint64_t segment_bytes = 1 << 20;
  // Of the engine; small ones make it cut what a test is too short to make large.
  std::size_t max_append_bytes = 1 << 20;
  std::size_t max_inflight_appends = 64;
  std::uint32_t snapshot_chunk_bytes = 512 << 10;
  bool local_zookeeper_reads = false;  // `--zookeeper-reads session`
  bool changing_flags = false;         // a restarted member has other options than before
  std::uint64_t disk_bytes = 0;        // capacity of each member's disk; 0: unlimited
};

// Faults of processes and machines.
struct ProcessFaultCounts {
  std::uint64_t crashes = 0;
  std::uint64_t kills = 0;
  std::uint64_t pauses = 0;
  std::uint64_t clock_rates = 0;
  std::uint64_t wall_jumps = 0;

  static const std::array<CountField<ProcessFaultCounts>, 5> kFields;
  ProcessFaultCounts& operator+=(const ProcessFaultCounts& more) { return add_counts(*this, more); }
};

inline constexpr std::array<CountField<ProcessFaultCounts>, 5> ProcessFaultCounts::kFields{{
    {"members crashed", &ProcessFaultCounts::crashes},
    {"members killed", &ProcessFaultCounts::kills},
    {"members paused", &ProcessFaultCounts::pauses},
    {"clock rates changed", &ProcessFaultCounts::clock_rates},
    {"wall clocks set", &ProcessFaultCounts::wall_jumps},
}};

struct FaultCounts {
  NetworkFaultCounts network;
  DiskFaultCounts disk;
  ProcessFaultCounts process;

  FaultCounts& operator+=(const FaultCounts& more);
  // All of them, for a table.
  CountRows rows() const;
};

class Cluster {
 public:
  Cluster(std::uint64_t seed, const ClusterOptions& options);
  ~Cluster();

  const ClusterOptions& options() const { return options_; }
  // The world's clock; members have their own.
  Clock& clock() { return clock_; }
  const Clock& clock() const { return clock_; }
  const MemberClock& member_clock(std::size_t member) const { return *members_.at(member).clock; }
  Fabric& fabric() { return fabric_; }
  Disk& disk(std::size_t member) { return *members_.at(member).disk; }
  std::size_t size() const { return members_.size(); }
  // The host name of a member; its client port is kClientPort.
  static std::string host(std::size_t member) { return "m" + std::to_string(member); }
  static constexpr std::uint16_t kClientPort = 2379;
  static constexpr std::uint16_t kZooKeeperPort = 2181;
  static constexpr const char* kZooKeeperSuper = "super:secret";  // who may do anything there
  // nullopt: no member's.
  std::optional<std::size_t> member_at(const std::string& host) const;

  const std::vector<io::Address>& client_addresses() const { return client_addresses_; }

  // The error is why the member refused to start, or why it stopped by itself.
  Result<void> start(std::size_t member);
  // Another host with an empty disk, not started: the number of a member to be.
  std::size_t add_host();
  static std::string peer_address(std::size_t member) { return host(member) + ":2380"; }
  static std::string peer_url(std::size_t member) { return "http://" + peer_address(member); }
  // Whether its disk makes it some member already, if that can be read.
  Result<bool> has_data(std::size_t member) const;
  // Starts it as `--initial-cluster-state existing` does: with an empty disk it first asks the
  // others. Whether it may join shows later, in running() and stopped_because().
  // It is given the leader's list of members; kIo if it needs one and nobody leads.
  Result<void> start_existing(std::size_t member);
  // Why it stopped by itself, or did not start, when it was started last.
  const std::optional<Error>& stopped_because(std::size_t member) const {
    return members_.at(member).stopped_because;
  }
  // Asks `member` as one of its clients would; nullopt if there is no answer within `limit`.
  void ask(std::size_t member, api::Body body, std::move_only_function<void(api::Answer)> answered);
  std::optional<api::Answer> ask(std::size_t member, api::Body body, Duration limit);
  // As by SIGKILL with a power cut: the disk keeps what was synced and any part of the rest.
  // A paused member may crash too.
  void crash(std::size_t member);
  // As by SIGKILL alone: what the process wrote is still there.
  void kill(std::size_t member);
  // It crashes and comes back with an empty disk.
  void lose_disk(std::size_t member);
  // As by SIGTERM: it hands leadership over, and is gone soon after.
  void stop(std::size_t member);
  // Stops the process where it is, as by SIGSTOP: its timers, its disk and what arrives wait until
  // resume(). Nothing happens if it is so already, or does not run.
  void pause(std::size_t member);
  void resume(std::size_t member);
  bool paused(std::size_t member) const { return members_.at(member).clock->paused(); }
  // See MemberClock. A rate outlives crashes, since it is the machine's.
  void set_clock_rate(std::size_t member, std::int64_t ppm);
  void set_wall_rate(std::size_t member, std::int64_t ppm);
  void jump_wall(std::size_t member, std::int64_t ms);
  // Of the network, all disks and all members so far.
  FaultCounts fault_counts() const;
  // Started as existing, and still asking the others.
  bool joining(std::size_t member) const {
    return members_.at(member).joining != nullptr && !running(member) &&
           !members_.at(member).stopped_because;
  }
  // REQUIRES: it runs.
  bool is_witness(std::size_t member) const;
  bool running(std::size_t member) const { return members_.at(member).node != nullptr; }
  const node::Node& node(std::size_t member) const { return *members_.at(member).node; }
  // The member that leads the highest epoch, if one does.
  std::optional<std::size_t> leader() const;

  // Counts the starts of a member: names one of its runs.
  std::uint64_t run(std::size_t member) const { return members_.at(member).runs; }
  // Told of a member that stopped by itself, when it is gone.
  std::function<void(std::size_t, const Error&)> on_stopped;

  // The next thing happens, somewhere; then after_step comes.
  void step();
  std::function<void()> after_step;
  void run_for(Duration duration);
  // Runs until `done` or until `limit` has passed; whether `done`.
  bool run_until(Duration limit, const std::function<bool()>& done);

  // What such a cluster begins with; nullopt: a majority of its first members.
  static std::optional<consensus::Membership> first_membership(const ClusterOptions& options);

  // All running members have applied the same index and hold the same state, witnesses theirs.
  bool converged() const;

 private:
  struct Member {
    std::string host;
    std::unique_ptr<MemberClock> clock;
    std::unique_ptr<Disk> disk;
    std::unique_ptr<node::Node> node;
    std::uint64_t runs = 0;
    bool stopped = false;          // in the orderly way
    std::optional<Error> failure;  // why it stopped by itself
    std::optional<Error> stopped_because;
    std::unique_ptr<node::Joining> joining;
  };
  Instant draw_clock_origin();
  node::Options options_for(std::size_t member);
  void change_flags(node::Options& options);
  Result<void> start_with(std::size_t member, node::Options options);
  std::vector<node::ClientPort> zookeeper_ports(std::size_t member) const;
  Failure not_started(std::size_t member, const Error& why);
  void end_process(std::size_t member);
  void reap();

  ClusterOptions options_;
  Rng rng_;
  Clock clock_;
  Fabric fabric_;
  std::deque<Member> members_;  // callbacks keep references while hosts are added
  std::vector<io::Address> client_addresses_;
  ProcessFaultCounts counts_;
};

}  // namespace conclave::sim
