#pragma once
// What an engine wants done. The types say the order: `send_now` may leave at once;
// `send_after_persist` waits for everything handed out so far, that is for `hard_state` and
// `append` of this Output and of all before it. An Output may have something to send after persist
// and nothing to write (no ticket): its messages wait for the newest ticket handed out before, and
// leave at once if that is durable already (a second ack of entries whose write still runs).
// Whoever drives the engine keeps that rule and needs to know nothing else about the protocol.
//
// Writes become durable in the order of their tickets, each as a whole; persisted(t) says that of t
// and all before.

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "consensus/entry.h"
#include "consensus/membership.h"

namespace conclave::consensus {

// Identifies a snapshot of the replicated state: everything up to and including `index` is in it.
struct SnapshotMeta {
  LogIndex index;
  Epoch epoch;            // of the entry at `index`
  Membership membership;  // in force at `index`, and its successor if one was decided up to there

  bool operator==(const SnapshotMeta&) const = default;
};

// A read barrier that has ended. `index`: the state at or after that index answers a linearizable
// read. Without one the barrier failed (no leader, or leadership lost on the way): nothing was
// learned, ask again.
struct ReadReady {
  ReadId id;
  std::optional<LogIndex> index;
};

// The engine wants bytes [offset, offset + max_bytes) of its newest snapshot file, to send them to
// `to`. Answer with snapshot_chunk(), or with snapshot_unavailable() if that snapshot is gone.
struct SnapshotRead {
  NodeId to;
  LogIndex index;
  std::uint64_t offset = 0;
  std::uint32_t max_bytes = 0;
};

// A chunk of a snapshot arrived. Store it at `offset` of a temporary file (0 starts a new one).
// After the last chunk make the file durable and load it into the store. Answer with
// snapshot_stored() in each case.
struct SnapshotWrite {
  NodeId from;
  SnapshotMeta meta;
  std::uint64_t offset = 0;
  Bytes data;
  bool last = false;
};

struct Output {
  std::vector<Envelope> send_now;

  // To be made durable, in one step: tell the engine with persisted(ticket). 0 if there is nothing
  // to write.
  Ticket ticket;
  std::optional<Bytes> hard_state;  // opaque: replaces the group's last one
  // The later record for an index wins (absorb() knows what it means for other indexes). They need
  // not follow each other: an engine may write what it has while something before it is missing.
  std::vector<Entry> append;
  std::vector<Envelope> send_after_persist;

  // In log order, each index once; the same entries on every member, and epochs never fall along
  // them. May run ahead of what this member itself has made durable.
  std::vector<Entry> committed;
  std::vector<ReadReady> reads_ready;

  std::vector<SnapshotRead> snapshot_reads;
  std::vector<SnapshotWrite> snapshot_writes;

  bool empty() const {
    return send_now.empty() && !ticket && send_after_persist.empty() && committed.empty() &&
           reads_ready.empty() && snapshot_reads.empty() && snapshot_writes.empty();
  }
};

// What survived the last run, collected by the engine itself with its static absorb() as the log is
// replayed (an overwritten index means different things to different engines).
struct Saved {
  std::optional<Bytes> hard_state;
  // Newest durable snapshot; at first start {0, 0, the initial membership}.
  SnapshotMeta snapshot;
  std::vector<Entry> entries;  // after snapshot.index
};

}  // namespace conclave::consensus
