#pragma once
// Everything that a run will do, drawn from its seed before it begins, as a value: what the cluster
// is made of, how its links and disks misbehave all the time, which faults strike when, and what
// the clients do. The same seed gives the same plan; edits take things away from it, which is how a
// failing run is made smaller.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "sim/cluster.h"
#include "sim/workload.h"

namespace conclave::sim {

enum class FaultKind : std::uint8_t {
  // Processes and machines.
  kCrash,         // power cut of one member
  kCrashSeveral,  // of a majority, or all, at once
  kCrashInWrite,  // power cut between two disk calls
  kKill,          // the process alone: what it wrote stays
  kPause,         // the process stops where it is, and goes on
  kHandOver,      // the process stops in the orderly way, and starts again
  kClockRate,     // the machine's clock runs faster or slower
  kWallJump,      // somebody sets the time of day
  // The network.
  kCutOneWay,  // one link, one direction
  kCutBoth,    // one link
  kIsolate,    // one member from all others
  kHalves,     // two sides
  kSmallOnly,  // large messages do not pass one link, one way
  kBadLink,    // one link, one way, is far worse than the others
  kBreak,      // the connections of one member break
  // Operations.
  kMembers,     // somebody asks for a change of members
  kMoveLeader,  // somebody asks that another member lead
  // The disk.
  kDiskHang,   // nothing moves for a while
  kDiskError,  // one call fails
  kDiskFull,   // no room for a while
  kRot,        // a bit of an old part of the log, or of a snapshot, changes
  kMisdirect,  // a write of the log lands in another place
  kLoseDisk,   // an empty disk instead of the member's own
};

std::string_view name_of(FaultKind kind);

struct Fault {
  FaultKind kind = FaultKind::kCrash;
  Duration at;             // after the start
  Duration lasts;          // until it is undone
  std::uint64_t seed = 0;  // whom it strikes, and how
};

struct Plan {
  std::uint64_t seed = 0;
  ClusterOptions cluster;
  LinkFaults links;    // between members
  LinkFaults clients;  // to and from clients
  DiskFaults disks;
  JobLatency log_latency;
  Duration storm;             // then all is healed
  std::vector<Fault> faults;  // by time; the moves of the leadership after all others
  std::vector<WorkloadPlan> workloads;
};

// What a person, or --shrink, takes away from a plan.
struct Edits {
  std::optional<std::set<std::size_t>> only_faults;  // by their place in Plan::faults
  std::optional<std::size_t> clients;                // of each workload, at most
  std::optional<std::size_t> operations;             // of each client, at most
  std::optional<std::string> workload;               // only this one
  std::optional<node::Consensus> engine;
  bool calm_links = false;
  bool calm_disks = false;

  // As flags of conclave-sim.
  std::string to_flags() const;
  bool operator==(const Edits&) const = default;
};

Plan plan_of(std::uint64_t seed);
Plan edited(Plan plan, const Edits& edits);
// For people: one line per part.
std::string describe(const Plan& plan);

}  // namespace conclave::sim
