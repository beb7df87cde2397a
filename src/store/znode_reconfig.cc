#include "store/znode_reconfig.h"

#include <algorithm>

#include "store/znode_acl.h"
#include "store/znode_config.h"
#include "store/znode_tree.h"
#include "store/znodes.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using zk::Code;
using Failed = std::unexpected<Code>;

MemberChange change_of(MemberChange::Kind kind, NodeId id) {
  MemberChange change;
  change.kind = kind;
  change.id = id;
  return change;
}

struct Address {
  BytesView host;
  BytesView port;
};
Address address_of(BytesView text) {
  const std::size_t colon = std::min(text.rfind(':'), text.size());
  return {text.substr(0, colon), text.substr(std::min(colon + 1, text.size()))};
}

// Whether a line may say so of where clients reach a member that says `told`. Some lines name a
// port only, which ZooKeeper takes for one at any of the machine's addresses.
bool may_be_said_of(BytesView said, BytesView told) {
  if (said.empty() || told.empty()) return true;
  const auto is_any = [](BytesView host) { return host == "0.0.0.0" || host == "[::]"; };
  const Address here = address_of(said);
  const Address there = address_of(told);
  const bool is_there = here.host == there.host || is_any(here.host) || is_any(there.host);
  return is_there && here.port == there.port;
}

// What one request makes of the members.
class Plan {
 public:
  Plan(const ClusterFacts& facts, const zk::ReconfigRequest& request)
      : facts_(facts), request_(request) {}

  // Those who are there first, so that votes and addresses are free for those who come.
  std::expected<std::vector<ReconfigStep>, Code> make() {
    for (const zk::Server& server : request_.joining) {
      if (!is_possible(server)) return Failed(Code::kBadArguments);
    }
    if (!leaves_a_voter()) return Failed(Code::kBadArguments);
    promote();
    remove();
    move();
    add();
    return std::move(steps_);
  }

 private:
  const api::Member* known(NodeId id) const {
    const auto found = std::ranges::find(facts_.members, id, &api::Member::id);
    return found == facts_.members.end() ? nullptr : &*found;
  }
  bool joins(NodeId id) const {
    return std::ranges::find(request_.joining, id, &zk::Server::id) != request_.joining.end();
  }
  // As in ZooKeeper, who is named on both sides is there afterwards.
  bool leaves(NodeId id) const {
    if (joins(id)) return false;
    return request_.is_whole || std::ranges::find(request_.leaving, id) != request_.leaving.end();
  }

  bool is_possible(const zk::Server& server) const {
    const api::Member* member = known(server.id);
    if (member == nullptr) return true;  // the rules of an addition say the rest
    if (server.is_observer && !member->is_learner) return false;
    const auto told = facts_.zookeeper.find(server.id);
    return told == facts_.zookeeper.end() || may_be_said_of(server.client, told->second);
  }

  bool leaves_a_voter() const {
    return std::ranges::find(request_.joining, false, &zk::Server::is_observer) !=
               request_.joining.end() ||
           std::ranges::any_of(facts_.members, [&](const api::Member& member) {
             return !member.is_learner && !leaves(member.id);
           });
  }

  void promote() {
    for (const zk::Server& server : request_.joining) {
      const api::Member* member = known(server.id);
      const bool is_promoted = member != nullptr && member->is_learner && !server.is_observer;
      if (is_promoted) step(change_of(MemberChange::Kind::kPromote, server.id));
    }
  }

  void remove() {
    for (const api::Member& member : facts_.members) {
      if (leaves(member.id)) step(change_of(MemberChange::Kind::kRemove, member.id));
    }
  }

  void move() {
    for (const zk::Server& server : request_.joining) {
      const api::Member* member = known(server.id);
      if (member == nullptr || peer_address(*member) == server.peer) continue;
      MemberChange change = change_of(MemberChange::Kind::kUpdate, server.id);
      change.peer_urls = {url_of(server, *member)};
      step(std::move(change));
    }
  }

  void add() {
    for (const zk::Server& server : request_.joining) {
      if (known(server.id) != nullptr) continue;
      MemberChange change = change_of(MemberChange::Kind::kAdd, server.id);
      change.is_learner = server.is_observer;
      change.peer_urls = {url_of(server, facts_.members.front())};
      step(std::move(change), server.client);
    }
  }

  // A line says no scheme: it is that of who is there.
  static std::string url_of(const zk::Server& server, const api::Member& like) {
    const bool is_secure =
        !like.peer_urls.empty() && like.peer_urls.front().starts_with("https://");
    return (is_secure ? "https://" : "http://") + server.peer;
  }

  void step(MemberChange change, std::string zookeeper = {}) {
    steps_.push_back({std::move(change), std::move(zookeeper)});
  }

  const ClusterFacts& facts_;
  const zk::ReconfigRequest& request_;
  std::vector<ReconfigStep> steps_;
};

bool is_version(const ZnodeTree::Node& node, zk::Zxid wanted) {
  return wanted == zk::ReconfigRequest::kAnyConfig || config_version(node.znode.data) == wanted;
}

Code code_of(api::ErrorCode code) {
  switch (code) {
    case api::ErrorCode::kNotEnoughStarted:
    case api::ErrorCode::kUnhealthy:
    case api::ErrorCode::kLearnerNotReady:
      return Code::kNewConfigNoQuorum;
    default:
      return Code::kBadArguments;
  }
}

bool has_voter(const ClusterFacts& facts) {
  return std::ranges::find(facts.members, false, &api::Member::is_learner) != facts.members.end();
}

api::Answer refuse(const StoreState& state, Code why) {
  return zk::Reply{why, state.mvcc.revision(), {}};
}

}  // namespace

std::expected<std::vector<ReconfigStep>, Code> plan_reconfig(const StoreState& state,
                                                             const zk::ReconfigRequest& request) {
  const Code session = check_session(state, request.caller);
  if (session != Code::kOk) return Failed(session);
  const auto node = stored_node(state.mvcc, kConfigPath);
  if (!node || !state.facts.founded || !has_voter(state.facts)) {
    return Failed(Code::kReconfigInProgress);
  }
  if (!is_version(*node, request.from)) return Failed(Code::kBadVersion);
  auto steps = Plan(state.facts, request).make();
  if (!steps) return steps;
  // Before what costs more than reading the request did: everybody can ask.
  if (!is_allowed(node->znode.acl, zk::kWrite, request.caller.ids)) return Failed(Code::kNoAuth);
  ClusterFacts after = state.facts;
  if (const auto wrong = after.reconfigure(*steps)) return Failed(code_of(wrong->code));
  return steps;
}

api::Answer reconfigure(StoreState& state, const Reconfigure& change) {
  if (const auto* refused = std::get_if<Reconfigure::Refused>(&change.stage)) {
    return refuse(state, refused->why);
  }
  const auto* granted = std::get_if<Reconfigure::Granted>(&change.stage);
  const bool is_in_place =
      granted != nullptr && (granted->steps.empty() || granted->at == state.applied_index.next());
  if (!is_in_place) {
    return refuse(state, Code::kReconfigInProgress);
  }
  if (const auto wrong = state.facts.reconfigure(granted->steps)) {
    return refuse(state, code_of(wrong->code));
  }
  refresh_config(state);
  zk::Configured configured;
  if (const auto node = stored_node(state.mvcc, kConfigPath)) {
    configured = {Bytes(node->znode.data), ZnodeTree::stat(*node)};
  }
  return zk::Reply{Code::kOk, state.mvcc.revision(), std::move(configured)};
}

}  // namespace conclave::store
