#pragma once
// What is true of a replica at any time, and of any two successive moments of it, as code. Tests
// and the simulator run both after every step; a violation stops the process with the condition.
//
// The invariants that span replicas (one owner per ballot, one value per ballot and slot, a chosen
// value never changes, the quorums of the two phases meet) are checked where all replicas can be
// seen: the tests' cluster and the simulator's.

#include <vector>

#include "paxos/state.h"

namespace conclave::paxos {

// Over one state. Cost: O(members + open slots + writes under way), not O(log).
void check_state(const State& s);

// What check_step compares, small enough to take before each step.
struct Mark {
  Epoch promised;
  NodeId owner;
  LogIndex commit;
  Epoch commit_epoch;
  LogIndex delivered;
  LogIndex snapshot;
  HardState durable_hard_state;
  Ticket last_ticket;
  bool leads = false;
  LogIndex opened;                 // if it leads
  std::vector<Position> to_write;  // accepted, not handed out yet: slot and ballot, sorted
};
Mark mark(const State& s);

// Over two successive states of one run: `before` was marked before the step that led to `after`.
void check_step(const Mark& before, const State& after);

}  // namespace conclave::paxos
