// Locks of conclave.v1, barriers, and writes with fences. Clients want a lock alone or share it,
// with an etcd client among them now and then, or a semaphore's permits; take what they hold again,
// only try, or look where they are in the queue; give up, ask elsewhere, stay away for longer than
// their leases last; and write with the tokens that they have, had, or wait with. Some enter a
// barrier together. Judged while it goes on, by the history of the keys (native_judge.h); after the
// storm all of them queue once more (native_turn.h), in the end no key is left, and everything that
// became of the keys has a reason.

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "base/check.h"
#include "sim/finding.h"
#include "sim/workloads/kinds.h"
#include "sim/workloads/native_caller.h"
#include "sim/workloads/native_turn.h"
#include "sim/workloads/queueing_crowd.h"

namespace conclave::sim {
namespace {

using Acquire = NativeCaller::Acquire;

constexpr std::uint64_t kLongestTtl = 3;  // seconds

struct Shared {
  explicit Shared(const WorkloadPlan& plan)
      : prefix(fmt::format("{}{}", kLockPrefix, plan.seed)),
        permits(static_cast<std::uint32_t>(1 + plan.seed % 3)),
        barrier_count(static_cast<std::uint32_t>(std::min<std::size_t>(plan.clients, 2))),
        all(static_cast<std::uint32_t>(plan.clients)) {
    records.about = plan.seed;
  }

  std::string lock() const { return prefix + "/lock"; }
  std::string semaphore() const { return prefix + "/semaphore"; }
  std::string barrier() const { return prefix + "/barrier"; }
  std::string last_barrier() const { return prefix + "/last-barrier"; }
  // Written by who holds the lock.
  static std::string data(const std::string& lock) { return lock + "-data"; }

  std::string prefix;
  std::uint32_t permits;
  std::uint32_t barrier_count;
  std::uint32_t all;
  std::int64_t leases = kOtherLeases / 2;  // ids given so far; the workload `locks` begins at 1
  NativeRecords records;
};

class NativeClient {
 public:
  NativeClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : site_(site),
        locks_(site, plan, number, shared.leases, shared.records),
        shared_(shared),
        turn_(site, locks_) {}
  ~NativeClient() { site_.clock.cancel(doze_); }
  NativeClient(const NativeClient&) = delete;
  NativeClient& operator=(const NativeClient&) = delete;

  Caller& caller() { return locks_.caller(); }
  const NativeTurn& turn() const { return turn_; }

  void begin_turns(std::function<void()> finished) {
    turn_.begin({lock(), semaphore(), shared_.last_barrier(), shared_.all}, std::move(finished));
  }

  void act() {
    caller().set_patience(seconds(10), false);
    if (is_over()) {
      forget_lease();
      caller().stop();
      return caller().next();
    }
    if (locks_.held()) return locks_.holds() ? act_as_holder() : act_in_queue();
    if (is_inside_) return act_inside();
    if (locks_.lease().id() == 0) return grant();
    const std::uint64_t dice = rng().below(32);
    if (dice < 18) return contend();
    if (dice < 24) return enter();
    if (dice < 31 && locks_.former()) return speak(*locks_.former());
    forget_lease();
    caller().next();
  }

 private:
  Rng& rng() { return locks_.caller().rng(); }
  bool is_over() const { return site_.healed_at && site_.clock.now() - *site_.healed_at > kGoesOn; }
  // What it ends in.
  NativeCaller::Done goes_on() {
    return [this](const EtcdClient::Reply&) { caller().next(); };
  }

  void grant() {
    is_etcds_ = rng().one_in(6);
    locks_.grant(static_cast<std::int64_t>(rng().between(1, kLongestTtl)), goes_on());
  }
  void forget_lease() {
    locks_.drop();
    locks_.lease().forget();
    is_inside_ = false;
  }

  // --- as one of many ---

  Acquire lock() {
    Acquire wanted;
    wanted.set_name(shared_.lock());
    wanted.set_mode(rng().one_in(3) ? Acquire::EXCLUSIVE : Acquire::SHARED);
    if (rng().one_in(4)) wanted.set_owner("one");
    return wanted;
  }
  Acquire semaphore() {
    Acquire wanted;
    wanted.set_name(shared_.semaphore());
    wanted.set_mode(Acquire::SEMAPHORE);
    wanted.set_permits(shared_.permits);
    return wanted;
  }

  void draw_patience() {
    if (!rng().one_in(3)) return caller().set_patience(seconds(10), false);
    const auto patience = milliseconds(static_cast<std::int64_t>(rng().between(50, 2'000)));
    caller().set_patience(patience, rng().one_in(2));
  }
  EtcdClient::Metadata draw_timeout() {
    if (!rng().one_in(8)) return {};
    return {{"grpc-timeout", fmt::format("{}m", rng().between(1, 3'000))}};
  }

  void contend() {
    if (is_etcds_) return wait_as_etcd();
    Acquire wanted = rng().one_in(2) ? lock() : semaphore();
    if (wanted.mode() == Acquire::SEMAPHORE && rng().one_in(8)) {
      wanted.set_mode(rng().one_in(2) ? Acquire::EXCLUSIVE : Acquire::SEMAPHORE);
      wanted.set_permits(wanted.mode() == Acquire::SEMAPHORE ? shared_.permits + 1 : 0);
    }
    locks_.want(std::move(wanted));
    const std::uint64_t dice = rng().below(8);
    if (dice < 4) return wait();
    locks_.acquire(dice < 6 ? Acquire::NOT_AT_ALL : Acquire::IN_QUEUE, goes_on());
  }

  void wait() {
    draw_patience();
    locks_.acquire(
        Acquire::UNTIL_HELD,
        [this](const EtcdClient::Reply& reply) { had_turn(reply, [this] { wait(); }); },
        draw_timeout());
  }
  void wait_as_etcd() {
    draw_patience();
    locks_.lock_as_etcd(shared_.lock(), [this](const EtcdClient::Reply& reply) {
      had_turn(reply, [this] { wait_as_etcd(); });
    });
  }
  // More gladly where somebody waits.
  void enter() {
    const NativeJudge& judge = locks_.judge();
    const bool has_others = judge.present_at(shared_.barrier(), judge.history().newest()) > 0;
    if (!has_others && !rng().one_in(3)) return caller().next();
    draw_patience();
    locks_.enter(
        shared_.barrier(), shared_.barrier_count,
        [this](const EtcdClient::Reply& reply) {
          is_inside_ = reply.answered();
          had_turn(reply, [this] { enter(); });
        },
        draw_timeout());
  }

  // Its place in the line is still there, or comes to nothing: it asks again, or does not.
  template <class Again>
  void had_turn(const EtcdClient::Reply& reply, Again again) {
    if (reply.answered()) return caller().next();
    const bool has_lease = locks_.lease().id() != 0;
    if (reply.unknown() && has_lease && !is_over() && rng().one_in(2)) {
      caller().hop();
      return again();
    }
    if (rng().one_in(2)) forget_lease();
    caller().next();
  }

  // --- as one who believes to hold a lock, or has a place ---

  void act_as_holder() {
    const std::uint64_t dice = rng().below(32);
    if (dice < 12) return speak(locks_.fence());
    if (dice < 16 && !is_etcds_) return wait();  // once more
    if (dice < 30) return locks_.release(rng().one_in(3), goes_on());
    if (dice < 31) return doze();
    forget_lease();
    caller().next();
  }

  void act_in_queue() {
    const std::uint64_t dice = rng().below(32);
    if (dice < 12) return locks_.acquire(Acquire::IN_QUEUE, goes_on());
    if (dice < 16) return locks_.acquire(Acquire::NOT_AT_ALL, goes_on());
    if (dice < 20) return wait();
    if (dice < 24) return speak(locks_.fence());
    if (dice < 25) return doze();
    locks_.release(rng().one_in(2), goes_on());
  }

  // As the one who holds it, or did, or will.
  void speak(const Fenced& fence) {
    const std::uint64_t dice = rng().below(8);
    if (dice < 2) return locks_.validate(fence, goes_on());
    const auto how = dice < 5   ? NativeCaller::Write::kPut
                     : dice < 7 ? NativeCaller::Write::kTxn
                                : NativeCaller::Write::kDelete;
    locks_.write(how, Shared::data(fence.name), fence, goes_on());
  }

  void act_inside() {
    const std::uint64_t dice = rng().below(16);
    if (dice == 0) return doze();
    if (dice == 1) {
      forget_lease();
      return caller().next();
    }
    draw_patience();
    is_inside_ = false;
    locks_.leave(shared_.barrier(), dice < 5, goes_on());
  }

  // Its lease may end while it is away, and it does not know.
  void doze() {
    locks_.lease().neglect();
    const auto most_ms = static_cast<std::uint64_t>(2 * locks_.lease().ttl().ms());
    doze_ = site_.clock.after(milliseconds(static_cast<std::int64_t>(rng().below(most_ms))),
                              [this] { caller().next(); });
  }

  Site& site_;
  NativeCaller locks_;
  Shared& shared_;
  NativeTurn turn_;
  bool is_etcds_ = false;  // its lease is for etcd's Lock
  bool is_inside_ = false;
  io::Clock::TimerId doze_ = 0;
};

class Native final : public QueueingCrowd<NativeClient, Shared> {
 public:
  Native(Site& site, const WorkloadPlan& plan)
      : QueueingCrowd(site, plan), judge_(*site.lock_keys, shared().records) {}

  std::optional<Finding> judge() const override {
    try {
      for (const std::string& lock : {shared().lock(), shared().semaphore()}) {
        judge_.places_have_reasons(lock);
        judge_.writes_were_fenced(shared().prefix, Shared::data(lock));
      }
      judge_.doors_were_opened(shared().barrier(), shared().barrier_count);
      judge_.doors_were_opened(shared().last_barrier(), shared().all);
    } catch (Finding& finding) {
      return std::move(finding);
    }
    return std::nullopt;
  }

 private:
  void begin_turns(NativeClient& client, std::function<void()> finished) override {
    client.begin_turns(std::move(finished));
  }
  void check_turns(const NativeClient& client) const override { client.turn().check_turn(); }
  std::string check_name() const override { return "native"; }

  // A door stays open where all behind it have lost their leases.
  std::string keys_left() const override {
    std::string left;
    const std::int64_t newest = judge_.history().newest();
    for (const std::string& name :
         {shared().lock(), shared().semaphore(), shared().barrier(), shared().last_barrier()}) {
      const std::size_t there = judge_.present_at(name, newest);
      if (there > 0) left += fmt::format("{} of {} are ", there, name);
    }
    return left;
  }

  NativeJudge judge_;
};

}  // namespace

std::unique_ptr<Workload> make_native(Site& site, const WorkloadPlan& plan) {
  CHECK(site.lock_keys != nullptr, "somebody must look at the keys of locks");
  return std::make_unique<Native>(site, plan);
}

}  // namespace conclave::sim
