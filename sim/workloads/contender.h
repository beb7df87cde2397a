#pragma once
// A client that stands in line for locks, by whichever service: its lease, and what it believes to
// hold. What it does when is for others to say: sim/workloads/locks.cc and native.cc in the storm,
// lock_turn.h after it.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "sim/etcd_client.h"
#include "sim/key_history.h"
#include "sim/workloads/caller.h"

namespace conclave::sim {

// A lease, and who keeps it alive, over a connection of its own.
class KeptLease {
 public:
  // `host` is its name in the network.
  KeptLease(Site& site, std::uint64_t seed, const std::string& host);
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

// The answer says that the lease has ended.
bool says_no_lease(const EtcdClient::Reply& reply);

class Contender {
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

  // Its names in network and trace begin with `letter`. `leases` counts the ids that were given to
  // leases; all outlive it.
  Contender(Site& site, const WorkloadPlan& plan, std::string_view letter, std::size_t number,
            std::int64_t& leases);
  virtual ~Contender() = default;
  Contender(const Contender&) = delete;
  Contender& operator=(const Contender&) = delete;

  Caller& caller() { return caller_; }
  KeptLease& lease() { return lease_; }
  const KeptLease& lease() const { return lease_; }
  const KeyHistory& history() const { return history_; }
  const std::optional<Held>& held() const { return held_; }
  void let_go() { held_.reset(); }

  // Of the lease, from then on kept alive.
  void grant(std::int64_t ttl_s, const Done& done);
  // Waits until it holds the lock.
  virtual void lock(const std::string& name, const Done& done, EtcdClient::Metadata metadata) = 0;
  // The key with which it stands in line there.
  virtual std::string key_in(const std::string& name) const = 0;
  // REQUIRES: held().
  virtual void give_back(const Done& done) = 0;

 protected:
  std::int64_t newest() const { return history_.newest(); }

  Caller caller_;
  KeptLease lease_;
  const KeyHistory& history_;
  std::optional<Held> held_;

 private:
  std::int64_t& leases_;
};

}  // namespace conclave::sim
