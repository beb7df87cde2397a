#pragma once
// Which of this member's connections have to be told of a change of a znode? The watches of
// ZooKeeper's clients: one-shot ones of a node's data or existence and of its children, persistent
// ones of both, and persistent ones of a node and all below it.
//
// A change is told in the call that names it, to each connection once, so that whoever answers
// reads afterwards tells nobody newer data before. Nothing waits here.
//
// Who may not read a node, as it was when it changed, is not told of it, nor that its children
// changed; a one-shot watch ends with the change nevertheless.
//
// Pure. Not replicated: it belongs to a member. Not thread-safe.

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "api/zookeeper.h"
#include "base/bytes.h"
#include "store/znode_news.h"

namespace conclave::store {

class ZnodeWatches {
 public:
  // It must not call back.
  using Tell = std::function<void(std::uint64_t connection, api::zk::Event)>;

  struct Limits {
    std::size_t watches = 0;             // of all
    std::size_t connection_watches = 0;  // of one
    std::size_t bytes = SIZE_MAX;        // of their paths: of all
    std::size_t connection_bytes = SIZE_MAX;
  };

  enum class Kind : std::uint8_t { kData, kChildren, kPersistent, kRecursive };

  ZnodeWatches(const Limits& limits, Tell tell) : limits_(limits), tell_(std::move(tell)) {}

  // `ids` as in identify(). Without effect if there is such a watch. False: there are too many, or
  // the path is longer than a node's may be.
  bool add(std::uint64_t connection, BytesView path, Kind kind,
           const std::vector<api::zk::Id>& ids);
  // Whether there was one (kAny: of whatever kind).
  bool remove(std::uint64_t connection, BytesView path, api::zk::WatcherType type);
  bool has(std::uint64_t connection, BytesView path, api::zk::WatcherType type) const;
  // What the client has proved to be by now: its watches are told what it may read. Ids only ever
  // become more. Of no effect for a connection without watches.
  void identify(std::uint64_t connection, const std::vector<api::zk::Id>& ids);
  void close_connection(std::uint64_t connection);
  bool has_watches(std::uint64_t connection) const { return connections_.contains(connection); }

  // One-shot watches that it concerns are no more afterwards.
  void on_change(const ZnodeChange& change, api::zk::Zxid zxid);

  bool empty() const { return watches_ == 0; }
  std::size_t watches() const { return watches_; }
  std::size_t paths() const { return paths_.size(); }
  std::size_t connections() const { return connections_.size(); }
  // Calls visit(path, connection) for each watched path and each connection that watches it.
  void for_each(const std::function<void(const Bytes&, std::uint64_t)>& visit) const;

 private:
  using Kinds = std::uint8_t;
  // By connection.
  using Watchers = absl::btree_map<std::uint64_t, Kinds>;
  using Paths = std::map<Bytes, Watchers, std::less<>>;  // entries stay where they are
  struct Connection {
    std::vector<api::zk::Id> ids;
    absl::btree_set<Paths::value_type*> paths;  // in no order that anybody sees
    std::size_t watches = 0;
    std::size_t bytes = 0;
  };
  using Told = absl::btree_set<std::uint64_t>;

  // A persistent watch is one of the data and one of the children, which can be removed apart.
  static constexpr Kinds kOnce = 1;
  static constexpr Kinds kOnceChildren = 2;
  static constexpr Kinds kAlways = 4;
  static constexpr Kinds kAlwaysChildren = 8;
  static constexpr Kinds kBelow = 16;

  static Kinds bits_of(Kind kind);
  static Kinds bits_of(api::zk::WatcherType type);
  bool is_full(const Connection* client, std::size_t path_bytes) const;
  bool may_read(std::uint64_t connection, BytesView acl) const;
  void take(BytesView path, BytesView acl, Kinds once, Kinds always, Told& told);
  void add_from_above(const ZnodeChange& change, Told& told) const;
  void drop(Paths::iterator path, Watchers::iterator watcher, Kinds kinds);

  Limits limits_;
  Tell tell_;
  Paths paths_;
  absl::btree_map<std::uint64_t, Connection> connections_;
  std::size_t watches_ = 0;
  std::size_t bytes_ = 0;
  std::size_t recursive_ = 0;
};

}  // namespace conclave::store
