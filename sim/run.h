#pragma once
// One run: a cluster, a storm, a calm, and the verdict. Everything follows from the plan.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sim/finding.h"
#include "sim/plan.h"

namespace conclave::sim {

struct RunOptions {
  bool trace = false;    // keep everything that happened
  bool history = false;  // and the workloads' histories
};

struct RunResult {
  std::optional<Finding> finding;
  std::vector<std::string> led_there;  // the newest notes, if there is a finding
  Duration virtual_time;
  std::uint64_t steps = 0;
  std::uint64_t answered = 0;   // calls of clients
  std::uint64_t committed = 0;  // log entries
  std::uint64_t elections = 0;
  std::uint64_t struck = 0;                     // faults of the plan that struck somebody
  std::map<std::string, std::uint64_t> faults;  // what was injected in all, by kind
  std::string trace_text;
  std::string trace_json;
  std::string history;  // JSON lines
};

// Does not throw: a CHECK of the shipped code that fails is a finding as well. REQUIRES: one run at
// a time in a process.
RunResult run(const Plan& plan, const RunOptions& options);

}  // namespace conclave::sim
