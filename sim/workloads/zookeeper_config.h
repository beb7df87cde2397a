#pragma once
// /zookeeper/config and what changes it: who the members are, as clients of ZooKeeper's protocol
// are told, and whether it can be true. That its versions and zxids are in order is the ledger's.
//
// Ids of members are never used twice, so who joined by a reconfig did so by that one alone.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/workloads/zookeeper_ledger.h"

namespace conclave::sim {

// A line of it, but for where clients reach the member.
struct ZkServer {
  std::string peer;  // "host:port"
  bool is_observer = false;

  bool operator==(const ZkServer&) const = default;
};
using ZkServers = std::map<std::int64_t, ZkServer>;

struct ZkConfig {
  std::int64_t zxid = 0;     // what its last line says
  std::int32_t version = 0;  // the node's
  ZkServers servers;
};

// What is asked for.
struct ZkReconfig {
  std::optional<ZkConfig> from = {};  // which it is to replace; nullopt: any
  bool is_whole = false;              // nobody stays but `joining`
  std::set<std::int64_t> leaving = {};
  ZkServers joining = {};
  std::set<std::int64_t> newcomers = {};  // of those, ids that nobody has had
  bool is_allowed = true;                 // by the rights of who asks

  // Who is there after it, if `before` were before. A voter stays one, and addresses stay.
  ZkServers result(const ZkServers& before) const;
};

class ZkConfigs {
 public:
  static constexpr const char* kPath = "/zookeeper/config";

  // Outlives it.
  explicit ZkConfigs(ZkLedger& ledger) : ledger_(ledger) {}

  // Somebody has read it. nullopt: nothing is in it yet.
  std::optional<ZkConfig> saw(const ZkStat& stat, const std::string& data, const ZkMoment& at);

  // A number for it.
  std::size_t asked(ZkReconfig change);
  // It is answered with what the configuration is from then on.
  void done(std::size_t number, const ZkStat& stat, const std::string& data, const ZkMoment& at);
  void refused(std::size_t number, std::int32_t code, const ZkMoment& at);

  // All has been told. Others may have removed members as well.
  void close_books(const std::function<bool(std::int64_t id)>& is_removed_by_others) const;

  // What they are in truth, when the node has that version.
  void judge_truth(std::int32_t version, const ZkServers& members) const;

 private:
  void judge_ids(const ZkConfig& config) const;
  void judge_result(const ZkReconfig& change, const ZkConfig& now) const;

  ZkLedger& ledger_;
  std::vector<ZkReconfig> changes_;
  std::map<std::int32_t, ZkConfig> seen_;         // by the node's version
  std::set<std::int64_t> refused_;                // who was to join
  std::map<std::int64_t, std::int64_t> removed_;  // who is gone, at the latest since which zxid
  std::map<std::int64_t, std::size_t> may_go_;    // by how many reconfigs that were not refused
  std::size_t may_leave_few_ = 0;                 // of those, whole ones over any configuration
};

}  // namespace conclave::sim
