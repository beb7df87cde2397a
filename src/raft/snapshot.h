#pragma once
// Snapshots: letting go of the own log, and sending the newest one to a peer that needs what is
// gone (Raft paper, section 7). It goes in chunks, a few ahead of what is stored (go-back-N),
// so a lost, repeated or late message costs time and nothing else: the receiver says what it has,
// and the sender goes on from there. While a snapshot is on its way its file and the entries after
// it stay, or a transfer slower than the next snapshot would never end.

#include "raft/state.h"

namespace conclave::raft {

SnapshotMeta snapshot_meta(const State& s, LogIndex index);
// See Engine.
void snapshot_taken(State& s, const SnapshotMeta& meta, LogIndex keep_from);
void release(State& s, LogIndex keep_from);
bool wants_snapshot(const State& s);

// --- sending (the leader) ------------------------------------------------------------------------
// Asks the owner for the chunk that is due, unless a newer snapshot has to be taken first.
// REQUIRES: peer.mode is SendSnapshot.
void send_snapshot(State& s, NodeId id, Progress& peer);
void tick_snapshots(State& s);
void chunk_read(State& s, const consensus::SnapshotRead& wanted, Bytes data, bool last);
// What was sent and not stored is lost: sends it again.
void go_back(SendSnapshot& transfer);
// What the peer is being sent; 0 if nothing.
LogIndex snapshot_on_its_way(const Progress& peer);
void chunk_unavailable(State& s, const consensus::SnapshotRead& wanted);
void handle(State& s, NodeId from, const SnapshotProgress& message);

// --- receiving (a follower) ----------------------------------------------------------------------
void handle(State& s, NodeId from, SnapshotChunk& message);
void chunk_stored(State& s, LogIndex index, std::uint64_t offset, bool ok);

}  // namespace conclave::raft
