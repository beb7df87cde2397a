#include "raft/snapshot.h"

#include <algorithm>

#include "base/check.h"
#include "raft/election.h"
#include "raft/persistence.h"

namespace conclave::raft {

using consensus::SnapshotRead;
using consensus::SnapshotWrite;

SnapshotMeta snapshot_meta(const State& s, LogIndex index) {
  CHECK(index >= s.log.base().index, "{} is compacted", index.value);
  CHECK(index <= s.commit, "{} is not committed", index.value);
  return {index, *s.log.epoch_at(index), s.memberships.at(index)};
}

namespace {

// What follows the snapshot is gone: it is of no use.
bool is_outdated(const State& s, const SendSnapshot& transfer) {
  return transfer.meta.index < s.log.base().index;
}

// Those that were waiting for a newer snapshot.
void renew_transfers(State& s) {
  Leader* leader = s.leader();
  if (!leader) return;
  for (auto& [id, peer] : leader->peers) {
    auto* transfer = std::get_if<SendSnapshot>(&peer.mode);
    if (transfer && is_outdated(s, *transfer)) *transfer = SendSnapshot{.meta = s.snapshot};
  }
}

// How far the log may be dropped: the entries after a snapshot on its way to a peer stay, unless
// there are too many of them.
LogIndex spare_transfers(State& s, LogIndex drop) {
  Leader* leader = s.leader();
  if (!leader) return drop;
  for (auto& [id, peer] : leader->peers) {
    auto* transfer = std::get_if<SendSnapshot>(&peer.mode);
    if (!transfer || transfer->meta.index >= drop) continue;
    const LogIndex sent = transfer->meta.index;
    const bool begun = static_cast<bool>(snapshot_on_its_way(peer));
    if (begun && s.log.bytes_of(sent.next(), drop) <= s.config.max_transfer_log_bytes) {
      drop = sent;
    } else {
      *transfer = SendSnapshot{.meta = s.snapshot};
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

namespace {

// The peer needs nothing up to here.
LogIndex has_up_to(const Progress& peer) {
  const auto* transfer = std::get_if<SendSnapshot>(&peer.mode);
  return transfer ? transfer->meta.index : peer.match;
}

}  // namespace

void release(State& s, LogIndex keep_from) {
  if (!keep_from) return;
  LogIndex drop = std::min({keep_from.prev(), s.delivered, s.durable});
  if (const Leader* leader = s.leader()) {
    for (const auto& [id, peer] : leader->peers) drop = std::min(drop, has_up_to(peer));
  }
  if (drop > s.log.base().index) release_log(s, drop);
}

bool wants_snapshot(const State& s) {
  const Leader* leader = s.leader();
  return leader && std::ranges::any_of(leader->peers, [&s](const auto& peer) {
           const auto* transfer = std::get_if<SendSnapshot>(&peer.second.mode);
           return transfer && is_outdated(s, *transfer);
         });
}

// --- sending -------------------------------------------------------------------------------------

namespace {

SendSnapshot* transfer_to(State& s, NodeId id) {
  Leader* leader = s.leader();
  if (!leader) return nullptr;
  const auto peer = leader->peers.find(id);
  return peer == leader->peers.end() ? nullptr : std::get_if<SendSnapshot>(&peer->second.mode);
}

// The transfer that waits for the answer to `wanted`; null if it has moved on.
SendSnapshot* transfer_reading(State& s, const SnapshotRead& wanted) {
  SendSnapshot* transfer = transfer_to(s, wanted.to);
  if (!transfer || !transfer->reading) return nullptr;
  const bool same = transfer->meta.index == wanted.index && transfer->next == wanted.offset;
  return same ? transfer : nullptr;
}

// Starts over with the newest snapshot, after a while.
void start_over(State& s, SendSnapshot& transfer) {
  transfer = SendSnapshot{
      .meta = s.snapshot, .pausing = true, .resend_at = s.now + s.config.election_ticks};
}

}  // namespace

LogIndex snapshot_on_its_way(const Progress& peer) {
  const auto* transfer = std::get_if<SendSnapshot>(&peer.mode);
  const bool begun = transfer && (transfer->reading || transfer->next > 0);
  return begun ? transfer->meta.index : LogIndex{};
}

void go_back(SendSnapshot& transfer) {
  transfer.next = transfer.offset;
  transfer.ended = false;
  transfer.reading = false;  // an answer for another place is ignored
}

void send_snapshot(State& s, NodeId id, Progress& peer) {
  auto& transfer = std::get<SendSnapshot>(peer.mode);
  if (is_outdated(s, transfer)) return;
  const std::uint64_t window = s.config.snapshot_window * s.config.snapshot_chunk_bytes;
  const bool full = transfer.ended || transfer.next - transfer.offset >= window;
  // A silent peer is not worth reading a file for.
  if (full || transfer.pausing || transfer.reading || !peer.recently_active) return;
  s.out.snapshot_reads.push_back(
      {id, transfer.meta.index, transfer.next, s.config.snapshot_chunk_bytes});
  transfer.reading = true;
}

void tick_snapshots(State& s) {
  constexpr Tick kMostPatience = 32;  // in election timeouts
  for (auto& [id, peer] : s.leader()->peers) {
    auto* transfer = std::get_if<SendSnapshot>(&peer.mode);
    if (!transfer || s.now < transfer->resend_at) continue;
    transfer->pausing = false;
    if (transfer->reading || transfer->next == transfer->offset) continue;
    go_back(*transfer);
    transfer->patience = std::min(transfer->patience * 2, kMostPatience * s.config.election_ticks);
  }
}

void chunk_read(State& s, const SnapshotRead& wanted, Bytes data, bool last) {
  SendSnapshot* transfer = transfer_reading(s, wanted);
  if (!transfer) return;
  CHECK(last || !data.empty(), "an empty chunk in the middle of snapshot {}", wanted.index.value);
  if (transfer->patience == 0) transfer->patience = s.config.election_ticks;
  if (transfer->next == transfer->offset) transfer->resend_at = s.now + transfer->patience;
  transfer->reading = false;
  transfer->ended = last;
  transfer->next += data.size();
  send_now(s, wanted.to, SnapshotChunk{transfer->meta, wanted.offset, std::move(data), last});
}

void chunk_unavailable(State& s, const SnapshotRead& wanted) {
  SendSnapshot* transfer = transfer_reading(s, wanted);
  if (!transfer) return;
  const bool newer = s.snapshot.index > transfer->meta.index;
  start_over(s, *transfer);
  transfer->pausing = !newer;
}

void handle(State& s, NodeId from, const SnapshotProgress& message) {
  SendSnapshot* transfer = transfer_to(s, from);
  if (!transfer || transfer->meta.index != message.index) return;
  s.leader()->peers.at(from).recently_active = true;
  if (is_outdated(s, *transfer)) return;  // late, and about an earlier one
  if (message.refused) return start_over(s, *transfer);
  // A repeated answer. Sending again here would double every later message too.
  if (message.next_offset == transfer->offset) return;
  const bool expected =
      message.next_offset > transfer->offset && message.next_offset <= transfer->next;
  transfer->offset = message.next_offset;
  transfer->resend_at = s.now + transfer->patience;
  if (!expected) go_back(*transfer);
}

// --- receiving -----------------------------------------------------------------------------------

namespace {

void acknowledge(State& s, LogIndex match) {
  Follower* follower = s.follower();
  if (!follower || !follower->leader) return;
  follower->ack = std::max(follower->ack.value_or(LogIndex{}), match);
}

// The log has what the snapshot stands for: nothing to install.
bool already_has(State& s, const SnapshotMeta& meta) {
  if (meta.index > s.commit) {
    if (!s.log.matches({meta.index, meta.epoch})) return false;
    advance_commit(s, meta.index);  // nobody snapshots what is not committed
  }
  acknowledge(s, s.commit);
  return true;
}

// One write at a time: a chunk that follows the one being written waits; the sender repeats others.
void keep_ahead(State& s, NodeId from, SnapshotChunk& chunk) {
  Install& current = *s.install;
  if (current.finishing || current.from != from || current.meta != chunk.meta) return;
  const auto& ahead = current.ahead;
  if (ahead.size() + 1 >= s.config.snapshot_window) return;
  if (!ahead.empty() && ahead.back().last) return;
  const std::uint64_t end =
      ahead.empty() ? *current.writing_to : ahead.back().offset + ahead.back().data.size();
  if (chunk.offset == end) current.ahead.push_back(std::move(chunk));
}

// The install that `chunk` belongs to, begun if the chunk is a first one; null if the chunk is of
// no use now. REQUIRES: nothing is being written.
Install* install_for(State& s, NodeId from, const SnapshotChunk& chunk) {
  const bool same = s.install && s.install->from == from && s.install->meta == chunk.meta;
  if (same) return &*s.install;
  const bool older =
      s.install && s.install->from == from && chunk.meta.index < s.install->meta.index;
  if (older) return nullptr;
  s.install = Install{.from = from, .meta = chunk.meta, .writing_to = {}, .ahead = {}};
  return &*s.install;
}

void write_chunk(State& s, SnapshotChunk& chunk) {
  Install& current = *s.install;
  current.writing_to = chunk.offset + chunk.data.size();
  current.finishing = chunk.last;
  s.out.snapshot_writes.push_back(
      SnapshotWrite{current.from, chunk.meta, chunk.offset, std::move(chunk.data), chunk.last});
}

void install(State& s, const SnapshotMeta& meta) {
  CHECK(s.delivered <= meta.index, "applied up to {} while snapshot {} was loaded",
        s.delivered.value, meta.index.value);
  if (s.log.matches({meta.index, meta.epoch})) {
    s.commit = std::max(s.commit, meta.index);
    s.delivered = meta.index;
    compact_log(s, meta.index);
  } else {
    CHECK(s.commit < meta.index, "snapshot {} contradicts what is committed", meta.index.value);
    restart_log(s, meta);
    s.commit = meta.index;
    s.delivered = meta.index;
  }
  s.snapshot = meta;
  acknowledge(s, s.commit);
}

}  // namespace

void handle(State& s, NodeId from, SnapshotChunk& message) {
  hear_leader(s, from);
  if (already_has(s, message.meta)) return;
  if (s.install && s.install->writing_to) return keep_ahead(s, from, message);
  Install* current = install_for(s, from, message);
  if (!current) return;
  if (message.offset != current->stored) {
    return send_now(s, from, SnapshotProgress{message.meta.index, current->stored, false});
  }
  write_chunk(s, message);
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
  if (current.meta.index <= s.commit) {
    // The log has come past it meanwhile: what is applied already must not be replaced by less.
    s.install.reset();
    return acknowledge(s, s.commit);
  }
  if (ok && !current.ahead.empty()) {
    SnapshotChunk chunk = std::move(current.ahead.front());
    current.ahead.pop_front();
    write_chunk(s, chunk);
  }
  if (!ok) s.install.reset();
  if (s.follower() && s.follower()->leader == from) {
    send_now(s, from, SnapshotProgress{index, ok ? offset : 0, !ok});
  }
}

}  // namespace conclave::raft
