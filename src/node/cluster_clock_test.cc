#include "node/cluster_clock.h"

#include <gtest/gtest.h>

namespace conclave::node {
namespace {

Instant at_ms(std::int64_t ms) { return Instant{0} + milliseconds(ms); }

constexpr Duration kMaxAhead = milliseconds(1'000);

TEST(ClusterClockTest, RunsWithTheLeadersClock) {
  ClusterClock clock(kMaxAhead);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(500), Stamp{0}).ms, 0u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(700), Stamp{0}).ms, 200u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(2'700), Stamp{1'900}).ms, 2'200u);
}

TEST(ClusterClockTest, ANewLeaderGoesOnWhereTheLogEnds) {
  ClusterClock clock(kMaxAhead);
  clock.stamp(Epoch{1}, at_ms(0), Stamp{0});
  clock.stamp(Epoch{1}, at_ms(100), Stamp{0});
  EXPECT_EQ(clock.stamp(Epoch{5}, at_ms(9'000), Stamp{4'000}).ms, 4'000u);
  EXPECT_EQ(clock.stamp(Epoch{5}, at_ms(9'010), Stamp{4'000}).ms, 4'010u);
}

TEST(ClusterClockTest, NeverGoesBack) {
  ClusterClock clock(kMaxAhead);
  clock.stamp(Epoch{1}, at_ms(0), Stamp{0});
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(100), Stamp{0}).ms, 100u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(50), Stamp{0}).ms, 100u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(60), Stamp{700}).ms, 700u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(90), Stamp{700}).ms, 730u);
}

TEST(ClusterClockTest, StandsStillWhileNothingIsApplied) {
  ClusterClock clock(kMaxAhead);
  clock.stamp(Epoch{1}, at_ms(0), Stamp{0});
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(1'000), Stamp{0}).ms, 1'000u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(9'000), Stamp{0}).ms, 1'000u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(9'010), Stamp{900}).ms, 1'010u) << "and goes on from there";
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(9'110), Stamp{1'010}).ms, 1'110u);
}

TEST(ClusterClockTest, APausedLeaderLosesThePause) {
  ClusterClock clock(kMaxAhead);
  clock.stamp(Epoch{1}, at_ms(0), Stamp{0});
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(60'000), Stamp{0}).ms, 1'000u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(60'100), Stamp{1'000}).ms, 1'100u);
}

TEST(ClusterClockTest, WhatALeaderStampedInVainIsForgotten) {
  ClusterClock clock(kMaxAhead);
  clock.stamp(Epoch{1}, at_ms(0), Stamp{0});
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(900), Stamp{0}).ms, 900u);
  EXPECT_EQ(clock.stamp(Epoch{3}, at_ms(1'000), Stamp{50}).ms, 50u) << "others led meanwhile";
}

}  // namespace
}  // namespace conclave::node
