#pragma once
// io::Clock on a Loop: CLOCK_MONOTONIC, and all timers behind one timer of the loop, so that
// setting or cancelling one that never fires costs no system call.

#include <cstdint>
#include <memory>

#include "io/clock.h"
#include "io/posix/loop.h"

namespace conclave::io {

class PosixClock final : public Clock {
 public:
  explicit PosixClock(Loop& loop);
  // Timers that have not fired never will.
  ~PosixClock() override;

  Instant now() const override;
  std::uint64_t wall_ms() const override;
  TimerId after(Duration delay, std::move_only_function<void()> fire) override;
  void cancel(TimerId timer) override;
  void post(std::move_only_function<void()> run) override;

 private:
  struct State;
  Loop& loop_;
  std::shared_ptr<State> state_;  // shared with the loop's pending timer only
};

}  // namespace conclave::io
