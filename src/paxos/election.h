#pragma once
// Who leads: phase one over all open slots at once, the question before it that disturbs nobody,
// timeouts and back-off, leadership transfer, and the leader's check that a quorum still hears it
// ("Paxos Made Simple", section 2.4 and 3; "Paxos Made Moderately Complex", sections 2.2 and 3).

#include "paxos/state.h"

namespace conclave::paxos {

// Follows `leader` (none if unknown) in `ballot`, which is promised. REQUIRES: ballot >=
// s.promised. Everything the old role had promised to answer is answered: its reads fail. A new
// ballot begins without a known owner.
void become_follower(State& s, Epoch ballot, NodeId leader);

// A message of this ballot's leader came: whatever this replica was, it now follows `leader` and
// does not campaign for an election timeout.
void hear_leader(State& s, NodeId leader);

// A leader was heard within the last election timeout, or this replica is one.
bool has_lease(const State& s);

// Asks the others whether a ballot could be prepared, without disturbing anybody.
void pre_campaign(State& s);
// Prepares a ballot above all that are known. `handover`: the leader asked for it, so acceptors
// need not have missed it.
void campaign(State& s, bool handover);

void handle(State& s, NodeId from, Epoch ballot, const PrePrepare& message);
void handle(State& s, NodeId from, Epoch ballot, const PrePrepareReply& message);
void handle(State& s, NodeId from, const Prepare& message);
void handle(State& s, NodeId from, Promise& message);
void handle(State& s, NodeId from, const Refuse& message);
void handle(State& s, NodeId from, const TimeoutNow& message);

// Whether an election quorum of `config` has promised everything.
bool is_prepared(const State& s, const PhaseOne& phase_one, const Config& config);
// Asks the voters of `config` that have not been asked, and again those that do not answer.
void ask_promises(State& s, PhaseOne& phase_one, const Config& config);

// A tick passed for a follower or candidate.
void tick_election(State& s);
// A tick passed for the leader: steps down if no write quorum was heard for an election timeout.
void tick_quorum_check(State& s);

// The own promise became durable (or did not): counts it. One that could still be forgotten is
// none.
void count_own_promise(State& s);

void lose_leader(State& s, NodeId node);

// Leadership transfer. False if not leader, or the target cannot be.
bool start_transfer(State& s, NodeId target);
// Tells the target to go ahead once it has everything. Called for the leader's outputs, so that it
// hears of the commit first.
void continue_transfer(State& s);
void tick_transfer(State& s);

}  // namespace conclave::paxos
