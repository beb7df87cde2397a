#include "sim/workloads/lock_queue.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "sim/finding.h"

namespace conclave::sim {
namespace {

constexpr Duration kAsLongAsItTakes = seconds(60);
constexpr Duration kOneCall = seconds(10);
constexpr Duration kLooks = milliseconds(100);

template <class... Values>
Finding wrong(fmt::format_string<Values...> format, Values&&... values) {
  return {"locks", fmt::format(format, std::forward<Values>(values)...), {}};
}

}  // namespace

QueueingClient::QueueingClient(Site& site, LockCaller& caller,
                               const std::vector<ElectionObserver*>& observers)
    : site_(site), caller_(caller), observers_(observers) {}

void QueueingClient::begin(std::string lock, std::string election, std::function<void()> finished) {
  lock_ = std::move(lock);
  election_ = std::move(election);
  finished_ = std::move(finished);
  caller_.let_go();
  caller_.lease().forget();
  gives_up_ = caller_.caller().rng().one_in(3);
  grant();
}

void QueueingClient::check_turn() const {
  if (!line_) return;
  const KeyHistory& history = caller_.judge().history();
  const std::string key = LockJudge::key_of(line_->name, caller_.lease().id());
  for (const KeyLife& life : history.lives(line_->name)) {
    if (life.key != key || !life.is_alive()) continue;
    const auto reign = history.reign_of(line_->name, life);
    if (!reign) return;
    const Duration waits = site_.clock.now() - std::max(reign->since, line_->since);
    if (waits > kSoon)
      throw wrong("{} is the first of {} since {:.3f} s and waits still", key, line_->name,
                  waits.seconds());
  }
}

void QueueingClient::later(std::function<void()> what) {
  timer_ = site_.clock.after(kLooks, std::move(what));
}

void QueueingClient::grant() {
  caller_.caller().set_patience(kOneCall, false);
  caller_.grant(kQueueTtl, [this](const EtcdClient::Reply& reply) {
    if (!reply.answered()) return later([this] { grant(); });
    is_through_lock_ ? stand_for_election() : stand_for_lock();
  });
}

// It asked again, and comes back to where it was.
void QueueingClient::stand_again(const EtcdClient::Reply& reply) {
  if (reply.error == kNoLease) return later([this] { grant(); });
  later([this] { is_through_lock_ ? stand_for_election() : stand_for_lock(); });
}

// --- for a lock ---

void QueueingClient::stand_for_lock() {
  Rng& rng = caller_.caller().rng();
  line_ = {lock_, site_.clock.now()};
  if (gives_up_) {
    const auto patience = milliseconds(static_cast<std::int64_t>(rng.between(300, 2'000)));
    caller_.caller().set_patience(patience, rng.one_in(2));
  } else {
    caller_.caller().set_patience(kAsLongAsItTakes, false);
  }
  caller_.lock(lock_, [this](const EtcdClient::Reply& reply) {
    line_.reset();
    caller_.caller().set_patience(kOneCall, false);
    if (reply.unknown() && gives_up_) return give_up();
    if (!reply.answered()) return stand_again(reply);
    const std::uint64_t holds_ms = caller_.caller().rng().below(300);
    timer_ = site_.clock.after(milliseconds(static_cast<std::int64_t>(holds_ms)),
                               [this] { leave_lock(); });
  });
}

void QueueingClient::leave_lock() {
  caller_.give_back([this](const EtcdClient::Reply& reply) {
    if (!reply.answered()) return later([this] { leave_lock(); });
    is_through_lock_ = true;
    stand_for_election();
  });
}

void QueueingClient::give_up() {
  gave_up_at_ = site_.clock.now();
  look_for_own_key();
}

// If its member was removed at that moment, nobody was left to delete the key: then it stays, and
// another try ends that.
void QueueingClient::look_for_own_key() {
  const std::string key = LockJudge::key_of(lock_, caller_.lease().id());
  const bool is_there = std::ranges::any_of(
      caller_.judge().history().lives(lock_),
      [&key](const KeyLife& life) { return life.key == key && life.is_alive(); });
  if (!is_there) {
    is_through_lock_ = true;
    return stand_for_election();
  }
  if (site_.clock.now() - gave_up_at_ < kSoon) return later([this] { look_for_own_key(); });
  if (std::exchange(has_tried_again_, true))
    throw wrong("{} is there, though who waited with it went away", key);
  stand_for_lock();
}

// --- to lead ---

void QueueingClient::stand_for_election() {
  line_ = {election_, site_.clock.now()};
  caller_.caller().set_patience(kAsLongAsItTakes, false);
  caller_.campaign(election_, "the last", [this](const EtcdClient::Reply& reply) {
    line_.reset();
    caller_.caller().set_patience(kOneCall, false);
    if (!reply.answered()) return stand_again(reply);
    wait_for_observers(caller_.held()->token, site_.clock.now());
  });
}

void QueueingClient::wait_for_observers(std::int64_t revision, Instant since) {
  const auto deaf = std::ranges::find_if(
      observers_, [revision](const auto* observer) { return !observer->has_heard_of(revision); });
  if (deaf == observers_.end()) {
    return revision == caller_.held()->token ? proclaim() : leave_office();
  }
  const Duration waits = site_.clock.now() - since;
  if (waits > kSoon)
    throw wrong("{} has not heard for {:.3f} s what {} said at revision {}", (*deaf)->name(),
                waits.seconds(), caller_.held()->key, revision);
  later([this, revision, since] { wait_for_observers(revision, since); });
}

void QueueingClient::proclaim() {
  caller_.proclaim("the very last", [this](const EtcdClient::Reply& reply, std::int64_t revision) {
    if (!caller_.held()) return later([this] { stand_for_election(); });
    if (!reply.answered()) return later([this] { proclaim(); });
    wait_for_observers(revision, site_.clock.now());
  });
}

void QueueingClient::leave_office() {
  caller_.give_back([this](const EtcdClient::Reply& reply) {
    if (!reply.answered()) return later([this] { leave_office(); });
    caller_.lease().forget();
    finished_();
  });
}

}  // namespace conclave::sim
