#include "store/znode_record.h"

namespace conclave::store {
namespace {

constexpr std::uint8_t kKindBits = 3;
constexpr std::uint8_t kHasAcl = 4;

}  // namespace

ZnodeNumbers encode_numbers(const Znode& node) {
  ZnodeNumbers bytes;
  EncoderTo out(bytes);
  out.u8(static_cast<std::uint8_t>(node.kind) | (node.acl.empty() ? 0 : kHasAcl));
  out.number(node.czxid);
  out.number(node.mzxid - node.czxid);
  out.number(node.ctime_ms);
  out.number(node.mtime_ms - node.ctime_ms);
  out.varint(static_cast<std::uint32_t>(node.version));
  out.varint(static_cast<std::uint32_t>(node.aversion));
  if (node.kind == Znode::Kind::kTtl) {
    out.number(node.ttl_ms);
    out.varint(node.touched.ms);
  }
  if (!node.acl.empty()) out.varint(node.acl.size());
  return bytes;
}

Bytes encode(const Znode& node) {
  Bytes bytes(encode_numbers(node).view());
  bytes.append(node.acl).append(node.data);
  return bytes;
}

std::optional<Znode> decode_znode(const Record& record) {
  Decoder in(record.value());
  Znode node;
  const std::uint8_t flags = in.flags(kKindBits | kHasAcl);
  if ((flags & kKindBits) > static_cast<std::uint8_t>(Znode::Kind::kTtl)) in.fail();
  node.kind = static_cast<Znode::Kind>(flags & kKindBits);
  node.czxid = in.number();
  node.mzxid = node.czxid + in.number();
  node.ctime_ms = in.number();
  node.mtime_ms = node.ctime_ms + in.number();
  node.version = static_cast<std::int32_t>(in.u32());
  node.aversion = static_cast<std::int32_t>(in.u32());
  node.owner = record.lease;
  if (node.kind == Znode::Kind::kTtl) {
    node.ttl_ms = in.number();
    node.touched = Stamp{in.varint()};
  }
  if ((flags & kHasAcl) != 0) node.acl = in.bytes();
  if (!in.ok()) return std::nullopt;
  node.data = record.value().substr(record.value_size - in.remaining());
  return node;
}

ShortBytes<32> encode(const ZnodeChildren& children) {
  ShortBytes<32> bytes;
  EncoderTo out(bytes);
  out.varint(static_cast<std::uint32_t>(children.created));
  out.number(children.present);
  out.number(children.pzxid);
  return bytes;
}

std::optional<ZnodeChildren> decode_children(BytesView bytes) {
  Decoder in(bytes);
  ZnodeChildren children;
  children.created = static_cast<std::int32_t>(in.u32());
  children.present = in.number();
  children.pzxid = in.number();
  if (!in.finished() || children.present < 0) return std::nullopt;
  return children;
}

Bytes encode(const ZnodeSession& session) {
  Bytes bytes;
  Encoder out(bytes);
  out.bytes(session.password);
  out.number(session.timeout_ms);
  out.varint(session.generation);
  return bytes;
}

std::optional<ZnodeSession> decode_session(BytesView bytes) {
  Decoder in(bytes);
  ZnodeSession session;
  session.password = in.bytes();
  session.timeout_ms = in.number();
  session.generation = in.varint();
  if (!in.finished()) return std::nullopt;
  return session;
}

Bytes session_key(api::zk::SessionId id) {
  Bytes key;
  Encoder(key).fixed64(static_cast<std::uint64_t>(id));
  return key;
}

api::zk::SessionId session_id(BytesView key) {
  return static_cast<api::zk::SessionId>(Decoder(key).fixed64());
}

api::zk::Stat stat_of(const Znode& node, const std::optional<ZnodeChildren>& children) {
  const ZnodeChildren of = children.value_or(ZnodeChildren{.pzxid = node.czxid});
  const auto present = static_cast<std::int32_t>(of.present);
  // Clients are shown how often the children changed: each was created, and all but those present
  // were deleted. Counts as Java does.
  const std::uint32_t changes =
      static_cast<std::uint32_t>(of.created) * 2 - static_cast<std::uint32_t>(present);
  return {.czxid = node.czxid,
          .mzxid = node.mzxid,
          .ctime_ms = node.ctime_ms,
          .mtime_ms = node.mtime_ms,
          .version = node.version,
          .cversion = static_cast<std::int32_t>(changes),
          .aversion = node.aversion,
          .ephemeral_owner = node.owner,
          .data_length = static_cast<std::int32_t>(node.data.size()),
          .num_children = present,
          .pzxid = of.pzxid};
}

}  // namespace conclave::store
