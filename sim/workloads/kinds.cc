#include "sim/workloads/kinds.h"

#include "base/check.h"

namespace conclave::sim {
namespace {

constexpr WorkloadKind kKinds[] = {
    {"registers", "put, get, delete and compare-and-swap on a few keys: linearizable per key", 1,
     Drawn::kAmongOthers, make_registers},
    {"list_append", "transactions over a few lists: strictly serializable", 3, Drawn::kAmongOthers,
     make_list_append},
    {"request_ids", "writes sent again under one request id: applied once, answered alike", 3,
     Drawn::kAmongOthers, make_request_ids},
    {"revisions", "writes, history and compactions: each revision is one write, and stays so", 10,
     Drawn::kAmongOthers, make_revisions},
    {"watches", "writes and watches over many streams: ordered, whole, without gap or repetition",
     2, Drawn::kAmongOthers, make_watches},
    {"leases", "leases kept alive, revoked, left to expire: none ends early, none stays", 1,
     Drawn::kAmongOthers, make_leases},
    {"locks", "locks and an election: one holder at a time, each in its turn, nobody forgotten", 1,
     Drawn::kAmongOthers, make_locks},
    {"native", "locks of conclave.v1, barriers, fences: who writes holds the lock, and takes turns",
     1, Drawn::kAdded, make_native},
    {"zookeeper", "ZooKeeper's clients: sessions that move and end, ephemerals, sequences, watches",
     4, Drawn::kAdded, make_zookeeper},
    {"users", "users whose roles and passwords come and go: what counts is what holds by then", 1,
     Drawn::kAlone, make_users},
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
