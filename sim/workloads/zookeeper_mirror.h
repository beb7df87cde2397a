#pragma once
// What one connection of a ZooKeeper client watches, and what it must have been told by then. It
// follows events and answers in the order in which they come, and throws a Finding if an answer
// shows a change that should have been told before, or an event that tells of nothing.
//
// A session watches in one of three ways: by one-shot watches left behind by its reads, by
// persistent ones on a few nodes, or by a recursive one on the tree.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "sim/workloads/zookeeper_ledger.h"
#include "sim/zookeeper_messages.h"

namespace conclave::sim {

class ZkMirror {
 public:
  enum class Way : std::uint8_t { kOnce, kPersistent, kRecursive };

  // `top` is above all that is watched; `watched`, what is watched in the way kPersistent.
  ZkMirror(Way way, std::string top, std::vector<std::string> watched);

  Way way() const { return way_; }
  bool leaves_watches() const { return way_ == Way::kOnce; }
  // What addWatch is to be asked for: paths.
  std::vector<std::string> to_add() const;
  // The body of a setWatches (kOnce) or a setWatches2. nullopt: nothing is watched.
  std::optional<Bytes> to_set(std::int64_t last_zxid) const;

  // A new connection: what is persistent and has not been told is not known to be.
  void reconnected();

  void on_event(const ZkEvent& event);
  // An answer shows a node, or that there is none (null). `arms`: it leaves a watch behind.
  void on_node(const std::string& path, const ZkStat* stat, bool arms);
  // An answer shows the children of a node.
  void on_children(const std::string& path, const std::vector<std::string>& names,
                   const ZkStat& stat, bool arms);
  // An answer says that it created or deleted a child.
  void on_own_child(const std::string& parent, const std::string& name, bool is_there) const;
  // An answer of any kind, as of `zxid`: by what others have been told of changes.
  void on_answer(const ZkLedger& ledger, std::int64_t zxid) const;

 private:
  // A one-shot watch of a node, as it was; nullopt: there was none.
  using Armed = std::optional<ZkStat>;

  void once(const ZkEvent& event);
  void always(const ZkEvent& event);
  bool is_watched(const std::string& path) const;
  [[noreturn]] void wrong(const std::string& what) const;

  Way way_;
  std::string top_;
  std::vector<std::string> watched_;

  // kOnce
  std::map<std::string, Armed> data_;
  std::map<std::string, std::int64_t> children_;  // the pzxid that was seen
  std::map<std::string, std::int64_t> told_;      // of which it was said: newer than this mzxid

  // The others: what is known to be by now.
  std::map<std::string, std::int32_t> versions_;
  std::map<std::string, std::int32_t> cversions_;          // kPersistent
  std::map<std::string, std::set<std::string>> listings_;  // kRecursive
};

}  // namespace conclave::sim
