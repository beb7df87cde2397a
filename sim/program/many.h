#pragma once
// Many runs, several at a time, each in a process that is expendable: a seed that crashes or hangs
// the process is a failure with a number, like any other.

#include <cstdint>
#include <string>

#include "sim/run.h"

namespace conclave::sim {

// What a person reads of one run: a line if it went well; else what was violated, what led there,
// and how to run it again.
std::string report(const Plan& plan, const Edits& edits, const RunResult& result);

struct Campaign {
  std::uint64_t first = 1;
  std::uint64_t count = 1;
  double minutes = 0;  // begins no run after that; 0: no limit
  unsigned jobs = 1;
  bool stop_at_failure = false;  // begins no run after one
  Edits edits;
};

// Shows progress, reports the failures, and at the end sums up what was done. 0: all went well.
int run_many(const Campaign& campaign);

// Runs the plan in a process of its own. nullopt: it went well; else which check failed
// ("crash" if the process died).
std::optional<std::string> check_failed_by(const Plan& plan);

}  // namespace conclave::sim
