#pragma once
// How entries get from the leader to the others, and when they are committed (Raft paper, sections
// 5.3 and 5.4.2). Appends leave in outputs, not when something happens: what several proposals of
// one turn add is one message.

#include "raft/state.h"

namespace conclave::raft {

// REQUIRES: a candidate that won. Appends the term's no-op.
void become_leader(State& s);

// Appends an entry of this term. REQUIRES: leads.
Position append_as_leader(State& s, consensus::EntryKind kind, Bytes data);

// Makes the match table fit the membership in force. REQUIRES: leads.
void update_peers(State& s);

// A new round of "do you still follow me" to everybody. REQUIRES: leads, and leader.round was
// raised for it.
void send_heartbeats(State& s);
void tick_heartbeat(State& s);
// Looks at who keeps up, for the sake of witnesses. REQUIRES: leads.
void tick_pace(State& s);

// Sends each peer what it can take now: entries, a snapshot's next chunk, or news of the commit.
// REQUIRES: leads.
void send_appends(State& s);

// Commits what a quorum has on disk, if it is of this term (Raft paper, figure 8). REQUIRES: leads.
void commit_by_quorum(State& s);

// What was in flight to `node` is lost. REQUIRES: leads.
void lose_peer(State& s, NodeId node);

void handle(State& s, NodeId from, Append& message);
void handle(State& s, NodeId from, const AppendAck& message);
void handle(State& s, NodeId from, const AppendReject& message);
void handle(State& s, NodeId from, const Heartbeat& message);
void handle(State& s, NodeId from, const HeartbeatReply& message);
void handle(State& s, NodeId from, const CommitNotice& message);

// Sends the follower's newest acknowledgement: one for all appends of a turn, released with their
// write.
void send_ack(State& s);

}  // namespace conclave::raft
