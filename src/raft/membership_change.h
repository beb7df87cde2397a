#pragma once
// Membership change by joint consensus (Raft paper, section 6; thesis, section 4.3): an entry that
// makes old and new voters decide together, and once that is committed, an entry that leaves the
// new ones alone. Both take effect when they are appended. Learners need no such care, as no quorum
// counts them.

#include <expected>

#include "raft/state.h"

namespace conclave::raft {

// Starts a change to `target`. One at a time: not before the last one is final and committed.
std::expected<Position, consensus::ChangeError> start_change(State& s, const Membership& target);

// After commit moved: appends the final membership once the joint one is committed, and steps down
// once a final one that does not contain this leader is. REQUIRES: leads; may not lead afterwards.
void continue_change(State& s);

}  // namespace conclave::raft
