#include "sim/workloads/kinds.h"

#include "base/check.h"

namespace conclave::sim {
namespace {

constexpr WorkloadKind kKinds[] = {
    {"registers", "put, get, delete and compare-and-swap on a few keys: linearizable per key", 1,
     make_registers},
    {"list_append", "transactions over a few lists: strictly serializable", 3, make_list_append},
    {"request_ids", "writes sent again under one request id: applied once, answered alike", 3,
     make_request_ids},
    {"revisions", "writes, history and compactions: each revision is one write, and stays so", 10,
     make_revisions},
    {"watches", "writes and watches over many streams: ordered, whole, without gap or repetition",
     2, make_watches},
    {"leases", "leases kept alive, revoked, left to expire: none ends early, none stays", 1,
     make_leases},
    {"locks", "locks and an election: one holder at a time, each in its turn, nobody forgotten", 1,
     make_locks},
};

}  // namespace

std::span<const WorkloadKind> workload_kinds() { return kKinds; }

std::unique_ptr<Workload> make_workload(Site& site, const WorkloadPlan& plan) {
  for (const WorkloadKind& kind : kKinds) {
    if (kind.name == plan.name) return kind.make(site, plan);
  }
  CHECK(false, "no workload is called {}", plan.name);
}

}  // namespace conclave::sim
