#pragma once
// Time and timers. Implemented with system calls (io/posix) and in virtual time (sim).
//
// Threading: everything is called on, and calls back on, the one loop that owns the member.

#include <cstdint>
#include <functional>

#include "base/time.h"

namespace conclave::io {

class Clock {
 public:
  virtual ~Clock() = default;

  // Monotonic: never goes back, unrelated to the time of day.
  virtual Instant now() const = 0;
  // Milliseconds since 1970 as the machine believes; may jump either way. For people and logs only.
  virtual std::uint64_t wall_ms() const = 0;

  // Calls `fire` once after `delay`. The id is never reused; cancelling one that fired does
  // nothing.
  using TimerId = std::uint64_t;
  virtual TimerId after(Duration delay, std::move_only_function<void()> fire) = 0;
  virtual void cancel(TimerId timer) = 0;

  // Calls `run` from the loop after everything that is ready now: where batches are closed.
  virtual void post(std::move_only_function<void()> run) = 0;
};

}  // namespace conclave::io
