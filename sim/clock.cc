#include "sim/clock.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace conclave::sim {

std::uint64_t Clock::wall_ms() const {
  return static_cast<std::uint64_t>(wall_offset_ms_ + now_.ns / 1'000'000);
}

io::Clock::TimerId Clock::after(Duration delay, std::move_only_function<void()> fire) {
  return timers_.add(now_ + std::max(delay, Duration{}), std::move(fire));
}

bool Clock::step_until(Instant end) {
  const std::optional<Instant> next = timers_.next();
  const bool timer_is_due = next && *next <= now_;
  if (!timer_is_due && !posted_.empty()) {
    auto run = std::move(posted_.front());
    posted_.pop_front();
    run();
    return true;
  }
  if (!next || *next > std::max(end, now_)) return false;
  now_ = std::max(now_, *next);
  timers_.take()();
  return true;
}

bool Clock::step() { return step_until(Instant{std::numeric_limits<std::int64_t>::max()}); }

void Clock::run_until(Instant end) {
  while (step_until(end)) {
  }
  now_ = std::max(now_, end);
}

bool Clock::run_until_idle(std::uint64_t max_steps) {
  for (std::uint64_t i = 0; i < max_steps; ++i)
    if (!step()) return true;
  return false;
}

}  // namespace conclave::sim
