#include "sim/member_clock.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"

namespace conclave::sim {
namespace {

constexpr std::int64_t kMillion = 1'000'000;
constexpr std::int64_t kMillisecond = 1'000'000;  // in nanoseconds

}  // namespace

// In two parts, so that days at nanoseconds do not overflow.
Duration DriftingTime::grown(Duration of_world) const {
  const std::int64_t whole = of_world.ns / kMillion;
  const std::int64_t rest = of_world.ns % kMillion;
  return Duration{of_world.ns + whole * ppm_ + rest * ppm_ / kMillion};
}

Instant DriftingTime::when(std::int64_t value_ns) const {
  if (value_ns <= value_ns_) return since_;
  const std::int64_t needed = value_ns - value_ns_;
  const std::int64_t per_million = kMillion + ppm_;
  Duration of_world{needed / per_million * kMillion +
                    needed % per_million * kMillion / per_million};
  while (grown(of_world).ns < needed) of_world = of_world + nanoseconds(1);
  return since_ + of_world;
}

void DriftingTime::set_rate(Instant world, std::int64_t ppm) {
  CHECK(ppm > -kMillion);
  value_ns_ = at(world);
  since_ = world;
  ppm_ = ppm;
}

MemberClock::MemberClock(Clock& world, Instant origin)
    : world_(world),
      monotonic_(world.now(), origin.ns),
      wall_(world.now(), static_cast<std::int64_t>(world.wall_ms()) * kMillisecond) {}

MemberClock::~MemberClock() { world_.cancel(armed_); }

std::uint64_t MemberClock::wall_ms() const {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(wall_.at(world_.now()), 0) /
                                    kMillisecond);
}

void MemberClock::set_rate(std::int64_t ppm) {
  monotonic_.set_rate(world_.now(), ppm);
  world_.cancel(std::exchange(armed_, 0));
  arm();
}

void MemberClock::set_wall_rate(std::int64_t ppm) { wall_.set_rate(world_.now(), ppm); }

// --- timers -------------------------------------------------------------------------

io::Clock::TimerId MemberClock::after(Duration delay, std::move_only_function<void()> fire) {
  const TimerId id = timers_.add(now() + std::max(delay, Duration{}), std::move(fire));
  arm();
  return id;
}

// Sees to it that the world calls when the first timer is due, or earlier: after a cancellation it
// may find nothing to do.
void MemberClock::arm() {
  if (paused_) return;
  const std::optional<Instant> next = timers_.next();
  if (!next || (armed_ != 0 && armed_for_ <= *next)) return;
  world_.cancel(armed_);
  armed_for_ = *next;
  armed_ = world_.after(monotonic_.when(next->ns) - world_.now(), [this] { fire_next(); });
}

// One timer a step, so that what other members do at the same instant comes in between.
void MemberClock::fire_next() {
  armed_ = 0;
  if (paused_) return;
  const std::optional<Instant> next = timers_.next();
  TimerQueue::Fire fire;
  if (next && *next <= now()) fire = timers_.take();
  arm();
  if (fire) fire();
}

// --- posts --------------------------------------------------------------------------

void MemberClock::post(std::move_only_function<void()> run) {
  posted_.push_back(std::move(run));
  if (!paused_) pump();
}

// Each thing posted waits for its turn among those of the world.
void MemberClock::pump() {
  while (pumps_ < posted_.size()) {
    ++pumps_;
    world_.post([this, alive = std::weak_ptr<char>(alive_)] {
      if (!alive.expired()) run_posted();
    });
  }
}

void MemberClock::run_posted() {
  --pumps_;
  if (paused_ || posted_.empty()) return;
  auto run = std::exchange(posted_.front(), nullptr);
  posted_.pop_front();
  run();
}

// --- pauses and ends ----------------------------------------------------------------

void MemberClock::resume() {
  if (!std::exchange(paused_, false)) return;
  arm();
  pump();
}

// What is destroyed may call back, so all is forgotten before anything is.
void MemberClock::end_run() {
  paused_ = false;
  world_.cancel(std::exchange(armed_, 0));
  const auto dropped = std::exchange(posted_, {});
  timers_.clear();
}

void MemberClock::end_run(Instant new_origin) {
  end_run();
  monotonic_.jump(new_origin.ns - now().ns);
}

}  // namespace conclave::sim
