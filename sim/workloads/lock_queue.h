#pragma once
// When the storm is over, each client of etcd's locks stands in line once more, for a lock
// (lock_turn.h) and then to lead. Judged: everybody has its turn to lead, soon after it has come,
// and everybody who observes hears of each leader and of what it proclaims.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/workloads/election_observer.h"
#include "sim/workloads/lock_caller.h"
#include "sim/workloads/lock_turn.h"

namespace conclave::sim {

class QueueingClient {
 public:
  // All outlive it.
  QueueingClient(Site& site, LockCaller& caller, const std::vector<ElectionObserver*>& observers);
  ~QueueingClient() { site_.clock.cancel(timer_); }
  QueueingClient(const QueueingClient&) = delete;
  QueueingClient& operator=(const QueueingClient&) = delete;

  // Once; `finished` comes when it has had its turns.
  void begin(std::string lock, std::string election, std::function<void()> finished);
  // To be called now and then: is it still waiting, though its turn has come long ago?
  void check_turn() const;

 private:
  void later(std::function<void()> what);
  void grant();
  void stand_for_election();
  void stand_again(const EtcdClient::Reply& reply);
  void wait_for_observers(std::int64_t revision, Instant since);
  void proclaim();
  void leave_office();

  Site& site_;
  LockCaller& caller_;
  const std::vector<ElectionObserver*>& observers_;
  LockTurn lock_;
  std::string election_;
  std::function<void()> finished_;
  std::optional<Line> line_;  // where it waits to lead
  io::Clock::TimerId timer_ = 0;
};

}  // namespace conclave::sim
