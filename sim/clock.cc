#include "sim/clock.h"

#include <algorithm>

namespace conclave::sim {

std::uint64_t Clock::wall_ms() const {
  return static_cast<std::uint64_t>(wall_offset_ms_ + now_.ns / 1'000'000);
}

io::Clock::TimerId Clock::after(Duration delay, std::move_only_function<void()> fire) {
  const Instant when = now_ + std::max(delay, Duration{});
  const TimerId id = ++last_id_;
  timers_.emplace(Due{when, id}, std::move(fire));
  due_.emplace(id, when);
  return id;
}

void Clock::cancel(TimerId timer) {
  const auto due = due_.find(timer);
  if (due == due_.end()) return;
  timers_.erase({due->second, timer});
  due_.erase(due);
}

bool Clock::step() {
  const bool timer_is_due = !timers_.empty() && timers_.begin()->first.first <= now_;
  if (!timer_is_due && !posted_.empty()) {
    auto run = std::move(posted_.front());
    posted_.pop_front();
    run();
    return true;
  }
  if (timers_.empty()) return false;
  auto next = timers_.extract(timers_.begin());
  now_ = std::max(now_, next.key().first);
  due_.erase(next.key().second);
  next.mapped()();
  return true;
}

void Clock::run_until(Instant end) {
  while (ready() || (!timers_.empty() && timers_.begin()->first.first <= end)) step();
  now_ = std::max(now_, end);
}

bool Clock::run_until_idle(std::uint64_t max_steps) {
  for (std::uint64_t i = 0; i < max_steps; ++i)
    if (!step()) return true;
  return false;
}

}  // namespace conclave::sim
