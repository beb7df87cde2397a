#pragma once
// How much may be under way through the log at once, so that neither the network idles nor a queue
// forms there: twice what was done in the shortest round trip, as measured (the product of
// bandwidth and delay, as in BBR: Cardwell et al., ACM Queue 2016), and at least a floor that is
// enough between members that are near.
//
// A round is the time from a write's way into the log until it is applied. Where members are far
// apart rounds are long however little is under way, and the window grows with what is asked for;
// where rounds are long because of what is under way, it does not. Now and then it goes back to the
// floor for two rounds, to measure one that waits for little.
//
// Pure: told the time.

#include <algorithm>
#include <cstdint>

#include "base/fair_limits.h"
#include "base/time.h"

namespace conclave::node {

class AdmissionWindow {
 public:
  std::uint64_t cost() const { return cost_; }

  // A round has taken so long, and so much was done meanwhile, by cost.
  void round_over(std::uint64_t done, Duration took, Instant now) {
    const std::int64_t took_us = std::max<std::int64_t>(took.ns / 1'000, 1);
    if (probing_ > 0) {
      if (--probing_ > 0) return;
      shortest_us_ = took_us;
      probe_at_ = now + kProbeInterval;
    } else if (now >= probe_at_) {
      probing_ = 2;  // the first began with what was under way before
      cost_ = limits::kAdmittedCost;
      return;
    }
    shortest_us_ = std::min(shortest_us_, took_us);
    const double of_round = static_cast<double>(shortest_us_) / static_cast<double>(took_us);
    const auto product = static_cast<std::uint64_t>(2.0 * static_cast<double>(done) * of_round);
    cost_ = std::clamp(product, limits::kAdmittedCost, limits::kMaxAdmittedCost);
  }

 private:
  static constexpr Duration kProbeInterval = seconds(10);

  std::uint64_t cost_ = limits::kAdmittedCost;
  std::int64_t shortest_us_ = INT64_MAX;  // since it was probed last
  std::uint32_t probing_ = 0;             // rounds until it is known
  Instant probe_at_;
};

}  // namespace conclave::node
