#include "sim/workloads/native_turn.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "sim/finding.h"

namespace conclave::sim {
namespace {

constexpr Duration kAsLongAsItTakes = seconds(60);
constexpr Duration kOneCall = seconds(10);
constexpr Duration kLooks = milliseconds(100);

}  // namespace

void NativeTurn::begin(Lines lines, std::function<void()> finished) {
  lines_ = std::move(lines);
  finished_ = std::move(finished);
  caller_.drop();
  caller_.lease().forget();
  caller_.want(lines_.first);
  first_.begin(lines_.first.name(), [this] {
    caller_.want(lines_.second);
    second_.begin(lines_.second.name(), [this] { enter(); });
  });
}

void NativeTurn::check_turn() const {
  if (stage_ == Stage::kLocks) {
    if (caller_.wanted().name() == lines_.first.name()) return first_.check_turn();
    return second_.check_turn();
  }
  const NativeJudge& judge = caller_.judge();
  const std::string key = NativeJudge::barrier_key(lines_.barrier, caller_.lease().id());
  const KeyLife* door = judge.door_at(lines_.barrier, judge.history().newest());
  Instant last = since_;
  bool is_there = false;
  for (const KeyLife& life : judge.history().lives(lines_.barrier)) {
    if (!life.is_alive()) last = std::max(last, life.ended_at);
    if (life.key != key || !life.is_alive()) continue;
    is_there = true;
    last = std::max(last, life.created_at);
  }
  const bool is_over = judge.present_at(lines_.barrier, judge.history().newest()) == 0;
  const bool may_enter = stage_ == Stage::kEntering && is_there && door != nullptr;
  const bool may_leave = stage_ == Stage::kLeaving && is_over;
  if (may_enter) last = std::max(last, door->created_at);
  const Duration waits = site_.clock.now() - last;
  if ((may_enter || may_leave) && waits > kSoon)
    found("native", fmt::format("{} may {} since {:.3f} s and waits still", key,
                                may_enter ? "enter" : "leave", waits.seconds()));
}

void NativeTurn::later(Duration after, std::function<void()> what) {
  timer_ = site_.clock.after(after, std::move(what));
}

void NativeTurn::grant() {
  caller_.caller().set_patience(kOneCall, false);
  caller_.grant(kQueueTtl, [this](const EtcdClient::Reply& reply) {
    if (!reply.answered()) return later(kLooks, [this] { grant(); });
    enter();
  });
}

// The door was opened for it as well, and its answer was lost: then its member took it out again,
// and nobody may be left to enter with.
bool NativeTurn::has_missed_it() const {
  const auto& lives = caller_.history().lives(lines_.barrier);
  return std::ranges::any_of(lives,
                             [](const KeyLife& life) { return life.key.ends_with("/!open"); });
}

void NativeTurn::enter() {
  stage_ = Stage::kEntering;
  since_ = site_.clock.now();
  caller_.caller().set_patience(kAsLongAsItTakes, false);
  caller_.enter(lines_.barrier, lines_.count, [this](const EtcdClient::Reply& reply) {
    stage_ = Stage::kInside;
    if (reply.answered() || has_missed_it()) {
      const std::uint64_t stays_ms = caller_.caller().rng().below(300);
      return later(milliseconds(static_cast<std::int64_t>(stays_ms)), [this] { leave(); });
    }
    later(kLooks, [this, has_lease = !says_no_lease(reply)] { has_lease ? enter() : grant(); });
  });
}

void NativeTurn::leave() {
  stage_ = Stage::kLeaving;
  since_ = site_.clock.now();
  caller_.leave(lines_.barrier, false, [this](const EtcdClient::Reply& reply) {
    stage_ = Stage::kInside;
    if (!reply.answered()) return later(kLooks, [this] { leave(); });
    caller_.lease().forget();
    finished_();
  });
}

}  // namespace conclave::sim
