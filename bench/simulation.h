#pragma once
// Measures an engine in virtual time: a cluster of the shipped code on the simulated disk and
// network (sim/cluster.h), with clients that ask one member. What a network or a disk takes is what
// the scenario says; what a processor takes is nothing, so these numbers show the protocols and not
// the code. The same scenario gives the same numbers on every machine.
//
// Clients sit beside the member they ask: their way to it, and back, takes 50 to 150 us each time.
//
// Not thread-safe: one measurement at a time.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "node/options.h"
#include "sim/network.h"

namespace conclave::bench {

struct Engine {
  std::string name;
  node::Consensus consensus = node::Consensus::kRaft;
  std::uint64_t election_quorum = 0;  // 0: majorities
  std::uint64_t write_quorum = 0;
};

struct Network {
  std::string name;
  std::size_t members = 3;
  // Between members, from when they have a leader. Until then nothing is lost, and all are near.
  sim::LinkFaults links;
  // Not empty: each member is in a place of its own, this many milliseconds apart there and back; a
  // message takes half of that and up to 2 % more.
  std::vector<std::vector<std::int64_t>> rtt_ms = {};
};

struct Scenario {
  Engine engine;
  Network network;
  std::size_t leader_place = 0;  // where the first leader is; the others follow in order
  std::uint64_t seed = 1;
};

enum class Operation : std::uint8_t { kWrite, kLinearizableRead, kSerializableRead };

struct Load {
  Operation operation = Operation::kWrite;
  std::optional<std::size_t> asked_place = {};  // nullopt: the leader's
  std::size_t in_flight = 1;                    // clients that ask anew when they are answered
  Duration warm_up = milliseconds(300);
  Duration measured = seconds(1);
};

struct LoadResult {
  std::uint64_t acknowledged = 0;  // while it was measured, as what follows
  std::uint64_t failed = 0;        // an error was the answer
  Duration p50;                    // from when a client asks until it has the answer
  Duration p99;
  std::uint64_t messages = 0;  // sent by members to members
  std::uint64_t bytes = 0;
  std::uint64_t in_all = 0;  // acknowledged before, while and after it was measured
  bool leader_changed = false;
  Duration virtual_time;  // of the whole run

  bool operator==(const LoadResult&) const = default;
};

// Fails if what was acknowledged is not what the leader's store went through.
Result<LoadResult> measure_load(const Scenario& scenario, const Load& load);

enum class Loss : std::uint8_t {
  kKill,      // of the process: its system resets its connections, which the others hear of
  kPowerCut,  // of the machine: it falls silent
};

struct FailoverResult {
  // From the loss of a leader that has 16 writes in flight until a write is acknowledged by one of
  // the others, each of which is asked again every 10 ms.
  Duration until_acknowledged;
  Duration virtual_time;

  bool operator==(const FailoverResult&) const = default;
};

// Fails if nothing is acknowledged within a minute.
Result<FailoverResult> measure_failover(const Scenario& scenario, Loss loss);

}  // namespace conclave::bench
