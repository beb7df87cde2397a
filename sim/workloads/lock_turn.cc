#include "sim/workloads/lock_turn.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "sim/finding.h"

namespace conclave::sim {
namespace {

constexpr Duration kAsLongAsItTakes = seconds(60);
constexpr Duration kOneCall = seconds(10);
constexpr Duration kLooks = milliseconds(100);
constexpr Duration kUnderWay = milliseconds(200);  // a message at most, when all is healed

}  // namespace

void check_line(std::string_view check, Instant now, const Contender& contender, const Line& line) {
  const KeyHistory& history = contender.history();
  const std::string key = contender.key_in(line.name);
  for (const KeyLife& life : history.lives(line.name)) {
    if (life.key != key || !life.is_alive()) continue;
    const auto reign = history.reign_of(line.name, life);
    if (!reign) return;
    const Duration waits = now - std::max(reign->since, line.since);
    if (waits > kSoon)
      found(std::string(check), fmt::format("{} has its turn in {} since {:.3f} s and waits still",
                                            key, line.name, waits.seconds()));
  }
}

void LockTurn::begin(std::string lock, std::function<void()> finished) {
  lock_ = std::move(lock);
  finished_ = std::move(finished);
  gives_up_ = contender_.caller().rng().one_in(3);
  contender_.lease().id() == 0 ? grant() : stand();
}

void LockTurn::check_turn() const {
  if (line_) check_line(check_, site_.clock.now(), contender_, *line_);
}

void LockTurn::later(std::function<void()> what) {
  timer_ = site_.clock.after(kLooks, std::move(what));
}

void LockTurn::grant() {
  contender_.caller().set_patience(kOneCall, false);
  contender_.grant(kQueueTtl, [this](const EtcdClient::Reply& reply) {
    if (!reply.answered()) return later([this] { grant(); });
    stand();
  });
}

void LockTurn::stand() {
  Rng& rng = contender_.caller().rng();
  stood_at_ = site_.clock.now();
  line_ = {lock_, stood_at_};
  contender_.caller().set_patience(kAsLongAsItTakes, false);
  EtcdClient::Metadata metadata;
  if (gives_up_) {
    const std::uint64_t patience_ms = rng.between(300, 2'000);
    const std::uint64_t dice = rng.below(3);
    if (dice == 0) {
      metadata = {{"grpc-timeout", fmt::format("{}m", patience_ms)}};
    } else {
      contender_.caller().set_patience(milliseconds(static_cast<std::int64_t>(patience_ms)),
                                       dice == 1);
    }
  }
  const auto heard = [this](const EtcdClient::Reply& reply) {
    line_.reset();
    contender_.caller().set_patience(kOneCall, false);
    if (reply.unknown() && gives_up_) {
      gave_up_at_ = site_.clock.now();
      return look_for_own_key();
    }
    if (!reply.answered()) {
      return later([this, has_lease = !says_no_lease(reply)] { has_lease ? stand() : grant(); });
    }
    const std::uint64_t holds_ms = contender_.caller().rng().below(300);
    timer_ =
        site_.clock.after(milliseconds(static_cast<std::int64_t>(holds_ms)), [this] { leave(); });
  };
  contender_.lock(lock_, heard, std::move(metadata));
}

void LockTurn::leave() {
  contender_.give_back([this](const EtcdClient::Reply& reply) {
    if (!reply.answered()) return later([this] { leave(); });
    contender_.held() ? leave() : finished_();
  });
}

// It stays if its turn had come by then: the answer was lost. Or if a member stopped meanwhile,
// which may have been its own, so that nobody was left to delete the key; or another one leads, and
// its own does not know whether there is a key. Another try ends that.
void LockTurn::look_for_own_key() {
  const std::string key = contender_.key_in(lock_);
  const KeyHistory& history = contender_.history();
  const auto& lives = history.lives(lock_);
  const auto own = std::ranges::find_if(
      lives, [&key](const KeyLife& life) { return life.key == key && life.is_alive(); });
  if (own == lives.end()) return finished_();
  if (site_.clock.now() - gave_up_at_ < kSoon) return later([this] { look_for_own_key(); });
  const auto reign = history.reign_of(lock_, *own);
  const bool had_turn = reign && reign->since < gave_up_at_ + kUnderWay;
  if (!had_turn && history.disturbed_at() < stood_at_)
    found(std::string(check_),
          fmt::format("{} is there, though who waited with it went away", key));
  stand();
}

}  // namespace conclave::sim
