#pragma once
// Clients that contend for locks: when they are through and the storm is over, all of them queue
// once more, and in the end no key is left.

#include <cstddef>
#include <functional>
#include <string>

#include "sim/finding.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/lock_turn.h"

namespace conclave::sim {

// After the storm: until clients leave each other alone, and until it is expected that nobody has
// to wait for what broke.
inline constexpr Duration kGoesOn = seconds(2);
inline constexpr Duration kSettles = seconds(8);

template <class Client, class Shared>
class QueueingCrowd : public Crowd<Client, Shared> {
 public:
  QueueingCrowd(Site& site, const WorkloadPlan& plan)
      : Crowd<Client, Shared>(site, plan), site_(site) {}
  ~QueueingCrowd() override { site_.clock.cancel(timer_); }

 protected:
  // From now on it queues once more; `finished` comes when it has had its turns.
  virtual void begin_turns(Client& client, std::function<void()> finished) = 0;
  // Throws a Finding if it waits for too long.
  virtual void check_turns(const Client& client) const = 0;
  // Keys that go with a lease and are there; empty: none.
  virtual std::string keys_left() const = 0;
  // Nobody asks anything any more.
  virtual void close(Client&) {}
  virtual std::string check_name() const = 0;

 private:
  static constexpr Duration kLooks = milliseconds(100);

  void last_look(Caller&) final { wait_until_settled(); }

  template <class What>
  void soon(What what) {
    timer_ = site_.clock.after(kLooks, what);
  }

  void wait_until_settled() {
    const bool is_settled = site_.healed_at && site_.clock.now() - *site_.healed_at > kSettles;
    is_settled ? begin_queue() : soon([this] { wait_until_settled(); });
  }

  void begin_queue() {
    left_ = this->clients().size();
    for (const auto& client : this->clients()) begin_turns(*client, [this] { --left_; });
    attend();
  }

  void attend() {
    for (const auto& client : this->clients()) check_turns(*client);
    left_ == 0 ? clear_up(site_.clock.now()) : soon([this] { attend(); });
  }

  // With the last leases the last keys go.
  void clear_up(Instant since) {
    const std::string left = keys_left();
    if (!left.empty()) {
      if (site_.clock.now() - since > seconds(kQueueTtl) + kSoon)
        found(check_name(), left + "left, though nobody keeps a lease alive");
      return soon([this, since] { clear_up(since); });
    }
    for (const auto& client : this->clients()) close(*client);
    this->over();
  }

  Site& site_;
  io::Clock::TimerId timer_ = 0;
  std::size_t left_ = 0;
};

}  // namespace conclave::sim
