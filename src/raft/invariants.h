#pragma once
// What is true of a replica at any time, and of any two successive moments of it, as code. Tests
// and the simulator run both after every step; a violation stops the process with the condition.
//
// The invariants that span replicas (one leader per term, log matching, state machine safety) are
// checked where all replicas can be seen: the tests' cluster and the simulator's.

#include "raft/state.h"

namespace conclave::raft {

// Over one state. Cost: O(members + writes under way), not O(log).
void check_state(const State& s);

// What check_step compares, small enough to take before each step.
struct Mark {
  Epoch term;
  NodeId vote;
  LogIndex commit;
  LogIndex delivered;
  Position last;
  Epoch commit_epoch;
  LogIndex snapshot;
  HardState durable_hard_state;
  Ticket last_ticket;
  bool leads = false;
};
Mark mark(const State& s);

// Over two successive states of one run: `before` was marked before the step that led to `after`.
void check_step(const Mark& before, const State& after);

}  // namespace conclave::raft
