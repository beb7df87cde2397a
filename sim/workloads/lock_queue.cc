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
    : site_(site), caller_(caller), observers_(observers), lock_(site, caller, "locks") {}

void QueueingClient::begin(std::string lock, std::string election, std::function<void()> finished) {
  election_ = std::move(election);
  finished_ = std::move(finished);
  caller_.let_go();
  caller_.lease().forget();
  lock_.begin(std::move(lock), [this] { stand_for_election(); });
}

void QueueingClient::check_turn() const {
  lock_.check_turn();
  if (line_) check_line("locks", site_.clock.now(), caller_, *line_);
}

void QueueingClient::later(std::function<void()> what) {
  timer_ = site_.clock.after(kLooks, std::move(what));
}

void QueueingClient::grant() {
  caller_.caller().set_patience(kOneCall, false);
  caller_.grant(kQueueTtl, [this](const EtcdClient::Reply& reply) {
    if (!reply.answered()) return later([this] { grant(); });
    stand_for_election();
  });
}

// It asked again, and comes back to where it was.
void QueueingClient::stand_again(const EtcdClient::Reply& reply) {
  later([this, has_lease = !says_no_lease(reply)] { has_lease ? stand_for_election() : grant(); });
}

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
