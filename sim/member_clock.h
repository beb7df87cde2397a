#pragma once
// The clock of one simulated member, on top of the world's. It runs at a rate of its own, which may
// change at any time; its time of day jumps both ways and has a rate of its own again; and it can
// be paused, as a process by SIGSTOP: nothing of the member runs then, while time goes on.
//
// Monotonic time never goes back, whatever happens to the rates. What is due at one instant fires
// in the order in which it was asked for, each as a step of the world's clock.
//
// Not thread-safe: one loop. The world's clock outlives this one.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "base/time.h"
#include "io/clock.h"
#include "sim/clock.h"
#include "sim/timer_queue.h"

namespace conclave::sim {

// Something that grows with the world's time, a little faster or slower.
class DriftingTime {
 public:
  DriftingTime(Instant world, std::int64_t value_ns) : since_(world), value_ns_(value_ns) {}

  std::int64_t at(Instant world) const { return value_ns_ + grown(world - since_).ns; }
  // An instant of the world at which at() is at least `value_ns`; the first, but for rounding.
  Instant when(std::int64_t value_ns) const;
  // From `world` on it grows by 1 + ppm / 1,000,000. REQUIRES: ppm > -1,000,000.
  void set_rate(Instant world, std::int64_t ppm);
  void jump(std::int64_t ns) { value_ns_ += ns; }

 private:
  Duration grown(Duration of_world) const;

  Instant since_;
  std::int64_t value_ns_ = 0;  // at `since_`
  std::int64_t ppm_ = 0;
};

class MemberClock final : public io::Clock {
 public:
  // `now()` begins at `origin`: machines have been up for different times.
  explicit MemberClock(Clock& world, Instant origin = {});
  ~MemberClock() override;
  MemberClock(const MemberClock&) = delete;
  MemberClock& operator=(const MemberClock&) = delete;

  Instant now() const override { return Instant{monotonic_.at(world_.now())}; }
  std::uint64_t wall_ms() const override;
  TimerId after(Duration delay, std::move_only_function<void()> fire) override;
  void cancel(TimerId timer) override { timers_.cancel(timer); }
  void post(std::move_only_function<void()> run) override;

  // Parts per million by which a second of the member is shorter than the world's: with 100,000
  // eleven of its ticks come in the time of ten. REQUIRES: ppm > -1,000,000.
  void set_rate(std::int64_t ppm);
  // The same for the time of day alone.
  void set_wall_rate(std::int64_t ppm);
  // The time of day jumps, as when somebody sets it.
  void jump_wall(std::int64_t ms) { wall_.jump(ms * 1'000'000); }

  // Until resume() nothing fires and nothing posted runs. Then all that has become due does, in
  // order.
  void pause() { paused_ = true; }
  void resume();
  bool paused() const { return paused_; }

  // The process has ended: nothing it asked for will happen, and the clock is not paused any more.
  // If the machine starts anew too, its monotonic time begins at another origin.
  void end_run();
  void end_run(Instant new_origin);

 private:
  void arm();
  void fire_next();
  void pump();
  void run_posted();

  Clock& world_;
  DriftingTime monotonic_;
  DriftingTime wall_;
  bool paused_ = false;
  TimerQueue timers_;         // due in this clock's monotonic time
  Clock::TimerId armed_ = 0;  // the world's timer for the first of them
  Instant armed_for_;         // in this clock's time
  std::deque<std::move_only_function<void()>> posted_;
  std::size_t pumps_ = 0;  // posts of ours that wait in the world's clock
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace conclave::sim
