#include "paxos/witnesses.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"

namespace conclave::paxos {

namespace {

template <class Asks>
bool in_any_open(const State& s, const Asks& asks) {
  const auto open = s.memberships.open(s.commit);
  return std::any_of(open.begin(), open.end(),
                     [&](const Config& config) { return asks(config.membership); });
}

// In that of the last committed slot too: whoever the leader sends to.
template <class Asks>
bool in_any_now(const State& s, const Asks& asks) {
  const LogIndex last = std::max(s.commit, s.log.base().index);
  return asks(s.memberships.at(last).membership) || in_any_open(s, asks);
}

bool is_full_voter(const State& s, NodeId id) {
  return in_any_open(s, [id](const Membership& m) { return m.is_voter(id) && !m.is_witness(id); });
}

// The peer has accepted everything up to here that is not committed.
LogIndex accepted_to(const Peer& peer) {
  return peer.unacknowledged.empty() ? peer.sent : peer.unacknowledged.begin()->first.prev();
}

// What this replica has accepted without a gap, on its own disk; at least the commit.
LogIndex own_durable(const State& s) {
  LogIndex own = s.commit;
  while (own < s.leader()->opened && s.log.at(own.next()).durable) own = own.next();
  return own;
}

// It has not acknowledged all that it was sent, or what was committed a heartbeat ago.
bool owes(const State& s, const Peer& peer) {
  return !peer.unacknowledged.empty() || peer.commit < s.leader()->beat_commit;
}

// The lowest of what those full copies have that are waited for, this replica included; if none is,
// what this replica has.
template <class Has>
LogIndex lowest(const State& s, LogIndex own, const Has& has) {
  std::optional<LogIndex> limit;
  if (s.leader()->own_pace.is_waited_for()) limit = own;
  for (const auto& [id, peer] : s.leader()->peers) {
    if (!peer.pace.is_waited_for() || !is_full_voter(s, id)) continue;
    limit = std::min(limit.value_or(has(peer)), has(peer));
  }
  return limit.value_or(own);
}

}  // namespace

bool has_witnesses(const State& s) {
  return in_any_open(s, [](const Membership& m) { return !m.witnesses.empty(); });
}

bool is_witness(const State& s, NodeId id) {
  return in_any_now(s, [id](const Membership& m) { return m.is_witness(id); });
}

void note_heard(State& s, NodeId from) {
  const bool is_member = in_any_now(s, [from](const Membership& m) { return m.contains(from); });
  if (is_member) s.heard_at[from] = s.now;
}

bool is_there(const State& s, NodeId id) {
  const auto heard = s.heard_at.find(id);
  return heard != s.heard_at.end() && s.now - heard->second < s.config.election_ticks;
}

void tick_pace(State& s) {
  Leader& leader = *s.leader();
  const LogIndex own = own_durable(s);
  if (std::exchange(leader.own_durable, own) != own) {
    leader.own_pace.acknowledged(own, leader.beat_commit, s.now);
  }
  leader.own_pace.look(own < leader.opened, s.now, s.config.election_ticks);
  for (auto& [id, peer] : leader.peers) {
    if (peer.snapshot || !is_there(s, id)) peer.pace.fall_out();
    peer.pace.look(owes(s, peer), s.now, s.config.election_ticks);
  }
}

LogIndex witness_limit(const State& s) { return lowest(s, own_durable(s), accepted_to); }

LogIndex commit_for(const State& s, NodeId id, const Peer& peer) {
  if (!is_witness(s, id)) return s.commit;
  const LogIndex own = std::max(s.durable_hard_state.commit, s.snapshot.index);
  const LogIndex commit = lowest(s, own, [](const Peer& copy) { return copy.commit; });
  return std::min(std::max({commit, peer.commit_sent, peer.commit}), s.commit);
}

}  // namespace conclave::paxos
