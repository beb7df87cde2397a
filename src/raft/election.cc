#include "raft/election.h"

#include <algorithm>

#include "base/check.h"
#include "raft/reads.h"
#include "raft/replication.h"

namespace conclave::raft {

namespace {

using consensus::VoteResult;

// After a broken connection to the leader: long enough that survivors rarely start together, short
// against any timeout.
constexpr std::uint64_t kMaxLostLeaderDelay = 8;

void reset_election_timer(State& s) {
  const std::uint64_t base = s.config.election_ticks;
  s.election_at = s.now + base + s.rng.below(base);
}

// At least as up to date as our own log (Raft paper, section 5.4.1).
bool is_up_to_date(const State& s, Position last) {
  const Position own = s.log.last_position();
  return last.epoch != own.epoch ? last.epoch > own.epoch : last.index >= own.index;
}

// A replica whose store is being replaced has no time to lead.
bool may_campaign(const State& s) {
  return s.is_electable() && !(s.install && s.install->finishing);
}

VoteResult count_votes(const State& s, const Candidate& candidate) {
  return s.membership().tally([&candidate](NodeId id) -> std::optional<bool> {
    const auto vote = candidate.votes.find(id);
    if (vote == candidate.votes.end()) return std::nullopt;
    return vote->second;
  });
}

void ask_voters(State& s, const Body& question, void (*send)(State&, NodeId, Body)) {
  for (const NodeId id : s.membership().all()) {
    if (id != s.self() && s.membership().is_voter(id)) send(s, id, question);
  }
}

void decide_election(State& s) {
  Candidate& candidate = *s.candidate();
  const VoteResult result = count_votes(s, candidate);
  if (result == VoteResult::kPending) return;
  if (result == VoteResult::kLost) return become_follower(s, s.term, NodeId{});
  if (candidate.pre) return campaign(s, false);
  become_leader(s);
}

// Of two that ask at the same time the one with the better log, then the higher id, goes on. Both
// would only split the votes. Not for long: if the better one cannot win after all, it must not
// stand in the way.
bool yields_to(const State& s, NodeId from, Position last) {
  const Position own = s.log.last_position();
  return std::tuple(own.epoch, own.index, s.self()) < std::tuple(last.epoch, last.index, from);
}

bool insists(const State& s, const Candidate& candidate) {
  return s.now - candidate.began_at <= s.config.heartbeat_ticks;
}

}  // namespace

void become_follower(State& s, Epoch term, NodeId leader) {
  CHECK(term >= s.term, "the term falls from {} to {}", s.term.value, term.value);
  fail_reads(s);
  if (term > s.term) s.vote = NodeId{};
  s.term = term;
  Follower follower;
  follower.leader = leader;
  follower.heard_at = s.now;
  s.role = std::move(follower);
  reset_election_timer(s);
}

void hear_leader(State& s, NodeId leader) {
  CHECK(!s.leader());
  Follower* follower = s.follower();
  if (!follower || follower->leader != leader) return become_follower(s, s.term, leader);
  follower->heard_at = s.now;
  reset_election_timer(s);
}

bool has_lease(const State& s) {
  if (s.leader()) return true;
  const Follower* follower = s.follower();
  return follower && follower->leader && s.now - follower->heard_at < s.config.election_ticks;
}

void pre_campaign(State& s) {
  CHECK(!s.leader());
  CHECK(may_campaign(s));
  become_follower(s, s.term, NodeId{});
  s.role = Candidate{.pre = true, .began_at = s.now, .votes = {{s.self(), true}}};
  ask_voters(s, PreVote{s.log.last_position()}, send_now);
  decide_election(s);
}

void campaign(State& s, bool handover) {
  CHECK(!s.leader());
  CHECK(may_campaign(s));
  become_follower(s, s.term.next(), NodeId{});
  s.vote = s.self();
  s.role = Candidate{.pre = false, .began_at = s.now, .votes = {}};
  // After persist: whoever answers must be sure that this replica cannot ask for the same term
  // again.
  ask_voters(s, RequestVote{s.log.last_position(), handover}, send_after_persist);
}

void count_own_vote(State& s) {
  Candidate* candidate = s.candidate();
  if (!candidate || candidate->pre || candidate->votes.contains(s.self())) return;
  const bool durable = s.durable_hard_state.term == s.term && s.durable_hard_state.vote == s.self();
  if (!durable) return;
  candidate->votes[s.self()] = true;
  decide_election(s);
}

void handle(State& s, NodeId from, Epoch term, const PreVote& message) {
  const Epoch for_term = term.next();
  bool granted = !has_lease(s) && for_term > s.term && is_up_to_date(s, message.last);
  if (Candidate* own = s.candidate(); granted && own && own->pre) {
    if (yields_to(s, from, message.last)) {
      become_follower(s, s.term, NodeId{});
    } else {
      granted = !insists(s, *own);
    }
  }
  send_now(s, from, PreVoteReply{for_term, granted});
}

void handle(State& s, NodeId from, const PreVoteReply& message) {
  Candidate* candidate = s.candidate();
  if (!candidate || !candidate->pre || message.for_term != s.term.next()) return;
  candidate->votes.emplace(from, message.granted);
  decide_election(s);
}

void handle(State& s, NodeId from, const RequestVote& message) {
  const bool free = !s.vote || s.vote == from;
  const bool has_leader = s.leader() || (s.follower() && s.follower()->leader);
  if (has_leader || !free || !is_up_to_date(s, message.last)) {
    return send_now(s, from, VoteReply{false});
  }
  become_follower(s, s.term, NodeId{});
  s.vote = from;
  send_after_persist(s, from, VoteReply{true});
}

void handle(State& s, NodeId from, const VoteReply& message) {
  Candidate* candidate = s.candidate();
  if (!candidate || candidate->pre) return;
  candidate->votes.emplace(from, message.granted);
  decide_election(s);
}

void handle(State& s, NodeId from, const TimeoutNow&) {
  const Follower* follower = s.follower();
  // Only the leader of this very term may ask. (One this replica has not heard yet may be it.)
  if (!follower || (follower->leader && follower->leader != from)) return;
  if (may_campaign(s)) campaign(s, true);
}

void tick_election(State& s) {
  if (s.now < s.election_at) return;
  if (may_campaign(s)) return pre_campaign(s);
  // A learner cannot do anything about a silent leader, but should not go on naming it.
  become_follower(s, s.term, NodeId{});
}

void lose_leader(State& s, NodeId node) {
  const Follower* follower = s.follower();
  if (!follower || follower->leader != node) return;
  become_follower(s, s.term, NodeId{});
  s.election_at = s.now + s.rng.between(1, kMaxLostLeaderDelay);
}

void tick_quorum_check(State& s) {
  Leader& leader = *s.leader();
  if (s.now < leader.check_quorum_at) return;
  const bool heard = s.membership().reached(
      [&](NodeId id) { return id == s.self() || leader.peers.at(id).recently_active; });
  if (!heard) return become_follower(s, s.term, NodeId{});
  for (auto& [id, peer] : leader.peers) peer.recently_active = false;
  leader.check_quorum_at = s.now + s.config.election_ticks;
}

bool start_transfer(State& s, NodeId target) {
  Leader* leader = s.leader();
  if (!leader || target == s.self() || !s.membership().is_voter(target)) return false;
  if (s.membership().is_witness(target)) return false;
  if (leader->transfer && leader->transfer->target == target) return true;
  leader->transfer = Transfer{target, s.now + s.config.election_ticks, false};
  continue_transfer(s);
  return true;
}

void continue_transfer(State& s) {
  Leader& leader = *s.leader();
  if (!leader.transfer || leader.transfer->told) return;
  if (leader.peers.at(leader.transfer->target).match != s.log.last()) return;
  leader.transfer->told = true;
  send_now(s, leader.transfer->target, TimeoutNow{});
}

void tick_transfer(State& s) {
  Leader& leader = *s.leader();
  if (leader.transfer && s.now >= leader.transfer->deadline) leader.transfer.reset();
}

}  // namespace conclave::raft
