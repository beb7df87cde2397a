#pragma once
// Timers in the order in which they are due; of one instant, in the order in which they were asked
// for. A binary heap of small entries; a cancelled timer's entry stays until it comes up or such
// entries are the majority, so that cancelling costs nothing (most timers of a member are deadlines
// that never come).
//
// Not thread-safe: one loop.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/time.h"
#include "io/clock.h"

namespace conclave::sim {

class TimerQueue {
 public:
  using Id = io::Clock::TimerId;
  using Fire = std::move_only_function<void()>;

  // Ids are never 0 and never reused.
  Id add(Instant when, Fire fire);
  // Nothing happens if the timer has been taken or cancelled. What it would have called is
  // destroyed here.
  void cancel(Id id);
  // When the first is due; nullopt if there is none.
  std::optional<Instant> next();
  // Removes the first. REQUIRES: there is one.
  Fire take();
  // All are cancelled.
  void clear();

 private:
  struct Entry {
    Instant when;
    Id id = 0;
    auto operator<=>(const Entry&) const = default;
  };
  struct Slot {
    Id id = 0;  // 0: free
    Fire fire;
  };

  Slot& slot_of(Id id);
  bool is_cancelled(const Entry& entry) { return slot_of(entry.id).id != entry.id; }
  void drop_cancelled();
  Fire release(Slot& slot);

  std::uint64_t last_number_ = 0;
  std::vector<Entry> heap_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
};

}  // namespace conclave::sim
