#pragma once
// Snapshots: letting go of the own log, and sending the newest one to a peer that needs what is
// gone ("Paxos Made Live", section 5.1). It goes in chunks, each sent when the one before is
// stored, so a lost, repeated or late message costs time and nothing else: the receiver says what
// it has, and the sender goes on from there. Meanwhile the receiver accepts new slots like
// everybody else.

#include "paxos/state.h"

namespace conclave::paxos {

SnapshotMeta snapshot_meta(const State& s, LogIndex index);
// See Engine.
void snapshot_taken(State& s, const SnapshotMeta& meta, LogIndex keep_from);
void release(State& s, LogIndex keep_from);
bool wants_snapshot(const State& s);

// --- sending (the leader) ------------------------------------------------------------------------
// Asks the owner for the chunk that is due, unless a newer snapshot has to be taken first.
// REQUIRES: peer.snapshot is set.
void send_snapshot(State& s, NodeId id, Peer& peer);
void tick_snapshots(State& s);
void chunk_read(State& s, const consensus::SnapshotRead& wanted, Bytes data, bool last);
void chunk_unavailable(State& s, const consensus::SnapshotRead& wanted);
void handle(State& s, NodeId from, const SnapshotProgress& message);

// --- receiving (a follower) ----------------------------------------------------------------------
void handle(State& s, NodeId from, SnapshotChunk& message);
void chunk_stored(State& s, LogIndex index, std::uint64_t offset, bool ok);

}  // namespace conclave::paxos
