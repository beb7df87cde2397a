#include "consensus/pace.h"

#include <gtest/gtest.h>

namespace conclave::consensus {
namespace {

constexpr std::uint64_t kPatience = 10;

TEST(Pace, WhoOwesNothingIsWaitedFor) {
  Pace pace(0);
  pace.acknowledged(LogIndex{5}, LogIndex{5}, 1);
  for (std::uint64_t now = 2; now < 100; ++now) pace.look(false, now, kPatience);
  EXPECT_TRUE(pace.is_waited_for());
}

TEST(Pace, WhoAcknowledgesNothingFallsOut) {
  Pace pace(0);
  pace.acknowledged(LogIndex{5}, LogIndex{5}, 1);
  pace.look(false, 20, kPatience);
  pace.look(true, 29, kPatience);
  EXPECT_TRUE(pace.is_waited_for());
  pace.look(true, 30, kPatience);
  EXPECT_FALSE(pace.is_waited_for());
  pace.look(false, 40, kPatience);
  EXPECT_FALSE(pace.is_waited_for()) << "that nobody asks any more is no acknowledgement";
}

TEST(Pace, WhoAcknowledgesSlowlyIsWaitedFor) {
  Pace pace(0);
  pace.acknowledged(LogIndex{5}, LogIndex{5}, 0);
  for (std::uint64_t now = 1; now < 100; ++now) {
    pace.look(true, now, kPatience);
    if (now % 9 == 0) pace.acknowledged(LogIndex{5}, LogIndex{50}, now);
  }
  EXPECT_TRUE(pace.is_waited_for());
}

TEST(Pace, WhoFellOutComesBackWithNearlyEverything) {
  Pace pace(0);
  pace.fall_out();
  pace.acknowledged(LogIndex{99}, LogIndex{100}, 1);
  EXPECT_FALSE(pace.is_waited_for());
  pace.acknowledged(LogIndex{100}, LogIndex{100}, 2);
  EXPECT_TRUE(pace.is_waited_for());
}

TEST(Pace, OfANewLeaderTheFirstAcknowledgementDecides) {
  Pace close(0), far(0), silent(0);
  EXPECT_TRUE(close.is_waited_for());
  close.acknowledged(LogIndex{7}, LogIndex{7}, 1);
  far.acknowledged(LogIndex{6}, LogIndex{7}, 1);
  EXPECT_TRUE(close.is_waited_for());
  EXPECT_FALSE(far.is_waited_for());
  silent.look(false, 9, kPatience);
  EXPECT_TRUE(silent.is_waited_for());
  silent.look(false, 10, kPatience);
  EXPECT_FALSE(silent.is_waited_for());
}

}  // namespace
}  // namespace conclave::consensus
