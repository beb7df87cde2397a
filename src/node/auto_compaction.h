#pragma once
// When to compact without being asked, as etcd's --auto-compaction-mode and
// --auto-compaction-retention: history older than a period goes, or all but a number of revisions.
//
// Pure: it is told the time and the revision, about once a second, on the leader.

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "api/kv.h"
#include "base/time.h"

namespace conclave::node {

class AutoCompaction {
 public:
  // A zero turns that way of choosing off.
  AutoCompaction(Duration period, std::uint64_t keep_revisions)
      : period_(period), keep_revisions_(keep_revisions) {}

  // The revision to compact to now, if one is due.
  std::optional<api::Revision> due(Instant now, api::Revision revision, api::Revision compacted) {
    const std::optional<api::Revision> target =
        period_.ns > 0 ? by_age(now, revision) : by_count(now, revision);
    if (!target || *target <= compacted || *target <= 1) return std::nullopt;
    return target;
  }

 private:
  static constexpr Duration kCountInterval = seconds(300);

  // Samples (time, revision) ten times per period, at most once a second.
  std::optional<api::Revision> by_age(Instant now, api::Revision revision) {
    const Duration interval{std::max(period_.ns / 10, seconds(1).ns)};
    if (!samples_.empty() && now - samples_.back().first < interval) return std::nullopt;
    samples_.emplace_back(now, revision);
    std::optional<api::Revision> target;
    while (!samples_.empty() && now - samples_.front().first >= period_) {
      target = samples_.front().second;
      samples_.pop_front();
    }
    return target;
  }

  std::optional<api::Revision> by_count(Instant now, api::Revision revision) {
    if (keep_revisions_ == 0 || (checked_ && now - *checked_ < kCountInterval)) return std::nullopt;
    checked_ = now;
    const auto keep = static_cast<api::Revision>(keep_revisions_);
    return revision > keep ? std::optional(revision - keep) : std::nullopt;
  }

  Duration period_;
  std::uint64_t keep_revisions_;
  std::deque<std::pair<Instant, api::Revision>> samples_;
  std::optional<Instant> checked_;
};

}  // namespace conclave::node
