#pragma once
// What an entry did that clients of ZooKeeper's protocol at this member may have to be told.

#include <cstdint>
#include <variant>

#include "api/zookeeper.h"
#include "base/bytes.h"

namespace conclave::store {

// A node was created, was deleted, or got new data. The children of its parent changed too, but for
// new data.
struct ZnodeChange {
  api::zk::EventType type = api::zk::EventType::kCreated;
  Bytes path;
  Bytes acl;              // encode_acl: who may read it, or could
  Bytes parent_acl = {};  // of its parent, whose children changed; empty of new data
};

// A session goes on with another connection, or has ended.
struct ZnodeSessionChange {
  enum class Kind : std::uint8_t { kMoved, kExpired, kClosed };
  api::zk::SessionId session = 0;
  Kind kind = Kind::kExpired;
  std::uint64_t generation = 0;  // kMoved: of the connection that it goes on with
};

struct ZnodeNews {
  std::size_t outcome = 0;  // it came with the command of this outcome, or before it
  api::zk::Zxid zxid = 0;
  std::variant<ZnodeChange, ZnodeSessionChange> what;
};

}  // namespace conclave::store
