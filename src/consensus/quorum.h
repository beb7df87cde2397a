#pragma once
// A quorum is a value: votes and how many of them decide. Engines ask it questions and never count
// by themselves.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/ids.h"

namespace conclave::consensus {

struct Vote {
  NodeId id;
  std::uint32_t weight = 1;

  auto operator<=>(const Vote&) const = default;
};

enum class VoteResult : std::uint8_t { kPending, kWon, kLost };

// A set of weighted votes of which `threshold` decide (Gifford 1979). The majority is the case in
// which each weighs 1 and threshold is half of them plus one. Two quorums of one value always meet:
// threshold is over half of the total.
class Quorum {
 public:
  Quorum() = default;  // no voters: every question is answered "no"
  static Quorum majority(std::vector<NodeId> ids);
  // More than half of the total weight decides.
  static Quorum weighted(std::vector<Vote> votes);

  const std::vector<Vote>& votes() const { return votes_; }  // sorted by id
  std::uint64_t threshold() const { return threshold_; }
  bool contains(NodeId id) const;

  // True if the voters for which `has` holds are a quorum.
  bool reached(const std::function<bool(NodeId)>& has) const;
  // The highest index that a quorum has: the threshold-th vote of `index_of` from above.
  LogIndex agreed(const std::function<LogIndex(NodeId)>& index_of) const;
  // `vote` answers granted (true), refused (false) or not heard from (nullopt).
  VoteResult tally(const std::function<std::optional<bool>(NodeId)>& vote) const;

  bool operator==(const Quorum&) const = default;

 private:
  std::vector<Vote> votes_;
  std::uint64_t threshold_ = 0;
};

}  // namespace conclave::consensus
