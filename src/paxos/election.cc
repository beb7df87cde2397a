#include "paxos/election.h"

#include <algorithm>

#include "base/check.h"
#include "paxos/ballot.h"
#include "paxos/persistence.h"
#include "paxos/phase_one.h"
#include "paxos/proposing.h"
#include "paxos/reads.h"

namespace conclave::paxos {

namespace {

using consensus::VoteResult;
using Answer = std::function<std::optional<bool>(NodeId)>;

// After a broken connection to the leader, and in its like: long enough that survivors rarely start
// together, short against any timeout.
constexpr std::uint64_t kMaxLostLeaderDelay = 8;
// The range from which waiting times are drawn doubles this often when campaigns fail in a row.
constexpr int kMaxBackOffs = 3;

// Duelling proposers are held apart by chance: the more campaigns have failed, the wider the range
// ("Paxos Made Simple", section 2.4; "Moderately Complex", section 3).
void reset_election_timer(State& s) {
  const std::uint64_t base = s.config.election_ticks;
  s.election_at = s.now + base + s.rng.below(base << std::min(s.failed_campaigns, kMaxBackOffs));
}

void retry_soon(State& s) { s.election_at = s.now + s.rng.between(1, kMaxLostLeaderDelay); }

// A replica whose store is being replaced has no time to lead.
bool may_campaign(const State& s) {
  return s.is_electable() && !(s.install && s.install->finishing);
}

// Every membership that decides an open slot has to agree: lost if one is, won if all are.
VoteResult tally(const State& s, const Answer& answer) {
  VoteResult all = VoteResult::kWon;
  for (const Config& config : s.memberships.open(s.commit)) {
    const VoteResult one = config.membership.tally(answer);
    if (one == VoteResult::kLost) return one;
    if (one == VoteResult::kPending) all = one;
  }
  return all;
}

std::set<NodeId> open_voters(const State& s) {
  std::set<NodeId> voters;
  for (const Config& config : s.memberships.open(s.commit)) {
    for (const consensus::Vote& vote : config.membership.voters.votes()) voters.insert(vote.id);
  }
  voters.erase(s.self());
  return voters;
}

bool own_promise_is_durable(const State& s) {
  const HardState& durable = s.durable_hard_state;
  return durable.promised == s.promised && durable.owner == s.self();
}

void ask(State& s, NodeId id, Report& report, bool handover) {
  report.asked_at = s.now;
  report.next = std::max(report.next, s.commit.next());  // what is committed needs no asking
  const Prepare prepare{report.next, handover};
  if (own_promise_is_durable(s)) return send_now(s, id, prepare);
  // Whoever answers must be sure that this replica cannot prepare the same ballot again.
  send_after_persist(s, id, prepare);
}

void decide_pre(State& s) {
  const Candidate& candidate = *s.candidate();
  const VoteResult result = tally(s, [&](NodeId id) -> std::optional<bool> {
    const auto answer = candidate.answers.find(id);
    return answer == candidate.answers.end() ? std::nullopt : std::optional(answer->second);
  });
  if (result == VoteResult::kLost) return become_follower(s, s.promised, NodeId{});
  if (result == VoteResult::kWon) campaign(s, false);
}

void decide_phase_one(State& s) {
  // What others had committed may have removed this very replica.
  if (!may_campaign(s)) return become_follower(s, s.promised, NodeId{});
  if (!own_promise_is_durable(s)) return;
  Candidate& candidate = *s.candidate();
  const VoteResult result = tally(s, [&](NodeId id) -> std::optional<bool> {
    if (id == s.self()) return true;
    if (candidate.answers.contains(id)) return false;
    return has_reported(candidate.phase_one, id) ? std::optional(true) : std::nullopt;
  });
  if (result == VoteResult::kLost) return become_follower(s, s.promised, NodeId{});
  if (result == VoteResult::kWon) return become_leader(s);
  // What others had committed may have named new voters.
  for (const Config& config : s.memberships.open(s.commit)) {
    ask_promises(s, candidate.phase_one, config);
  }
}

// Of two that ask at the same time the one that knows more, then the higher id, goes on. Both would
// only outbid each other. Not for long: if the better one cannot win after all, it must not stand
// in the way.
bool yields_to(const State& s, NodeId from, LogIndex commit) {
  return std::pair(s.commit, s.self()) < std::pair(commit, from);
}

bool insists(const State& s, const Candidate& candidate) {
  return s.now - candidate.began_at <= s.config.heartbeat_ticks;
}

}  // namespace

void become_follower(State& s, Epoch ballot, NodeId leader) {
  CHECK(ballot >= s.promised, "the promise falls from {} to {}", s.promised.value, ballot.value);
  fail_reads(s);
  if (ballot > s.promised) s.owner = NodeId{};
  s.promised = ballot;
  s.highest = std::max(s.highest, ballot);
  Follower follower;
  follower.leader = leader;
  follower.heard_at = s.now;
  s.role = std::move(follower);
  reset_election_timer(s);
}

void hear_leader(State& s, NodeId leader) {
  CHECK(!s.leader());
  s.owner = leader;
  s.failed_campaigns = 0;
  Follower* follower = s.follower();
  if (!follower || follower->leader != leader) return become_follower(s, s.promised, leader);
  follower->heard_at = s.now;
  reset_election_timer(s);
}

bool has_lease(const State& s) {
  if (s.leader()) return true;
  const Follower* follower = s.follower();
  return follower && follower->leader && s.now - follower->heard_at < s.config.election_ticks;
}

// --- the question before -------------------------------------------------------------------------

void pre_campaign(State& s) {
  CHECK(!s.leader());
  CHECK(may_campaign(s));
  become_follower(s, s.promised, NodeId{});
  Candidate candidate;
  candidate.pre = true;
  candidate.began_at = s.now;
  candidate.question = s.next_batch++;
  candidate.answers[s.self()] = true;
  const PrePrepare question{candidate.question, s.commit};
  s.role = std::move(candidate);
  for (const NodeId id : open_voters(s)) send_now(s, id, question);
  decide_pre(s);
}

void handle(State& s, NodeId from, Epoch ballot, const PrePrepare& message) {
  s.highest = std::max(s.highest, ballot);
  // Whoever needs what is compacted here cannot lead; somebody who has it will.
  bool granted = !has_lease(s) && message.commit >= s.log.base().index;
  if (Candidate* own = s.candidate(); granted && own && own->pre) {
    if (yields_to(s, from, message.commit)) {
      become_follower(s, s.promised, NodeId{});
    } else {
      granted = !insists(s, *own);
    }
  }
  send_now(s, from, PrePrepareReply{message.question, granted});
}

void handle(State& s, NodeId from, Epoch ballot, const PrePrepareReply& message) {
  s.highest = std::max(s.highest, ballot);
  Candidate* candidate = s.candidate();
  if (!candidate || !candidate->pre || message.question != candidate->question) return;
  candidate->answers.emplace(from, message.granted);
  decide_pre(s);
}

// --- phase one -----------------------------------------------------------------------------------

void campaign(State& s, bool handover) {
  CHECK(!s.leader());
  CHECK(may_campaign(s));
  ++s.failed_campaigns;  // until a leader is heard
  become_follower(s, next_ballot(s.highest, s.self()), NodeId{});
  s.owner = s.self();
  Candidate candidate;
  candidate.handover = handover;
  candidate.began_at = s.now;
  s.role = std::move(candidate);
  for (const Config& config : s.memberships.open(s.commit)) {
    ask_promises(s, s.candidate()->phase_one, config);
  }
}

bool is_prepared(const State& s, const PhaseOne& phase_one, const Config& config) {
  return config.membership.elects(
      [&](NodeId id) { return id == s.self() || has_reported(phase_one, id); });
}

void ask_promises(State& s, PhaseOne& phase_one, const Config& config) {
  const bool handover = s.candidate() && s.candidate()->handover;
  for (const consensus::Vote& vote : config.membership.voters.votes()) {
    if (vote.id == s.self()) continue;
    const auto [report, is_new] = phase_one.reports.try_emplace(vote.id);
    const bool due = s.now - report->second.asked_at >= s.config.heartbeat_ticks;
    if (!report->second.done && (is_new || due)) ask(s, vote.id, report->second, handover);
  }
}

void count_own_promise(State& s) {
  Candidate* candidate = s.candidate();
  if (candidate && !candidate->pre && own_promise_is_durable(s)) decide_phase_one(s);
}

namespace {

// As much of what this replica accepted from `from` on as one message carries.
Promise promise_from(const State& s, LogIndex from) {
  Promise promise{from, {}, s.commit, {}};
  std::size_t bytes = 0;
  const auto& slots = s.log.slots();
  for (auto slot = slots.lower_bound(from); slot != slots.end(); ++slot) {
    bytes += slot->second.value.data.size() + 1;
    if (!promise.accepted.empty() && bytes > s.config.max_append_bytes) {
      promise.next = slot->first;
      break;
    }
    promise.accepted.push_back({slot->second.ballot, slot->second.value});
  }
  return promise;
}

}  // namespace

void handle(State& s, NodeId from, const Prepare& message) {
  const bool follows = s.follower() && s.follower()->leader == from;
  if (!follows) become_follower(s, s.promised, NodeId{});
  s.owner = from;
  if (message.from <= s.log.base().index) {
    // Somebody who has more must lead; and this replica, who has, need not wait to be missed.
    if (!follows) retry_soon(s);
    return send_now(s, from, Refuse{true});
  }
  send_after_persist(s, from, promise_from(s, message.from));
}

namespace {

// One value of an acceptor's answer. False if it stands where this leader had put something else.
bool take_report(State& s, PhaseOne& phase_one, NodeId from, Pvalue& pvalue, LogIndex chosen_to) {
  const LogIndex index = pvalue.value.index;
  if (index <= s.commit) return true;
  const bool is_whole = complete(s, phase_one, pvalue.value);
  const bool is_chosen = is_whole && index <= chosen_to;
  if (s.leader() && index <= s.leader()->opened) {
    if (is_chosen) learn(s, std::move(pvalue));
    return true;
  }
  if (s.leader() && is_whole && !make_room_for_adopted(s, pvalue.value)) return false;
  if (is_chosen) {
    learn(s, std::move(pvalue));
    return true;
  }
  note_reported(phase_one, from, std::move(pvalue));
  return true;
}

PhaseOne* phase_one_of(State& s) {
  if (Candidate* candidate = s.candidate(); candidate && !candidate->pre) {
    return &candidate->phase_one;
  }
  return s.leader() ? &s.leader()->phase_one : nullptr;
}

}  // namespace

void handle(State& s, NodeId from, Promise& message) {
  PhaseOne* phase_one = phase_one_of(s);
  if (!phase_one) return;
  const auto asked = phase_one->reports.find(from);
  if (asked == phase_one->reports.end()) return;
  Report& report = asked->second;
  if (report.done || message.from > report.next) return;
  const bool goes_on = !message.next || message.next > report.next;
  if (!goes_on) return;
  for (Pvalue& pvalue : message.accepted) {
    if (take_report(s, *phase_one, from, pvalue, message.commit)) continue;
    // A new voter has accepted something that the old ones did not know, where this leader wanted
    // to go on with its own: nothing of that has been sent, so it starts anew.
    advance_commit(s);
    become_follower(s, s.promised, NodeId{});
    s.election_at = s.now + 1;
    return;
  }
  report.done = !message.next;
  report.next = message.next;
  const LogIndex before = s.commit;
  advance_commit(s);
  release_reports(s, *phase_one);
  if (!report.done) ask(s, from, report, s.candidate() && s.candidate()->handover);
  if (s.candidate()) return decide_phase_one(s);
  if (s.commit > before) note_commit(s);
}

void handle(State& s, NodeId from, const Refuse& message) {
  // A refusal for a higher ballot's sake has ended this candidacy or leadership already.
  if (!message.behind) return;
  if (const Leader* leader = s.leader()) {
    // A voter of a membership that came to light here has gone on without this leader, and
    // compacted what it would have to know: it cannot lead them.
    const auto open = s.memberships.open(s.commit);
    const bool is_complete = std::all_of(open.begin(), open.end(), [&](const Config& config) {
      return is_prepared(s, leader->phase_one, config);
    });
    if (!is_complete) become_follower(s, s.promised, NodeId{});
    return;
  }
  Candidate* candidate = s.candidate();
  if (!candidate || candidate->pre) return;
  candidate->answers[from] = false;
  decide_phase_one(s);
}

void handle(State& s, NodeId from, const TimeoutNow&) {
  const Follower* follower = s.follower();
  // Only the leader of this very ballot may ask. (One this replica has not heard yet may be it.)
  if (!follower || (follower->leader && follower->leader != from)) return;
  if (may_campaign(s)) campaign(s, true);
}

// --- time ----------------------------------------------------------------------------------------

void tick_election(State& s) {
  if (s.now < s.election_at) {
    Candidate* candidate = s.candidate();
    if (!candidate || candidate->pre || !own_promise_is_durable(s)) return;
    for (const Config& config : s.memberships.open(s.commit)) {
      ask_promises(s, candidate->phase_one, config);
    }
    return;
  }
  if (may_campaign(s)) return pre_campaign(s);
  // A learner cannot do anything about a silent leader, but should not go on naming it.
  become_follower(s, s.promised, NodeId{});
}

void lose_leader(State& s, NodeId node) {
  const Follower* follower = s.follower();
  if (!follower || follower->leader != node) return;
  become_follower(s, s.promised, NodeId{});
  retry_soon(s);
}

void tick_quorum_check(State& s) {
  Leader& leader = *s.leader();
  if (s.now < leader.check_quorum_at) return;
  const bool heard = s.membership().reached(
      [&](NodeId id) { return id == s.self() || leader.peers.at(id).recently_active; });
  if (!heard) return become_follower(s, s.promised, NodeId{});
  for (auto& [id, peer] : leader.peers) peer.recently_active = false;
  leader.check_quorum_at = s.now + s.config.election_ticks;
}

// --- transfer ------------------------------------------------------------------------------------

bool start_transfer(State& s, NodeId target) {
  Leader* leader = s.leader();
  if (!leader || target == s.self() || !s.membership().is_voter(target)) return false;
  if (s.membership().is_witness(target)) return false;
  if (leader->transfer && leader->transfer->target == target) return true;
  leader->transfer = Transfer{target, s.now + s.config.election_ticks, false};
  return true;
}

void continue_transfer(State& s) {
  Leader& leader = *s.leader();
  if (!leader.transfer || leader.transfer->told) return;
  const Peer& target = leader.peers.at(leader.transfer->target);
  const bool all_proposed = leader.opened >= leader.adopted_to && leader.fresh.empty();
  const bool has_all = target.sent >= leader.opened && target.unacknowledged.empty();
  if (!all_proposed || !has_all || target.snapshot) return;
  leader.transfer->told = true;
  send_now(s, leader.transfer->target, TimeoutNow{});
}

void tick_transfer(State& s) {
  Leader& leader = *s.leader();
  if (leader.transfer && s.now >= leader.transfer->deadline) leader.transfer.reset();
}

}  // namespace conclave::paxos
