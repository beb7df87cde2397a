#pragma once
// Linearizable reads without log entries. A read barrier learns an index such that the state at or
// after it contains every write acknowledged before the barrier began. The leader notes its commit
// and asks whether anybody has promised a higher ballot; when a write quorum has answered that it
// has not, all reads of that round end. A follower asks the leader.

#include "paxos/state.h"

namespace conclave::paxos {

// Starts a barrier for a read of this member's own.
void begin_read(State& s, ReadId id);

void handle(State& s, NodeId from, const ReadRequest& message);
void handle(State& s, NodeId from, const ReadReply& message);

// Ends the reads of a round that a quorum has answered, and starts the next one when some wait.
// Called for the leader's outputs, so that the reads of one turn share a round.
void advance_reads(State& s);
// Sends what the follower's own reads of this turn need.
void forward_reads(State& s);

// Ends every unanswered read with "unknown": the role that would have answered ends.
void fail_reads(State& s);
// Ends reads that have waited for an election timeout.
void expire_reads(State& s);

}  // namespace conclave::paxos
