#pragma once
// Membership change as an entry of the log that takes effect `window` slots after its own ("Paxos
// Made Simple", section 3). No joint phase: each slot is decided by one membership, which everybody
// who proposes in that slot knows. docs/paxos.md argues why that is safe.

#include <expected>

#include "paxos/state.h"

namespace conclave::paxos {

// Starts a change to `target`. One at a time: not before the last one is in force.
std::expected<Position, consensus::ChangeError> start_change(State& s, const Membership& target);

// After commit moved: steps down if the first slot of a membership without this leader is
// committed. REQUIRES: leads; may not lead afterwards.
void resign_if_removed(State& s);

}  // namespace conclave::paxos
