#pragma once
// When the storm is over, each client of locks stands in line once more, for a lock and then to
// lead. Judged: everybody who is not to give up has its turn, soon after it has come; who gives up
// leaves no key, though its lease lives on; and everybody who observes hears of each leader and of
// what it proclaims.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/workloads/election_observer.h"
#include "sim/workloads/lock_caller.h"

namespace conclave::sim {

// Of the line: until who is first knows, who observes has heard, and the key of who gave up is
// gone.
inline constexpr Duration kSoon = seconds(10);
inline constexpr std::int64_t kQueueTtl = 10;  // of leases, seconds

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
  struct Line {
    std::string name;
    Instant since;
  };

  void later(std::function<void()> what);
  void grant();
  void stand_for_lock();
  void leave_lock();
  void give_up();
  void look_for_own_key();
  void stand_for_election();
  void stand_again(const EtcdClient::Reply& reply);
  void wait_for_observers(std::int64_t revision, Instant since);
  void proclaim();
  void leave_office();

  Site& site_;
  LockCaller& caller_;
  const std::vector<ElectionObserver*>& observers_;
  std::string lock_;
  std::string election_;
  std::function<void()> finished_;
  std::optional<Line> line_;  // where it waits
  bool gives_up_ = false;
  bool is_through_lock_ = false;  // has had it, or has given up
  bool has_tried_again_ = false;
  Instant gave_up_at_;
  io::Clock::TimerId timer_ = 0;
};

}  // namespace conclave::sim
