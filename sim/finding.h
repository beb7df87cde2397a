#pragma once
// What a check found wrong. Checks that look on while a run goes throw it; judges of histories
// return it.

#include <string>
#include <vector>

namespace conclave::sim {

struct Finding {
  std::string check;                // which check, in a word or two: "leader completeness"
  std::string what;                 // for a person
  std::vector<std::string> around;  // what led there, if the check knows more than the trace
};

// Ends the run: nothing that happens after a violated invariant means anything.
[[noreturn]] inline void found(std::string check, std::string what) {
  throw Finding{std::move(check), std::move(what), {}};
}

}  // namespace conclave::sim
