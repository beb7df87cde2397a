#pragma once
// Judges a history of a key-value store.
//
// find_nonlinearizable: is there an order of the operations, one that respects real time, in which
// a plain sequential register per key gives each client exactly what it was told? Linearizability
// is local, so keys are judged one by one. The search is Wing and Gong's with Lowe's memory of
// configurations already seen ("Testing for linearizability", 2017). What makes 100,000 operations
// a matter of seconds is that some steps need no alternatives:
//   - a read that fits the state as it is can be taken at once: it changes nothing for the others;
//   - a write whose value nobody reads can be taken at once when nobody is left who needs the
//   present value;
//   - the present value cannot be left while a read of it is outstanding, if it is written only
//   once;
//   - an operation of unknown fate whose effect nobody saw can be left out.
// Workloads therefore write each value once per key. Repeated values are judged rightly too, only
// slower.
//
// find_revision_violation: the same question asked of the revisions an etcd-like store reports.
// They name the order, so the answer is exact about revisions and takes n log n. It finds what
// values alone cannot show, such as a revision that goes back, or one given out twice.
//
// Both are pure. Configurations are remembered by 128-bit hashes, so a wrong "not linearizable" has
// a probability far below that of a memory error.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/history.h"

namespace conclave::sim {

struct Violation {
  std::string key;
  std::string what;               // for a person
  std::vector<Operation> around;  // the operations that cannot be reconciled, and those just before
};

enum class Decision : std::uint8_t { kLinearizable, kViolated, kUndecided };

struct Verdict {
  Decision decision = Decision::kLinearizable;
  std::optional<Violation>
      violation;            // unless kLinearizable; for kUndecided, the key that was given up
  std::uint64_t steps = 0;  // configurations visited, over all keys
};

struct SearchLimits {
  std::uint64_t max_steps_per_key = 50'000'000;  // beyond it: kUndecided, never a guess
};

Verdict check_linearizable(const History& history, const SearchLimits& limits = {});

// Looks at operations that carry revisions (Operation::revision, store_revision); others are
// ignored. REQUIRES: each revision changes at most one of the history's keys.
std::optional<Violation> find_revision_violation(const History& history);

// The register that histories are compared with: the oracle. Values are numbered; 0 is "absent".
struct Register {
  using State = std::uint32_t;
  static constexpr State kAbsent = 0;

  // An operation, as far as the register is concerned.
  struct Call {
    OpKind kind = OpKind::kGet;
    bool unknown = false;
    bool succeeded = true;
    bool actual_known = false;
    State value = kAbsent;
    State expect = kAbsent;
    State actual = kAbsent;
  };

  static State init() { return kAbsent; }
  // The state after `call`, or nullopt if it cannot have been told what it was told in `state`. A
  // call of unknown fate was told nothing; this is the state after it if it took effect.
  static std::optional<State> step(State state, const Call& call);
};

}  // namespace conclave::sim
