#pragma once
// The tree of znodes as an operation sees and changes it. What it changes stays here until
// commit(): so an operation of several steps that fails half-way leaves no trace, and each key is
// written once however often it changes on the way.
//
// Borrows: data and paths that it is given, and the store, stay as they are until commit().

#include <map>
#include <optional>
#include <vector>

#include "store/state.h"
#include "store/znode_record.h"

namespace conclave::store {

class ZnodeTree {
 public:
  struct Node {
    Bytes path;
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
  // REQUIRES of each: what it names is there, or not there for `create`.
  void create(BytesView path, const Znode& znode);
  void remove(BytesView path);
  // Of a TTL node, its time begins anew.
  void set_data(BytesView path, BytesView data, std::int64_t time_ms);
  void set_acl(BytesView path, Bytes acl);
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
    Bytes own_data;  // that node.znode.data is, if it is not borrowed
    bool is_there = false;
    bool was_there = false;  // in the store
    bool had_children = false;
    bool was_timed = false;
    bool is_new = false;      // created since; what was there before is another node
    bool is_changed = false;  // the node itself
    bool has_new_children = false;
  };

  Entry& load(BytesView path);
  Entry& existing(BytesView path);
  ZnodeChildren& children_of_parent(BytesView path);
  void note(api::zk::EventType type, const Node& node);
  void write_node(Mvcc::Write& write, const Entry& entry, BytesView key) const;

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
  std::map<Bytes, Entry, std::less<>> entries_;
  std::vector<ZnodeChange> changes_;
  bool begins_quotas_ = false;
  bool has_begun_quota_ = false;
  std::map<Bytes, bool, std::less<>> quotas_;  // of paths where that changed: whether there is one
};

// What is stored. The data is borrowed from the store.
std::optional<ZnodeTree::Node> stored_node(const Mvcc& mvcc, BytesView path);
std::optional<ZnodeSession> stored_session(const Mvcc& mvcc, api::zk::SessionId id);

}  // namespace conclave::store
