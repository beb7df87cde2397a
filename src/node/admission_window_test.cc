#include "node/admission_window.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace conclave::node {
namespace {

using limits::kAdmittedCost;
using limits::kMaxAdmittedCost;

class AdmissionWindowTest : public ::testing::Test {
 protected:
  // Rounds in which all that is admitted gets done.
  void rounds(int count, Duration took) {
    for (; count > 0; --count) {
      now_ = now_ + took;
      window_.round_over(window_.cost(), took, now_);
    }
  }
  // It begins with probing.
  void SetUp() override {
    rounds(2, seconds(1));
    window_.round_over(1, seconds(1), now_);
  }
  AdmissionWindow window_;
  Instant now_{};
};

TEST_F(AdmissionWindowTest, BetweenMembersThatAreNearTheFloorIsEnough) {
  EXPECT_EQ(window_.cost(), kAdmittedCost);
  rounds(1, milliseconds(1));
  rounds(100, milliseconds(4));  // all of it in what is under way
  EXPECT_EQ(window_.cost(), kAdmittedCost);
}

TEST_F(AdmissionWindowTest, OverALongWayItGrowsWithWhatIsAskedFor) {
  rounds(3, milliseconds(80));
  EXPECT_EQ(window_.cost(), 8 * kAdmittedCost);
  window_.round_over(1'000, milliseconds(80), now_);
  EXPECT_EQ(window_.cost(), kAdmittedCost) << "little was asked for";
}

TEST_F(AdmissionWindowTest, ItStopsWhereAQueueForms) {
  rounds(2, milliseconds(80));
  EXPECT_EQ(window_.cost(), 4 * kAdmittedCost);
  rounds(1, milliseconds(160));  // more was under way than gets done in 80 ms
  EXPECT_EQ(window_.cost(), 4 * kAdmittedCost);
  rounds(1, milliseconds(320));
  EXPECT_EQ(window_.cost(), 2 * kAdmittedCost);
}

TEST_F(AdmissionWindowTest, ItHasAnEnd) {
  rounds(20, milliseconds(300));
  EXPECT_EQ(window_.cost(), kMaxAdmittedCost);
}

// Members that moved apart.
TEST_F(AdmissionWindowTest, AShortRoundIsForgotten) {
  rounds(1, milliseconds(1));
  rounds(50, milliseconds(100));
  EXPECT_EQ(window_.cost(), kAdmittedCost);
  rounds(90, milliseconds(100));
  EXPECT_EQ(window_.cost(), kMaxAdmittedCost);
}

// A queue that lasts is not taken for a long way: what a round takes is measured at the floor.
TEST_F(AdmissionWindowTest, ALongFloodDoesNotWidenIt) {
  rounds(1, milliseconds(1));
  std::uint64_t widest = 0;
  for (int i = 0; i < 100'000; ++i) {
    rounds(1, milliseconds(static_cast<std::int64_t>(4 * window_.cost() / kAdmittedCost)));
    widest = std::max(widest, window_.cost());
  }
  EXPECT_LE(widest, 2 * kAdmittedCost);
}

}  // namespace
}  // namespace conclave::node
