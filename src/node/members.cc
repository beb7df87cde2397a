// Changes of the members. Part of node/group.h.
//
// Two things say who is a member. The store has the members as they are wanted, with names and
// addresses: a change is a command in the log. The engine has the votes. The leader makes the
// engine follow the store, whoever leads: so a change that was applied is carried out, also when
// the leader falls on the way. And since the leader asks for votes only after it has applied the
// command, each message that brings them to a follower tells it that the command is committed: it
// knows the addresses before it counts the votes.
//
// The leader looks at each change before it enters the log, one at a time, and writes its verdict
// into the command: what it knows (who is reachable, how far a learner is behind) the store cannot
// know. A refusal goes through the log as well, and so finds its client. Of several changes at once
// more has to be looked at (reconfig.cc).

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "node/group.h"

namespace conclave::node {
namespace {

using Verdict = store::MemberChange::Verdict;

// A learner has to have this much of what the leader has before it may vote (etcd: 90 %).
constexpr std::uint64_t kReadyTenths = 9;

// 1 of one that does not vote yet.
std::uint32_t weight_of(NodeId id, const consensus::Membership& membership) {
  const auto vote = std::ranges::find(membership.voters.votes(), id, &consensus::Vote::id);
  return vote == membership.voters.votes().end() ? 1 : vote->weight;
}

// What the cluster began with says how many votes are enough, however its members change.
const consensus::Quorum& rule_of(const Options& options, const consensus::Membership& current) {
  return options.initial_membership ? options.initial_membership->voters : current.voters;
}

// The members as the store wants them. Voters that stay keep their weight; one that is new and has
// never told its name gets the log first, and no vote that the others would have to wait for
// (thesis, section 4.2.1).
consensus::Membership wanted(const std::vector<api::Member>& members,
                             const consensus::Membership& current, const consensus::Quorum& rule) {
  std::vector<consensus::Vote> votes;
  consensus::Membership membership;
  for (const api::Member& member : members) {
    const bool votes_now = current.voters.contains(member.id);
    if (member.is_learner || (member.name.empty() && !votes_now)) {
      membership.learners.push_back(member.id);
    } else {
      votes.push_back({member.id, weight_of(member.id, current)});
    }
    if (member.is_witness) membership.witnesses.push_back(member.id);
  }
  membership.voters = rule.with_votes(std::move(votes));
  return membership;
}

// Those who are there after the change, as far as who votes depends on it.
std::vector<api::Member> members_after(std::vector<api::Member> members,
                                       const store::MemberChange& change) {
  using Kind = store::MemberChange::Kind;
  const NodeId leaves = change.kind == Kind::kRemove ? change.id : change.replaces;
  api::Member joins{.id = change.id, .name = {}, .peer_urls = {}, .client_urls = {}};
  joins.is_learner = change.is_learner;
  for (api::Member& member : members) {
    if (leaves && member.id == leaves) joins.is_witness = member.is_witness;
    if (change.kind == Kind::kPromote && member.id == change.id) member.is_learner = false;
  }
  std::erase_if(members, [leaves](const api::Member& member) { return member.id == leaves; });
  if (change.kind == Kind::kAdd) {
    const auto place = std::ranges::lower_bound(members, joins.id, {}, &api::Member::id);
    members.insert(place, std::move(joins));
  }
  return members;
}

// The same once all have told their names.
std::vector<api::Member> named(std::vector<api::Member> members) {
  for (api::Member& member : members) member.name = "started";
  return members;
}

struct ChangeOf {
  using Change = store::MemberChange;

  Change operator()(const api::MemberAddRequest& add) const {
    Change change;
    change.kind = Change::Kind::kAdd;
    change.id = add.id;
    change.replaces = add.replaces;
    change.is_learner = add.is_learner;
    change.peer_urls = add.peer_urls;
    return change;
  }
  Change operator()(const api::MemberRemoveRequest& remove) const {
    Change change;
    change.kind = Change::Kind::kRemove;
    change.id = remove.id;
    return change;
  }
  Change operator()(const api::MemberUpdateRequest& update) const {
    Change change;
    change.kind = Change::Kind::kUpdate;
    change.id = update.id;
    change.peer_urls = update.peer_urls;
    return change;
  }
  Change operator()(const api::MemberPromoteRequest& promote) const {
    Change change;
    change.kind = Change::Kind::kPromote;
    change.id = promote.id;
    return change;
  }
  template <class Other>
  Change operator()(const Other&) const {
    CHECK(false, "not a change of the members");
    return {};
  }
};

// Whether those can both decide and elect.
template <class Has>
bool suffice(const consensus::Quorum& voters, const Has& has) {
  return voters.reached(has) && voters.elects(has);
}

}  // namespace

// --- at the member that was asked ---------------------------------------------------

void Group::change_members(ClientCall client, const api::Request& request) {
  ++counters_.writes_received;
  const bool full = no_space_ || shared_.log.is_full();
  client.user = user_of(request);
  if (full || !writes_.has_room(client, 1)) {
    ++counters_.writes_failed;
    const auto code = full ? api::ErrorCode::kNoSpace : api::ErrorCode::kTooManyRequests;
    return answer(client, api::Error{code, {}});
  }
  const store::Origin origin{shared_.options.self, shared_.incarnation, writes_.next_call()};
  Bytes command = store::encode_command(origin, std::visit(ChangeOf{}, request.body));
  if (command.size() > shared_.options.max_request_bytes) {
    ++counters_.writes_failed;
    return answer(client, api::Error{api::ErrorCode::kRequestTooLarge, {}});
  }
  writes_.add(client, std::move(command), false, deadline(request));
  want_turn();
}

void Group::answer_when_settled(ClientCall client, api::Response response) {
  changing_.push_back(
      {client, std::move(response), shared_.clock.now() + shared_.options.request_timeout});
}

void Group::answer_settled() {
  if (changing_.empty() || !is_settled()) return;
  for (ChangingClient& waiting : std::exchange(changing_, {})) {
    // Its connection may have been told of later changes meanwhile.
    if (auto* reply = std::get_if<api::zk::Reply>(&waiting.response.answer)) {
      reply->zxid = store_.revision();
    }
    answer(waiting.client, std::move(waiting.response));
  }
}

// The change has been decided and will be carried out, but not in the time the client has.
void Group::expire_changes(Instant now) {
  for (ChangingClient& waiting : changing_) {
    if (waiting.deadline > now) continue;
    ++counters_.writes_failed;
    fail_write(waiting.client, api::ErrorCode::kTimeout);
  }
  std::erase_if(changing_, [now](const auto& waiting) { return waiting.deadline <= now; });
}

// --- at every member ----------------------------------------------------------------

void Group::apply_membership(const consensus::Entry& entry) {
  Result<consensus::Membership> membership = consensus::decode_membership(entry.data);
  CHECK(membership.has_value(), "the membership at {}: {}", entry.index.value,
        membership.error().message);  // the engine has read it already
  applied_membership_ = membership->decided();
  if (applied_membership_.is_joint()) return;
  LOG(kInfo, "members from index {} on: {} voters, {} learners", entry.index.value,
      applied_membership_.voters.votes().size(), applied_membership_.learners.size());
}

// The engine's votes are those that the store wants, for good.
bool Group::is_settled() const {
  return store_.founded() && !applied_membership_.is_joint() &&
         !engine_.membership().is_changing() &&
         applied_membership_ == wanted(store_.members(), applied_membership_,
                                       rule_of(shared_.options, applied_membership_));
}

bool Group::was_removed() const {
  const NodeId self = shared_.options.self;
  return store_.was_removed(self) && !applied_membership_.is_joint() &&
         !applied_membership_.contains(self) && !engine_.membership().contains(self);
}

// --- at the leader ------------------------------------------------------------------

void Group::follow_members() {
  if (!engine_.is_leader()) return;
  if (!store_.founded()) return found_members();
  if (is_settled()) return;
  const consensus::Membership& current = engine_.membership();
  const auto target = wanted(store_.members(), current, rule_of(shared_.options, current));
  if (current.is_changing() || target == current) return;  // under way
  // Refused while an earlier change may be under way: asked again at the next tick.
  const auto begun = engine_.change_membership(target);
  if (!begun) {
    const bool refused = begun.error() == consensus::ChangeError::kInvalid;
    if (refused) LOG(kError, "the engine does not take the members that the store wants");
    return;
  }
  LOG(kInfo, "changing the members at index {}", begun->index.value);
  want_turn();
}

// The store learns who the first members are: those of the engine.
void Group::found_members() {
  if (shared_.clock.now() < found_again_ || no_space_ || shared_.log.is_full()) return;
  const consensus::Membership& membership = engine_.membership();
  if (membership.is_changing()) return;
  store::FoundMembers found;
  for (const NodeId id : membership.all()) {
    api::Member member{.id = id,
                       .name = {},
                       .peer_urls = {},
                       .client_urls = {},
                       .is_learner = membership.is_learner(id),
                       .is_witness = membership.is_witness(id)};
    const auto known = std::ranges::find(shared_.options.members, id, &PeerOptions::id);
    if (known != shared_.options.members.end()) member.peer_urls = known->peer_urls;
    found.members.push_back(std::move(member));
  }
  found_again_ = shared_.clock.now() + shared_.options.request_timeout;
  const store::Origin origin{shared_.options.self, shared_.incarnation, writes_.next_call()};
  submit_internal(store::encode_command(origin, found));
}

// What is wrong with a reconfig as things are does not take a place among the changes: it comes
// back refused, to go into the log as other writes do.
std::optional<Bytes> Group::hold_change(BytesView command) {
  const auto asked = store::decode_member_change(command);
  CHECK(asked.has_value());
  const auto* several = std::get_if<store::Reconfigure>(&asked->change);
  if (several != nullptr && knows_all_before()) {
    if (const auto steps = plan(*several); !steps) {
      const store::Reconfigure::Refused refused{steps.error()};
      return store::encode_command(asked->origin, store::Reconfigure{refused});
    }
  }
  // Beyond that its client times out.
  if (changes_.size() < limits::kMaxWaitingChanges) {
    changes_.push_back({engine_.epoch(), shared_.clock.now(), Bytes(command)});
  }
  return std::nullopt;
}

// One change at a time: the next one is judged when the last is over.
void Group::propose_change() {
  is_held_for_change_ = false;
  if (changes_.empty() || !engine_.is_leader()) return;
  std::erase_if(changes_, [this](const WaitingChange& waiting) {
    return waiting.epoch != engine_.epoch() ||
           shared_.clock.now() - waiting.since > shared_.options.request_timeout;
  });
  const bool one_under_way = change_index_ > store_.applied_index() || !is_settled();
  if (changes_.empty() || one_under_way) return;
  const auto asked = store::decode_member_change(changes_.front().command);
  CHECK(asked.has_value());
  const std::optional<Bytes> command = judged(*asked);
  is_held_for_change_ = !command;
  if (!command) return;
  store::BatchEncoder batch;
  batch.add(*command);
  const Epoch epoch = engine_.epoch();
  const Stamp stamp = cluster_clock_.stamp(epoch, shared_.clock.now(), store_.stamp());
  const auto place = engine_.propose(batch.finish(epoch, stamp));
  if (!place) return;
  ++counters_.entries_proposed;
  change_index_ = place->index;
  changes_.pop_front();
}

// With the leader's verdict; nullopt: its time has not come.
std::optional<Bytes> Group::judged(const store::AskedChange& asked) const {
  if (const auto* several = std::get_if<store::Reconfigure>(&asked.change)) {
    if (!knows_all_before()) return std::nullopt;
    const store::Reconfigure verdict = judge(*several);
    const auto* granted = std::get_if<store::Reconfigure::Granted>(&verdict.stage);
    const bool changes = granted != nullptr && !granted->steps.empty();
    if (changes && engine_.status().last != store_.applied_index()) return std::nullopt;
    return store::encode_command(asked.origin, verdict);
  }
  auto change = std::get<store::MemberChange>(asked.change);
  change.verdict = judge(change);
  return store::encode_command(asked.origin, change);
}

bool Group::is_reachable(NodeId id) const {
  return id == shared_.options.self || shared_.peers.is_active(id);
}

// The questions of etcd's --strict-reconfig-check, in its order.
Verdict Group::judge(const store::MemberChange& change) const {
  using Kind = store::MemberChange::Kind;
  if (leaves_witnesses_alone(change)) return Verdict::kNotEnoughStarted;
  switch (change.kind) {
    case Kind::kAdd:
      return judge_add(change);
    case Kind::kRemove:
      return judge_removal(change.id);
    case Kind::kPromote:
      return judge_promotion(change.id);
    case Kind::kUpdate:
      return Verdict::kGranted;
  }
  CHECK(false, "change {}", static_cast<int>(change.kind));
}

// Whether those who stay could decide without anybody who keeps the data: now, or once everybody
// who is to vote has started.
bool Group::leaves_witnesses_alone(const store::MemberChange& change) const {
  if (std::ranges::none_of(store_.members(), &api::Member::is_witness)) return false;
  const consensus::Membership& now = engine_.membership();
  const consensus::Quorum& rule = rule_of(shared_.options, now);
  const std::vector<api::Member> after = members_after(store_.members(), change);
  std::vector<api::Member> staying = after;
  if (change.kind == store::MemberChange::Kind::kAdd) {
    std::erase_if(staying, [&](const api::Member& member) { return member.id == change.id; });
  }
  return !wanted(staying, now, rule).is_valid() || !wanted(named(after), now, rule).is_valid();
}

Verdict Group::judge_add(const store::MemberChange& change) const {
  // Never wrong but by chance: ids are drawn. The next one that is drawn will do.
  if (!engine_.membership().contains(change.id) && !engine_.may_add(change.id)) {
    return Verdict::kUnhealthy;
  }
  if (!shared_.options.strict_reconfig_check) return Verdict::kGranted;
  const auto& members = store_.members();
  const auto leaving = std::ranges::find(members, change.replaces, &api::Member::id);
  // One voter for another: the others must decide without either.
  if (leaving != members.end() && !leaving->is_learner) return judge_removal(change.replaces);
  std::size_t voters = 1;  // the new one
  std::size_t started = 0;
  bool all_reachable = true;
  for (const api::Member& member : members) {
    if (member.is_learner) continue;
    ++voters;
    if (!member.name.empty()) ++started;
    if (!is_reachable(member.id)) all_reachable = false;
  }
  const bool second_of_two = voters == 2 && started == 1;
  if (!change.is_learner && !second_of_two && started < voters / 2 + 1) {
    return Verdict::kNotEnoughStarted;
  }
  return all_reachable ? Verdict::kGranted : Verdict::kUnhealthy;
}

Verdict Group::judge_removal(NodeId id) const {
  if (!shared_.options.strict_reconfig_check) return Verdict::kGranted;
  std::vector<consensus::Vote> staying;
  std::set<NodeId> started;
  const auto leaving = std::ranges::find(store_.members(), id, &api::Member::id);
  const bool is_known = leaving != store_.members().end();
  if (is_known && leaving->is_learner) return Verdict::kGranted;
  for (const api::Member& member : store_.members()) {
    if (member.is_learner || member.id == id) continue;
    staying.push_back({member.id, weight_of(member.id, engine_.membership())});
    if (!member.name.empty()) started.insert(member.id);
  }
  const consensus::Quorum quorum =
      rule_of(shared_.options, engine_.membership()).with_votes(std::move(staying));
  if (!suffice(quorum, [&](NodeId voter) { return started.contains(voter); })) {
    return Verdict::kNotEnoughStarted;
  }
  if (!is_known) return Verdict::kGranted;  // the store says what is wrong
  // Where those that stay suffice without it, one that cannot be reached may go. (etcd grants that
  // without looking, also to a leader that has just lost its quorum.)
  const bool safe = suffice(quorum, [this](NodeId voter) { return is_reachable(voter); });
  return safe ? Verdict::kGranted : Verdict::kUnhealthy;
}

Verdict Group::judge_promotion(NodeId id) const {
  const consensus::EngineStatus status = engine_.status();
  const auto learner = std::ranges::find(status.peers, id, &consensus::PeerStatus::id);
  if (learner == status.peers.end()) return Verdict::kGranted;  // the store says what is wrong
  if (!engine_.membership().is_learner(id)) return Verdict::kGranted;
  const bool behind = learner->match.value * 10 < status.last.value * kReadyTenths;
  if (behind || !is_reachable(id)) return Verdict::kLearnerNotReady;
  return Verdict::kGranted;
}

// Several at once, which the store can do. A quorum of the members as they will be has to be there,
// as in ZooKeeper; but those who join get their votes when they have started, so one member may
// take a second one in.
Verdict Group::judge(const std::vector<store::ReconfigStep>& steps) const {
  using Kind = store::MemberChange::Kind;
  std::vector<api::Member> after = store_.members();
  for (const store::ReconfigStep& step : steps) {
    const bool is_promotion = step.change.kind == Kind::kPromote;
    const Verdict ready = is_promotion ? judge_promotion(step.change.id) : Verdict::kGranted;
    if (ready != Verdict::kGranted) return ready;
    after = members_after(std::move(after), step.change);
  }
  const consensus::Membership& now = engine_.membership();
  const consensus::Quorum& rule = rule_of(shared_.options, now);
  const consensus::Membership at_first = wanted(after, now, rule);
  const consensus::Membership in_the_end = wanted(named(after), now, rule);
  if (!at_first.is_valid() || !in_the_end.is_valid()) return Verdict::kNotEnoughStarted;
  if (!shared_.options.strict_reconfig_check) return Verdict::kGranted;
  // Nobody has reached a member yet at the address that it moves to. (Who votes alone is reached by
  // nobody.)
  const auto is_moved = [&](NodeId id) {
    return now.voters.votes().size() > 1 && std::ranges::any_of(steps, [id](const auto& step) {
             return step.change.kind == Kind::kUpdate && step.change.id == id;
           });
  };
  const auto is_there = [&](NodeId id) {
    const auto member = std::ranges::find(after, id, &api::Member::id);
    return member != after.end() && !member->name.empty() && is_reachable(id) && !is_moved(id);
  };
  const bool is_second_of_two =
      now.voters.votes().size() == 1 && in_the_end.voters.votes().size() == 2;
  const bool is_safe = suffice(at_first.voters, is_there) &&
                       (is_second_of_two || suffice(in_the_end.voters, is_there));
  return is_safe ? Verdict::kGranted : Verdict::kUnhealthy;
}

}  // namespace conclave::node
