#pragma once
// A quorum is a value: votes and how many of them decide. Engines ask it questions and never count
// by themselves.
//
// There are two kinds of decision. A *write quorum* makes an entry permanent; an *election quorum*
// lets somebody lead. All that consensus needs is that every election quorum meets every write
// quorum, so that a new leader hears of everything permanent (Howard, Malkhi, Spiegelman, "Flexible
// Paxos", 2016). Mostly both are the same: more than half.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace conclave::consensus {

struct Vote {
  NodeId id;
  std::uint32_t weight = 1;

  auto operator<=>(const Vote&) const = default;
};

enum class VoteResult : std::uint8_t { kPending, kWon, kLost };

// Two sets of voters that share nobody, each enough for its kind of decision: why a pair of
// thresholds is refused.
struct Disjoint {
  std::vector<NodeId> election;  // sorted
  std::vector<NodeId> write;     // sorted

  bool operator==(const Disjoint&) const = default;
};

// nullopt if, with these votes, every set of weight `election` meets every set of weight `write`.
// Each voter is expected once. Cost: the number of different sums of weights.
std::optional<Disjoint> counter_example(const std::vector<Vote>& votes, std::uint64_t election,
                                        std::uint64_t write);

// A set of weighted votes, and the weight that decides (Gifford 1979). The majority is the case in
// which each weighs 1 and half of them plus one decide, in elections as for writes. Every election
// quorum of one value meets every write quorum of it.
class Quorum {
 public:
  Quorum() = default;  // no voters: every question is answered "no"
  static Quorum majority(std::vector<NodeId> ids);
  // More than half of the total weight decides.
  static Quorum weighted(std::vector<Vote> votes);
  // Weight `election` decides elections, weight `write` makes entries permanent. kInvalid: a
  // threshold is 0 or more than the total, or the two need not meet; the message names two disjoint
  // sets then. Two election quorums need not meet: only an engine whose epochs name their owner
  // takes a quorum that is_flexible() (Raft does not).
  static Result<Quorum> flexible(std::vector<Vote> votes, std::uint64_t election,
                                 std::uint64_t write);

  // The same rule for other voters: a majority stays one; otherwise the same weight writes, as far
  // as there is so much, and the same elects, or more where the two need not meet.
  Quorum with_votes(std::vector<Vote> votes) const;

  const std::vector<Vote>& votes() const { return votes_; }  // sorted by id
  std::uint64_t election_threshold() const { return election_; }
  std::uint64_t write_threshold() const { return write_; }
  // Other than "more than half, for both".
  bool is_flexible() const;
  bool contains(NodeId id) const;

  // Writes: true if the voters for which `has` holds are a write quorum. What they all have, every
  // later leader hears of; and nobody they have not heard of leads.
  bool reached(const std::function<bool(NodeId)>& has) const;
  // Writes: the highest index that a write quorum has: the threshold-th vote of `index_of` from
  // above.
  LogIndex agreed(const std::function<LogIndex(NodeId)>& index_of) const;

  // Elections: true if the voters for which `has` holds are an election quorum.
  bool elects(const std::function<bool(NodeId)>& has) const;
  // Elections: `vote` answers granted (true), refused (false) or not heard from (nullopt).
  VoteResult tally(const std::function<std::optional<bool>(NodeId)>& vote) const;

  bool operator==(const Quorum&) const = default;

 private:
  std::uint64_t weight_of(const std::function<bool(NodeId)>& has) const;

  std::vector<Vote> votes_;
  std::uint64_t election_ = 0;
  std::uint64_t write_ = 0;
};

}  // namespace conclave::consensus
