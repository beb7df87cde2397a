#include "paxos/snapshot.h"

#include <algorithm>

#include "base/check.h"
#include "paxos/election.h"
#include "paxos/persistence.h"
#include "paxos/witnesses.h"

namespace conclave::paxos {

using consensus::SnapshotRead;
using consensus::SnapshotWrite;

SnapshotMeta snapshot_meta(const State& s, LogIndex index) {
  CHECK(index >= s.log.base().index, "{} is compacted", index.value);
  CHECK(index <= s.commit, "{} is not committed", index.value);
  return {index, settled_epoch(s, index), s.memberships.snapshot_at(index)};
}

namespace {

std::size_t bytes_of(const State& s, LogIndex first, LogIndex last) {
  std::size_t bytes = 0;
  for (LogIndex slot = first; slot <= last; slot = slot.next()) {
    bytes += s.log.at(slot).value.data.size();
  }
  return bytes;
}

// What follows the snapshot is gone: it is of no use.
bool is_outdated(const State& s, const SnapshotTransfer& transfer) {
  return transfer.meta.index < s.log.base().index;
}

// Those that were waiting for a newer snapshot.
void renew_transfers(State& s) {
  Leader* leader = s.leader();
  if (!leader) return;
  for (auto& [id, peer] : leader->peers) {
    if (!peer.snapshot || !is_outdated(s, *peer.snapshot)) continue;
    peer.snapshot = SnapshotTransfer{.meta = s.snapshot};
  }
}

// How far the log may be dropped: the slots after a snapshot on its way to a peer stay, unless
// there are too many of them. A transfer slower than the next snapshots would never end.
LogIndex spare_transfers(State& s, LogIndex drop) {
  Leader* leader = s.leader();
  if (!leader) return drop;
  for (auto& [id, peer] : leader->peers) {
    if (!peer.snapshot || peer.snapshot->meta.index >= drop) continue;
    const LogIndex sent = peer.snapshot->meta.index;
    if (peer.snapshot->begun && bytes_of(s, sent.next(), drop) <= s.config.max_transfer_log_bytes) {
      drop = sent;
    } else {
      peer.snapshot = SnapshotTransfer{.meta = s.snapshot};
    }
  }
  return drop;
}

}  // namespace

void snapshot_taken(State& s, const SnapshotMeta& meta, LogIndex keep_from) {
  const LogIndex index = meta.index;
  CHECK(index <= s.delivered, "a snapshot of {}, which was never handed out", index.value);
  if (index <= s.snapshot.index) return;  // one that came from the leader is newer
  s.snapshot = meta;
  renew_transfers(s);
  if (!keep_from) return;
  const LogIndex drop = spare_transfers(s, std::min(keep_from.prev(), index));
  if (drop > s.log.base().index) compact_log(s, drop);
}

// A witness keeps all: it may have to tell the only copy that is left what that one has accepted
// and cannot know to be chosen, and cannot lead in its place. It is little.
void release(State& s, LogIndex keep_from) {
  if (!keep_from || s.config.is_witness) return;
  LogIndex drop = std::min({keep_from.prev(), s.delivered, s.durable});
  if (const Leader* leader = s.leader()) {
    for (const auto& [id, peer] : leader->peers) {
      drop = std::min(drop, peer.snapshot ? peer.snapshot->meta.index : peer.commit);
    }
  }
  if (drop > s.log.base().index) release_log(s, drop);
}

bool wants_snapshot(const State& s) {
  const Leader* leader = s.leader();
  return leader && std::ranges::any_of(leader->peers, [&s](const auto& peer) {
           return peer.second.snapshot && is_outdated(s, *peer.second.snapshot);
         });
}

// --- sending -------------------------------------------------------------------------------------

namespace {

SnapshotTransfer* transfer_to(State& s, NodeId id) {
  Leader* leader = s.leader();
  if (!leader) return nullptr;
  const auto peer = leader->peers.find(id);
  if (peer == leader->peers.end() || !peer->second.snapshot) return nullptr;
  return &*peer->second.snapshot;
}

// The transfer that waits for the answer to `wanted`; null if it has moved on.
SnapshotTransfer* transfer_reading(State& s, const SnapshotRead& wanted) {
  SnapshotTransfer* transfer = transfer_to(s, wanted.to);
  if (!transfer || !transfer->reading) return nullptr;
  const bool same = transfer->meta.index == wanted.index && transfer->offset == wanted.offset;
  return same ? transfer : nullptr;
}

}  // namespace

void send_snapshot(State& s, NodeId id, Peer& peer) {
  SnapshotTransfer& transfer = *peer.snapshot;
  if (is_outdated(s, transfer)) return;
  // A silent peer is not worth reading a file for.
  if (!transfer.wanted || transfer.reading || !peer.recently_active) return;
  if (transfer.meta.index > commit_for(s, id, peer)) return;
  s.out.snapshot_reads.push_back(
      {id, transfer.meta.index, transfer.offset, s.config.snapshot_chunk_bytes});
  transfer.wanted = false;
  transfer.begun = transfer.reading = true;
}

void tick_snapshots(State& s) {
  for (auto& [id, peer] : s.leader()->peers) {
    auto& transfer = peer.snapshot;
    if (transfer && !transfer->reading && s.now >= transfer->resend_at) transfer->wanted = true;
  }
}

void chunk_read(State& s, const SnapshotRead& wanted, Bytes data, bool last) {
  SnapshotTransfer* transfer = transfer_reading(s, wanted);
  if (!transfer) return;
  CHECK(last || !data.empty(), "an empty chunk in the middle of snapshot {}", wanted.index.value);
  transfer->reading = false;
  transfer->resend_at = s.now + s.config.election_ticks;
  send_now(s, wanted.to, SnapshotChunk{transfer->meta, transfer->offset, std::move(data), last});
}

void chunk_unavailable(State& s, const SnapshotRead& wanted) {
  SnapshotTransfer* transfer = transfer_reading(s, wanted);
  if (!transfer) return;
  const bool newer = s.snapshot.index > transfer->meta.index;
  *transfer = SnapshotTransfer{
      .meta = s.snapshot, .wanted = newer, .resend_at = s.now + s.config.election_ticks};
}

void handle(State& s, NodeId from, const SnapshotProgress& message) {
  SnapshotTransfer* transfer = transfer_to(s, from);
  if (!transfer || transfer->meta.index != message.index) return;
  s.leader()->peers.at(from).recently_active = true;
  // While the file is read the next chunk is on its way anyway; its answer says the same, or more.
  if (transfer->reading) return;
  if (message.refused) {
    *transfer = SnapshotTransfer{
        .meta = s.snapshot, .wanted = false, .resend_at = s.now + s.config.election_ticks};
    return;
  }
  // The offset that was just sent: a repeated answer. Sending again here would double every later
  // message too.
  if (message.next_offset == transfer->offset) return;
  transfer->offset = message.next_offset;
  transfer->wanted = true;
}

// --- receiving -----------------------------------------------------------------------------------

namespace {

// The leader hears how far this replica is.
void acknowledge(State& s) {
  if (s.follower() && s.follower()->leader) s.follower()->ack_due = true;
}

// The install that `chunk` belongs to, begun if the chunk is a first one; null if the chunk is of
// no use now.
Install* install_for(State& s, NodeId from, const SnapshotChunk& chunk) {
  if (s.install && s.install->writing_to)
    return nullptr;  // one write at a time; the sender repeats
  const bool same = s.install && s.install->from == from && s.install->meta == chunk.meta;
  if (same) return &*s.install;
  const bool older =
      s.install && s.install->from == from && chunk.meta.index < s.install->meta.index;
  if (older) return nullptr;
  s.install = Install{.from = from, .meta = chunk.meta, .writing_to = {}};
  return &*s.install;
}

void install(State& s, const SnapshotMeta& meta) {
  CHECK(s.delivered <= meta.index, "applied up to {} while snapshot {} was loaded",
        s.delivered.value, meta.index.value);
  if (meta.index <= s.commit) {
    compact_log(s, meta.index);
  } else {
    restart_log(s, meta);
  }
  s.delivered = meta.index;
  s.snapshot = meta;
  acknowledge(s);
}

}  // namespace

void handle(State& s, NodeId from, SnapshotChunk& message) {
  hear_leader(s, from);
  if (message.meta.index <= s.commit) return acknowledge(s);  // nothing to install
  Install* current = install_for(s, from, message);
  if (!current) return;
  if (message.offset != current->stored) {
    return send_now(s, from, SnapshotProgress{message.meta.index, current->stored, false});
  }
  current->writing_to = message.offset + message.data.size();
  current->finishing = message.last;
  s.out.snapshot_writes.push_back(
      SnapshotWrite{from, message.meta, message.offset, std::move(message.data), message.last});
}

void chunk_stored(State& s, LogIndex index, std::uint64_t offset, bool ok) {
  if (!s.install || s.install->meta.index != index || s.install->writing_to != offset) return;
  Install& current = *s.install;
  const NodeId from = current.from;
  if (ok && current.finishing) {
    const SnapshotMeta meta = current.meta;
    s.install.reset();
    return install(s, meta);
  }
  current.stored = offset;
  current.writing_to.reset();
  if (!ok) s.install.reset();
  if (s.follower() && s.follower()->leader == from) {
    send_now(s, from, SnapshotProgress{index, ok ? offset : 0, !ok});
  }
}

}  // namespace conclave::paxos
