#include "node/reads.h"

#include <gtest/gtest.h>

namespace conclave::node {
namespace {

class ReadsTest : public ::testing::Test {
 protected:
  void add(std::uint64_t call, Instant deadline = Instant{100}) {
    api::Request request{.body = api::RangeRequest{}, .id = {}, .timeout_ms = {}};
    reads_.add(Reads::Read{ClientCall{1, call}, std::move(request), deadline});
  }
  std::vector<std::uint64_t> ready(std::uint64_t applied) {
    std::vector<std::uint64_t> calls;
    reads_.make_due(LogIndex{applied});
    while (const auto read = reads_.next_due()) calls.push_back(read->client.call);
    return calls;
  }
  using Calls = std::vector<std::uint64_t>;
  Reads reads_{ReadId{1000}};
};

TEST_F(ReadsTest, AllThatWaitShareOneBarrier) {
  EXPECT_FALSE(reads_.begin_barrier().has_value());
  add(1);
  add(2);
  EXPECT_EQ(reads_.begin_barrier(), ReadId{1000});
  EXPECT_FALSE(reads_.begin_barrier().has_value());
  reads_.barrier_done(ReadId{1000}, LogIndex{5});
  EXPECT_EQ(ready(4), Calls{});
  EXPECT_EQ(ready(5), (Calls{1, 2}));
  EXPECT_EQ(reads_.waiting(), 0u);
}

TEST_F(ReadsTest, AReadThatComesLaterNeedsALaterBarrier) {
  add(1);
  const auto first = reads_.begin_barrier();
  add(2);
  reads_.barrier_done(*first, LogIndex{1});
  EXPECT_EQ(ready(9), Calls{1});
  const auto second = reads_.begin_barrier();
  ASSERT_TRUE(second.has_value());
  EXPECT_NE(*second, *first);
}

TEST_F(ReadsTest, AFailedBarrierIsAskedAgainButNotAtOnce) {
  add(1);
  reads_.barrier_done(*reads_.begin_barrier(), std::nullopt);
  EXPECT_EQ(ready(9), Calls{});
  EXPECT_FALSE(reads_.begin_barrier().has_value());
  reads_.retry();
  reads_.barrier_done(*reads_.begin_barrier(), LogIndex{3});
  EXPECT_EQ(ready(3), Calls{1});
}

TEST_F(ReadsTest, ABarrierIsAnsweredOnce) {
  add(1);
  const auto id = reads_.begin_barrier();
  reads_.barrier_done(*id, LogIndex{3});
  reads_.barrier_done(*id, LogIndex{4});
  EXPECT_EQ(ready(9), Calls{1});
}

TEST_F(ReadsTest, ExpireWhereverTheyWait) {
  add(1, Instant{10});
  reads_.barrier_done(*reads_.begin_barrier(), LogIndex{7});
  add(2, Instant{10});
  reads_.begin_barrier();
  add(3, Instant{10});
  add(4, Instant{11});
  EXPECT_EQ(reads_.expire(Instant{10}).size(), 3u);
  EXPECT_EQ(reads_.waiting(), 1u);
}

TEST_F(ReadsTest, AReadOfAFullConnectionWaitsUntilThereIsRoom) {
  const auto due = [&](std::uint64_t connection, std::uint64_t call, Instant deadline) {
    api::Request request{.body = api::RangeRequest{}, .id = {}, .timeout_ms = {}};
    reads_.add_due(Reads::Read{ClientCall{connection, call}, std::move(request), deadline});
  };
  due(1, 1, Instant{100});
  due(1, 2, Instant{5});
  due(2, 3, Instant{100});
  while (auto read = reads_.next_due()) reads_.hold(*std::move(read));
  EXPECT_EQ(reads_.waiting(), 3u);
  EXPECT_EQ(reads_.full_connections(), (std::vector<std::uint64_t>{1, 2}));

  const auto expired = reads_.expire(Instant{5});
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].client.call, 2u);
  EXPECT_TRUE(expired[0].held);
  reads_.on_room(1);
  EXPECT_EQ(ready(0), Calls{1});
  EXPECT_EQ(reads_.waiting(), 1u);
  reads_.on_room(2);
  EXPECT_EQ(ready(0), Calls{3});
  EXPECT_EQ(reads_.waiting(), 0u);
}

}  // namespace
}  // namespace conclave::node
