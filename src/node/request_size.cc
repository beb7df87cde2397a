#include "node/request_size.h"

#include <memory>
#include <variant>
#include <vector>

#include "base/fair_limits.h"

namespace conclave::node {
namespace {

struct Size {
  std::size_t operations = 0;
  std::size_t bytes = 0;

  void add(const api::TxnRequest& txn) {
    for (const api::Compare& compare : txn.compare) {
      ++operations;
      bytes += sizeof(compare) + compare.key.size() + compare.range_end.size();
    }
    for (const auto* branch : {&txn.success, &txn.failure}) {
      for (const api::Operation& operation : *branch) {
        ++operations;
        bytes += sizeof(operation);
        std::visit([this](const auto& op) { add(op); }, operation.op);
      }
    }
  }
  void add(const api::RangeRequest& range) { bytes += range.key.size() + range.range_end.size(); }
  void add(const api::PutRequest& put) { bytes += put.key.size() + put.value.size(); }
  void add(const api::DeleteRangeRequest& range) {
    bytes += range.key.size() + range.range_end.size();
  }
  void add(const std::unique_ptr<api::TxnRequest>& txn) {
    if (txn != nullptr) add(*txn);
  }
  void add(const api::LeaderKey& leader) { bytes += leader.name.size() + leader.key.size(); }
  void add(const api::AuthRequest& auth) {
    std::visit([this](const auto& op) { add(op); }, auth.op);
  }
  void add(const api::zk::Caller& caller) {
    for (const api::zk::Id& id : caller.ids) bytes += sizeof(id) + id.scheme.size() + id.id.size();
  }
  void add(const api::zk::WriteRequest& write) {
    add(write.caller);
    std::visit([this](const auto& op) { add(op); }, write.op);
  }
  void add(const api::zk::ReadRequest& read) {
    add(read.caller);
    std::visit([this](const auto& op) { add(op); }, read.op);
  }
  void add(const api::zk::PingRequest& ping) { add(ping.caller); }
  void add(const api::zk::ImportRequest& step) {
    for (const Bytes& path : step.removed) bytes += sizeof(path) + path.size();
    for (const api::zk::TreeNode& node : step.nodes) {
      bytes += sizeof(node) + node.path.size() + node.data.size();
      for (const api::zk::Acl& acl : node.acl) {
        bytes += sizeof(acl) + acl.id.scheme.size() + acl.id.id.size();
      }
    }
  }
  void add(const api::zk::ReconfigRequest& asked) {
    add(asked.caller);
    bytes += asked.leaving.size() * sizeof(NodeId);
    for (const api::zk::Server& server : asked.joining) {
      bytes += sizeof(server) + server.peer.size() + server.client.size();
    }
  }
  void add(const api::zk::Multi& multi) {
    for (const auto& each : multi.operations) {
      ++operations;
      std::visit([this](const auto& op) { add(op); }, each);
    }
  }
  void add(const api::zk::MultiRead& multi) {
    for (const auto& each : multi.operations) {
      ++operations;
      std::visit([this](const auto& op) { add(op); }, each);
    }
  }
  void add(const api::zk::SetWatches& watches) {
    for (const auto* paths : {&watches.data, &watches.exist, &watches.child, &watches.persistent,
                              &watches.persistent_recursive}) {
      for (const Bytes& path : *paths) bytes += sizeof(path) + path.size();
    }
  }
  // The others: whatever of it a client may make long.
  template <class Other>
  void add(const Other& other) {
    bytes += sizeof(other);
    if constexpr (requires { other.name.size(); }) bytes += other.name.size();
    if constexpr (requires { other.value.size(); }) bytes += other.value.size();
    if constexpr (requires { other.owner.size(); }) bytes += other.owner.size();
    if constexpr (requires { other.path.size(); }) bytes += other.path.size();
    if constexpr (requires { other.data.size(); }) bytes += other.data.size();
    if constexpr (requires { other.role.size(); }) bytes += other.role.size();
    if constexpr (requires { other.password.size(); }) bytes += other.password.size();
    if constexpr (requires { add(other.leader); }) add(other.leader);
  }
};

std::size_t size_of(const std::vector<api::KeyValue>& kvs) {
  std::size_t bytes = 0;
  for (const api::KeyValue& kv : kvs) bytes += sizeof(kv) + kv.key.size() + kv.value.size();
  return bytes;
}

// What it took to make an answer, or a part of a transaction's.
struct Cost {
  std::size_t operator()(const api::RangeResponse& range) const { return size_of(range.kvs); }
  std::size_t operator()(const api::DeleteRangeResponse& erased) const {
    return static_cast<std::size_t>(erased.deleted) * limits::kKeyCost + size_of(erased.prev_kvs);
  }
  std::size_t operator()(const api::TxnResponse& txn) const {
    std::size_t cost = 0;
    for (const auto& each : txn.results) cost += std::visit(*this, each.result);
    return cost;
  }
  std::size_t operator()(const std::unique_ptr<api::TxnResponse>& txn) const {
    return txn == nullptr ? 0 : (*this)(*txn);
  }
  std::size_t operator()(const api::LeaseTimeToLiveResponse& lease) const {
    std::size_t bytes = 0;
    for (const Bytes& key : lease.keys) bytes += sizeof(key) + key.size();
    return bytes;
  }
  std::size_t operator()(const api::LeaseLeasesResponse& leases) const {
    return leases.ids.size() * sizeof(api::LeaseId);
  }
  std::size_t operator()(const api::zk::Reply& reply) const {
    return std::visit(*this, reply.result);
  }
  std::size_t operator()(const api::zk::Data& data) const { return data.data.size(); }
  std::size_t operator()(const api::zk::Configured& done) const { return done.data.size(); }
  std::size_t operator()(const api::zk::Names& names) const {
    std::size_t bytes = 0;
    for (const Bytes& name : names.names) bytes += sizeof(name) + name.size();
    return bytes;
  }
  std::size_t operator()(const api::zk::Tree& tree) const {
    std::size_t bytes = 0;
    for (const api::zk::TreeNode& node : tree.nodes) {
      bytes += sizeof(node) + node.path.size() + node.data.size();
    }
    return bytes;
  }
  std::size_t operator()(const api::zk::Count& count) const {
    return static_cast<std::size_t>(count.count) * limits::kKeyCost;
  }
  std::size_t operator()(const api::zk::Results& results) const {
    std::size_t cost = 0;
    for (const auto& each : results.results) cost += sizeof(each) + std::visit(*this, each.result);
    return cost;
  }
  template <class Other>
  std::size_t operator()(const Other&) const {
    return 0;
  }
};

}  // namespace

std::size_t cost_of(const api::Answer& answer) { return std::visit(Cost{}, answer); }

std::size_t operations_of(const api::Body& body) {
  Size size;
  if (const auto* txn = std::get_if<api::TxnRequest>(&body)) {
    size.add(*txn);
    return size.operations;
  }
  if (const auto* step = std::get_if<api::zk::ImportRequest>(&body)) {
    return 1 + step->removed.size() + step->nodes.size();
  }
  const auto* write = std::get_if<api::zk::WriteRequest>(&body);
  const auto* multi = write == nullptr ? nullptr : std::get_if<api::zk::Multi>(&write->op);
  return multi == nullptr ? 1 : multi->operations.size();
}

std::size_t bytes_of(const api::Request& request) {
  Size size;
  std::visit([&size](const auto& body) { size.add(body); }, request.body);
  if (request.token) size.bytes += request.token->size();
  if (request.id) size.bytes += request.id->client.size();
  if (request.fence) size.bytes += request.fence->key.size();
  return size.bytes;
}

}  // namespace conclave::node
