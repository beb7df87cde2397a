#pragma once
// A client of locks and of one election: its lease, what it believes to hold, and the calls that
// change that, each answer of which is judged (sim/workloads/lock_judge.h). What it does when is
// for others to say: sim/workloads/locks.cc in the storm, sim/workloads/lock_queue.h after it.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "sim/etcd_client.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/lock_judge.h"

namespace conclave::sim {

inline constexpr std::string_view kNoLease = "etcdserver: requested lease not found";
inline constexpr std::string_view kNoLeader = "election: no leader";

// A lease, and who keeps it alive, over a connection of its own.
class KeptLease {
 public:
  KeptLease(Site& site, std::uint64_t seed, std::size_t number);
  ~KeptLease() { clock_.cancel(timer_); }
  KeptLease(const KeptLease&) = delete;
  KeptLease& operator=(const KeptLease&) = delete;

  void keep(std::int64_t id, std::int64_t ttl_s);
  // It ends by itself.
  void neglect() { is_kept_ = false; }
  void forget() {
    neglect();
    id_ = 0;
  }

  std::int64_t id() const { return id_; }  // 0: none
  Duration ttl() const { return seconds(ttl_s_); }

 private:
  void wait();

  Clock& clock_;
  EtcdClient client_;
  std::int64_t id_ = 0;
  std::int64_t ttl_s_ = 0;
  bool is_kept_ = false;
  io::Clock::TimerId timer_ = 0;
};

class LockCaller {
 public:
  // What the client believes to hold.
  struct Held {
    std::string name;
    std::string key;
    std::int64_t token = 0;  // create revision of the key
    bool leads = false;
  };
  // How a call ended. When it was answered, held() is as it should be.
  using Done = std::function<void(const EtcdClient::Reply&)>;

  // `leases` counts the ids that were given to leases; all outlive it.
  LockCaller(Site& site, const WorkloadPlan& plan, std::size_t number, std::int64_t& leases);

  Caller& caller() { return caller_; }
  KeptLease& lease() { return lease_; }
  const LockJudge& judge() const { return judge_; }
  const std::optional<Held>& held() const { return held_; }
  void let_go() { held_.reset(); }

  // Of the lease, from then on kept alive.
  void grant(std::int64_t ttl_s, const Done& done);
  void lock(const std::string& name, const Done& done, EtcdClient::Metadata metadata = {});
  void campaign(const std::string& name, const std::string& value, const Done& done,
                EtcdClient::Metadata metadata = {});
  void ask_leader(const std::string& name, const Done& done);

  // REQUIRES: held().
  // Puts `key` if it holds the lock.
  void write_guarded(const std::string& key, const Done& done);
  // `done` is told the revision, too.
  void proclaim(const std::string& value,
                const std::function<void(const EtcdClient::Reply&, std::int64_t)>& done);
  // By Unlock or Resign.
  void give_back(const Done& done);

 private:
  std::int64_t newest() const { return judge_.history().newest(); }
  v3electionpb::LeaderKey leader_key() const;
  void judge_refusal(const EtcdClient::Reply& reply, const std::string& name, std::int64_t asked);
  void given_back(const EtcdClient::Reply& reply, std::int64_t revision);

  Caller caller_;
  KeptLease lease_;
  LockJudge judge_;
  std::int64_t& leases_;
  std::optional<Held> held_;
};

}  // namespace conclave::sim
