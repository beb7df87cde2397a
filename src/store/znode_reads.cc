// Reads of znodes (znodes.h).

#include "base/check.h"
#include "base/limits.h"
#include "store/znode_acl.h"
#include "store/znode_path.h"
#include "store/znode_tree.h"
#include "store/znodes.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using zk::Code;
using ReadResult = decltype(zk::Reply::result);
using ReadAnswer = std::expected<ReadResult, Code>;
using Failed = std::unexpected<Code>;

struct BytesOf {
  std::size_t operator()(const zk::Data& data) const { return sizeof(data) + data.data.size(); }
  std::size_t operator()(const zk::Names& names) const {
    std::size_t bytes = sizeof(names);
    for (const Bytes& name : names.names) bytes += sizeof(name) + name.size();
    return bytes;
  }
  template <class Other>
  std::size_t operator()(const Other& other) const {
    return sizeof(other);
  }
};

class Reading {
 public:
  Reading(const StoreState& state, const zk::Caller& caller) : state_(state), caller_(caller) {}

  ReadAnswer operator()(const zk::Exists& op) const {
    if (op.path.find('\0') != Bytes::npos) return Failed(Code::kBadArguments);
    const auto node = stored_node(state_.mvcc, op.path);
    if (!node) return Failed(Code::kNoNode);
    return zk::Changed{ZnodeTree::stat(*node)};
  }
  ReadAnswer operator()(const zk::GetData& op) const {
    const auto node = readable(op.path);
    if (!node) return Failed(node.error());
    return zk::Data{Bytes(node->znode.data), ZnodeTree::stat(*node)};
  }
  ReadAnswer operator()(const zk::GetAcl& op) const {
    const auto node = stored_node(state_.mvcc, op.path);
    if (!node) return Failed(Code::kNoNode);
    if (!may(*node, zk::kRead | zk::kAdmin)) return Failed(Code::kNoAuth);
    auto acl = decode_acl(node->znode.acl);
    CHECK(acl.has_value());
    if (!may(*node, zk::kAdmin)) acl = without_passwords(*std::move(acl));
    return zk::Acls{*std::move(acl), ZnodeTree::stat(*node)};
  }
  ReadAnswer operator()(const zk::GetChildren& op) const {
    const auto node = readable(op.path);
    if (!node) return Failed(node.error());
    zk::Names names{.names = {}, .stat = ZnodeTree::stat(*node)};
    if (!node->has_children()) return names;
    const auto [first, end] = children_keys(op.path);
    std::size_t bytes = 0;
    scan(first, end, [&](const Record& record) {
      bytes += sizeof(Bytes) + record.key_size;
      if (bytes > limits::kMaxZnodeAnswerBytes) return false;
      names.names.emplace_back(record.key().substr(first.size()));
      return true;
    });
    if (bytes > limits::kMaxZnodeAnswerBytes) return Failed(Code::kMarshallingError);
    return names;
  }
  ReadAnswer operator()(const zk::GetEphemerals& op) const {
    zk::Names names;
    if (!state_.leases.contains(caller_.session)) return names;
    const bool is_all = op.prefix.empty() || op.prefix == kRootPath;
    for (const LeaseTable::Key& key : state_.leases.keys_of(caller_.session)) {
      if (key.keyspace != Keyspace::kZnode) continue;
      Bytes path = znode_path(key.key);
      if (is_all || path.starts_with(op.prefix)) names.names.push_back(std::move(path));
    }
    return names;
  }
  ReadAnswer operator()(const zk::CountChildren& op) const {
    const auto node = readable(op.path);
    if (!node) return Failed(node.error());
    zk::Count count;
    if (canonical_path(op.path) == kRootPath) {
      count.count = static_cast<std::int64_t>(state_.mvcc.sizes(Keyspace::kZnode).keys) - 1;
      return count;
    }
    const auto add = [&count](const Record&) {
      ++count.count;
      return true;
    };
    const auto children = children_keys(op.path);
    const auto deeper = deeper_keys(op.path);
    scan(children.first, children.second, add);
    scan(deeper.first, deeper.second, add);
    return count;
  }
  ReadAnswer operator()(const zk::MultiRead& op) const {
    zk::Results results;
    std::size_t bytes = 0;
    for (const auto& each : op.operations) {
      auto answer = std::visit(*this, each);
      bytes += answer ? std::visit(BytesOf{}, *answer) : 0;
      if (bytes > limits::kMaxZnodeAnswerBytes) return Failed(Code::kMarshallingError);
      zk::Results::One& one = results.results.emplace_back();
      if (!answer) {
        one.code = answer.error();
      } else if (auto* data = std::get_if<zk::Data>(&*answer)) {
        one.result = std::move(*data);
      } else {
        one.result = std::get<zk::Names>(*std::move(answer));
      }
    }
    return results;
  }
  ReadAnswer operator()(const zk::Sync&) const { return ReadResult{}; }
  template <class Other>
  ReadAnswer operator()(const Other&) const {
    CHECK(false, "not a read of znodes");
    return ReadResult{};
  }

 private:
  bool may(const ZnodeTree::Node& node, std::int32_t permissions) const {
    return is_allowed(node.znode.acl, permissions, caller_.ids);
  }

  std::expected<ZnodeTree::Node, Code> readable(BytesView path) const {
    auto node = stored_node(state_.mvcc, path);
    if (!node) return Failed(Code::kNoNode);
    if (!may(*node, zk::kRead)) return Failed(Code::kNoAuth);
    return *std::move(node);
  }

  template <class Visit>
  void scan(BytesView first, BytesView end, Visit visit) const {
    state_.mvcc.scan(Keyspace::kZnode, KeyRange::of(first, end), state_.mvcc.revision(), visit);
  }

  const StoreState& state_;
  const zk::Caller& caller_;
};

}  // namespace

zk::Reply read(const StoreState& state, const zk::ReadRequest& request) {
  zk::Reply reply;
  reply.zxid = state.mvcc.revision();
  reply.code = check_session(state, request.caller);
  if (reply.code != Code::kOk) return reply;
  auto answer = std::visit(Reading(state, request.caller), request.op);
  if (answer) {
    reply.result = *std::move(answer);
  } else {
    reply.code = answer.error();
  }
  return reply;
}

zk::Counts counts(const StoreState& state) {
  zk::Counts counts;
  const Mvcc::Sizes& nodes = state.mvcc.sizes(Keyspace::kZnode);
  counts.nodes = nodes.keys;
  counts.data_bytes = nodes.bytes;
  counts.sessions = state.mvcc.sizes(Keyspace::kZnodeSession).keys;
  counts.ephemerals = nodes.leased;
  return counts;
}

zk::SessionDump dump_sessions(const StoreState& state) {
  zk::SessionDump dump;
  const KeyIndex& sessions = state.mvcc.index(Keyspace::kZnodeSession);
  for (auto it = sessions.begin(); it != sessions.end(); ++it) {
    const Record& record = *it.newest();
    if (record.tombstone) continue;
    const auto session = decode_session(record.value());
    CHECK(session.has_value());
    auto& one = dump.sessions.emplace_back();
    one.id = session_id(record.key());
    one.timeout_ms = session->timeout_ms;
    for (const LeaseTable::Key& key : state.leases.keys_of(one.id)) {
      if (key.keyspace == Keyspace::kZnode) one.ephemerals.push_back(znode_path(key.key));
    }
  }
  return dump;
}

}  // namespace conclave::store
