#pragma once
// The tree of znodes as an operation sees and changes it. What it changes stays here until
// commit(): so an operation of several steps that fails half-way leaves no trace, and each key is
// written once however often it changes on the way.
//
// Borrows: data that it is given, and the store, stay as they are until commit().

#include <array>
#include <cstddef>
#include <map>
#include <memory_resource>
#include <optional>
#include <vector>

#include "store/state.h"
#include "store/znode_record.h"

namespace conclave::store {

class ZnodeTree {
 public:
  struct Node {
    Znode znode;
    std::optional<ZnodeChildren> children;  // nullopt: none yet

    bool has_children() const { return children && children->present > 0; }
  };

  // What changes does so at `zxid`, the next revision.
  ZnodeTree(StoreState& state, api::zk::Zxid zxid) : state_(state), zxid_(zxid) {}
  ZnodeTree(const ZnodeTree&) = delete;
  ZnodeTree& operator=(const ZnodeTree&) = delete;

  api::zk::Zxid zxid() const { return zxid_; }

  // nullptr: there is no such node. Good until the next call of any but stat().
  const Node* find(BytesView path);
  // REQUIRES of each: what it names is there, or not there for `create`. A node that is returned is
  // what has become of it, as good as find()'s.
  const Node& create(BytesView path, Znode znode);
  void remove(BytesView path);
  // Of a TTL node, its time begins anew.
  const Node& set_data(BytesView path, BytesView data, std::int64_t time_ms);
  const Node& set_acl(BytesView path, Bytes acl);
  // Creates the node if it is not there, or makes it this one, with this counter of children; its
  // parent's counter stays as it is.
  void import(BytesView path, const Znode& znode, std::int32_t created);

  // From now on a quota begins when its limits are created, and its stats with what there is then.
  void begin_quotas() { begins_quotas_ = true; }
  // Each node below it is looked at, so there may be one in an operation.
  bool may_begin_quota() const { return !begins_quotas_ || !has_begun_quota_; }
  // Whether so many nodes and bytes more at `path` are more than a hard limit allows. As in
  // ZooKeeper, fewer bytes are too many too if they are still above it.
  bool exceeds_quota(BytesView path, std::int64_t nodes, std::int64_t bytes);

  static api::zk::Stat stat(const Node& node) { return stat_of(node.znode, node.children); }

  // Writes what changed, in the order of paths, and notes it for watches. The tree is of no use
  // afterwards.
  void commit(Mvcc::Write& write);

 private:
  struct Entry {
    Node node;
    BytesView key;  // in Keyspace::kZnode; empty: there can be no such node
    // Of the node and of its children, in their keyspaces.
    KeyIndex::Place place;
    KeyIndex::Place place_of_children;
    Bytes own_data;  // that node.znode.data is, if it is not borrowed
    bool is_there = false;
    bool was_there = false;  // in the store
    bool had_children = false;
    bool was_timed = false;
    bool is_new = false;      // created since; what was there before is another node
    bool is_changed = false;  // the node itself
    bool has_new_children = false;
  };

  // By path.
  using Entries = std::pmr::map<BytesView, Entry>;

  std::span<char> room_for(std::size_t bytes);
  Entry& load(BytesView path);
  void load(Entry& entry, BytesView path);
  Entry& existing(BytesView path);
  ZnodeChildren& children_of_parent(BytesView path);
  void note(api::zk::EventType type, BytesView path, const Node& node);
  void write_node(Mvcc::Write& write, BytesView path, const Entry& entry) const;
  void write_children(Mvcc::Write& write, BytesView path, const Entry& entry) const;

  struct Extent {
    std::int64_t nodes = 0;
    std::int64_t bytes = 0;
  };
  bool has_quota(BytesView path) const;
  std::optional<BytesView> quota_over(BytesView path) const;
  void begin_quota(BytesView path);
  void count(BytesView path, Extent more);
  Extent extent_of(BytesView path) const;
  void set_stats(BytesView path, Bytes stats);

  StoreState& state_;
  api::zk::Zxid zxid_;
  // Most operations know two nodes, for which this is enough.
  std::array<std::byte, 2048> nearby_;
  std::pmr::monotonic_buffer_resource memory_{nearby_.data(), nearby_.size()};
  Entries entries_{&memory_};  // and their paths and keys
  // The two that were asked for last: a node and its parent, mostly. nullptr: none yet.
  std::array<Entries::value_type*, 2> recent_ = {};
  std::vector<ZnodeChange> changes_;
  bool begins_quotas_ = false;
  bool has_begun_quota_ = false;
  std::map<Bytes, bool, std::less<>> quotas_;  // of paths where that changed: whether there is one
};

// What is stored. The data is borrowed from the store.
std::optional<ZnodeTree::Node> stored_node(const Mvcc& mvcc, BytesView path);
std::optional<ZnodeSession> stored_session(const Mvcc& mvcc, api::zk::SessionId id);

}  // namespace conclave::store
