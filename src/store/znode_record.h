#pragma once
// What is stored of znodes and sessions, as bytes (docs/formats/znodes.md). A node is up to three
// keys, so that what happens often rewrites little:
//
//   Keyspace::kZnode          znode_key(path) -> Znode: data, ACL, versions, times
//   Keyspace::kZnodeChildren  path -> ZnodeChildren: how many children, and were created; none yet
//                             if there never was one
//   Keyspace::kZnodeTimed     path, without a value: a container or TTL node, which may have to go
//   Keyspace::kZnodeQuota     path, without a value: it has a quota (store/znode_quota.h)
//   Keyspace::kZnodeSession   session_key(id) -> ZnodeSession
//
// An ephemeral node's key, and a session's, are attached to the session's lease.

#include <cstdint>
#include <optional>

#include "api/zookeeper.h"
#include "base/bytes.h"
#include "base/time.h"
#include "store/codec.h"
#include "store/record.h"

namespace conclave::store {

struct Znode {
  enum class Kind : std::uint8_t { kPlain = 0, kContainer = 1, kTtl = 2 };

  Kind kind = Kind::kPlain;
  api::zk::Zxid czxid = 0;
  api::zk::Zxid mzxid = 0;
  std::int64_t ctime_ms = 0;
  std::int64_t mtime_ms = 0;
  std::int32_t version = 0;
  std::int32_t aversion = 0;
  api::zk::SessionId owner = 0;  // of an ephemeral node; not in the bytes
  std::int64_t ttl_ms = 0;       // kTtl
  Stamp touched;                 // kTtl: when it was created or got its data, in the cluster's time
  Bytes acl;                     // encode_acl
  BytesView data;                // borrowed

  bool is_ephemeral() const { return owner != 0; }
};

struct ZnodeChildren {
  std::int32_t created = 0;  // ever; counts as Java does, and so begins anew beyond the largest
  std::int64_t present = 0;
  api::zk::Zxid pzxid = 0;

  bool operator==(const ZnodeChildren&) const = default;
};

struct ZnodeSession {
  Bytes password;
  std::int64_t timeout_ms = 0;
  std::uint64_t generation = 0;  // counts the connections it has had
};

// A node's bytes are its numbers, the length of its ACL among them, the ACL and the data.
using ZnodeNumbers = ShortBytes<96>;
ZnodeNumbers encode_numbers(const Znode& node);
Bytes encode(const Znode& node);
// nullopt: no bytes of encode().
std::optional<Znode> decode_znode(const Record& record);
ShortBytes<32> encode(const ZnodeChildren& children);
std::optional<ZnodeChildren> decode_children(BytesView bytes);
Bytes encode(const ZnodeSession& session);
std::optional<ZnodeSession> decode_session(BytesView bytes);
Bytes session_key(api::zk::SessionId id);
api::zk::SessionId session_id(BytesView key);

// As a client sees it. `children` are what is stored, if anything is.
api::zk::Stat stat_of(const Znode& node, const std::optional<ZnodeChildren>& children);

}  // namespace conclave::store
