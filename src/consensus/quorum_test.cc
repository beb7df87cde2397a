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

// --- flexible quorums ----------------------------------------------------------------------------

std::vector<Vote> weights(std::initializer_list<std::uint32_t> list) {
  std::vector<Vote> votes;
  for (const std::uint32_t weight : list) votes.push_back({NodeId{votes.size() + 1}, weight});
  return votes;
}

// All pairs of thresholds over all kinds of weights: accepted if and only if no two disjoint sets
// exist, found here by looking at every pair of subsets.
TEST(FlexibleQuorum, AcceptedExactlyIfElectionAndWriteQuorumsAlwaysMeet) {
  Rng rng(4);
  for (int round = 0; round < 60; ++round) {
    std::vector<Vote> votes;
    std::uint64_t total = 0;
    for (std::uint64_t id = 1, n = rng.between(1, 5); id <= n; ++id) {
      votes.push_back({NodeId{id}, static_cast<std::uint32_t>(rng.between(1, round % 2 ? 1 : 4))});
      total += votes.back().weight;
    }
    const auto weight_of = [&](std::uint32_t mask) {
      std::uint64_t weight = 0;
      for (const Vote& vote : votes) weight += in_mask(mask, vote.id) ? vote.weight : 0;
      return weight;
    };
    const std::uint32_t all = (1u << votes.size()) - 1;
    for (std::uint64_t election = 1; election <= total; ++election) {
      for (std::uint64_t write = 1; write <= total; ++write) {
        bool meet = true;
        for (std::uint32_t mask = 0; mask <= all; ++mask) {
          if (weight_of(mask) >= election && weight_of(all & ~mask) >= write) meet = false;
        }
        const auto quorum = Quorum::flexible(votes, election, write);
        ASSERT_EQ(quorum.has_value(), meet) << total << " " << election << " " << write;
        if (meet) continue;
        const auto found = counter_example(votes, election, write);
        std::uint32_t elects = 0;
        std::uint32_t writes = 0;
        for (const NodeId id : found->election) elects |= 1u << (id.value - 1);
        for (const NodeId id : found->write) writes |= 1u << (id.value - 1);
        EXPECT_EQ(elects & writes, 0u);
        EXPECT_GE(weight_of(elects), election);
        EXPECT_GE(weight_of(writes), write);
      }
    }
  }
}

TEST(FlexibleQuorum, ARefusalNamesTwoDisjointSets) {
  const auto refused = Quorum::flexible(weights({1, 1, 1, 1}), 2, 2);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(refused.error().message,
            "an election quorum of 2 and a write quorum of 2, of 4 votes in all, need not share a "
            "member: {1,2} could elect a leader that knows nothing of what {3,4} stored. Together "
            "they must be more than 4");
  EXPECT_FALSE(Quorum::flexible(weights({1, 1, 1}), 0, 3).has_value());
  EXPECT_FALSE(Quorum::flexible(weights({1, 1, 1}), 1, 4).has_value());
}

// Weights can do what thresholds alone do not show: with votes of 2 there is no set of weight 3.
TEST(FlexibleQuorum, WeightsDecideAndNotTheSumOfThresholds) {
  EXPECT_TRUE(Quorum::flexible(weights({2, 2}), 1, 3).has_value());
  EXPECT_FALSE(Quorum::flexible(weights({2, 1, 1}), 1, 3).has_value());
}

TEST(FlexibleQuorum, EachPhaseAsksItsOwnThreshold) {
  const Quorum quorum = *Quorum::flexible(weights({1, 1, 1, 1, 1}), 4, 2);
  EXPECT_TRUE(quorum.is_flexible());
  EXPECT_TRUE(quorum.reached([](NodeId id) { return id.value <= 2; }));
  EXPECT_FALSE(quorum.elects([](NodeId id) { return id.value <= 3; }));
  EXPECT_TRUE(quorum.elects([](NodeId id) { return id.value <= 4; }));
  EXPECT_EQ(quorum.agreed([](NodeId id) { return LogIndex{id.value}; }), LogIndex{4});
  const auto refused_by_two = [](NodeId id) { return std::optional(id.value > 2); };
  EXPECT_EQ(quorum.tally(refused_by_two), VoteResult::kLost);
  EXPECT_FALSE(Quorum::flexible(weights({1, 1, 1}), 2, 2)->is_flexible()) << "the majority's own";
  EXPECT_EQ(*Quorum::flexible(weights({1, 1, 1}), 2, 2), Quorum::weighted(weights({1, 1, 1})));
}

TEST(Quorum, TheRuleStaysWhenTheVotersChange) {
  const Quorum majority = Quorum::weighted(weights({1, 1, 1}));
  EXPECT_EQ(majority.with_votes(weights({1, 1, 1, 1})), Quorum::weighted(weights({1, 1, 1, 1})));
  const Quorum flexible = *Quorum::flexible(weights({1, 1, 1, 1, 1}), 4, 2);
  EXPECT_EQ(flexible.with_votes(weights({1, 1, 1, 1, 1, 1})),
            *Quorum::flexible(weights({1, 1, 1, 1, 1, 1}), 5, 2));
  EXPECT_EQ(flexible.with_votes(weights({1})), *Quorum::flexible(weights({1}), 1, 1));
  const Quorum slack = *Quorum::flexible(weights({1, 1, 1, 1, 1}), 4, 3);
  EXPECT_EQ(slack.with_votes(slack.votes()), slack);
  EXPECT_EQ(slack.with_votes(weights({1, 1, 1})), *Quorum::flexible(weights({1, 1, 1}), 3, 3));
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
