// ZooKeeper's reconfig: several changes of the members at once. Part of node/group.h; members.cc
// has the way of a change.
//
// The leader judges by sessions, rights and the version of /zookeeper/config, which are znodes, and
// a witness has none. So what it grants holds for the one place in the log behind everything that
// it has applied, and its log is empty of anything else when it proposes that. A refusal changes
// nothing wherever it stands, and needs no quiet: so who has no right to it keeps nobody waiting.

#include <utility>
#include <vector>

#include "base/log.h"
#include "node/group.h"

namespace conclave::node {
namespace {

namespace zk = api::zk;
using Verdict = store::MemberChange::Verdict;

std::vector<NodeId> added_by(const std::vector<store::ReconfigStep>& steps) {
  std::vector<NodeId> added;
  for (const store::ReconfigStep& step : steps) {
    if (step.change.kind == store::MemberChange::Kind::kAdd) added.push_back(step.change.id);
  }
  return added;
}

std::string_view text_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kLearnerNotReady:
      return "the learner is behind";
    case Verdict::kNotEnoughStarted:
      return "too few of the voters would have started";
    default:
      return "too few of the voters would be reachable";
  }
}

}  // namespace

void Group::reconfigure(ClientCall client, const api::Request& request) {
  ++counters_.writes_received;
  client.user = user_of(request);
  if (is_refused_after_failure(client)) return;
  if (std::optional<api::Error> error = refusal(client, request)) {
    ++counters_.writes_failed;
    return refuse_znodes(client, std::move(*error));
  }
  hear_of(client, std::get<zk::ReconfigRequest>(request.body).caller);
  const store::Origin origin{shared_.options.self, shared_.incarnation, writes_.next_call()};
  Bytes command = store::encode_command(origin, request);
  if (command.size() > shared_.options.max_request_bytes) {
    ++counters_.writes_failed;
    return refuse_znodes(client, api::Error{api::ErrorCode::kRequestTooLarge, {}});
  }
  constexpr bool kOrdered = true;
  writes_.add(client, std::move(command), false, deadline(request), 1, kOrdered);
  want_turn();
}

// A new leader may have yet to apply what was acknowledged before: rights that were given, the
// version that a client has read.
bool Group::knows_all_before() const {
  return engine_.is_leader() && store_.applied_epoch() == engine_.epoch();
}

// What it comes to by what is applied, whoever is there; or what is wrong with it.
std::expected<std::vector<store::ReconfigStep>, zk::Code> Group::plan(
    const store::Reconfigure& asked) const {
  const auto* request = std::get_if<zk::ReconfigRequest>(&asked.stage);
  // Nobody grants but the leader.
  if (request == nullptr) return std::unexpected(zk::Code::kReconfigInProgress);
  return store_.plan(*request);
}

// At the leader, by what it has applied.
store::Reconfigure Group::judge(const store::Reconfigure& asked) const {
  auto steps = plan(asked);
  if (!steps) return {store::Reconfigure::Refused{steps.error()}};
  if (!engine_.may_add(added_by(*steps))) {
    LOG(kWarn, "reconfig refused: members of these ids cannot be told apart, choose others");
    return {store::Reconfigure::Refused{zk::Code::kBadArguments}};
  }
  const Verdict verdict = judge(*steps);
  if (verdict != Verdict::kGranted) {
    LOG(kWarn, "reconfig refused: {}", text_of(verdict));
    return {store::Reconfigure::Refused{zk::Code::kNewConfigNoQuorum}};
  }
  return {store::Reconfigure::Granted{store_.applied_index().next(), *std::move(steps)}};
}

}  // namespace conclave::node
