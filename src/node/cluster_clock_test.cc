#include "node/cluster_clock.h"

#include <gtest/gtest.h>

namespace conclave::node {
namespace {

Instant at_ms(std::int64_t ms) { return Instant{0} + milliseconds(ms); }

TEST(ClusterClockTest, RunsWithTheLeadersClock) {
  ClusterClock clock;
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(500), Stamp{0}).ms, 0u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(700), Stamp{0}).ms, 200u);
}

TEST(ClusterClockTest, ANewLeaderGoesOnWhereTheLogEnds) {
  ClusterClock clock;
  clock.stamp(Epoch{1}, at_ms(0), Stamp{0});
  clock.stamp(Epoch{1}, at_ms(100), Stamp{0});
  EXPECT_EQ(clock.stamp(Epoch{5}, at_ms(9'000), Stamp{4'000}).ms, 4'000u);
  EXPECT_EQ(clock.stamp(Epoch{5}, at_ms(9'010), Stamp{4'000}).ms, 4'010u);
}

TEST(ClusterClockTest, NeverGoesBack) {
  ClusterClock clock;
  clock.stamp(Epoch{1}, at_ms(0), Stamp{0});
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(100), Stamp{0}).ms, 100u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(50), Stamp{0}).ms, 100u);
  EXPECT_EQ(clock.stamp(Epoch{1}, at_ms(60), Stamp{700}).ms, 700u);
}

}  // namespace
}  // namespace conclave::node
