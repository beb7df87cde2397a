#pragma once
// When the storm is over, a client stands in line for a lock once more. Judged: who is not to give
// up has its turn, soon after it has come; who gives up leaves no key, though its lease lives on.

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "sim/workloads/contender.h"

namespace conclave::sim {

// Of the line: until who is first knows, who observes has heard, and the key of who gave up is
// gone.
inline constexpr Duration kSoon = seconds(10);
inline constexpr std::int64_t kQueueTtl = 10;  // of leases, seconds

// Where somebody waits.
struct Line {
  std::string name;
  Instant since;
};
// Is it still waiting, though its turn has come long ago? Throws a Finding of `check`.
void check_line(std::string_view check, Instant now, const Contender& contender, const Line& line);

class LockTurn {
 public:
  // All outlive it. Findings are of `check`.
  LockTurn(Site& site, Contender& contender, std::string_view check)
      : site_(site), contender_(contender), check_(check) {}
  ~LockTurn() { site_.clock.cancel(timer_); }
  LockTurn(const LockTurn&) = delete;
  LockTurn& operator=(const LockTurn&) = delete;

  // `finished` comes when it has had its turn, or has given up. REQUIRES: none is under way.
  void begin(std::string lock, std::function<void()> finished);
  // To be called now and then.
  void check_turn() const;

 private:
  void later(std::function<void()> what);
  void grant();
  void stand();
  void leave();
  void look_for_own_key();

  Site& site_;
  Contender& contender_;
  std::string_view check_;
  std::string lock_;
  std::function<void()> finished_;
  std::optional<Line> line_;  // where it waits
  bool gives_up_ = false;
  Instant stood_at_;
  Instant gave_up_at_;
  io::Clock::TimerId timer_ = 0;
};

}  // namespace conclave::sim
