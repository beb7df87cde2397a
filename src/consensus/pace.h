#pragma once
// Whether witnesses wait for a full copy of the log (docs/raft.md, "Witnesses"): as long as it
// makes durable what it is sent. A copy that fell out is waited for again once it has nearly
// everything, so that nobody waits while it catches up.

#include <cstdint>

#include "base/ids.h"

namespace conclave::consensus {

class Pace {
 public:
  // Seen first at `now`: waited for until it shows how far it is, but not for ever.
  explicit Pace(std::uint64_t now) : moved_at_(now) {}

  bool is_waited_for() const { return state_ != State::kOut; }

  // It is known to have everything up to `has` on its disk. `target`: what was committed a
  // heartbeat ago.
  void acknowledged(LogIndex has, LogIndex target, std::uint64_t now) {
    moved_at_ = now;
    if (has >= target) {
      state_ = State::kIn;
    } else if (state_ == State::kUnknown) {
      state_ = State::kOut;
    }
  }

  // Each tick. `owes`: there is something that it was sent and has not acknowledged.
  void look(bool owes, std::uint64_t now, std::uint64_t patience) {
    if (!owes && state_ != State::kUnknown) moved_at_ = now;
    if (now - moved_at_ >= patience) fall_out();
  }

  // Its connection broke, it is silent, or it needs a snapshot.
  void fall_out() { state_ = State::kOut; }

 private:
  enum class State : std::uint8_t { kUnknown, kIn, kOut };

  State state_ = State::kUnknown;
  std::uint64_t moved_at_;  // when it acknowledged something last, or owed nothing
};

}  // namespace conclave::consensus
