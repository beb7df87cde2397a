#pragma once
// Messages and replicas as short text, for golden scripts and failing tests. Ballots are
// round.seat, values are slot/epoch, and what was accepted is value@ballot.

#include <string>

#include "paxos/state.h"

namespace conclave::paxos {

std::string describe(Epoch ballot);
std::string describe(const Message& message);
std::string describe(const consensus::Entry& entry);
std::string describe(const Pvalue& pvalue);
std::string describe(const Membership& membership);
// One line: role, ballot, leader, commit, open slots; and the leader's view of the others.
std::string describe(const State& state);

}  // namespace conclave::paxos
