#pragma once
// A client of the workload `zookeeper` that changes who the members are, by reconfig, as long as it
// storms. Several of them hinder each other, and some have no right to it.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "sim/workload.h"
#include "sim/workloads/zookeeper_config.h"
#include "sim/zookeeper_client.h"

namespace conclave::sim {

class ZkAdmin {
 public:
  // REQUIRES: site.landlord. All outlive it.
  ZkAdmin(Site& site, std::uint64_t seed, std::size_t number, ZkLedger& ledger, ZkConfigs& configs);
  ~ZkAdmin();
  ZkAdmin(const ZkAdmin&) = delete;
  ZkAdmin& operator=(const ZkAdmin&) = delete;

  // It asks nothing any more. What is under way will not be heard of.
  void leave();

 private:
  using Reply = ZooKeeperClient::Reply;
  using Heard = std::function<void(const Reply&, const ZkMoment&)>;

  void note(const std::string& what);
  void next();
  void act();
  void ask(std::int32_t opcode, Bytes body, bool is_fresh, Heard heard);
  void read_config(std::function<void()> then);
  void reconfigure();
  // nullopt: there is nothing to change.
  std::optional<ZkReconfig> draw_change(const ZkConfig& base);
  void draw_leaving(const ZkConfig& base, ZkReconfig& change);
  void draw_joining(const ZkConfig& base, ZkReconfig& change);

  Site& site_;
  Rng rng_;
  std::string name_;
  bool is_allowed_;
  Duration pause_;  // at most
  ZkLedger& ledger_;
  ZkConfigs& configs_;
  ZooKeeperClient client_;
  io::Clock::TimerId wait_ = 0;
  bool has_left_ = false;
  std::optional<ZkConfig> known_;  // what it has read last
};

}  // namespace conclave::sim
