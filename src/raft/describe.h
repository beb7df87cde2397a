#pragma once
// Messages and replicas as short text, for golden scripts and failing tests. Positions are
// index/term.

#include <string>

#include "raft/state.h"

namespace conclave::raft {

std::string describe(const Message& message);
std::string describe(const consensus::Entry& entry);
std::string describe(const Membership& membership);
// One line: role, term, vote, leader, log, commit, and the leader's view of the others.
std::string describe(const State& state);

}  // namespace conclave::raft
