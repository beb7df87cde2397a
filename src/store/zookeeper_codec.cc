#include "store/zookeeper_codec.h"

#include <algorithm>

#include "base/zookeeper_limits.h"
#include "store/lease.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using Op = decltype(zk::WriteRequest::op);

// Stored: values never change meaning.
enum class OpKind : std::uint8_t {
  kCreate = 0,
  kDelete = 1,
  kDeleteContainer = 2,
  kSetData = 3,
  kSetAcl = 4,
  kCheck = 5,
  kMulti = 6,
  kOpenSession = 7,
  kReconnect = 8,
  kCloseSession = 9,
};

std::int32_t decode_int(Decoder& in) { return static_cast<std::int32_t>(in.u32()); }
void encode_int(Encoder& out, std::int32_t value) { out.varint(static_cast<std::uint32_t>(value)); }

void encode(Encoder& out, const zk::Id& id) {
  out.bytes(id.scheme);
  out.bytes(id.id);
}

void decode_id(Decoder& in, zk::Id& id) {
  id.scheme = in.bytes();
  id.id = in.bytes();
}

void encode(Encoder& out, const zk::Caller& caller) {
  out.number(caller.session);
  out.varint(caller.generation);
  out.varint(caller.ids.size());
  for (const zk::Id& id : caller.ids) encode(out, id);
}

void decode_caller(Decoder& in, zk::Caller& caller) {
  caller.session = in.number();
  caller.generation = in.varint();
  const std::size_t ids = in.count();
  for (std::size_t i = 0; i < ids && in.ok(); ++i) decode_id(in, caller.ids.emplace_back());
  if (!is_bounded(caller)) in.fail();
}

void encode(Encoder& out, const std::vector<zk::Acl>& acl) {
  out.varint(acl.size());
  for (const zk::Acl& each : acl) {
    encode_int(out, each.permissions);
    encode(out, each.id);
  }
}

void decode_acl(Decoder& in, std::vector<zk::Acl>& acl) {
  const std::size_t count = in.count();
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    zk::Acl& each = acl.emplace_back();
    each.permissions = decode_int(in);
    decode_id(in, each.id);
  }
}

struct OpEncoder {
  void operator()(const zk::Create& op) const {
    kind(OpKind::kCreate);
    out.bytes(op.path);
    out.bytes(op.data);
    encode(out, op.acl);
    out.u8(static_cast<std::uint8_t>(std::min(op.mode, zk::Mode::kNone)));
    out.number(op.ttl_ms);
  }
  void operator()(const zk::Delete& op) const {
    kind(OpKind::kDelete);
    out.bytes(op.path);
    encode_int(out, op.version);
  }
  void operator()(const zk::DeleteContainer& op) const {
    kind(OpKind::kDeleteContainer);
    out.bytes(op.path);
  }
  void operator()(const zk::SetData& op) const {
    kind(OpKind::kSetData);
    out.bytes(op.path);
    out.bytes(op.data);
    encode_int(out, op.version);
  }
  void operator()(const zk::SetAcl& op) const {
    kind(OpKind::kSetAcl);
    out.bytes(op.path);
    encode(out, op.acl);
    encode_int(out, op.version);
  }
  void operator()(const zk::Check& op) const {
    kind(OpKind::kCheck);
    out.bytes(op.path);
    encode_int(out, op.version);
  }
  void operator()(const zk::Multi& op) const {
    kind(OpKind::kMulti);
    out.varint(op.operations.size());
    for (const zk::Operation& each : op.operations) std::visit(*this, each);
  }
  void operator()(const zk::OpenSession& op) const {
    kind(OpKind::kOpenSession);
    out.number(op.timeout_ms);
    out.number(op.ttl_s);
    out.number(op.id);
    out.bytes(op.password);
  }
  void operator()(const zk::Reconnect& op) const {
    kind(OpKind::kReconnect);
    out.number(op.id);
    out.bytes(op.password);
    out.number(op.last_zxid);
  }
  void operator()(const zk::CloseSession&) const { kind(OpKind::kCloseSession); }

  void kind(OpKind kind) const { out.u8(static_cast<std::uint8_t>(kind)); }

  Encoder& out;
};

// Operations are decoded where they are to stay.
void decode(Decoder& in, zk::Create& op) {
  op.path = in.bytes();
  op.data = in.bytes();
  decode_acl(in, op.acl);
  op.mode = in.enumerator(zk::Mode::kNone);
  op.ttl_ms = in.number();
}

void decode(Decoder& in, zk::Delete& op) {
  op.path = in.bytes();
  op.version = decode_int(in);
}

void decode(Decoder& in, zk::DeleteContainer& op) { op.path = in.bytes(); }

void decode(Decoder& in, zk::SetData& op) {
  op.path = in.bytes();
  op.data = in.bytes();
  op.version = decode_int(in);
}

void decode(Decoder& in, zk::SetAcl& op) {
  op.path = in.bytes();
  decode_acl(in, op.acl);
  op.version = decode_int(in);
}

void decode(Decoder& in, zk::Check& op) {
  op.path = in.bytes();
  op.version = decode_int(in);
}

void decode(Decoder& in, zk::OpenSession& op) {
  op.timeout_ms = in.number();
  op.ttl_s = in.number();
  op.id = in.number();
  op.password = in.bytes();
  const bool is_sane = op.timeout_ms > 0 && op.ttl_s > 0 && op.ttl_s <= kMaxLeaseTtlSeconds &&
                       op.id != 0 && op.password.size() == zk::kPasswordBytes;
  if (!is_sane) in.fail();
}

void decode(Decoder& in, zk::Reconnect& op) {
  op.id = in.number();
  op.password = in.bytes();
  op.last_zxid = in.number();
  if (op.password.size() != zk::kPasswordBytes) in.fail();
}

void decode(Decoder&, zk::CloseSession&) {}

void decode_operation(Decoder& in, zk::Operation& op) {
  switch (in.enumerator(OpKind::kCloseSession)) {
    case OpKind::kCreate:
      return decode(in, op.emplace<zk::Create>());
    case OpKind::kDelete:
      return decode(in, op.emplace<zk::Delete>());
    case OpKind::kSetData:
      return decode(in, op.emplace<zk::SetData>());
    case OpKind::kCheck:
      return decode(in, op.emplace<zk::Check>());
    default:
      in.fail();
  }
}

void decode(Decoder& in, zk::Multi& op) {
  const std::size_t count = in.count();
  if (count > limits::kMaxZnodeOperations) in.fail();
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    decode_operation(in, op.operations.emplace_back());
  }
}

void decode_op(Decoder& in, Op& op) {
  switch (in.enumerator(OpKind::kCloseSession)) {
    case OpKind::kCreate:
      return decode(in, op.emplace<zk::Create>());
    case OpKind::kDelete:
      return decode(in, op.emplace<zk::Delete>());
    case OpKind::kDeleteContainer:
      return decode(in, op.emplace<zk::DeleteContainer>());
    case OpKind::kSetData:
      return decode(in, op.emplace<zk::SetData>());
    case OpKind::kSetAcl:
      return decode(in, op.emplace<zk::SetAcl>());
    case OpKind::kCheck:
      return decode(in, op.emplace<zk::Check>());
    case OpKind::kMulti:
      return decode(in, op.emplace<zk::Multi>());
    case OpKind::kOpenSession:
      return decode(in, op.emplace<zk::OpenSession>());
    case OpKind::kReconnect:
      return decode(in, op.emplace<zk::Reconnect>());
    case OpKind::kCloseSession:
      return decode(in, op.emplace<zk::CloseSession>());
  }
}

void encode(Encoder& out, const zk::TreeNode& node) {
  out.bytes(node.path);
  out.bytes(node.data);
  encode(out, node.acl);
  out.number(node.ctime_ms);
  out.number(node.mtime_ms);
  encode_int(out, node.version);
  encode_int(out, node.aversion);
  encode_int(out, node.created);
}

zk::TreeNode decode_tree_node(Decoder& in) {
  zk::TreeNode node;
  node.path = in.bytes();
  node.data = in.bytes();
  decode_acl(in, node.acl);
  node.ctime_ms = in.number();
  node.mtime_ms = in.number();
  node.version = decode_int(in);
  node.aversion = decode_int(in);
  node.created = decode_int(in);
  return node;
}

struct Size {
  template <class Other>
  std::size_t operator()(const Other& op) const {
    std::size_t bytes = sizeof(op);
    if constexpr (requires { op.path.size(); }) bytes += op.path.size();
    if constexpr (requires { op.data.size(); }) bytes += op.data.size();
    if constexpr (requires { op.acl.size(); }) {
      for (const zk::Acl& acl : op.acl) bytes += acl.id.scheme.size() + acl.id.id.size() + 8;
    }
    return bytes;
  }
  std::size_t operator()(const zk::Multi& op) const {
    std::size_t bytes = 0;
    for (const zk::Operation& each : op.operations) bytes += std::visit(*this, each);
    return bytes;
  }
};

}  // namespace

bool is_bounded(const zk::Caller& caller) {
  std::size_t bytes = 0;
  for (const zk::Id& id : caller.ids) bytes += id.scheme.size() + id.id.size();
  return caller.ids.size() <= limits::kMaxCallerIds && bytes <= limits::kMaxCallerIdBytes;
}

void encode(Encoder& out, const zk::WriteRequest& request) {
  encode(out, request.caller);
  out.number(request.time_ms);
  if (request.quotas != zk::Quotas::kNone) out.u8(static_cast<std::uint8_t>(request.quotas));
  std::visit(OpEncoder{out}, request.op);
}

void decode_zookeeper(Decoder& in, bool has_quotas, zk::WriteRequest& request) {
  decode_caller(in, request.caller);
  request.time_ms = in.number();
  if (request.time_ms < 0 || request.time_ms > limits::kMaxZnodeTimeMs) in.fail();
  if (has_quotas) {
    request.quotas = in.enumerator(zk::Quotas::kEnforced);
    if (request.quotas == zk::Quotas::kNone) in.fail();
  }
  decode_op(in, request.op);
}

void encode(Encoder& out, const zk::ImportRequest& request) {
  out.bytes(request.before);
  out.bytes(request.after);
  out.u8(request.merge ? 1 : 0);
  out.varint(request.removed.size());
  for (const Bytes& path : request.removed) out.bytes(path);
  out.varint(request.nodes.size());
  for (const zk::TreeNode& node : request.nodes) encode(out, node);
}

zk::ImportRequest decode_import(Decoder& in) {
  zk::ImportRequest request;
  request.before = in.bytes();
  request.after = in.bytes();
  request.merge = in.flags(1) != 0;
  const std::size_t removed = in.count();
  for (std::size_t i = 0; i < removed && in.ok(); ++i) request.removed.emplace_back(in.bytes());
  const std::size_t nodes = in.count();
  for (std::size_t i = 0; i < nodes && in.ok(); ++i) request.nodes.push_back(decode_tree_node(in));
  return request;
}

bool is_bounded(const zk::ReconfigRequest& request) {
  const auto fits = [](const zk::Server& server) {
    return server.peer.size() <= limits::kMaxServerAddressBytes &&
           server.client.size() <= limits::kMaxServerAddressBytes;
  };
  return request.leaving.size() + request.joining.size() <= limits::kMaxReconfiguredServers &&
         std::ranges::all_of(request.joining, fits) && is_bounded(request.caller);
}

void encode(Encoder& out, const zk::ReconfigRequest& request) {
  encode(out, request.caller);
  out.number(request.from);
  out.u8(request.is_whole ? 1 : 0);
  out.varint(request.leaving.size());
  for (const NodeId id : request.leaving) out.fixed64(id.value);
  out.varint(request.joining.size());
  for (const zk::Server& server : request.joining) {
    out.fixed64(server.id.value);
    out.bytes(server.peer);
    out.u8(server.is_observer ? 1 : 0);
    out.bytes(server.client);
  }
}

zk::ReconfigRequest decode_reconfig(Decoder& in) {
  zk::ReconfigRequest request;
  decode_caller(in, request.caller);
  request.from = in.number();
  request.is_whole = in.flags(1) != 0;
  const std::size_t leaving = in.count();
  for (std::size_t i = 0; i < leaving && in.ok(); ++i) {
    request.leaving.push_back(NodeId{in.fixed64()});
  }
  const std::size_t joining = in.count();
  for (std::size_t i = 0; i < joining && in.ok(); ++i) {
    zk::Server server;
    server.id = NodeId{in.fixed64()};
    server.peer = in.bytes();
    server.is_observer = in.flags(1) != 0;
    server.client = in.bytes();
    request.joining.push_back(std::move(server));
  }
  if (!is_bounded(request)) in.fail();
  return request;
}

std::size_t content_bytes(const zk::ImportRequest& request) {
  std::size_t bytes = 0;
  for (const Bytes& path : request.removed) bytes += path.size() + 3;
  for (const zk::TreeNode& node : request.nodes) bytes += Size{}(node);
  return bytes;
}

std::size_t content_bytes(const zk::WriteRequest& request) {
  return std::visit(Size{}, request.op);
}

}  // namespace conclave::store
