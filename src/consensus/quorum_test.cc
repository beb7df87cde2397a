#include "consensus/quorum.h"

#include <gtest/gtest.h>

#include <bit>

#include "base/rng.h"

namespace conclave::consensus {
namespace {

// Every subset of up to 7 voters as a bit mask: voter i + 1 is in it if bit i is set.
bool in_mask(std::uint32_t mask, NodeId id) { return (mask >> (id.value - 1)) & 1; }

Quorum random_quorum(Rng& rng, std::uint64_t max_voters, std::uint64_t max_weight) {
  std::vector<Vote> votes;
  const std::uint64_t voters = rng.between(1, max_voters);
  for (std::uint64_t i = 1; i <= voters; ++i) {
    votes.push_back({NodeId{i}, static_cast<std::uint32_t>(rng.between(1, max_weight))});
  }
  return Quorum::weighted(std::move(votes));
}

TEST(Quorum, MajorityOfNeedsMoreThanHalf) {
  for (std::uint32_t n = 1; n <= 7; ++n) {
    std::vector<NodeId> ids;
    for (std::uint64_t i = 1; i <= n; ++i) ids.push_back(NodeId{i});
    const Quorum quorum = Quorum::majority(ids);
    for (std::uint32_t mask = 0; mask < (1u << n); ++mask) {
      const bool has = quorum.reached([&](NodeId id) { return in_mask(mask, id); });
      EXPECT_EQ(has, static_cast<std::uint32_t>(std::popcount(mask)) * 2 > n) << n << " " << mask;
    }
  }
}

// The property that everything rests on, for every pair of subsets: what one quorum has seen, any
// other has too.
TEST(Quorum, TwoQuorumsAlwaysIntersect) {
  Rng rng(1);
  for (int round = 0; round < 60; ++round) {
    const Quorum quorum = random_quorum(rng, 7, round < 20 ? 1 : 9);
    const std::uint32_t subsets = 1u << quorum.votes().size();
    std::vector<std::uint32_t> quorums;
    for (std::uint32_t mask = 0; mask < subsets; ++mask) {
      if (quorum.reached([&](NodeId id) { return in_mask(mask, id); })) quorums.push_back(mask);
    }
    ASSERT_FALSE(quorums.empty());
    for (const std::uint32_t a : quorums) {
      for (const std::uint32_t b : quorums) ASSERT_NE(a & b, 0u);
    }
  }
}

TEST(Quorum, AgreedIsTheHighestIndexThatAQuorumHas) {
  Rng rng(2);
  for (int round = 0; round < 2000; ++round) {
    const Quorum quorum = random_quorum(rng, 7, round % 2 ? 1 : 5);
    std::vector<LogIndex> match;
    for (std::size_t i = 0; i < quorum.votes().size(); ++i) match.push_back({rng.below(8)});
    const auto index_of = [&](NodeId id) { return match[id.value - 1]; };

    LogIndex brute;
    for (std::uint64_t index = 1; index < 8; ++index) {
      if (quorum.reached([&](NodeId id) { return index_of(id).value >= index; })) brute = {index};
    }
    EXPECT_EQ(quorum.agreed(index_of), brute);
  }
}

TEST(Quorum, TallyIsLostOnlyOnceItCannotBeWon) {
  Rng rng(3);
  for (int round = 0; round < 500; ++round) {
    const Quorum quorum = random_quorum(rng, 6, 4);
    const auto granted = static_cast<std::uint32_t>(rng.below(64));
    const auto refused = static_cast<std::uint32_t>(rng.below(64)) & ~granted;
    const VoteResult result = quorum.tally([&](NodeId id) -> std::optional<bool> {
      if (in_mask(granted, id)) return true;
      if (in_mask(refused, id)) return false;
      return std::nullopt;
    });
    const bool won = quorum.reached([&](NodeId id) { return in_mask(granted, id); });
    const bool possible = quorum.reached([&](NodeId id) { return !in_mask(refused, id); });
    EXPECT_EQ(result == VoteResult::kWon, won);
    EXPECT_EQ(result == VoteResult::kLost, !possible);
  }
}

TEST(Quorum, AVoterNamedTwiceVotesOnce) {
  const Quorum quorum = Quorum::majority({NodeId{2}, NodeId{1}, NodeId{2}});
  EXPECT_EQ(quorum.votes().size(), 2u);
  EXPECT_FALSE(quorum.reached([](NodeId id) { return id == NodeId{2}; }));
}

TEST(Quorum, NobodyDecidesNothing) {
  const Quorum none;
  EXPECT_FALSE(none.reached([](NodeId) { return true; }));
  EXPECT_EQ(none.agreed([](NodeId) { return LogIndex{9}; }), LogIndex{});
  EXPECT_EQ(none.tally([](NodeId) { return std::optional(true); }), VoteResult::kLost);
}

}  // namespace
}  // namespace conclave::consensus
