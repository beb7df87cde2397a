#pragma once
// What must hold between the engines of a cluster's members, looked at after every step: one
// implementation for each engine, which sees its state. Part of sim/cluster_check.h.
//
//   invariants            the engine's own (raft/invariants.h, paxos/invariants.h), over one state
//                         and two successive ones
//   election safety       at most one leader in an epoch (Raft paper, figure 3), and nobody else is
//                         followed in it (Raft); and it leads once (Paxos)
//   leader completeness   a new leader has every entry committed in an earlier term; the quorums of
//                         Paxos's two phases meet
//   state machine safety  what was committed at an index once is what is committed there for ever
//   quorum on disk        what anybody calls committed is on the disks of a quorum
//   durability            what a member's disk acknowledged is what its restart finds
//   promises              what left a member and promises something is what its restart finds
//   epochs never fall (Paxos)  docs/paxos.md
//   log matching (Raft)   entries with the same index and term are the same entry, and so is
//                         everything before them
//   one value (Paxos)     a ballot has one value per slot, and what a write quorum has on disk
//                         never changes
//
// Cost per step: a comparison of a few words per member that did nothing, and what is new for those
// that did something.

#include <cstdint>
#include <memory>

#include "sim/cluster.h"
#include "sim/trace.h"

namespace conclave::sim {

class EngineCheck {
 public:
  virtual ~EngineCheck() = default;

  // REQUIRES: the member runs.
  virtual void look_at(std::size_t number) = 0;
  // An engine's message leaves one member for another.
  virtual void on_message(std::size_t from, std::size_t to, BytesView message) = 0;
  // Messages larger than this promise nothing.
  virtual std::size_t largest_promise() const = 0;
  // See ClusterCheck::forgive.
  virtual void forgive(std::size_t member) = 0;

  virtual std::uint64_t committed() const = 0;
  virtual std::uint64_t elections() const = 0;
};

// Both outlive the check.
std::unique_ptr<EngineCheck> make_raft_check(const Cluster& cluster, Trace& trace);
std::unique_ptr<EngineCheck> make_paxos_check(const Cluster& cluster, Trace& trace);

}  // namespace conclave::sim
