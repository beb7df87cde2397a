#pragma once
// What clients of ZooKeeper's protocol have been told of one tree, and whether it can all be true.
// Every answer names the zxid whose state it shows, so what is known of changes at or before that
// zxid has to be seen in it, and nothing of what came later.
//
// Two kinds of nodes. Data nodes are created once and never deleted: their versions are counted
// without gaps. Members of a list (children of one parent) have names that are used once, begin
// with the id of the request that creates them, and may be ephemeral or sequential.
//
// Data is written once: `<id of the write>` or `<id>/<rest>`; a write with several nodes has one
// id, so its changes have one zxid. Judges throw a Finding. Times are the world's.

#include <fmt/core.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/finding.h"
#include "sim/zookeeper_messages.h"

namespace conclave::sim {

// A judge's Finding.
template <class... Values>
[[noreturn]] void wrong(const char* check, fmt::format_string<Values...> format,
                        Values&&... values) {
  found(check, fmt::format(format, std::forward<Values>(values)...));
}

// How an answer stands to others: by its zxid, and in time.
struct ZkMoment {
  std::int64_t zxid = 0;
  std::int64_t asked_ns = 0;
  std::int64_t heard_ns = 0;
  // It shows what anybody had been told when it was asked for (a write, a linearizable read, a read
  // behind a sync).
  bool is_fresh = true;
};

class ZkLedger {
 public:
  // --- every answer

  // What anybody has been told so far: what is asked now is answered from no older state, if fresh.
  std::int64_t told() const { return told_; }
  void heard(std::int64_t floor, const ZkMoment& at);

  // --- writes

  // The write was carried out at `zxid`.
  void wrote(const std::string& id, std::int64_t zxid);
  // It was not, and never will be.
  void refused(const std::string& id);

  // --- data nodes

  void saw(const std::string& path, const ZkStat& stat, const std::string& data,
           const ZkMoment& at);
  // The same of a node that members write by themselves.
  void saw_theirs(const std::string& path, const ZkStat& stat, const std::string& data,
                  const ZkMoment& at);
  // The version that a write asked for is not the node's.
  void saw_other_version(const std::string& path, std::int32_t version, const ZkMoment& at);
  // The zxid of the first known version after `version`.
  std::optional<std::int64_t> changed_after(const std::string& path, std::int32_t version) const;

  // --- sessions

  void kept_alive(std::int64_t session, std::int64_t safe_until_ns);
  // Its client wants it to end.
  void closing(std::int64_t session);
  void closed(std::int64_t session, std::int64_t zxid);
  void expired(std::int64_t session, std::int64_t heard_ns);

  // --- lists

  // A child of `parent` is asked for. `session`: of an ephemeral one; 0: it stays.
  void creating(const std::string& parent, const std::string& id, std::int64_t session,
                bool is_sequential);
  // `name` is that of the new child; `floor_number`: last_number() when it was asked for.
  void created(const std::string& id, const std::string& name, std::int64_t zxid,
               std::int32_t floor_number);
  // The highest number of a sequential child of `parent` that anybody has been told.
  std::int32_t last_number(const std::string& parent) const;
  void deleting(const std::string& id);
  void deleted(const std::string& id, std::int64_t zxid);
  // All children at one zxid, of each parent.
  using Listing = std::map<std::string, std::vector<std::string>>;
  void listed(const Listing& listing, const ZkMoment& at);
  // One child. `stat`: what it was found to be; null: it is not there.
  void looked(const std::string& id, const ZkStat* stat, const ZkMoment& at);
  // Some child that has been seen to be created; its id and path. REQUIRES: there are any.
  std::size_t known_children() const { return known_.size(); }
  std::pair<std::string, std::string> known_child(std::size_t number) const;

  // Everything has been told: what was answered early is judged by what was told later.
  void close_books() const;
  // Ephemerals that have been seen, and not seen to be gone.
  std::string ephemerals_left() const;

 private:
  struct Version {
    std::int64_t zxid = 0;
    std::string data;
  };
  struct Sight {
    std::int64_t zxid = 0;
    std::int32_t version = 0;
  };
  struct DataNode {
    std::map<std::int32_t, Version> versions;
    std::vector<Sight> sights;  // that version was the newest at this zxid
    std::vector<Sight> misses;  // and this one was not
  };
  struct Session {
    std::int64_t safe_until_ns = 0;
    bool may_close = false;
    std::optional<std::int64_t> closed_zxid;
    std::optional<std::int64_t> expired_ns;
    // What it leaves behind goes in one step: which was seen last, and which was gone first.
    std::int64_t last_seen = 0;
    std::string last_there;
    std::optional<std::int64_t> gone;
    std::string first_gone;
  };
  struct Child {
    std::string parent;
    std::int64_t session = 0;
    bool is_sequential = false;
    std::string name;        // empty: not known to be created
    std::int64_t czxid = 0;  // 0: not known
    bool may_be_deleted = false;
    std::optional<std::int64_t> deleted_zxid;
    std::int64_t first_seen = 0;  // zxids; 0: never
    std::int64_t last_seen = 0;
    std::optional<std::int64_t> gone;           // the first zxid at which it was gone again
    std::optional<std::int64_t> gone_heard_ns;  // the first time that this was heard
    std::optional<std::int64_t> missed_zxid;    // it was not there, and perhaps not created
  };

  void judge_order(const std::string& path, const DataNode& node) const;
  void name_child(const std::string& id, Child& child, const std::string& name);
  void present(const std::string& id, Child& child, const ZkMoment& at);
  void absent(const std::string& id, Child& child, const ZkMoment& at);
  void end_of_child(const std::string& id, const Child& child);
  static void judge_together(std::int64_t id, const Session& session);
  void know_creation(const std::string& id, Child& child, std::int64_t zxid);

  std::int64_t told_ = 0;
  std::map<std::string, std::int64_t> writes_;   // by id: the zxid
  std::map<std::int64_t, std::string> changes_;  // and the reverse
  std::set<std::string> refused_;
  std::map<std::string, DataNode> data_;
  std::map<std::int64_t, Session> sessions_;
  std::map<std::string, Child> children_;                   // by id
  std::map<std::string, std::set<std::string>> by_parent_;  // that are not known to be gone
  std::vector<std::string> known_;
  std::map<std::string, std::map<std::int32_t, std::string>> numbers_;   // by parent: whose
  std::map<std::string, std::map<std::int64_t, std::int32_t>> by_zxid_;  // by parent: numbers
};

// "<id>-0000000012" or "<id>".
std::string zk_id_of(std::string_view name);

}  // namespace conclave::sim
