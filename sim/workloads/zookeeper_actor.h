#pragma once
// One client of the workload `zookeeper` (zookeeper.cc): sessions one after the other, and what is
// done with each.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/history.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/zookeeper_config.h"
#include "sim/workloads/zookeeper_ledger.h"
#include "sim/workloads/zookeeper_mirror.h"
#include "sim/zookeeper_client.h"

namespace conclave::sim {

// The tree: data nodes whose values each stand alone, some of which one holds the token, lists of
// children, and one data node for each session, which nobody else writes.
struct ZkTree {
  static constexpr const char* kTop = "/sim";
  static constexpr const char* kQueue = "/sim/q";
  static constexpr const char* kEphemerals = "/sim/e";
  static constexpr const char* kOwn = "/sim/o";
  static constexpr std::size_t kRegisters = 4;
  static constexpr std::size_t kTokens = 3;
  static std::string register_path(std::size_t number);
  static bool is_register(const std::string& path);
  static std::string token_path(std::size_t number);
  // All but the top, with what is in them at first.
  static std::vector<std::pair<std::string, std::string>> nodes();
  static bool holds_token(const std::string& data);
};

struct ZkShared {
  explicit ZkShared(const WorkloadPlan&) {}

  ZkLedger ledger;
  ZkConfigs configs{ledger};
  History history;  // of the registers
  // Of sessions' own nodes: some, those of which a write was refused, and those in which one seems
  // to be missing.
  std::vector<std::string> own_paths;
  std::set<std::string> has_refusals;
  std::map<std::string, std::string> suspects;
};

class ZkActor {
 public:
  ZkActor(Site& site, const WorkloadPlan& plan, std::size_t number, ZkShared& shared);
  ~ZkActor();
  ZkActor(const ZkActor&) = delete;
  ZkActor& operator=(const ZkActor&) = delete;

  Caller& caller() { return caller_; }
  void act();
  std::uint64_t answered() const { return client_.answered(); }
  // Its session is closed, or left to itself, and nothing follows.
  void leave();

 private:
  using Reply = ZooKeeperClient::Reply;
  // Of an answer; what it was asked for is over if none comes.
  using Heard = std::function<void(const Reply&, const ZkMoment&)>;
  enum class Kind : std::uint8_t { kRead, kFreshRead, kWrite };
  struct Known {
    std::int32_t version = 0;
    std::string data;
  };
  struct Mine {
    std::string id;
    std::string parent;
    std::string name;
  };

  void connected(bool is_new);
  void expired(const ZooKeeperClient::Session& session);
  void watch_again(bool is_new);
  void go_on();
  void settle();
  void ask(std::int32_t opcode, Bytes body, Kind kind, Heard heard,
           std::function<void()> unheard = {});
  // Fresh reads, wherever they are asked for.
  void behind_sync(std::function<void()> then);
  void note(const std::string& what);
  Rng& rng() { return caller_.rng(); }
  ZkLedger& ledger() { return shared_.ledger; }
  std::string new_id();
  bool arms();

  // What it does.
  void do_something();
  void create_tree();
  void judge_own(const std::string& path, const ZkStat& stat, const std::string& data);
  void look_at_data(Kind kind);
  void get(const std::string& path, Kind kind);
  void learn(const std::string& path, const ZkStat& stat, const std::string& data,
             const ZkMoment& at, bool leaves_watch);
  void write_register();
  void wrote(const std::string& path, const std::string& data, std::int32_t version,
             const Reply& reply, const ZkMoment& at);
  void move_token();
  void read_tokens(std::function<void()> then);
  void send_token(std::size_t from, std::size_t to);
  struct TokenMove;
  void token_moved(const TokenMove& move, const Reply& reply, const ZkMoment& at);
  void token_stayed(const TokenMove& move, const std::vector<ZkPart>& parts, const ZkMoment& at);
  void write_own();
  void stream_own(std::uint64_t connection, std::int32_t version, std::uint64_t left);
  void write_own_version(std::int32_t version, bool is_last);
  void create_own(const std::string& path);
  void create_child();
  void child_created(const Mine& mine, std::int32_t floor_number, const Reply& reply,
                     const ZkMoment& at);
  void delete_child();
  void list(Kind kind);
  void list_both(Kind kind);
  void look_at_child(Kind kind);
  void look_forward();
  void change_session();
  void move_within(std::uint64_t most_ms, std::uint64_t one_in);
  void close_session();

  Site& site_;
  Caller caller_;
  ZkShared& shared_;
  std::string name_;
  ZooKeeperClient client_;
  std::optional<ZkMirror> mirror_;
  std::uint64_t connection_ = 0;  // counts them
  io::Clock::TimerId stream_ = 0;
  bool is_begun_ = false;
  bool is_ready_ = false;    // connected, and watches are as they should be
  bool is_waiting_ = false;  // an act waits for that
  bool is_acting_ = false;
  bool has_left_ = false;
  bool has_tree_ = false;
  std::size_t under_way_ = 0;
  std::optional<std::int64_t> sync_told_;  // what was told when the sync was asked for
  std::int64_t sync_asked_ns_ = 0;
  std::uint64_t ids_ = 0;
  std::map<std::string, Known> known_;  // what was read last
  std::string own_;                     // its session's own node; empty: not made
  std::optional<std::int32_t> own_version_;
  std::vector<Mine> mine_;  // children that this one has made
};

}  // namespace conclave::sim
