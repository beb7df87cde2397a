// Locks and an election that clients contend for, with leases that they keep alive, or not any more
// while they believe to hold something. Some wait as long as it takes, some give up soon, some ask
// another member again with the same lease; some observe. Judged while it goes on, by the history
// of the keys (sim/workloads/lock_judge.h, election_observer.h); after the storm all of them queue
// once more (lock_queue.h), and in the end no key is left.

#include <fmt/core.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "sim/workloads/kinds.h"
#include "sim/workloads/lock_caller.h"
#include "sim/workloads/lock_queue.h"
#include "sim/workloads/queueing_crowd.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kLocks = 2;
constexpr std::uint64_t kLongestTtl = 5;  // seconds

struct Shared {
  explicit Shared(const WorkloadPlan& plan) : prefix(fmt::format("{}{}", kLockPrefix, plan.seed)) {}

  std::string lock(std::size_t number) const { return fmt::format("{}/lock{}", prefix, number); }
  // Written by who holds the lock.
  static std::string data(const std::string& lock) { return lock + "-data"; }
  std::string election() const { return prefix + "/election"; }

  std::string prefix;
  std::int64_t leases = 0;  // ids given so far
  std::vector<ElectionObserver*> observers;
};

class LockClient {
 public:
  LockClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : site_(site),
        locks_(site, plan, number, shared.leases),
        shared_(shared),
        queueing_(site, locks_, shared.observers) {
    if (!rng().one_in(2)) return;
    observer_ = std::make_unique<ElectionObserver>(site, shared.election(),
                                                   plan.seed * 2'000 + number, number);
    shared.observers.push_back(observer_.get());
  }
  ~LockClient() { site_.clock.cancel(doze_); }
  LockClient(const LockClient&) = delete;
  LockClient& operator=(const LockClient&) = delete;

  Caller& caller() { return locks_.caller(); }
  QueueingClient& queueing() { return queueing_; }
  const QueueingClient& queueing() const { return queueing_; }
  ElectionObserver* observer() { return observer_.get(); }
  std::uint64_t heard() const { return observer_ ? observer_->heard() : 0; }

  void act() {
    if (is_over()) {
      locks_.lease().forget();
      caller().stop();
      return caller().next();
    }
    if (observer_ && (!std::exchange(has_acted_, true) || rng().one_in(24))) observer_->open();
    if (locks_.held()) return act_as_holder();
    if (locks_.lease().id() == 0) {
      const auto ttl_s = static_cast<std::int64_t>(rng().between(1, kLongestTtl));
      return locks_.grant(ttl_s, [this](const auto&) { caller().next(); });
    }
    const std::uint64_t dice = rng().below(16);
    if (dice < 9) return lock(shared_.lock(rng().below(kLocks)));
    if (dice < 13) return campaign();
    if (dice < 15)
      return locks_.ask_leader(shared_.election(), [this](const auto&) { caller().next(); });
    locks_.lease().forget();
    caller().next();
  }

 private:
  Rng& rng() { return locks_.caller().rng(); }
  bool is_over() const { return site_.healed_at && site_.clock.now() - *site_.healed_at > kGoesOn; }

  // --- as one of many ---

  void draw_patience() {
    if (!rng().one_in(3)) return caller().set_patience(seconds(10), false);
    const auto patience = milliseconds(static_cast<std::int64_t>(rng().between(50, 2'000)));
    caller().set_patience(patience, rng().one_in(2));
  }
  EtcdClient::Metadata draw_timeout() {
    if (!rng().one_in(8)) return {};
    return {{"grpc-timeout", fmt::format("{}m", rng().between(1, 3'000))}};
  }

  void lock(const std::string& name) {
    draw_patience();
    locks_.lock(
        name,
        [this, name](const EtcdClient::Reply& reply) {
          had_turn(reply, [this, name] { lock(name); });
        },
        draw_timeout());
  }

  void campaign() {
    draw_patience();
    const std::string value = std::to_string(rng().below(1'000));
    locks_.campaign(
        shared_.election(), value,
        [this](const EtcdClient::Reply& reply) { had_turn(reply, [this] { campaign(); }); },
        draw_timeout());
  }

  // Its place in the line is still there, or comes to nothing: it asks again, or does not.
  template <class Again>
  void had_turn(const EtcdClient::Reply& reply, Again again) {
    caller().set_patience(seconds(10), false);
    if (reply.answered()) return caller().next();
    const bool has_lease = locks_.lease().id() != 0;
    if (reply.unknown() && has_lease && !is_over() && rng().one_in(2)) {
      caller().hop();
      return again();
    }
    if (rng().one_in(2)) locks_.lease().forget();
    caller().next();
  }

  // --- as one who believes to hold a lock, or to lead ---

  void act_as_holder() {
    const std::uint64_t dice = rng().below(16);
    if (dice < 6) return speak();
    if (dice < 7) return doze();
    if (dice < 15) return release();
    locks_.let_go();
    locks_.lease().forget();
    caller().next();
  }

  // As the one who holds it: later it may believe so still.
  void speak() {
    if (locks_.held()->leads) {
      const std::string value = std::to_string(rng().below(1'000));
      return locks_.proclaim(value, [this](const auto&, std::int64_t) { caller().next(); });
    }
    locks_.write_guarded(Shared::data(locks_.held()->name),
                         [this](const auto&) { caller().next(); });
  }

  // Its lease may end while it is away, and it does not know.
  void doze() {
    locks_.lease().neglect();
    const auto most_ms = static_cast<std::uint64_t>(2 * locks_.lease().ttl().ms());
    doze_ = site_.clock.after(milliseconds(static_cast<std::int64_t>(rng().below(most_ms))),
                              [this] { caller().next(); });
  }

  void release() {
    locks_.give_back([this](const EtcdClient::Reply& reply) {
      if (reply.unknown()) locks_.let_go();
      caller().next();
    });
  }

  Site& site_;
  LockCaller locks_;
  Shared& shared_;
  QueueingClient queueing_;
  std::unique_ptr<ElectionObserver> observer_;
  bool has_acted_ = false;
  io::Clock::TimerId doze_ = 0;
};

class Locks final : public QueueingCrowd<LockClient, Shared> {
 public:
  Locks(Site& site, const WorkloadPlan& plan)
      : QueueingCrowd(site, plan), judge_(*site.lock_keys) {}

  std::uint64_t answered() const override {
    std::uint64_t sum = Crowd::answered();
    for (const auto& client : clients()) sum += client->heard();
    return sum;
  }

  std::optional<Finding> judge() const override {
    try {
      for (std::size_t i = 0; i < kLocks; ++i) {
        judge_.tokens_rise(shared().prefix, Shared::data(shared().lock(i)));
      }
    } catch (Finding& finding) {
      return std::move(finding);
    }
    return std::nullopt;
  }

 private:
  void begin_turns(LockClient& client, std::function<void()> finished) override {
    if (client.observer() != nullptr) client.observer()->trust();
    client.queueing().begin(shared().lock(0), shared().election(), std::move(finished));
  }
  void check_turns(const LockClient& client) const override { client.queueing().check_turn(); }
  void close(LockClient& client) override {
    if (client.observer() != nullptr) client.observer()->close();
  }
  std::string check_name() const override { return "locks"; }

  std::string keys_left() const override {
    std::string left = key_left(shared().election());
    for (std::size_t i = 0; i < kLocks; ++i) left += key_left(shared().lock(i));
    return left;
  }
  std::string key_left(const std::string& name) const {
    const KeyHistory& history = judge_.history();
    const KeyLife* holder = history.holder_at(name, history.newest());
    return holder == nullptr ? std::string() : holder->key + " is ";
  }

  LockJudge judge_;
};

}  // namespace

std::unique_ptr<Workload> make_locks(Site& site, const WorkloadPlan& plan) {
  CHECK(site.lock_keys != nullptr, "somebody must look at the keys of locks");
  return std::make_unique<Locks>(site, plan);
}

}  // namespace conclave::sim
