#include "paxos/proposing.h"

#include <algorithm>

#include "base/check.h"
#include "paxos/election.h"
#include "paxos/membership_change.h"
#include "paxos/persistence.h"
#include "paxos/phase_one.h"
#include "paxos/snapshot.h"
#include "paxos/witnesses.h"

namespace conclave::paxos {

using consensus::Entry;
using consensus::EntryKind;

namespace {

// An accept is probably lost when so many later messages have been acknowledged: fewer may have
// overtaken it (as in TCP, RFC 6675, section 4).
constexpr std::size_t kPassedByMeansLost = 3;

// The slot that the next fresh value gets.
LogIndex next_slot(const Leader& leader) { return last_proposed(leader).next(); }

// A gap gets a no-op of this ballot, which makes void what earlier leaders have proposed behind it
// (docs/paxos.md, "Epochs never fall"): of what a leader has proposed, a beginning takes effect.
Entry filler(const State& s, LogIndex slot) { return {slot, s.promised, EntryKind::kNoop, {}}; }

Entry take_value_for(State& s, LogIndex slot) {
  Leader& leader = *s.leader();
  if (slot <= leader.adopted_to) {
    const Entry* found = found_in(s, leader.phase_one, slot);
    return found ? *found : filler(s, slot);
  }
  Entry value = std::move(leader.fresh.front());
  leader.fresh.pop_front();
  CHECK(value.index == slot);
  return value;
}

// The first slot of a new membership waits until a write quorum of it has everything before, and
// cannot forget that it has: from then on it needs nobody of the old one, who may leave.
bool may_take_over(const State& s, const Config& config) {
  const LogIndex before = config.from.prev();
  if (s.commit < before) return false;
  const LogIndex own = std::max(s.durable_hard_state.commit, s.snapshot.index);
  return config.membership.reached([&](NodeId id) {
    if (id == s.self()) return own >= before;
    const auto peer = s.leader()->peers.find(id);
    return peer != s.leader()->peers.end() && peer->second.commit >= before;
  });
}

bool may_open(State& s, LogIndex slot) {
  if (slot.value > s.commit.value + s.memberships.window()) return false;
  const Config& config = s.memberships.at(slot);
  if (!is_prepared(s, s.leader()->phase_one, config)) {
    ask_promises(s, s.leader()->phase_one, config);
    return false;
  }
  return slot != config.from || may_take_over(s, config);
}

// While a membership waits for its turn, no-ops bring it about.
void fill_for_change(State& s) {
  Leader& leader = *s.leader();
  LogIndex until = s.memberships.newest().from;
  if (leader.change > s.commit) {
    until = std::max(until, leader.change.plus(s.memberships.window()));
  }
  if (until <= s.commit) return;
  while (next_slot(leader) <= until) append_as_leader(s, EntryKind::kNoop, {});
}

}  // namespace

// --- leading -------------------------------------------------------------------------------------

void become_leader(State& s) {
  CHECK(s.candidate());
  CHECK(!s.candidate()->pre);
  CHECK(s.durable_hard_state.promised == s.promised, "leading in a ballot that could be forgotten");
  CHECK(!s.install || !s.install->finishing);
  s.install.reset();
  s.failed_campaigns = 0;
  Leader leader(s.now);
  leader.own_durable = s.commit;
  leader.beat_commit = s.commit;
  leader.phase_one = std::move(s.candidate()->phase_one);
  leader.heartbeat_at = s.now + s.config.heartbeat_ticks;
  leader.check_quorum_at = s.now + s.config.election_ticks;
  leader.opened = s.commit;
  leader.adopted_to = std::max(s.commit, s.log.last());
  const auto& reported = leader.phase_one.reported;
  if (!reported.empty()) leader.adopted_to = std::max(leader.adopted_to, reported.rbegin()->first);
  leader.start = leader.adopted_to.next();
  const auto note_change = [&](LogIndex slot) {
    const Entry* found = found_in(s, leader.phase_one, slot);
    if (found && found->kind == EntryKind::kMembership)
      leader.change = std::max(leader.change, slot);
  };
  const auto& slots = s.log.slots();
  for (auto at = reported.upper_bound(s.commit); at != reported.end(); ++at) note_change(at->first);
  for (auto at = slots.upper_bound(s.commit); at != slots.end(); ++at) note_change(at->first);
  s.role = std::move(leader);
  update_peers(s);
  for (auto& [id, peer] : s.leader()->peers) peer.recently_active = false;
  append_as_leader(s, EntryKind::kNoop, {});
}

Position append_as_leader(State& s, EntryKind kind, Bytes data) {
  CHECK(s.leader());
  Leader& leader = *s.leader();
  const LogIndex index = next_slot(leader);
  leader.fresh.push_back({index, s.promised, kind, std::move(data)});
  if (kind == EntryKind::kMembership) leader.change = index;
  return {index, s.promised};
}

LogIndex last_proposed(const Leader& leader) {
  return std::max(leader.opened, leader.adopted_to).plus(leader.fresh.size());
}

bool make_room_for_adopted(State& s, const Entry& value) {
  Leader& leader = *s.leader();
  CHECK(value.index > leader.opened);
  if (value.index > leader.adopted_to) {
    auto& fresh = leader.fresh;
    const auto end = std::find_if(fresh.begin(), fresh.end(),
                                  [&](const Entry& own) { return own.index > value.index; });
    const bool only_fillers =
        std::all_of(fresh.begin(), end, [](const Entry& e) { return e.kind == EntryKind::kNoop; });
    if (!only_fillers) return false;
    fresh.erase(fresh.begin(), end);
    leader.adopted_to = value.index;
    if (fresh.empty()) append_as_leader(s, EntryKind::kNoop, {});
    leader.start = std::max(leader.start, value.index.next());
  }
  if (value.kind == EntryKind::kMembership) leader.change = std::max(leader.change, value.index);
  return true;
}

void open_slots(State& s) {
  Leader& leader = *s.leader();
  fill_for_change(s);
  while (leader.opened < leader.adopted_to || !leader.fresh.empty()) {
    const LogIndex slot = leader.opened.next();
    if (!may_open(s, slot)) return;
    accept(s, s.promised, take_value_for(s, slot));
    leader.accepted[slot];
    leader.opened = slot;
  }
}

void update_peers(State& s) {
  Leader& leader = *s.leader();
  std::set<NodeId> members;
  const auto add = [&members](const Membership& membership) {
    for (const NodeId id : membership.all()) members.insert(id);
  };
  // Those of the last committed slot too: until then they may be the only ones with the log.
  add(s.memberships.at(std::max(s.commit, s.log.base().index)).membership);
  for (const Config& config : s.memberships.open(s.commit)) add(config.membership);
  members.erase(s.self());

  std::erase_if(leader.peers, [&](const auto& peer) {
    if (members.contains(peer.first)) return false;
    send_now(s, peer.first, CommitNotice{s.commit});  // so that it knows that it has left
    return true;
  });
  for (const NodeId id : members) {
    if (leader.peers.contains(id)) continue;
    Peer peer(s.now);
    peer.sent = s.commit;
    if (!is_there(s, id)) peer.pace.fall_out();
    peer.recently_active = true;  // a newcomer gets until the check after next to say something
    leader.peers.emplace(id, std::move(peer));
  }
  if (leader.transfer && !s.membership().is_voter(leader.transfer->target)) leader.transfer.reset();
}

void send_heartbeats(State& s) {
  Leader& leader = *s.leader();
  for (auto& [id, peer] : leader.peers) {
    const LogIndex commit = commit_for(s, id, peer);
    const bool ask = !peer.unacknowledged.empty() || peer.commit < commit;
    send_now(s, id, Heartbeat{leader.round, commit, ask});
    peer.commit_sent = commit;
  }
}

void tick_heartbeat(State& s) {
  Leader& leader = *s.leader();
  if (s.now < leader.heartbeat_at) return;
  leader.heartbeat_at = s.now + s.config.heartbeat_ticks;
  leader.beat_commit = s.commit;
  ++leader.round;
  s.write_commit = true;
  send_heartbeats(s);
  if (leader.transfer) leader.transfer->told = false;
}

// --- sending -------------------------------------------------------------------------------------

namespace {

std::size_t size_of(const State& s, LogIndex slot) { return s.log.at(slot).value.data.size() + 1; }

void set_lost(Peer& peer, Sent& sent, bool lost) {
  if (sent.lost == lost) return;
  sent.lost = lost;
  peer.lost = lost ? peer.lost + 1 : peer.lost - 1;
}

void forget_sent(Peer& peer, std::map<LogIndex, Sent>::iterator& sent) {
  set_lost(peer, sent->second, false);
  peer.unacknowledged_bytes -= sent->second.bytes;
  sent = peer.unacknowledged.erase(sent);
}

// What seems lost. What is committed is not sent again: a peer that lacks it will ask.
std::vector<LogIndex> lost_slots(const State& s, Peer& peer) {
  std::vector<LogIndex> due;
  for (auto sent = peer.unacknowledged.begin(); peer.lost > due.size();) {
    const bool is_due = sent->second.lost && sent->first > s.commit;
    if (is_due) due.push_back(sent->first);
    if (sent->second.lost && !is_due) {
      forget_sent(peer, sent);
    } else {
      ++sent;
    }
  }
  return due;
}

// The slots whose accepts are to be sent now: what seems lost, then what is new, as far as the peer
// takes more and may have it.
std::vector<LogIndex> due_slots(State& s, NodeId id, Peer& peer) {
  std::vector<LogIndex> due = lost_slots(s, peer);
  // A witness gets what is committed too, if it has waited for that.
  const bool waits = is_witness(s, id);
  peer.sent = std::max(peer.sent, waits ? s.log.base().index : s.commit);
  const LogIndex last = waits ? witness_limit(s) : s.leader()->opened;
  const std::size_t limit = s.config.max_append_bytes * s.config.max_inflight_appends;
  while (peer.sent < last) {
    const LogIndex slot = peer.sent.next();
    const std::size_t bytes = size_of(s, slot);
    if (!peer.unacknowledged.empty() && peer.unacknowledged_bytes + bytes > limit) break;
    peer.unacknowledged[slot].bytes = bytes;
    peer.unacknowledged_bytes += bytes;
    peer.sent = slot;
    due.push_back(slot);
  }
  return due;
}

void send_witnessed(State& s, NodeId id, LogIndex commit, const std::vector<LogIndex>& slots) {
  Accept accept{commit, {}};
  for (const LogIndex slot : slots) {
    accept.values.push_back(consensus::witnessed_form(s.config, s.log.at(slot).value));
  }
  send_now(s, id, std::move(accept));
}

void send_accept(State& s, NodeId id, Peer& peer, const std::vector<LogIndex>& slots) {
  const LogIndex commit = commit_for(s, id, peer);
  if (is_witness(s, id)) {
    send_witnessed(s, id, commit, slots);
  } else {
    s.out.send_now.push_back(
        {s.config.group, s.self(), id, encode_accept(s.promised, commit, s.log, slots)});
  }
  peer.commit_sent = commit;
  ++peer.messages;
  for (const LogIndex slot : slots) {
    Sent& sent = peer.unacknowledged.at(slot);
    sent.at = s.now;
    sent.message = peer.messages;
    sent.passed_by = 0;
    set_lost(peer, sent, false);
  }
}

void send_due(State& s, NodeId id, Peer& peer) {
  std::vector<LogIndex> message;
  std::size_t bytes = 0;
  for (const LogIndex slot : due_slots(s, id, peer)) {
    bytes += size_of(s, slot);
    if (!message.empty() && bytes > s.config.max_append_bytes) {
      send_accept(s, id, peer, std::exchange(message, {}));
      bytes = size_of(s, slot);
    }
    message.push_back(slot);
  }
  if (!message.empty()) send_accept(s, id, peer, message);
}

// What the peer asked for, as much as one message carries; it asks again for the rest.
void send_missing(State& s, NodeId id, Peer& peer) {
  const std::vector<Range> missing = std::exchange(peer.missing, {});
  if (missing.empty()) return;
  if (missing.front().first <= s.log.base().index) {
    if (!peer.snapshot) peer.snapshot = SnapshotTransfer{.meta = s.snapshot};
    return;
  }
  const bool witnesses = is_witness(s, id);
  Learn learn;
  std::size_t bytes = 0;
  for (const Range& range : missing) {
    const LogIndex last = std::min(range.last, s.commit);
    for (LogIndex slot = range.first; slot <= last; slot = slot.next()) {
      bytes += size_of(s, slot);
      if (!learn.chosen.empty() && bytes > s.config.max_append_bytes) {
        return send_now(s, id, std::move(learn));
      }
      const Slot& chosen = s.log.at(slot);
      learn.chosen.push_back({chosen.ballot, witnesses
                                                 ? consensus::witnessed_form(s.config, chosen.value)
                                                 : chosen.value});
    }
  }
  if (!learn.chosen.empty()) send_now(s, id, std::move(learn));
}

Peer* peer_of(State& s, NodeId id) {
  Leader* leader = s.leader();
  if (!leader) return nullptr;
  const auto peer = leader->peers.find(id);
  return peer == leader->peers.end() ? nullptr : &peer->second;
}

}  // namespace

void send_accepts(State& s) {
  for (auto& [id, peer] : s.leader()->peers) {
    send_due(s, id, peer);
    send_missing(s, id, peer);
    if (peer.snapshot) send_snapshot(s, id, peer);
    const LogIndex commit = commit_for(s, id, peer);
    if (commit > peer.commit_sent) {
      send_now(s, id, CommitNotice{commit});
      peer.commit_sent = commit;
    }
  }
}

void lose_peer(State& s, NodeId node) {
  Peer* peer = peer_of(s, node);
  if (!peer) return;
  peer->pace.fall_out();
  for (auto& [slot, sent] : peer->unacknowledged) set_lost(*peer, sent, true);
}

// --- counting ------------------------------------------------------------------------------------

void note_accepted(State& s, NodeId id, LogIndex slot) {
  Leader& leader = *s.leader();
  const auto open = leader.accepted.find(slot);
  if (open == leader.accepted.end()) return;
  std::vector<NodeId>& by = open->second;
  if (std::find(by.begin(), by.end(), id) != by.end()) return;
  by.push_back(id);
  const bool chosen = s.memberships.at(slot).membership.reached(
      [&by](NodeId who) { return std::find(by.begin(), by.end(), who) != by.end(); });
  if (chosen) s.log.at(slot).chosen = true;
}

void commit_chosen(State& s) {
  const LogIndex before = s.commit;
  advance_commit(s);
  if (s.commit > before) note_commit(s);
}

void note_commit(State& s) {
  Leader& leader = *s.leader();
  // Some slots may have been known to be chosen without this leader's doing.
  leader.opened = std::max(leader.opened, s.commit);
  leader.adopted_to = std::max(leader.adopted_to, leader.opened);
  leader.accepted.erase(leader.accepted.begin(), leader.accepted.upper_bound(s.commit));
  auto& reported = leader.phase_one.reported;
  reported.erase(reported.begin(), reported.upper_bound(s.commit));
  release_reports(s, leader.phase_one);
  update_peers(s);
  resign_if_removed(s);
}

namespace {

// The peer has everything up to `commit`, and `slots`. The messages that told it what was not known
// to be there, each once.
std::set<std::uint64_t> take_acknowledged(State& s, NodeId id, Peer& peer, LogIndex commit,
                                          const std::vector<Range>& slots) {
  std::set<std::uint64_t> messages;
  const auto take = [&](LogIndex first, LogIndex last) {
    auto sent = peer.unacknowledged.lower_bound(first);
    while (sent != peer.unacknowledged.end() && sent->first <= last) {
      messages.insert(sent->second.message);
      note_accepted(s, id, sent->first);
      forget_sent(peer, sent);
    }
  };
  take(LogIndex{}, commit);
  for (const Range& range : slots) take(range.first, range.last);
  return messages;
}

// What was sent before messages that have arrived is late. It is taken for lost when enough have
// passed it by, or the last one that was sent: nothing would follow to tell.
void note_passed_by(Peer& peer, const std::set<std::uint64_t>& arrived) {
  if (arrived.empty()) return;
  const bool was_last = *arrived.rbegin() == peer.messages;
  for (auto& [slot, sent] : peer.unacknowledged) {
    const auto later = arrived.upper_bound(sent.message);
    sent.passed_by += static_cast<std::size_t>(std::distance(later, arrived.end()));
    const bool late = sent.passed_by > 0 && was_last;
    if (late || sent.passed_by >= kPassedByMeansLost) set_lost(peer, sent, true);
  }
}

}  // namespace

void handle(State& s, NodeId from, const Accepted& message) {
  Peer* peer = peer_of(s, from);
  if (!peer) return;
  peer->recently_active = true;
  peer->commit = std::max(peer->commit, message.commit);
  // It may also be waiting for one that is newer than what is gone.
  const auto& snapshot = peer->snapshot;
  const bool is_over =
      snapshot && peer->commit >= std::max(snapshot->meta.index, s.log.base().index);
  if (is_over) peer->snapshot.reset();
  const auto arrived = take_acknowledged(s, from, *peer, message.commit, message.slots);
  peer->pace.acknowledged(peer->commit, s.leader()->beat_commit, s.now);
  note_passed_by(*peer, arrived);
  commit_chosen(s);
}

void handle(State& s, NodeId from, const HeartbeatReply& message) {
  Peer* peer = peer_of(s, from);
  if (!peer) return;
  peer->recently_active = true;
  peer->round = std::max(peer->round, message.round);
  for (auto& [slot, sent] : peer->unacknowledged) {
    if (s.now - sent.at >= s.config.heartbeat_ticks) set_lost(*peer, sent, true);
  }
}

void handle(State& s, NodeId from, CatchUp& message) {
  Peer* peer = peer_of(s, from);
  if (!peer) return;
  peer->recently_active = true;
  peer->missing = std::move(message.missing);
}

}  // namespace conclave::paxos
