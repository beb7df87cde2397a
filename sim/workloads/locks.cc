// Locks and an election that clients contend for, with leases that they keep alive, or not any more
// while they believe to hold something. Some wait as long as it takes, some give up soon, some ask
// another member again with the same lease. Judged while it goes on, by the history of the keys
// (sim/workloads/lock_judge.h, election_observer.h).
//
// When the storm is over, all of them stand in one queue, for a lock and then to lead. Everybody
// who is not to give up must have its turn, soon after it has come; who gives up leaves no key,
// though its lease lives on; everybody who observes hears of each leader; and in the end no key is
// left.

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/check.h"
#include "etcd.pb.h"
#include "sim/finding.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/election_observer.h"
#include "sim/workloads/kinds.h"
#include "sim/workloads/lock_judge.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kLocks = 2;
constexpr std::uint64_t kLongestTtl = 5;  // seconds
constexpr std::int64_t kLastTtl = 10;     // of the queue at the end
constexpr Duration kAsLongAsItTakes = seconds(60);
// After the storm: until it is expected that nobody has to wait for what broke.
constexpr Duration kSettles = seconds(8);
// From then on: until who is first knows, who observes has heard, and the key of who gave up is
// gone.
constexpr Duration kSoon = seconds(10);
constexpr Duration kLooks = milliseconds(100);
constexpr std::string_view kLockLost = "mutex: session is expired";
constexpr std::string_view kNotLeader = "election: not leader";
constexpr std::string_view kNoLeader = "election: no leader";
constexpr std::string_view kNoLease = "etcdserver: requested lease not found";

template <class... Values>
Finding wrong(fmt::format_string<Values...> format, Values&&... values) {
  return {"locks", fmt::format(format, std::forward<Values>(values)...), {}};
}

struct Shared {
  explicit Shared(const WorkloadPlan& plan)
      : prefix(fmt::format("{}{}/", kLockPrefix, plan.seed)) {}

  std::string lock(std::size_t number) const { return fmt::format("{}lock{}", prefix, number); }
  std::string data(const std::string& lock) const { return lock + "-data"; }
  std::string election() const { return prefix + "election"; }

  std::string prefix;
  std::int64_t leases = 0;  // ids given so far
  std::vector<ElectionObserver*> observers;
};

// A lease, and who keeps it alive, over a connection of its own.
class KeptLease {
 public:
  KeptLease(Site& site, std::uint64_t seed, std::size_t number)
      : clock_(site.clock),
        client_({.seed = seed, .members = &site.members, .timeout = seconds(1)}, site.clock,
                site.fabric.host(fmt::format("kk{}", number))) {}
  ~KeptLease() { clock_.cancel(timer_); }
  KeptLease(const KeptLease&) = delete;
  KeptLease& operator=(const KeptLease&) = delete;

  void keep(std::int64_t id, std::int64_t ttl_s) {
    id_ = id;
    ttl_s_ = ttl_s;
    is_kept_ = true;
    clock_.cancel(timer_);
    wait();
  }
  // It ends by itself.
  void neglect() { is_kept_ = false; }
  void forget() {
    neglect();
    id_ = 0;
  }

  std::int64_t id() const { return id_; }  // 0: none
  Duration ttl() const { return seconds(ttl_s_); }

 private:
  void wait() {
    timer_ = clock_.after(milliseconds(ttl_s_ * 1'000 / 3), [this] {
      if (!is_kept_) return;
      if (client_.busy()) return wait();
      etcdserverpb::LeaseKeepAliveRequest request;
      request.set_id(id_);
      client_.call("Lease/LeaseKeepAlive", request, [](const EtcdClient::Reply&) {});
      wait();
    });
  }

  Clock& clock_;
  EtcdClient client_;
  std::int64_t id_ = 0;
  std::int64_t ttl_s_ = 0;
  bool is_kept_ = false;
  io::Clock::TimerId timer_ = 0;
};

class LockClient {
 public:
  LockClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : site_(site),
        caller_(site, plan, "k", number),
        lease_(site, plan.seed * 1'000 + number, number),
        judge_(*site.lock_keys),
        shared_(shared) {
    if (!caller_.rng().one_in(2)) return;
    observer_ = std::make_unique<ElectionObserver>(site, shared.election(),
                                                   plan.seed * 2'000 + number, number);
    shared.observers.push_back(observer_.get());
  }
  ~LockClient() { site_.clock.cancel(timer_); }
  LockClient(const LockClient&) = delete;
  LockClient& operator=(const LockClient&) = delete;

  Caller& caller() { return caller_; }
  std::uint64_t heard() const { return observer_ ? observer_->heard() : 0; }

  void act() {
    if (is_over()) {
      lease_.forget();
      caller_.stop();
      return caller_.next();
    }
    Rng& rng = caller_.rng();
    if (observer_ && (acts_++ == 0 || rng.one_in(24))) observer_->open();
    if (held_) return act_as_holder();
    if (lease_.id() == 0)
      return grant(seconds(1 + static_cast<std::int64_t>(rng.below(kLongestTtl))));
    const std::uint64_t dice = rng.below(16);
    if (dice < 9) return lock(shared_.lock(rng.below(kLocks)));
    if (dice < 13) return campaign();
    if (dice < 15) return ask_leader();
    lease_.forget();
    caller_.next();
  }

  // --- the queue at the end ---

  void stand_in_line(std::function<void()> finished) {
    finished_ = std::move(finished);
    held_.reset();
    lease_.forget();
    gives_up_ = caller_.rng().one_in(3);
    begin_again();
  }

  // Whose turn has come must know it soon.
  void check_turn() const {
    if (!line_) return;
    const std::string key = LockJudge::key_of(line_->name, lease_.id());
    for (const KeyLife& life : judge_.history().lives(line_->name)) {
      if (life.key != key || !life.is_alive()) continue;
      const auto reign = judge_.history().reign_of(line_->name, life);
      if (!reign) return;
      const Instant since = std::max(reign->since, line_->since);
      if (site_.clock.now() - since > kSoon)
        throw wrong("{} is the first of {} since {:.3f} s and waits still", key, line_->name,
                    (site_.clock.now() - since).seconds());
    }
  }

  void trust_observer() {
    if (observer_) observer_->trust();
  }
  void close_observer() {
    if (observer_) observer_->close();
  }

 private:
  // What the client believes to hold.
  struct Held {
    std::string name;
    std::string key;
    std::int64_t token = 0;  // 0: it has not looked yet
    bool leads = false;
  };
  struct Line {
    std::string name;
    Instant since;
  };

  // From now on it leaves the others alone, until all stand in line.
  bool is_over() const {
    return site_.healed_at && site_.clock.now() - *site_.healed_at > seconds(2);
  }

  std::int64_t asked() const { return judge_.history().newest(); }

  void impatient() {
    Rng& rng = caller_.rng();
    caller_.set_patience(milliseconds(static_cast<std::int64_t>(rng.between(50, 2'000))),
                         rng.one_in(2));
  }
  void patient() { caller_.set_patience(seconds(10), false); }
  void very_patient() { caller_.set_patience(kAsLongAsItTakes, false); }

  void grant(Duration ttl) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(ttl.ns / 1'000'000'000);
    request.set_id(++shared_.leases);
    CHECK(request.id() <= kOtherLeases);
    caller_.call("Lease/LeaseGrant", request, [this](const EtcdClient::Reply& reply) {
      if (reply.answered()) {
        const auto response = reply.as<etcdserverpb::LeaseGrantResponse>();
        lease_.keep(response.id(), response.ttl());
      }
      caller_.next();
    });
  }

  // Its place in the line is still there, or comes to nothing: it asks again, or does not.
  template <class Again>
  void not_answered(const EtcdClient::Reply& reply, std::string_view lost, const std::string& name,
                    std::int64_t asked, Again again) {
    if (reply.error == lost) judge_.lost(name, lease_.id(), asked);
    if (reply.error == kNoLease) lease_.forget();
    if (reply.unknown() && lease_.id() != 0 && !is_over() && caller_.rng().one_in(2)) {
      caller_.hop();
      return again();
    }
    if (caller_.rng().one_in(2)) lease_.forget();
    caller_.next();
  }

  EtcdClient::Metadata own_timeout() {
    if (!caller_.rng().one_in(8)) return {};
    return {{"grpc-timeout", fmt::format("{}m", caller_.rng().between(1, 3'000))}};
  }

  // --- as one of many ---

  void lock(const std::string& name) {
    if (caller_.rng().one_in(3)) impatient();
    v3lockpb::LockRequest request;
    request.set_name(name);
    request.set_lease(lease_.id());
    caller_.call(
        "v3lockpb.Lock/Lock", request,
        [this, name, asked = asked()](const EtcdClient::Reply& reply) {
          patient();
          if (!reply.answered())
            return not_answered(reply, kLockLost, name, asked, [this, name] { lock(name); });
          const auto response = reply.as<v3lockpb::LockResponse>();
          judge_.locked(name, lease_.id(), asked, response);
          held_ = {.name = name, .key = response.key(), .token = 0, .leads = false};
          caller_.next();
        },
        own_timeout());
  }

  void campaign() {
    if (caller_.rng().one_in(3)) impatient();
    v3electionpb::CampaignRequest request;
    request.set_name(shared_.election());
    request.set_lease(lease_.id());
    request.set_value(fmt::format("{}", caller_.rng().below(1'000)));
    caller_.call(
        "v3electionpb.Election/Campaign", request,
        [this, value = request.value(), asked = asked()](const EtcdClient::Reply& reply) {
          patient();
          if (!reply.answered())
            return not_answered(reply, kNotLeader, shared_.election(), asked,
                                [this] { campaign(); });
          const auto response = reply.as<v3electionpb::CampaignResponse>();
          judge_.elected(shared_.election(), lease_.id(), asked, value, response);
          held_ = {.name = shared_.election(),
                   .key = response.leader().key(),
                   .token = response.leader().rev(),
                   .leads = true};
          caller_.next();
        },
        own_timeout());
  }

  void ask_leader() {
    v3electionpb::LeaderRequest request;
    request.set_name(shared_.election());
    caller_.call("v3electionpb.Election/Leader", request,
                 [this, asked = asked()](const EtcdClient::Reply& reply) {
                   if (reply.answered())
                     judge_.led_by(shared_.election(), asked,
                                   reply.as<v3electionpb::LeaderResponse>());
                   if (reply.error == kNoLeader) judge_.led_by_nobody(shared_.election(), asked);
                   caller_.next();
                 });
  }

  // --- as one who believes to hold a lock, or to lead ---

  void act_as_holder() {
    if (held_->token == 0) return look_for_token();
    const std::uint64_t dice = caller_.rng().below(16);
    if (dice < 6) return held_->leads ? proclaim("says " + std::to_string(dice)) : write_guarded();
    if (dice < 7) return doze();
    if (dice < 15) return release();
    held_.reset();
    lease_.forget();
    caller_.next();
  }

  void look_for_token() {
    etcdserverpb::RangeRequest request;
    request.set_key(held_->key);
    caller_.call("KV/Range", request, [this](const EtcdClient::Reply& reply) {
      if (reply.answered()) {
        const auto response = reply.as<etcdserverpb::RangeResponse>();
        if (response.kvs_size() == 0) {
          held_.reset();
        } else {
          held_->token = response.kvs(0).create_revision();
        }
      }
      caller_.next();
    });
  }

  // Takes effect only for the holder; afterwards it may believe so still.
  void write_guarded() {
    etcdserverpb::TxnRequest request;
    etcdserverpb::Compare& compare = *request.add_compare();
    compare.set_target(etcdserverpb::Compare::CREATE);
    compare.set_result(etcdserverpb::Compare::EQUAL);
    compare.set_key(held_->key);
    compare.set_create_revision(held_->token);
    etcdserverpb::PutRequest& put = *request.add_success()->mutable_request_put();
    put.set_key(shared_.data(held_->name));
    put.set_value(std::to_string(held_->token));
    caller_.call("KV/Txn", request, [this](const EtcdClient::Reply& reply) {
      if (reply.answered()) {
        const auto response = reply.as<etcdserverpb::TxnResponse>();
        judge_.guarded(held_->name, held_->key, held_->token, response.succeeded(),
                       response.header().revision());
        if (!response.succeeded()) held_.reset();
      }
      caller_.next();
    });
  }

  v3electionpb::LeaderKey leader_key() const {
    v3electionpb::LeaderKey leader;
    leader.set_name(held_->name);
    leader.set_key(held_->key);
    leader.set_rev(held_->token);
    leader.set_lease(lease_.id());
    return leader;
  }

  void proclaim(const std::string& value) {
    v3electionpb::ProclaimRequest request;
    *request.mutable_leader() = leader_key();
    request.set_value(value);
    caller_.call(
        "v3electionpb.Election/Proclaim", request, [this, request](const EtcdClient::Reply& reply) {
          if (reply.answered())
            judge_.proclaimed(held_->name, request.leader(), request.value(),
                              reply.as<v3electionpb::ProclaimResponse>().header().revision());
          if (reply.error == kNotLeader) {
            judge_.gone(held_->name, held_->key, held_->token);
            held_.reset();
          }
          caller_.next();
        });
  }

  // Its lease ends while it is away, and it does not know.
  void doze() {
    lease_.neglect();
    const auto sleep = static_cast<std::int64_t>(
        caller_.rng().below(2 * static_cast<std::uint64_t>(lease_.ttl().ms())));
    timer_ = site_.clock.after(milliseconds(sleep), [this] { caller_.next(); });
  }

  void release() {
    const auto released = [this](const EtcdClient::Reply& reply, std::int64_t revision) {
      if (reply.answered()) judge_.gone_at(held_->name, held_->key, held_->token, revision);
      if (!reply.refused()) held_.reset();
      caller_.next();
    };
    give_back([released](const EtcdClient::Reply& reply, std::int64_t revision) {
      released(reply, revision);
    });
  }

  // By Unlock or Resign; `done` is told the revision.
  void give_back(std::function<void(const EtcdClient::Reply&, std::int64_t)> done) {
    if (held_->leads) {
      v3electionpb::ResignRequest request;
      *request.mutable_leader() = leader_key();
      return caller_.call("v3electionpb.Election/Resign", request,
                          [done = std::move(done)](const EtcdClient::Reply& reply) {
                            const auto response = reply.as<v3electionpb::ResignResponse>();
                            done(reply, response.header().revision());
                          });
    }
    v3lockpb::UnlockRequest request;
    request.set_key(held_->key);
    caller_.call("v3lockpb.Lock/Unlock", request,
                 [done = std::move(done)](const EtcdClient::Reply& reply) {
                   const auto response = reply.as<v3lockpb::UnlockResponse>();
                   done(reply, response.header().revision());
                 });
  }

  // --- in the queue at the end ---

  void later(std::function<void()> what) { timer_ = site_.clock.after(kLooks, std::move(what)); }

  // With a lease that outlives the queue.
  void begin_again() {
    line_.reset();
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(kLastTtl);
    request.set_id(++shared_.leases);
    patient();
    caller_.call("Lease/LeaseGrant", request, [this](const EtcdClient::Reply& reply) {
      if (!reply.answered()) return later([this] { begin_again(); });
      lease_.keep(reply.as<etcdserverpb::LeaseGrantResponse>().id(), kLastTtl);
      stand_for_lock();
    });
  }

  void stand_for_lock() {
    if (has_had_lock_) return stand_for_election();
    v3lockpb::LockRequest request;
    request.set_name(shared_.lock(0));
    request.set_lease(lease_.id());
    line_ = {request.name(), site_.clock.now()};
    if (gives_up_) {
      impatient();
    } else {
      very_patient();
    }
    caller_.call("v3lockpb.Lock/Lock", request,
                 [this, request, asked = asked()](const EtcdClient::Reply& reply) {
                   patient();
                   line_.reset();
                   if (!reply.answered())
                     return stand_again(reply, kLockLost, request.name(), asked);
                   const auto response = reply.as<v3lockpb::LockResponse>();
                   const KeyLife& own = judge_.locked(request.name(), lease_.id(), asked, response);
                   held_ = {request.name(), response.key(), own.created, false};
                   timer_ = site_.clock.after(
                       milliseconds(static_cast<std::int64_t>(caller_.rng().below(300))),
                       [this] { leave_lock(); });
                 });
  }

  void stand_again(const EtcdClient::Reply& reply, std::string_view lost, const std::string& name,
                   std::int64_t asked) {
    if (reply.error == lost) judge_.lost(name, lease_.id(), asked);
    if (reply.error == kNoLease) return later([this] { begin_again(); });
    if (gives_up_ && reply.unknown()) {
      gave_up_at_ = site_.clock.now();
      return look_for_own_key();
    }
    later([this] { stand_for_lock(); });
  }

  // It gave up, and its lease lives on. If its member was removed at that moment, nobody was left
  // to delete the key: then it stays, and another try ends that.
  void look_for_own_key() {
    const std::string key = LockJudge::key_of(shared_.lock(0), lease_.id());
    const auto& lives = judge_.history().lives(shared_.lock(0));
    const bool is_there = std::ranges::any_of(
        lives, [&key](const KeyLife& life) { return life.key == key && life.is_alive(); });
    if (!is_there) {
      has_had_lock_ = true;
      return stand_for_election();
    }
    if (site_.clock.now() - gave_up_at_ < kSoon) return later([this] { look_for_own_key(); });
    if (std::exchange(has_tried_again_, true))
      throw wrong("{} is there, though who waited with it went away", key);
    stand_for_lock();
  }

  void leave_lock() {
    give_back([this](const EtcdClient::Reply& reply, std::int64_t revision) {
      if (!reply.answered()) return later([this] { leave_lock(); });
      judge_.gone_at(held_->name, held_->key, held_->token, revision);
      held_.reset();
      has_had_lock_ = true;
      stand_for_election();
    });
  }

  void stand_for_election() {
    v3electionpb::CampaignRequest request;
    request.set_name(shared_.election());
    request.set_lease(lease_.id());
    request.set_value("the last");
    line_ = {request.name(), site_.clock.now()};
    very_patient();
    gives_up_ = false;
    caller_.call("v3electionpb.Election/Campaign", request,
                 [this, request, asked = asked()](const EtcdClient::Reply& reply) {
                   patient();
                   line_.reset();
                   if (!reply.answered())
                     return stand_again(reply, kNotLeader, request.name(), asked);
                   const auto response = reply.as<v3electionpb::CampaignResponse>();
                   judge_.elected(request.name(), lease_.id(), asked, request.value(), response);
                   held_ = {request.name(), response.leader().key(), response.leader().rev(), true};
                   wait_for_observers(response.leader().rev(), site_.clock.now());
                 });
  }

  // Whoever leads goes on when all that observe have heard so.
  void wait_for_observers(std::int64_t revision, Instant since) {
    const auto deaf = std::ranges::find_if(
        shared_.observers, [revision](const auto* o) { return !o->has_heard_of(revision); });
    if (deaf == shared_.observers.end()) {
      if (revision != held_->token) return leave_office();
      return proclaim_last();
    }
    if (site_.clock.now() - since > kSoon)
      throw wrong("{} has not heard for {:.3f} s what {} is since revision {}", (*deaf)->name(),
                  (site_.clock.now() - since).seconds(), held_->key, revision);
    later([this, revision, since] { wait_for_observers(revision, since); });
  }

  void proclaim_last() {
    v3electionpb::ProclaimRequest request;
    *request.mutable_leader() = leader_key();
    request.set_value("the very last");
    caller_.call("v3electionpb.Election/Proclaim", request,
                 [this, request](const EtcdClient::Reply& reply) {
                   if (!reply.answered()) return later([this] { proclaim_last(); });
                   const std::int64_t revision =
                       reply.as<v3electionpb::ProclaimResponse>().header().revision();
                   judge_.proclaimed(held_->name, request.leader(), request.value(), revision);
                   wait_for_observers(revision, site_.clock.now());
                 });
  }

  void leave_office() {
    give_back([this](const EtcdClient::Reply& reply, std::int64_t revision) {
      if (!reply.answered()) return later([this] { leave_office(); });
      judge_.gone_at(held_->name, held_->key, held_->token, revision);
      held_.reset();
      lease_.forget();
      finished_();
    });
  }

  Site& site_;
  Caller caller_;
  KeptLease lease_;
  LockJudge judge_;
  Shared& shared_;
  std::unique_ptr<ElectionObserver> observer_;
  std::uint64_t acts_ = 0;
  std::optional<Held> held_;
  io::Clock::TimerId timer_ = 0;

  // In the queue at the end.
  std::function<void()> finished_;
  std::optional<Line> line_;  // it waits
  bool gives_up_ = false;
  bool has_had_lock_ = false;  // or has given up
  bool has_tried_again_ = false;
  Instant gave_up_at_;
};

class Locks final : public Crowd<LockClient, Shared> {
 public:
  Locks(Site& site, const WorkloadPlan& plan)
      : Crowd(site, plan), site_(site), judge_(*site.lock_keys) {}
  ~Locks() override { site_.clock.cancel(timer_); }

  std::uint64_t answered() const override {
    std::uint64_t sum = Crowd::answered();
    for (const auto& client : clients()) sum += client->heard();
    return sum;
  }

  std::optional<Finding> judge() const override {
    try {
      for (std::size_t i = 0; i < kLocks; ++i) {
        const std::string data = shared().data(shared().lock(i));
        judge_.tokens_rise(data.substr(0, data.rfind('/')), data);
      }
    } catch (Finding& finding) {
      return std::move(finding);
    }
    return std::nullopt;
  }

 private:
  void last_look(Caller&) override { wait_until_settled(); }

  void wait_until_settled() {
    const Instant now = site_.clock.now();
    if (site_.healed_at && now - *site_.healed_at > kSettles) return begin_queue();
    timer_ = site_.clock.after(kLooks, [this] { wait_until_settled(); });
  }

  void begin_queue() {
    left_ = clients().size();
    for (const auto& client : clients()) {
      client->trust_observer();
      client->stand_in_line([this] { --left_; });
    }
    attend();
  }

  void attend() {
    for (const auto& client : clients()) client->check_turn();
    if (left_ == 0) return clear_up(site_.clock.now());
    timer_ = site_.clock.after(kLooks, [this] { attend(); });
  }

  // With the last leases the last keys go.
  void clear_up(Instant since) {
    const std::string* left = nullptr;
    for (const std::string& name : names()) {
      const KeyLife* holder = judge_.history().holder_at(name, judge_.history().newest());
      if (holder != nullptr) left = &holder->key;
    }
    if (left == nullptr) {
      for (const auto& client : clients()) client->close_observer();
      return over();
    }
    if (site_.clock.now() - since > seconds(kLastTtl) + kSoon)
      throw wrong("{} is left, though nobody keeps its lease alive", *left);
    timer_ = site_.clock.after(kLooks, [this, since] { clear_up(since); });
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names{shared().election()};
    for (std::size_t i = 0; i < kLocks; ++i) names.push_back(shared().lock(i));
    return names;
  }

  Site& site_;
  LockJudge judge_;
  io::Clock::TimerId timer_ = 0;
  std::size_t left_ = 0;
};

}  // namespace

std::unique_ptr<Workload> make_locks(Site& site, const WorkloadPlan& plan) {
  CHECK(site.lock_keys != nullptr, "somebody must look at the keys of locks");
  return std::make_unique<Locks>(site, plan);
}

}  // namespace conclave::sim
