#include "store/znodes.h"

#include <algorithm>
#include <expected>

#include "base/check.h"
#include "base/limits.h"
#include "store/codec.h"
#include "store/lease.h"
#include "store/znode_acl.h"
#include "store/znode_config.h"
#include "store/znode_path.h"
#include "store/znode_quota.h"
#include "store/znode_tree.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using zk::Code;
using Failed = std::unexpected<Code>;
using OneResult = decltype(zk::Results::One::result);
using OpOutcome = std::expected<OneResult, Code>;

constexpr BytesView kSystemPaths[] = {"/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"};

bool is_sequential(zk::Mode mode) {
  return mode == zk::Mode::kPersistentSequential || mode == zk::Mode::kEphemeralSequential ||
         mode == zk::Mode::kPersistentSequentialTtl;
}

bool is_ephemeral(zk::Mode mode) {
  return mode == zk::Mode::kEphemeral || mode == zk::Mode::kEphemeralSequential;
}

bool has_ttl(zk::Mode mode) {
  return mode == zk::Mode::kPersistentTtl || mode == zk::Mode::kPersistentSequentialTtl;
}

Znode::Kind kind_of(zk::Mode mode) {
  if (mode == zk::Mode::kContainer) return Znode::Kind::kContainer;
  return has_ttl(mode) ? Znode::Kind::kTtl : Znode::Kind::kPlain;
}

bool is_valid_mode(const zk::Create& op) {
  if (op.mode >= zk::Mode::kNone) return false;
  return has_ttl(op.mode) ? op.ttl_ms > 0 && op.ttl_ms <= kMaxZnodeTtlMs : op.ttl_ms < 0;
}

bool has_nul(BytesView path) { return path.find('\0') != BytesView::npos; }

bool fits(std::int32_t wanted, std::int32_t version) {
  return wanted == zk::kAnyVersion || wanted == version;
}

// One request's operations, over a tree that is written when all of them have worked.
class Operations {
 public:
  Operations(StoreState& state, const zk::WriteRequest& request, zk::Zxid zxid, bool wants_answer)
      : state_(state), request_(request), wants_answer_(wants_answer), tree_(state, zxid) {
    if (request.quotas != zk::Quotas::kNone) tree_.begin_quotas();
  }

  OpOutcome operator()(const zk::Create& op) {
    if (!is_valid_mode(op)) return Failed(Code::kBadArguments);
    const auto split = split_path(op.path);
    const bool is_long = op.path.size() > limits::kMaxZnodePathBytes;
    if (!split || has_nul(op.path) || is_long) return Failed(Code::kBadArguments);
    auto acl = encode_fixed_acl(op.acl, request_.caller.ids);
    if (!acl) return Failed(Code::kInvalidAcl);
    const ZnodeTree::Node* parent = tree_.find(split->parent);
    if (parent == nullptr) return Failed(Code::kNoNode);
    if (!may(*parent, zk::kCreate)) return Failed(Code::kNoAuth);
    const bool is_ephemerals = parent->znode.is_ephemeral();
    const std::int32_t created = parent->children ? parent->children->created : 0;
    const Bytes numbered = is_sequential(op.mode) ? sequential_path(op.path, created) : Bytes();
    const BytesView path = is_sequential(op.mode) ? numbered : op.path;
    if (!is_valid_path(path)) return Failed(Code::kBadArguments);
    if (tree_.find(path) != nullptr) return Failed(Code::kNodeExists);
    if (is_ephemerals) return Failed(Code::kNoChildrenForEphemerals);
    if (!has_room(path, 1, op.data.size(), 0)) return Failed(Code::kQuotaExceeded);
    if (path_of_stats(path) && !tree_.may_begin_quota()) return Failed(Code::kBadArguments);
    const ZnodeTree::Node& node = tree_.create(path, new_node(op, *std::move(acl)));
    if (!wants_answer_) return std::monostate{};
    return zk::Created{Bytes(path), ZnodeTree::stat(node)};
  }

  OpOutcome operator()(const zk::Delete& op) {
    const auto parent = parent_to_delete_from(op.path);
    if (!parent) return Failed(parent.error());
    if (!may(**parent, zk::kDelete)) return Failed(Code::kNoAuth);
    const ZnodeTree::Node* node = tree_.find(op.path);
    if (node == nullptr) return Failed(Code::kNoNode);
    if (!fits(op.version, node->znode.version)) return Failed(Code::kBadVersion);
    if (node->has_children()) return Failed(Code::kNotEmpty);
    tree_.remove(op.path);
    return std::monostate{};
  }

  // ZooKeeper asks nobody for the right to do this, so there any client may delete what it likes.
  OpOutcome operator()(const zk::DeleteContainer& op) {
    const auto parent = parent_to_delete_from(op.path);
    if (!parent) return Failed(parent.error());
    if (!may(**parent, zk::kDelete)) return Failed(Code::kNoAuth);
    const ZnodeTree::Node* node = tree_.find(op.path);
    if (node == nullptr) return Failed(Code::kNoNode);
    if (node->has_children()) return Failed(Code::kNotEmpty);
    if (node->znode.is_ephemeral()) return Failed(Code::kBadVersion);
    tree_.remove(op.path);
    return std::monostate{};
  }

  OpOutcome operator()(const zk::SetData& op) {
    const auto node = node_for(op.path, zk::kWrite);
    if (!node) return Failed(node.error());
    const std::size_t before = (*node)->znode.data.size();
    const bool is_fitting = fits(op.version, (*node)->znode.version);
    if (!has_room(op.path, 0, op.data.size(), before)) return Failed(Code::kQuotaExceeded);
    if (!is_fitting) return Failed(Code::kBadVersion);
    return zk::Changed{ZnodeTree::stat(tree_.set_data(op.path, op.data, request_.time_ms))};
  }

  OpOutcome operator()(const zk::SetAcl& op) {
    if (!is_valid_path(op.path)) return Failed(Code::kBadArguments);
    auto acl = encode_fixed_acl(op.acl, request_.caller.ids);
    if (!acl) return Failed(Code::kInvalidAcl);
    const auto node = node_for(op.path, zk::kAdmin);
    if (!node) return Failed(node.error());
    if (!fits(op.version, (*node)->znode.aversion)) return Failed(Code::kBadVersion);
    return zk::Changed{ZnodeTree::stat(tree_.set_acl(op.path, *std::move(acl)))};
  }

  OpOutcome operator()(const zk::Check& op) {
    const auto node = node_for(op.path, zk::kRead);
    if (!node) return Failed(node.error());
    if (!fits(op.version, (*node)->znode.version)) return Failed(Code::kBadVersion);
    return std::monostate{};
  }

  void commit(Mvcc::Write& write) { tree_.commit(write); }

 private:
  bool may(const ZnodeTree::Node& node, std::int32_t permission) const {
    return is_allowed(node.znode.acl, permission, request_.caller.ids);
  }

  // For `nodes` more, and data of another size.
  bool has_room(BytesView path, std::int64_t nodes, std::size_t bytes, std::size_t before) {
    if (request_.quotas != zk::Quotas::kEnforced) return true;
    const auto more = static_cast<std::int64_t>(bytes) - static_cast<std::int64_t>(before);
    return !tree_.exceeds_quota(canonical_path(path), nodes, more);
  }

  std::expected<const ZnodeTree::Node*, Code> node_for(BytesView path, std::int32_t permission) {
    if (!is_valid_path(path)) return Failed(Code::kBadArguments);
    const ZnodeTree::Node* node = tree_.find(path);
    if (node == nullptr) return Failed(Code::kNoNode);
    if (!may(*node, permission)) return Failed(Code::kNoAuth);
    return node;
  }

  std::expected<const ZnodeTree::Node*, Code> parent_to_delete_from(BytesView path) {
    const auto split = split_path(path);
    const bool is_system = std::ranges::find(kSystemPaths, path) != std::end(kSystemPaths);
    if (!split || has_nul(path) || is_system) return Failed(Code::kBadArguments);
    const ZnodeTree::Node* parent = tree_.find(split->parent);
    if (parent == nullptr) return Failed(Code::kNoNode);
    return parent;
  }

  Znode new_node(const zk::Create& op, Bytes acl) const {
    Znode node;
    node.kind = kind_of(op.mode);
    node.czxid = node.mzxid = tree_.zxid();
    node.ctime_ms = node.mtime_ms = request_.time_ms;
    if (is_ephemeral(op.mode)) node.owner = request_.caller.session;
    if (node.kind == Znode::Kind::kTtl) {
      node.ttl_ms = op.ttl_ms;
      node.touched = state_.stamp;
    }
    node.acl = std::move(acl);
    node.data = op.data;
    return node;
  }

  StoreState& state_;
  const zk::WriteRequest& request_;
  const bool wants_answer_;  // without it, what a create brings is left out
  ZnodeTree tree_;
};

using ReplyResult = decltype(zk::Reply::result);

struct ToReply {
  ReplyResult operator()(auto&& result) const { return std::forward<decltype(result)>(result); }
};

void tell(StoreState& state, ZnodeSessionChange change) {
  if (!state.wants_znode_news) return;
  state.znode_news.push_back({.outcome = 0, .zxid = state.mvcc.revision(), .what = change});
}

class Application {
 public:
  Application(StoreState& state, const zk::WriteRequest& request, bool wants_answer)
      : state_(state), request_(request), wants_answer_(wants_answer) {}

  api::Answer operator()(const zk::OpenSession& op) {
    if (state_.leases.contains(op.id)) return reply(Code::kSystemError);
    if (state_.mvcc.sizes(Keyspace::kZnodeSession).keys >= kMaxZnodeSessions) {
      return api::Error{api::ErrorCode::kTooManyRequests, "there are too many sessions"};
    }
    state_.leases.grant(op.id, op.ttl_s, state_.stamp);
    state_.lease_counts.grant(op.ttl_s);
    const ZnodeSession session{op.password, op.timeout_ms, 1};
    {
      Mvcc::Write write(state_.mvcc);
      found_tree(state_.mvcc, write);
      write.put(Keyspace::kZnodeSession, session_key(op.id), encode(session), op.id);
    }
    refresh_config(state_);
    return reply(Code::kOk, answer_of(op.id, session));
  }

  api::Answer operator()(const zk::Reconnect& op) {
    auto session = stored_session(state_.mvcc, op.id);
    if (!session || session->password != op.password) return reply(Code::kSessionExpired);
    const auto lease = state_.leases.find(op.id);
    CHECK(lease.has_value(), "session {} has no lease", op.id);
    if (lease->deadline <= state_.stamp) return reply(Code::kSessionExpired);
    if (op.last_zxid > state_.mvcc.revision()) return reply(Code::kBadArguments);
    state_.leases.keep_alive(op.id, state_.stamp);
    ++session->generation;
    Mvcc::Write write(state_.mvcc);
    write.put(Keyspace::kZnodeSession, session_key(op.id), encode(*session), op.id);
    tell(state_, {op.id, ZnodeSessionChange::Kind::kMoved, session->generation});
    return reply(Code::kOk, answer_of(op.id, *session));
  }

  api::Answer operator()(const zk::CloseSession&) {
    if (const Code code = checked(); code != Code::kOk) return reply(code);
    const zk::SessionId id = request_.caller.session;
    Mvcc::Write write(state_.mvcc);
    end_session(state_, state_.leases.remove(id), write, ZnodeSessionChange::Kind::kClosed);
    ++state_.lease_counts.revoked;
    return reply(Code::kOk);
  }

  api::Answer operator()(const zk::Multi& op) {
    if (const Code code = checked(); code != Code::kOk) return reply(code);
    Mvcc::Write write(state_.mvcc);
    Operations operations(state_, request_, write.revision(), wants_answer_);
    zk::Results results;
    Code failed = Code::kOk;
    for (const zk::Operation& each : op.operations) {
      zk::Results::One& one = results.results.emplace_back();
      if (failed != Code::kOk) {
        one.code = Code::kRuntimeInconsistency;
        continue;
      }
      auto outcome = std::visit(operations, each);
      if (outcome) {
        one.result = *std::move(outcome);
      } else {
        failed = one.code = outcome.error();
      }
    }
    if (failed == Code::kOk) {
      operations.commit(write);
    } else {
      for (zk::Results::One& one : results.results) one.result = std::monostate{};
    }
    return reply(Code::kOk, std::move(results));
  }

  template <class Op>
  api::Answer operator()(const Op& op) {
    if (const Code code = checked(); code != Code::kOk) return reply(code);
    Mvcc::Write write(state_.mvcc);
    Operations operations(state_, request_, write.revision(), wants_answer_);
    auto outcome = operations(op);
    if (!outcome) return reply(outcome.error());
    operations.commit(write);
    if (!wants_answer_) return reply(Code::kOk);
    return reply(Code::kOk, std::visit(ToReply{}, *std::move(outcome)));
  }

 private:
  Code checked() const { return check_session(state_, request_.caller); }

  static ReplyResult answer_of(zk::SessionId id, const ZnodeSession& session) {
    return zk::Session{id, session.password, session.timeout_ms, session.generation};
  }

  api::Answer reply(Code code, ReplyResult result = {}) const {
    return zk::Reply{code, state_.mvcc.revision(), std::move(result)};
  }

  StoreState& state_;
  const zk::WriteRequest& request_;
  const bool wants_answer_;
};

// Of a session's record: looked at with each request.
std::uint64_t generation_of(BytesView session) {
  Decoder in(session);
  in.bytes();
  in.number();
  const std::uint64_t generation = in.varint();
  CHECK(in.finished(), "a session's record cannot be decoded");
  return generation;
}

bool is_reapable(const ZnodeTree::Node& node, Stamp now) {
  if (node.has_children()) return false;
  if (node.znode.kind == Znode::Kind::kContainer) {
    return node.children && node.children->created != 0;
  }
  const auto ttl_ms = static_cast<std::uint64_t>(node.znode.ttl_ms);
  return node.znode.kind == Znode::Kind::kTtl && now.ms >= node.znode.touched.ms + ttl_ms;
}

}  // namespace

void found_tree(Mvcc& mvcc, Mvcc::Write& write) {
  if (mvcc.sizes(Keyspace::kZnode).keys != 0) return;
  Znode node;
  const auto put = [&](BytesView path) {
    write.put(Keyspace::kZnode, *znode_key(path), encode(node), 0);
  };
  put("/");
  put("/zookeeper");
  put("/zookeeper/quota");
  node.acl = encode_acl({{zk::kRead, {"world", "anyone"}}});
  node.aversion = -1;
  put("/zookeeper/config");
  write.put(Keyspace::kZnodeChildren, "/", encode(ZnodeChildren{.present = 1}).view(), 0);
  write.put(Keyspace::kZnodeChildren, "/zookeeper", encode(ZnodeChildren{.present = 2}).view(), 0);
}

api::Answer apply(StoreState& state, const zk::WriteRequest& request, bool wants_answer) {
  return std::visit(Application(state, request, wants_answer), request.op);
}

void touch(StoreState& state, const TouchSessions& touched) {
  for (const zk::SessionId id : touched.sessions) {
    if (!is_session(state.mvcc, id)) continue;
    if (state.leases.find(id)->deadline <= state.stamp) continue;
    state.leases.keep_alive(id, state.stamp);
    ++state.lease_counts.renewed;
  }
}

void reap(StoreState& state, const ReapZnodes& reaped) {
  for (const Bytes& path : reaped.paths) {
    Mvcc::Write write(state.mvcc);
    ZnodeTree tree(state, write.revision());
    const ZnodeTree::Node* node = tree.find(path);
    if (node == nullptr || !is_reapable(*node, state.stamp)) continue;
    tree.remove(path);
    tree.commit(write);
  }
}

ReapZnodes find_reapable(const StoreState& state, Stamp now, std::size_t max_looks, Bytes& from) {
  ReapZnodes reapable;
  const KeyRange all = KeyRange::of(from, BytesView("\0", 1));
  const bool is_end =
      state.mvcc.scan_some(Keyspace::kZnodeTimed, all, state.mvcc.revision(), from, max_looks,
                           [&](const Record& record) {
                             const auto node = stored_node(state.mvcc, record.key());
                             CHECK(node.has_value(), "a container or TTL node is not there");
                             if (is_reapable(*node, now)) reapable.paths.emplace_back(record.key());
                           });
  if (is_end) from.clear();
  return reapable;
}

void end_session(StoreState& state, const LeaseTable::Keys& keys, Mvcc::Write& write,
                 ZnodeSessionChange::Kind why) {
  ZnodeTree tree(state, write.revision());
  for (const LeaseTable::Key& key : keys) {
    if (key.keyspace == Keyspace::kZnode) tree.remove(znode_path(key.key));
  }
  tree.commit(write);
  for (const LeaseTable::Key& key : keys) {
    if (key.keyspace != Keyspace::kZnodeSession) continue;
    write.erase(key.keyspace, KeyRange::one(key.key));
    tell(state, {session_id(key.key), why, 0});
  }
}

bool is_session(const Mvcc& mvcc, LeaseId id) {
  if (mvcc.sizes(Keyspace::kZnodeSession).keys == 0) return false;
  return mvcc.find(Keyspace::kZnodeSession, session_key(id), mvcc.revision()) != nullptr;
}

Code check_session(const StoreState& state, const zk::Caller& caller) {
  const Record* record =
      state.mvcc.find(Keyspace::kZnodeSession, session_key(caller.session), state.mvcc.revision());
  if (record == nullptr) return Code::kSessionExpired;
  const bool is_newest = generation_of(record->value()) == caller.generation;
  return is_newest ? Code::kOk : Code::kSessionMoved;
}

}  // namespace conclave::store
