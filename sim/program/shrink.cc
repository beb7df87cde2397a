#include "sim/program/shrink.h"

#include <fmt/core.h>

#include <cstdio>
#include <iterator>
#include <utility>
#include <vector>

#include "sim/program/many.h"

namespace conclave::sim {
namespace {

class Shrinker {
 public:
  Shrinker(std::uint64_t seed, Edits edits, std::string check, unsigned attempts)
      : plan_(plan_of(seed)),
        best_(std::move(edits)),
        check_(std::move(check)),
        attempts_(attempts) {}

  Edits shrink() {
    for (Edits before; before != best_ && attempts_ > 0;) {
      before = best_;
      one_workload();
      fewer_faults();
      halve(&Edits::operations, largest(&WorkloadPlan::operations));
      halve(&Edits::clients, largest(&WorkloadPlan::clients));
      calm(&Edits::calm_links);
      calm(&Edits::calm_disks);
    }
    return best_;
  }

 private:
  // Whether this still fails; then it is the best so far.
  bool fails(const Edits& edits) {
    if (attempts_ == 0) return false;
    --attempts_;
    const Plan plan = edited(plan_, edits);
    if (check_failed_by(plan) != check_) return false;
    best_ = edits;
    fmt::print(stderr, "still fails with {} faults:{}\n", plan.faults.size(), edits.to_flags());
    return true;
  }

  void one_workload() {
    if (edited(plan_, best_).workloads.size() < 2) return;
    for (const WorkloadPlan& workload : plan_.workloads) {
      Edits edits = best_;
      edits.workload = workload.name;
      if (fails(edits)) return;
    }
  }

  // Takes away ever smaller parts of the faults.
  void fewer_faults() {
    std::vector<std::size_t> kept;
    for (std::size_t i = 0; i < plan_.faults.size(); ++i) {
      if (!best_.only_faults || best_.only_faults->contains(i)) kept.push_back(i);
    }
    for (std::size_t part = (kept.size() + 1) / 2; part > 0;
         part = part == 1 ? 0 : (part + 1) / 2) {
      for (std::size_t begin = 0; begin < kept.size() && attempts_ > 0;) {
        std::vector<std::size_t> rest = kept;
        const auto first = rest.begin() + static_cast<std::ptrdiff_t>(begin);
        rest.erase(first, first + static_cast<std::ptrdiff_t>(std::min(part, rest.size() - begin)));
        Edits edits = best_;
        edits.only_faults = std::set<std::size_t>(rest.begin(), rest.end());
        if (fails(edits)) {
          kept = std::move(rest);
        } else {
          begin += part;
        }
      }
    }
  }

  std::size_t largest(std::size_t WorkloadPlan::*what) const {
    std::size_t most = 0;
    for (const WorkloadPlan& workload : edited(plan_, best_).workloads) {
      most = std::max(most, workload.*what);
    }
    return most;
  }

  void halve(std::optional<std::size_t> Edits::*what, std::size_t now) {
    for (std::size_t next = now / 2; next > 0; next /= 2) {
      Edits edits = best_;
      edits.*what = next;
      if (!fails(edits)) return;
    }
  }

  void calm(bool Edits::*what) {
    if (best_.*what) return;
    Edits edits = best_;
    edits.*what = true;
    fails(edits);
  }

  const Plan plan_;
  Edits best_;
  const std::string check_;
  unsigned attempts_;
};

}  // namespace

Edits shrink(std::uint64_t seed, const Edits& edits, const std::string& check, unsigned attempts) {
  return Shrinker(seed, edits, check, attempts).shrink();
}

}  // namespace conclave::sim
