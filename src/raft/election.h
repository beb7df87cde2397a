#pragma once
// Who leads: timeouts, pre-vote, votes, leadership transfer, and the leader's check that a quorum
// still hears it (Raft paper, section 5.2; thesis, sections 3.4, 3.10, 4.2.3, 6.2 and 9.6).

#include "raft/state.h"

namespace conclave::raft {

// Follows `leader` (none if unknown) in `term`. REQUIRES: term >= s.term. Everything the old role
// had promised to answer is answered: its reads fail. A new term begins without a vote.
void become_follower(State& s, Epoch term, NodeId leader);

// A message of this term's leader came: whatever this replica was, it now follows `leader` and does
// not campaign for an election timeout.
void hear_leader(State& s, NodeId leader);

// A leader was heard within the last election timeout, or this replica is one.
bool has_lease(const State& s);

// Asks the others whether an election could be won, without disturbing anybody.
void pre_campaign(State& s);
// Starts an election in the next term. `handover`: the leader asked for it, so voters need not have
// missed it.
void campaign(State& s, bool handover);

void handle(State& s, NodeId from, Epoch term, const PreVote& message);
void handle(State& s, NodeId from, const PreVoteReply& message);
void handle(State& s, NodeId from, const RequestVote& message);
void handle(State& s, NodeId from, const VoteReply& message);
void handle(State& s, NodeId from, const TimeoutNow& message);

// A tick passed for a follower or candidate.
void tick_election(State& s);
// A tick passed for the leader: steps down if no quorum was heard for an election timeout.
void tick_quorum_check(State& s);

// The own vote became durable (or did not): counts it. A vote that could still be forgotten is not
// a vote.
void count_own_vote(State& s);

void lose_leader(State& s, NodeId node);

// Leadership transfer. False if not leader, or the target cannot be.
bool start_transfer(State& s, NodeId target);
// Tells the target to go ahead once it has the whole log.
void continue_transfer(State& s);
void tick_transfer(State& s);

}  // namespace conclave::raft
