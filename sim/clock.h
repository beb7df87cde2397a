#pragma once
// Virtual time: an io::Clock whose hours pass in microseconds. Nothing happens unless it is told to
// run, and the same calls in the same order give the same run: what is due at one instant fires in
// the order in which it was asked for. This is the world's own clock; what a member believes is
// sim/member_clock.h.
//
// Not thread-safe: one loop.

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>

#include "base/time.h"
#include "io/clock.h"
#include "sim/timer_queue.h"

namespace conclave::sim {

class Clock final : public io::Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  Instant now() const override { return now_; }
  std::uint64_t wall_ms() const override;
  TimerId after(Duration delay, std::move_only_function<void()> fire) override;
  void cancel(TimerId timer) override { timers_.cancel(timer); }
  void post(std::move_only_function<void()> run) override { posted_.push_back(std::move(run)); }

  // Runs the next thing: a timer that is due, else something posted, else time moves on to the next
  // timer and that fires. False if there is nothing left.
  bool step();
  // Runs all that is due until `end`, which is then the time. Things may be added on the way.
  void run_until(Instant end);
  void run_for(Duration duration) { run_until(now_ + duration); }
  // Steps until nothing is left, at most `max_steps` times; whether nothing is left.
  bool run_until_idle(std::uint64_t max_steps = 1'000'000);

  // The time of day jumps, as when somebody sets it; now() does not notice.
  void jump_wall(std::int64_t ms) { wall_offset_ms_ += ms; }

 private:
  // Runs the next thing that is due until `end`; false if nothing is.
  bool step_until(Instant end);

  Instant now_;
  std::int64_t wall_offset_ms_ = 1'700'000'000'000;
  TimerQueue timers_;
  std::deque<std::move_only_function<void()>> posted_;
};

}  // namespace conclave::sim
