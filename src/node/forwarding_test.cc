#include "node/forwarding.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "base/rng.h"

namespace conclave::node {
namespace {

using Verdict = ForwardReceiver::Verdict;
using Outcome = ForwardReceiver::Outcome;
constexpr NodeId kOrigin{7};

ForwardSender::Frame frame(std::uint64_t number) {
  return ForwardSender::Frame{number, {number * 10, number * 10 + 1}, "frame"};
}

TEST(ForwardSenderTest, RepeatsWhatIsUnanswered) {
  ForwardSender sender;
  sender.next_number(Epoch{3});
  sender.sent(Epoch{3}, frame(1));
  sender.sent(Epoch{3}, frame(2));
  EXPECT_EQ(sender.unanswered(Epoch{3}).size(), 2u);
  EXPECT_EQ(sender.answered(Epoch{3}, 1), (std::vector<std::uint64_t>{10, 11}));
  EXPECT_EQ(sender.answered(Epoch{3}, 1), std::vector<std::uint64_t>{});
  ASSERT_EQ(sender.unanswered(Epoch{3}).size(), 1u);
  EXPECT_EQ(sender.unanswered(Epoch{3}).front().number, 2u);
}

TEST(ForwardSenderTest, ANewEpochStartsAgainAtOne) {
  ForwardSender sender;
  EXPECT_EQ(sender.next_number(Epoch{3}), 1u);
  sender.sent(Epoch{3}, frame(1));
  EXPECT_EQ(sender.next_number(Epoch{3}), 2u);
  EXPECT_EQ(sender.next_number(Epoch{4}), 1u);
  EXPECT_TRUE(sender.unanswered(Epoch{4}).empty());
  EXPECT_TRUE(sender.answered(Epoch{3}, 1).empty());
}

TEST(ForwardReceiverTest, TakesEachNumberOnceAndInOrder) {
  ForwardReceiver receiver;
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 2), Verdict::kGap);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 1), Verdict::kNew);
  receiver.taken(kOrigin, 5, 1, Outcome::kAccepted);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 1), Verdict::kRepeated);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 2), Verdict::kNew);
}

TEST(ForwardReceiverTest, ARestartedOriginIsAnotherOne) {
  ForwardReceiver receiver;
  receiver.check(Epoch{1}, kOrigin, 5, 1);
  receiver.taken(kOrigin, 5, 1, Outcome::kAccepted);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 6, 1), Verdict::kNew);
  receiver.taken(kOrigin, 6, 1, Outcome::kAccepted);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 1), Verdict::kRepeated);
}

TEST(ForwardSenderTest, WhatNobodyWaitsForGoesAsAnEmptyFrame) {
  ForwardSender sender;
  for (std::uint64_t n = 1; n <= 2; ++n) {
    sender.next_number(Epoch{3});
    sender.sent(Epoch{3}, frame(n));
  }
  const auto empty = [](std::uint64_t number) { return "empty " + std::to_string(number); };
  sender.empty_unwanted(
      Epoch{3}, [](std::uint64_t call) { return call == 11 || call == 20; }, empty);
  EXPECT_EQ(sender.unanswered(Epoch{3}).front().encoded, "frame");
  sender.empty_unwanted(
      Epoch{3}, [](std::uint64_t call) { return call == 20; }, empty);
  EXPECT_EQ(sender.unanswered(Epoch{3})[0].encoded, "empty 1");
  EXPECT_EQ(sender.unanswered(Epoch{3})[1].encoded, "frame");
  EXPECT_TRUE(sender.answered(Epoch{3}, 1).empty());
}

TEST(ForwardReceiverTest, ARepeatedFrameGetsItsFirstAnswer) {
  ForwardReceiver receiver;
  receiver.check(Epoch{1}, kOrigin, 5, 1);
  receiver.taken(kOrigin, 5, 1, Outcome::kAccepted);
  receiver.taken(kOrigin, 5, 2, Outcome::kBusy);
  receiver.taken(kOrigin, 5, 3, Outcome::kNoSpace);
  receiver.taken(kOrigin, 5, 4, Outcome::kAccepted);
  EXPECT_EQ(receiver.outcome_of(kOrigin, 5, 1), Outcome::kAccepted);
  EXPECT_EQ(receiver.outcome_of(kOrigin, 5, 2), Outcome::kBusy);
  EXPECT_EQ(receiver.outcome_of(kOrigin, 5, 3), Outcome::kNoSpace);
  EXPECT_EQ(receiver.outcome_of(kOrigin, 5, 4), Outcome::kAccepted);
  for (std::uint64_t n = 5; n < 20'000; ++n) receiver.taken(kOrigin, 5, n, Outcome::kBusy);
  EXPECT_EQ(receiver.outcome_of(kOrigin, 5, 2), std::nullopt);
  EXPECT_EQ(receiver.outcome_of(kOrigin, 5, 19'999), Outcome::kBusy);
}

// Frames over a link that loses, repeats and reorders: each is taken once, and all in the end.
TEST(ForwardingTest, EveryFrameIsTakenExactlyOnceOverABadLink) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Rng rng(seed);
    ForwardSender sender;
    ForwardReceiver receiver;
    const Epoch epoch{1};
    std::vector<std::uint64_t> link;
    std::map<std::uint64_t, int> taken;
    for (std::uint64_t n = 1; n <= 20; ++n) {
      sender.next_number(epoch);
      sender.sent(epoch, frame(n));
    }
    for (int step = 0; step < 10'000 && !sender.unanswered(epoch).empty(); ++step) {
      if (rng.one_in(5)) {
        for (const auto& unanswered : sender.unanswered(epoch)) link.push_back(unanswered.number);
      }
      if (link.empty()) continue;
      const std::uint64_t number = link[rng.below(link.size())];  // reordered, and repeated later
      if (rng.one_in(3)) continue;                                // lost
      const Verdict verdict = receiver.check(epoch, kOrigin, 5, number);
      if (verdict == Verdict::kGap) continue;
      if (verdict == Verdict::kNew) {
        ++taken[number];
        receiver.taken(kOrigin, 5, number, Outcome::kAccepted);
      }
      if (!rng.one_in(3)) sender.answered(epoch, number);
    }
    ASSERT_TRUE(sender.unanswered(epoch).empty()) << "seed " << seed;
    ASSERT_EQ(taken.size(), 20u) << "seed " << seed;
    for (const auto& [number, times] : taken) ASSERT_EQ(times, 1) << "seed " << seed;
  }
}

}  // namespace
}  // namespace conclave::node
