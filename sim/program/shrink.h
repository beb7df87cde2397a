#pragma once
// Looks for a smaller run that fails in the same way: fewer faults, workloads, clients and calls,
// calmer links and disks. Delta debugging (Zeller and Hildebrandt, 2002) over the plan of a seed.

#include <cstdint>
#include <string>

#include "sim/plan.h"

namespace conclave::sim {

// `check` is what failed in the run of `seed` with `edits`. Runs at most `attempts` others. Says on
// standard error what it is doing. Returns the edits of the smallest run found.
Edits shrink(std::uint64_t seed, const Edits& edits, const std::string& check,
             unsigned attempts = 300);

}  // namespace conclave::sim
