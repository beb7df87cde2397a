#include "node/auto_compaction.h"

#include <gtest/gtest.h>

namespace conclave::node {
namespace {

Instant at(std::int64_t s) { return Instant{0} + seconds(s); }

TEST(AutoCompactionTest, OffByDefault) {
  AutoCompaction off(Duration{}, 0);
  EXPECT_FALSE(off.due(at(0), 1'000, 0).has_value());
  EXPECT_FALSE(off.due(at(9'999), 2'000, 0).has_value());
}

TEST(AutoCompactionTest, ByAgeKeepsThePeriod) {
  AutoCompaction hourly(seconds(3'600), 0);
  api::Revision revision = 100;
  for (std::int64_t s = 0; s < 3'600; ++s) {
    ASSERT_FALSE(hourly.due(at(s), ++revision, 0).has_value()) << "at " << s;
  }
  // An hour on, what was current at the beginning may go.
  EXPECT_EQ(hourly.due(at(3'600), ++revision, 0), 101);
}

TEST(AutoCompactionTest, ByAgeDoesNotAskTwiceForTheSameRevision) {
  AutoCompaction brief(seconds(10), 0);
  brief.due(at(0), 50, 0);
  EXPECT_EQ(brief.due(at(10), 50, 0), 50);
  EXPECT_FALSE(brief.due(at(20), 50, 50).has_value());
}

TEST(AutoCompactionTest, ByCountKeepsTheNewest) {
  AutoCompaction counted(Duration{}, 1'000);
  EXPECT_FALSE(counted.due(at(0), 900, 0).has_value());
  EXPECT_FALSE(counted.due(at(10), 5'000, 0).has_value());
  EXPECT_EQ(counted.due(at(300), 5'000, 0), 4'000);
}

}  // namespace
}  // namespace conclave::node
