#pragma once
// Phase two from the leader's side: which value goes into which slot, accepts, who has accepted
// what, and when a slot is chosen ("Paxos Made Simple", section 3; "Moderately Complex", section
// 2). Slots are chosen in any order and committed in theirs. Messages leave in outputs, not when
// something happens: what several proposals of one turn add is one message.

#include "paxos/state.h"

namespace conclave::paxos {

// REQUIRES: a candidate whose phase one is complete. What it found will be proposed again, with
// no-ops in the gaps, and then a no-op of this ballot.
void become_leader(State& s);

// The slot after all that this leader has values for gets `data`. REQUIRES: leads.
Position append_as_leader(State& s, consensus::EntryKind kind, Bytes data);

// The newest slot that the leader has a value for, opened or not; at least its commit.
LogIndex last_proposed(const Leader& leader);

// Phase one found `value` in a slot for which this leader has a value of its own. True if that was
// but a filler, which gives way. REQUIRES: leads; the slot is not opened.
bool make_room_for_adopted(State& s, const consensus::Entry& value);

// Proposes what may be proposed now, in order: at most `window` slots beyond the commit, each only
// when the membership that decides it is known and has completed phase one. REQUIRES: leads.
void open_slots(State& s);

// Makes the table of peers fit the memberships in force and to come. REQUIRES: leads.
void update_peers(State& s);

// A new round of "is there no higher ballot" to everybody. REQUIRES: leads, and leader.round was
// raised for it.
void send_heartbeats(State& s);
void tick_heartbeat(State& s);

// Sends each peer what it can take now: accepts, what it asked for, a snapshot's next chunk, or
// news of the commit. REQUIRES: leads.
void send_accepts(State& s);

// `id` has `slot` durably, as this leader proposed it. REQUIRES: leads.
void note_accepted(State& s, NodeId id, LogIndex slot);
// After slots may have become chosen: commits, and does what follows from it. REQUIRES: leads; may
// not lead afterwards.
void commit_chosen(State& s);
// The same after the commit has moved.
void note_commit(State& s);

// What was on its way to `node` is lost. REQUIRES: leads.
void lose_peer(State& s, NodeId node);

void handle(State& s, NodeId from, const Accepted& message);
void handle(State& s, NodeId from, const HeartbeatReply& message);
void handle(State& s, NodeId from, CatchUp& message);

}  // namespace conclave::paxos
