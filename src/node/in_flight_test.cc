#include "node/in_flight.h"

#include <gtest/gtest.h>

namespace conclave::node {
namespace {

constexpr Sharer kFlooder{.connection = 1};
constexpr Sharer kQuiet{.connection = 2};

class InFlightTest : public ::testing::Test {
 protected:
  void add(Sharer flow, std::size_t requests, std::size_t bytes_each = 1) {
    for (std::size_t i = 0; i < requests; ++i) in_flight_.add(flow, bytes_each);
  }
  InFlight in_flight_{{.requests = 100,
                       .bytes = 1'000'000,
                       .connection_requests = 60,
                       .connection_bytes = 500'000}};
};

TEST_F(InFlightTest, AConnectionHasALimitOfItsOwn) {
  add(kFlooder, 59);
  EXPECT_TRUE(in_flight_.has_room(kFlooder));
  add(kFlooder, 1);
  EXPECT_FALSE(in_flight_.has_room(kFlooder));
  EXPECT_TRUE(in_flight_.has_room(kQuiet));
  in_flight_.remove(kFlooder, 1);
  EXPECT_TRUE(in_flight_.has_room(kFlooder));
}

TEST_F(InFlightTest, BytesCountAsRequestsDo) {
  add(kFlooder, 1, 500'000);
  EXPECT_FALSE(in_flight_.has_room(kFlooder));
  EXPECT_TRUE(in_flight_.has_room(kQuiet));
}

TEST_F(InFlightTest, BeyondTheLimitOfAllThoseAreServedThatHaveLittle) {
  add(kFlooder, 50);
  add({3}, 50);
  EXPECT_FALSE(in_flight_.has_room(kFlooder));
  EXPECT_FALSE(in_flight_.has_room({3}));
  EXPECT_TRUE(in_flight_.has_room(kQuiet));
  add(kQuiet, limits::kLittleRequests);
  EXPECT_FALSE(in_flight_.has_room(kQuiet));
}

TEST_F(InFlightTest, BeyondTwiceTheLimitNobodyIs) {
  for (Flow flow = 10; flow < 30; ++flow) add({flow}, 10);
  EXPECT_EQ(in_flight_.requests(), 200u);
  EXPECT_FALSE(in_flight_.has_room(kQuiet));
  EXPECT_TRUE(in_flight_.has_room(kQuiet, 2)) << "what has a larger share";
}

TEST_F(InFlightTest, OneUserMayHaveHalfOfWhatAllMay) {
  const Flow user = user_flow("somebody");
  add({10, user}, 25);
  add({11, user}, 25);
  EXPECT_FALSE(in_flight_.has_room({10, user}));
  EXPECT_TRUE(in_flight_.has_room({12, user})) << "a connection of the user's that is quiet";
  EXPECT_TRUE(in_flight_.has_room({10})) << "the same connection, asking for nobody";
  EXPECT_TRUE(in_flight_.has_room({10, user_flow("another")}));
  in_flight_.remove({11, user}, 1);
  EXPECT_TRUE(in_flight_.has_room({10, user}));
}

TEST_F(InFlightTest, CountsComeBackToNothing) {
  add(kFlooder, 3, 7);
  add(kQuiet, 1, 5);
  EXPECT_EQ(in_flight_.bytes(), 26u);
  for (int i = 0; i < 3; ++i) in_flight_.remove(kFlooder, 7);
  in_flight_.remove(kQuiet, 5);
  EXPECT_EQ(in_flight_.requests(), 0u);
  EXPECT_EQ(in_flight_.bytes(), 0u);
}

}  // namespace
}  // namespace conclave::node
