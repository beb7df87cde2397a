// The measurements in virtual time measure what they say: the same scenario gives the same numbers,
// what is counted adds up, and the network of the scenario shows in what comes out.

#include "bench/simulation.h"

#include <gtest/gtest.h>

namespace conclave::bench {
namespace {

const Engine kRaft{.name = "raft", .consensus = node::Consensus::kRaft};
const Engine kPaxos{.name = "paxos", .consensus = node::Consensus::kPaxos};
const Engine kFlexible{.name = "paxos 4/2",
                       .consensus = node::Consensus::kPaxos,
                       .election_quorum = 4,
                       .write_quorum = 2};

Network local(std::uint32_t lost_per_thousand) {
  return {
      .name = "lan",
      .links = {
          .shortest = microseconds(50), .longest = microseconds(150), .lost = lost_per_thousand}};
}

// Members 10, 20, 40 and 80 ms from the first, there and back.
Network star() {
  return {.name = "star",
          .members = 5,
          .links = {},
          .rtt_ms = {{0, 10, 20, 40, 80},
                     {10, 0, 100, 100, 100},
                     {20, 100, 0, 100, 100},
                     {40, 100, 100, 0, 100},
                     {80, 100, 100, 100, 0}}};
}

LoadResult measured(const Scenario& scenario, Load load) {
  load.warm_up = milliseconds(100);
  load.measured = milliseconds(400);
  const Result<LoadResult> result = measure_load(scenario, load);
  EXPECT_TRUE(result.has_value()) << result.error().message;
  return result.value_or(LoadResult{});
}

class EachEngine : public testing::TestWithParam<Engine> {};
INSTANTIATE_TEST_SUITE_P(, EachEngine, testing::Values(kRaft, kPaxos),
                         [](const auto& each) { return each.param.name; });

TEST_P(EachEngine, TheSameSetupGivesTheSameNumbers) {
  const Scenario scenario{.engine = GetParam(), .network = local(50), .seed = 7};
  const LoadResult once = measured(scenario, {.in_flight = 16});
  EXPECT_EQ(once, measured(scenario, {.in_flight = 16}));
  Scenario other = scenario;
  other.seed = 8;
  EXPECT_NE(once, measured(other, {.in_flight = 16}));
  const Result<FailoverResult> failover = measure_failover(scenario, Loss::kPowerCut);
  ASSERT_TRUE(failover.has_value());
  EXPECT_EQ(*failover, *measure_failover(scenario, Loss::kPowerCut));
}

TEST_P(EachEngine, WhatIsCountedAddsUp) {
  const LoadResult result = measured({.engine = GetParam(), .network = local(0)}, {.in_flight = 4});
  EXPECT_FALSE(result.leader_changed);
  EXPECT_EQ(result.failed, 0u);
  EXPECT_GT(result.acknowledged, 100u);
  EXPECT_LT(result.acknowledged, result.in_all);
  // A client at a time: what they waited fills the time that was measured (Little's law).
  EXPECT_LE(result.p50, result.p99);
  EXPECT_GT(result.p50.ns * static_cast<std::int64_t>(result.acknowledged),
            milliseconds(400).ns * 4 / 2);
  // Two ways of a client, two of a message, one fsync, which is the least that a write takes.
  EXPECT_GT(result.p50, microseconds(400));
  EXPECT_LT(result.p99, milliseconds(5));
}

TEST_P(EachEngine, AWriteGoesToEachFollowerAndItsAcknowledgementBack) {
  const LoadResult result = measured({.engine = GetParam(), .network = local(0)}, {.in_flight = 1});
  EXPECT_GE(result.messages, 4 * result.acknowledged);
  EXPECT_LE(result.messages, 8 * result.acknowledged);
  EXPECT_GE(result.bytes, 2 * 256 * result.acknowledged);
  EXPECT_LE(result.bytes, 6 * 256 * result.acknowledged);
}

TEST_P(EachEngine, LostMessagesShow) {
  const LoadResult whole = measured({.engine = GetParam(), .network = local(0)}, {.in_flight = 16});
  const LoadResult lossy =
      measured({.engine = GetParam(), .network = local(100)}, {.in_flight = 16});
  EXPECT_GT(lossy.p99, whole.p99);
  EXPECT_LT(lossy.acknowledged, whole.acknowledged);
}

// Silence is only believed after an election timeout, of a second at least and less the time since
// the last heartbeat; a connection that breaks is noticed at once.
TEST_P(EachEngine, AFailoverTakesAnElection) {
  const Scenario scenario{.engine = GetParam(), .network = local(0)};
  const Result<FailoverResult> cut = measure_failover(scenario, Loss::kPowerCut);
  const Result<FailoverResult> killed = measure_failover(scenario, Loss::kKill);
  ASSERT_TRUE(cut.has_value());
  ASSERT_TRUE(killed.has_value());
  EXPECT_GT(cut->until_acknowledged, milliseconds(850));
  EXPECT_LT(cut->until_acknowledged, seconds(5));
  EXPECT_GT(killed->until_acknowledged, milliseconds(1));
  EXPECT_LT(killed->until_acknowledged, milliseconds(500));
}

// What decides is how far away the last one is that is needed.
TEST_P(EachEngine, AMajorityOfFiveWaitsForTheSecondNearest) {
  const LoadResult result = measured({.engine = GetParam(), .network = star()}, {});
  EXPECT_GE(result.p50, milliseconds(20));
  EXPECT_LT(result.p50, milliseconds(25));
}

TEST(SimulationTest, AWriteQuorumOfTwoWaitsForTheNearest) {
  const LoadResult result = measured({.engine = kFlexible, .network = star()}, {});
  EXPECT_GE(result.p50, milliseconds(10));
  EXPECT_LT(result.p50, milliseconds(15));
}

TEST(SimulationTest, TheLeaderIsInItsPlace) {
  Scenario scenario{.engine = kFlexible, .network = star()};
  scenario.leader_place = 4;
  const LoadResult result = measured(scenario, {});
  EXPECT_GE(result.p50, milliseconds(80));
  EXPECT_LT(result.p50, milliseconds(85));
}

TEST_P(EachEngine, AReadThatNeedsNoQuorumTakesNoTime) {
  const Scenario scenario{.engine = GetParam(), .network = star()};
  const LoadResult linearizable =
      measured(scenario, {.operation = Operation::kLinearizableRead, .asked_place = 3});
  EXPECT_GE(linearizable.p50, milliseconds(60));  // 40 to ask the leader, 20 for its round
  EXPECT_LT(linearizable.p50, milliseconds(65));
  const LoadResult serializable =
      measured(scenario, {.operation = Operation::kSerializableRead, .asked_place = 3});
  EXPECT_LT(serializable.p99, milliseconds(1));
}

}  // namespace
}  // namespace conclave::bench
