#include "raft/replication.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "raft/election.h"
#include "raft/membership_change.h"
#include "raft/persistence.h"
#include "raft/snapshot.h"

namespace conclave::raft {

using consensus::Entry;
using consensus::EntryKind;

// --- the leader ----------------------------------------------------------------------------------

namespace {

bool is_there(const State& s, NodeId id) {
  const auto heard = s.heard_at.find(id);
  return heard != s.heard_at.end() && s.now - heard->second < s.config.election_ticks;
}

bool owes(const Progress& peer) {
  const auto* mode = std::get_if<Replicate>(&peer.mode);
  return !mode || !mode->inflight.empty();
}

}  // namespace

void become_leader(State& s) {
  CHECK(s.candidate());
  CHECK(!s.candidate()->pre);
  CHECK(s.durable_hard_state.term == s.term, "leading in a term that could be forgotten");
  CHECK(!s.install || !s.install->finishing);
  s.install.reset();
  Leader leader(s.now);
  leader.own_durable = s.durable;
  leader.beat_commit = s.commit;
  leader.heartbeat_at = s.now + s.config.heartbeat_ticks;
  leader.check_quorum_at = s.now + s.config.election_ticks;
  leader.term_start = s.log.last().next();
  s.role = std::move(leader);
  update_peers(s);
  for (auto& [id, peer] : s.leader()->peers) peer.recently_active = false;
  append_as_leader(s, EntryKind::kNoop, {});
}

Position append_as_leader(State& s, EntryKind kind, Bytes data) {
  CHECK(s.leader());
  append_to_log(s, Entry{s.log.last().next(), s.term, kind, std::move(data)});
  if (kind == EntryKind::kMembership) update_peers(s);
  return s.log.last_position();
}

void update_peers(State& s) {
  Leader& leader = *s.leader();
  const std::vector<NodeId> members = s.membership().all();
  std::erase_if(leader.peers, [&members](const auto& peer) {
    return !std::binary_search(members.begin(), members.end(), peer.first);
  });
  for (const NodeId id : members) {
    if (id == s.self() || leader.peers.contains(id)) continue;
    Progress peer(s.now);
    peer.next = s.log.last().next();
    peer.recently_active = true;  // a newcomer gets until the check after next to say something
    if (!is_there(s, id)) peer.pace.fall_out();
    leader.peers.emplace(id, std::move(peer));
  }
  if (leader.transfer && !s.membership().is_voter(leader.transfer->target)) leader.transfer.reset();
}

void send_heartbeats(State& s) {
  Leader& leader = *s.leader();
  for (auto& [id, peer] : leader.peers) {
    const LogIndex commit = std::min(s.commit, peer.match);
    send_now(s, id, Heartbeat{leader.round, commit});
    peer.commit_sent = std::max(peer.commit_sent, commit);
  }
}

void tick_heartbeat(State& s) {
  Leader& leader = *s.leader();
  if (s.now < leader.heartbeat_at) return;
  leader.heartbeat_at = s.now + s.config.heartbeat_ticks;
  leader.beat_commit = s.commit;
  ++leader.round;
  send_heartbeats(s);
  if (leader.transfer) leader.transfer->told = false;
  continue_transfer(s);
}

void tick_pace(State& s) {
  Leader& leader = *s.leader();
  if (std::exchange(leader.own_durable, s.durable) != s.durable) {
    leader.own_pace.acknowledged(s.durable, leader.beat_commit, s.now);
  }
  leader.own_pace.look(s.durable < s.log.last(), s.now, s.config.election_ticks);
  for (auto& [id, peer] : leader.peers) {
    const bool needs_snapshot = std::holds_alternative<SendSnapshot>(peer.mode);
    if (needs_snapshot || !is_there(s, id)) peer.pace.fall_out();
    peer.pace.look(owes(peer), s.now, s.config.election_ticks);
  }
}

namespace {

// How far a witness may have the log: never further than a full copy that is waited for, so that
// whichever of them is left gets its vote. What is committed is where it must be already.
LogIndex witness_limit(const State& s) {
  const Leader& leader = *s.leader();
  std::optional<LogIndex> limit;
  if (leader.own_pace.is_waited_for()) limit = s.durable;
  for (const auto& [id, peer] : leader.peers) {
    const bool is_copy = s.membership().is_voter(id) && !s.membership().is_witness(id);
    if (is_copy && peer.pace.is_waited_for())
      limit = std::min(limit.value_or(peer.match), peer.match);
  }
  return std::max(limit.value_or(s.durable), s.commit);
}

// The last entry that may be sent to `id` now.
LogIndex last_for(const State& s, NodeId id) {
  return s.membership().is_witness(id) ? witness_limit(s) : s.log.last();
}

void send_witnessed(State& s, NodeId id, Position prev, LogIndex last) {
  Append append{prev, s.commit, {}};
  for (LogIndex i = prev.index.next(); i <= last; i = i.next()) {
    append.entries.push_back(consensus::witnessed_form(s.config, s.log.at(i)));
  }
  send_now(s, id, std::move(append));
}

// Sends the run of entries that starts at peer.next, or an empty append if there is none up to
// `limit`; the last index sent.
LogIndex send_run(State& s, NodeId id, Progress& peer, LogIndex limit) {
  const Position prev{peer.next.prev(), *s.log.epoch_at(peer.next.prev())};
  const LogIndex last =
      peer.next <= limit ? std::min(limit, s.log.run_within(peer.next, s.config.max_append_bytes))
                         : prev.index;
  if (s.membership().is_witness(id)) {
    send_witnessed(s, id, prev, last);
  } else {
    s.out.send_now.push_back(
        {s.config.group, s.self(), id, encode_append(s.term, prev, s.commit, s.log, last)});
  }
  peer.commit_sent = std::max(peer.commit_sent, std::min(s.commit, last));
  return last;
}

void send_in(State& s, NodeId id, Progress& peer, Probe& probe) {
  if (probe.waiting) return;
  send_run(s, id, peer, last_for(s, id));
  probe.waiting = true;
}

void send_in(State& s, NodeId id, Progress& peer, Replicate& mode) {
  const LogIndex limit = last_for(s, id);
  while (peer.next <= limit && mode.inflight.size() < s.config.max_inflight_appends) {
    if (mode.inflight.empty()) mode.moved_at = s.now;
    mode.inflight.push_back(send_run(s, id, peer, limit));
    peer.next = mode.inflight.back().next();
  }
  if (mode.nudge) {
    const Position prev{peer.next.prev(), *s.log.epoch_at(peer.next.prev())};
    send_now(s, id, Append{prev, s.commit, {}});
    mode.nudge = false;
  }
  // Where the logs are known to match, news of the commit needs no append.
  const LogIndex commit = std::min(s.commit, peer.match);
  if (commit > peer.commit_sent) {
    send_now(s, id, CommitNotice{commit});
    peer.commit_sent = commit;
  }
}

void send_in(State& s, NodeId id, Progress& peer, SendSnapshot&) { send_snapshot(s, id, peer); }

// `next` may start a probe from where the peer says it could match.
void probe_from(Progress& peer, LogIndex next) {
  peer.next = std::max(next, peer.match.next());
  peer.mode = Probe{};
}

void note_match(State& s, Progress& peer, LogIndex match) {
  peer.match = std::max(peer.match, match);
  peer.pace.acknowledged(peer.match, s.leader()->beat_commit, s.now);
  peer.next = std::max(peer.next, peer.match.next());
  if (auto* mode = std::get_if<Replicate>(&peer.mode)) {
    std::erase_if(mode->inflight, [match](LogIndex last) { return last <= match; });
    mode->moved_at = s.now;
    return;
  }
  if (peer.match < s.log.base().index) return;  // it still needs the snapshot
  peer.next = peer.match.next();
  peer.mode = Replicate{.inflight = {}, .moved_at = s.now};
}

Progress* peer_of(State& s, NodeId id) {
  Leader* leader = s.leader();
  if (!leader) return nullptr;
  const auto peer = leader->peers.find(id);
  return peer == leader->peers.end() ? nullptr : &peer->second;
}

}  // namespace

void send_appends(State& s) {
  for (auto& [id, peer] : s.leader()->peers) {
    const bool compacted = peer.next.prev() < s.log.base().index;
    if (compacted && !std::holds_alternative<SendSnapshot>(peer.mode)) {
      peer.mode = SendSnapshot{.meta = s.snapshot};
    }
    std::visit([&](auto& mode) { send_in(s, id, peer, mode); }, peer.mode);
  }
}

void commit_by_quorum(State& s) {
  const Leader& leader = *s.leader();
  const LogIndex agreed = s.membership().agreed(
      [&](NodeId id) { return id == s.self() ? s.durable : leader.peers.at(id).match; });
  if (agreed <= s.commit) return;
  if (s.log.epoch_at(agreed) != s.term) return;
  advance_commit(s, agreed);
  continue_change(s);
}

void lose_peer(State& s, NodeId node) {
  Progress* peer = peer_of(s, node);
  if (!peer) return;
  peer->pace.fall_out();
  if (std::holds_alternative<Replicate>(peer->mode)) probe_from(*peer, peer->match.next());
  if (auto* transfer = std::get_if<SendSnapshot>(&peer->mode)) go_back(*transfer);
}

void handle(State& s, NodeId from, const AppendAck& message) {
  Progress* peer = peer_of(s, from);
  if (!peer) return;
  peer->recently_active = true;
  note_match(s, *peer, message.match);
  commit_by_quorum(s);
  if (s.leader()) continue_transfer(s);
}

void handle(State& s, NodeId from, const AppendReject& message) {
  Progress* peer = peer_of(s, from);
  if (!peer) return;
  peer->recently_active = true;
  if (message.prev <= peer->match) return;  // of an append that arrived late
  if (std::holds_alternative<SendSnapshot>(peer->mode)) return;
  const bool probing = std::holds_alternative<Probe>(peer->mode);
  if (probing && message.prev != peer->next.prev()) return;  // answers an earlier probe
  const LogIndex meet = message.hint.index < s.log.base().index
                            ? message.hint.index
                            : s.log.meeting_point(message.hint.index, message.hint.epoch).index;
  probe_from(*peer, meet.next());
}

void handle(State& s, NodeId from, const HeartbeatReply& message) {
  Progress* peer = peer_of(s, from);
  if (!peer) return;
  peer->recently_active = true;
  peer->round = std::max(peer->round, message.round);
  if (auto* probe = std::get_if<Probe>(&peer->mode)) probe->waiting = false;
  if (auto* mode = std::get_if<Replicate>(&peer->mode)) {
    const bool stuck = s.now - mode->moved_at >= s.config.heartbeat_ticks;
    if (stuck && !mode->inflight.empty()) {
      mode->nudge = true;
      mode->moved_at = s.now;
    }
  }
}

// --- a follower ----------------------------------------------------------------------------------

namespace {

void follow_commit(State& s, LogIndex commit) {
  if (commit > s.commit) advance_commit(s, commit);
}

// Makes the log after the commit equal to what the leader sent: only what conflicts is dropped
// (Raft paper, figure 2, AppendEntries 3 and 4), so that a late append never undoes a newer one.
void merge(State& s, std::vector<Entry>& entries) {
  for (Entry& entry : entries) {
    if (entry.index <= s.commit) continue;
    if (s.log.epoch_at(entry.index) == entry.epoch) continue;
    if (entry.index <= s.log.last()) truncate_log(s, entry.index);
    append_to_log(s, std::move(entry));
  }
}

}  // namespace

void handle(State& s, NodeId from, Append& message) {
  hear_leader(s, from);
  // What is committed here matches the leader's log, whether it is still in memory or not.
  if (message.prev.index > s.commit && !s.log.matches(message.prev)) {
    const Position hint = s.log.meeting_point(message.prev.index.prev(), message.prev.epoch);
    return send_now(s, from, AppendReject{message.prev.index, hint});
  }
  const LogIndex end = message.prev.index.plus(message.entries.size());
  merge(s, message.entries);
  const LogIndex match = std::max(end, s.commit);
  follow_commit(s, std::min(message.commit, match));
  Follower& follower = *s.follower();
  follower.ack = std::max(follower.ack.value_or(LogIndex{}), match);
}

void handle(State& s, NodeId from, const Heartbeat& message) {
  hear_leader(s, from);
  follow_commit(s, message.commit);
  send_now(s, from, HeartbeatReply{message.round});
}

void handle(State& s, NodeId from, const CommitNotice& message) {
  hear_leader(s, from);
  follow_commit(s, message.commit);
}

void send_ack(State& s) {
  Follower& follower = *s.follower();
  if (!follower.ack) return;
  CHECK(follower.leader);
  send_after_persist(s, follower.leader, AppendAck{*follower.ack});
  follower.ack.reset();
}

}  // namespace conclave::raft
