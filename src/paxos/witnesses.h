#pragma once
// What the leader keeps from witnesses for the time being (docs/paxos.md, "Witnesses"): what the
// full copies do not have yet, so that whichever of them is left can lead.

#include "paxos/state.h"

namespace conclave::paxos {

// There is one in a membership that decides an open slot.
bool has_witnesses(const State& s);
// It is one there, or in the membership that decided the last committed slot: whoever the leader
// sends to.
bool is_witness(const State& s, NodeId id);

// A message came from `from`.
void note_heard(State& s, NodeId from);
// Each tick: looks at who keeps up. REQUIRES: leads.
void tick_pace(State& s);
// It has been heard from lately, and its connection has not broken since.
bool is_there(const State& s, NodeId id);

// The last slot that a witness may be sent now: never one that a full copy which is waited for
// has not accepted, this replica included. What is committed it may have. REQUIRES: leads.
LogIndex witness_limit(const State& s);

// The commit that `id` may be told: a witness drops what is committed and then answers nobody who
// does not know it, so it hears of no more than the full copies that keep up have on disk. Never
// below what it was told before. REQUIRES: leads.
LogIndex commit_for(const State& s, NodeId id, const Peer& peer);

}  // namespace conclave::paxos
