#pragma once
// What clients do during a run, and how what they were told is judged. A workload is one file in
// sim/workloads that implements Workload and stands in the table of workloads/kinds.cc.
//
// A workload asks a number of things and is done when each has been answered or given up; it keeps
// to keys that begin with its own name and a slash, since several run at once. It is driven by the
// clock alone, so the same plan gives the same run.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/network.h"
#include "sim/clock.h"
#include "sim/finding.h"
#include "sim/network.h"
#include "sim/trace.h"

namespace conclave::sim {

class KeyHistory;  // sim/key_history.h
class Landlord;    // sim/landlord.h

// Where workloads run. Outlives them.
struct Site {
  Clock& clock;
  Fabric& fabric;
  const std::vector<io::Address>& members;  // client ports
  Trace& trace;
  std::int64_t compaction_sent = 0;  // the highest that any workload asked for
  // Of the keys of locks and elections (kLockPrefix); needed by whoever has such a workload.
  const KeyHistory* lock_keys = nullptr;
  std::optional<Instant> healed_at = {};  // since then no fault strikes anybody
  bool local_zookeeper_reads = false;     // see ClusterOptions
  bool has_znodes = false;                // some revisions are theirs, and change no key
  // Whom clients that change the members have to ask; null: nobody may.
  Landlord* landlord = nullptr;
};

// No member's clock runs faster against the world's (storm.cc).
inline constexpr double kFastestClock = 1.31;

inline constexpr std::string_view kLockPrefix = "locks/";
// Other workloads than `leases` give their leases ids up to this one.
inline constexpr std::int64_t kOtherLeases = 1'000'000;

struct WorkloadPlan {
  std::string name;  // of its kind
  std::uint64_t seed = 0;
  std::size_t clients = 1;
  std::size_t operations = 100;       // of each client
  Duration think = milliseconds(20);  // at most, between two calls of a client
};

class Workload {
 public:
  virtual ~Workload() = default;

  // Lets the clients begin. Called once, before time moves.
  virtual void start() = 0;
  // Everything was asked, and answered or given up.
  virtual bool done() const = 0;
  // Calls that were answered, so far.
  virtual std::uint64_t answered() const = 0;
  // Is what the clients were told right? Called once, when the workload is done and all members
  // have converged.
  virtual std::optional<Finding> judge() const = 0;
  // The history as JSON lines, for other checkers. Empty: it keeps none.
  virtual std::string history() const { return {}; }
};

// In which plans a workload is.
enum class Drawn : std::uint8_t {
  kAmongOthers,  // in every other one
  kAdded,        // in a few, whatever else they have
  kAlone,        // in a few, and no other: its clients would refuse theirs
};

struct WorkloadKind {
  std::string_view name;
  std::string_view about;
  unsigned calls;  // that one operation of the plan takes, about
  Drawn drawn;
  std::unique_ptr<Workload> (*make)(Site&, const WorkloadPlan&);
};

// All there are.
std::span<const WorkloadKind> workload_kinds();
// REQUIRES: plan.name is one of workload_kinds().
std::unique_ptr<Workload> make_workload(Site& site, const WorkloadPlan& plan);

}  // namespace conclave::sim
