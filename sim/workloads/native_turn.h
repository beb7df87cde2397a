#pragma once
// When the storm is over, each client of conclave.v1 stands in line for a lock that is shared or
// not and for a semaphore (lock_turn.h), and then all enter a barrier together and leave it.
// Judged: nobody waits any more, soon after the door has opened, or the last one has left.

#include <cstdint>
#include <functional>
#include <string>

#include "sim/workloads/lock_turn.h"
#include "sim/workloads/native_caller.h"

namespace conclave::sim {

class NativeTurn {
 public:
  struct Lines {
    NativeCaller::Acquire first;
    NativeCaller::Acquire second;
    std::string barrier;  // of no other use
    std::uint32_t count = 0;
  };

  // Both outlive it.
  NativeTurn(Site& site, NativeCaller& caller)
      : site_(site),
        caller_(caller),
        first_(site, caller, "native"),
        second_(site, caller, "native") {}
  ~NativeTurn() { site_.clock.cancel(timer_); }
  NativeTurn(const NativeTurn&) = delete;
  NativeTurn& operator=(const NativeTurn&) = delete;

  // Once; `finished` comes when it has had its turns.
  void begin(Lines lines, std::function<void()> finished);
  // To be called now and then: is it still waiting, though its turn has come long ago?
  void check_turn() const;

 private:
  enum class Stage : std::uint8_t { kLocks, kEntering, kInside, kLeaving };

  void later(Duration after, std::function<void()> what);
  void grant();
  void enter();
  void leave();
  bool has_missed_it() const;

  Site& site_;
  NativeCaller& caller_;
  LockTurn first_;
  LockTurn second_;
  Lines lines_;
  std::function<void()> finished_;
  Stage stage_ = Stage::kLocks;
  Instant since_;  // of the stage
  io::Clock::TimerId timer_ = 0;
};

}  // namespace conclave::sim
