#include "node/forwarding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
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
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 2, 0), Verdict::kGap);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 1, 0), Verdict::kNew);
  receiver.taken(kOrigin, 5, 1, Outcome::kAccepted);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 1, 0), Verdict::kRepeated);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 2, 0), Verdict::kNew);
}

TEST(ForwardReceiverTest, ARestartedOriginIsAnotherOne) {
  ForwardReceiver receiver;
  receiver.check(Epoch{1}, kOrigin, 5, 1, 0);
  receiver.taken(kOrigin, 5, 1, Outcome::kAccepted);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 6, 1, 0), Verdict::kNew);
  receiver.taken(kOrigin, 6, 1, Outcome::kAccepted);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 1, 0), Verdict::kRepeated);
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
  receiver.check(Epoch{1}, kOrigin, 5, 1, 0);
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

TEST(ForwardReceiverTest, TakesNothingThatWasSentBeforeARefusalWasHeardOf) {
  ForwardReceiver receiver;
  receiver.check(Epoch{1}, kOrigin, 5, 1, 0);
  receiver.taken(kOrigin, 5, 1, Outcome::kBusy);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 2, 0), Verdict::kGap);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 1, 0), Verdict::kRepeated) << "and told again";
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 6, 1, 0), Verdict::kNew) << "another origin";
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 2, 1), Verdict::kNew);
  EXPECT_EQ(receiver.check(Epoch{1}, kOrigin, 5, 2, std::nullopt), Verdict::kNew) << "older builds";
  EXPECT_EQ(receiver.check(Epoch{2}, kOrigin, 5, 1, 0), Verdict::kNew) << "another epoch";
}

TEST(ForwardSenderTest, NumbersAnewFromARefusedFrame) {
  ForwardSender sender;
  for (std::uint64_t n = 1; n <= 4; ++n) {
    sender.next_number(Epoch{3});
    sender.sent(Epoch{3}, frame(n));
  }
  EXPECT_EQ(sender.heard(Epoch{3}), 0u);
  const auto refused = sender.refused(Epoch{3}, 2);
  EXPECT_EQ(refused.calls, (std::vector<std::uint64_t>{20, 21}));
  EXPECT_EQ(refused.later, (std::vector<std::uint64_t>{30, 31, 40, 41}));
  EXPECT_TRUE(sender.unanswered(Epoch{3}).empty());
  EXPECT_EQ(sender.heard(Epoch{3}), 2u);
  EXPECT_EQ(sender.next_number(Epoch{3}), 3u);
  sender.sent(Epoch{3}, frame(3));
  EXPECT_TRUE(sender.refused(Epoch{3}, 2).later.empty()) << "a repetition";
  EXPECT_EQ(sender.unanswered(Epoch{3}).size(), 1u);
  EXPECT_TRUE(sender.refused(Epoch{2}, 3).calls.empty());
  EXPECT_EQ(sender.heard(Epoch{4}), 0u);
}

// An origin whose commands are in one order, and a leader that has no room now and then, over a
// link that loses, repeats and reorders.
struct OrderedLink {
  struct Sent {
    std::uint64_t number = 0;
    std::uint64_t heard = 0;
    std::vector<std::uint64_t> commands;
  };
  static constexpr std::uint64_t kCommands = 60;
  const Epoch epoch{1};

  explicit OrderedLink(std::uint64_t seed) : rng(seed) {
    for (std::uint64_t command = 1; command <= kCommands; ++command) unsent.push_back(command);
  }

  bool is_done() { return unsent.empty() && sender.unanswered(epoch).empty(); }

  void send() {
    if (unsent.empty()) return;
    Sent frame{sender.next_number(epoch), sender.heard(epoch), {}};
    for (std::uint64_t left = 1 + rng.below(3); left > 0 && !unsent.empty(); --left) {
      refusals_before[unsent.front()] = refusals;
      frame.commands.push_back(unsent.front());
      unsent.pop_front();
    }
    sender.sent(epoch, {frame.number, frame.commands, {}});
    newest[frame.number] = frame;
    link.push_back(frame);
  }
  void repeat() {
    for (const auto& frame : sender.unanswered(epoch)) link.push_back(newest.at(frame.number));
  }
  void arrive() {
    if (link.empty()) return;
    const Sent frame = link[rng.below(link.size())];
    const Verdict verdict = receiver.check(epoch, kOrigin, 5, frame.number, frame.heard);
    if (verdict == Verdict::kGap) return;
    if (verdict == Verdict::kNew) {
      const bool is_busy = rng.one_in(4);
      receiver.taken(kOrigin, 5, frame.number, is_busy ? Outcome::kBusy : Outcome::kAccepted);
      if (!is_busy) log.insert(log.end(), frame.commands.begin(), frame.commands.end());
    }
    replies.emplace_back(frame.number, *receiver.outcome_of(kOrigin, 5, frame.number));
  }
  void hear() {
    if (replies.empty()) return;
    const auto [number, outcome] = replies[rng.below(replies.size())];
    if (outcome == Outcome::kAccepted) {
      sender.answered(epoch, number);
      return;
    }
    const auto refused = sender.refused(epoch, number);
    if (!refused.calls.empty()) ++refusals;
    dropped.insert(refused.calls.begin(), refused.calls.end());
    unsent.insert(unsent.begin(), refused.later.begin(), refused.later.end());
  }

  Rng rng;
  ForwardSender sender;
  ForwardReceiver receiver;
  std::deque<std::uint64_t> unsent;
  std::map<std::uint64_t, Sent> newest;  // of each number
  std::vector<Sent> link;
  std::vector<std::pair<std::uint64_t, Outcome>> replies;
  std::vector<std::uint64_t> log;  // the leader's
  std::set<std::uint64_t> dropped;
  std::uint64_t refusals = 0;                              // that were heard of
  std::map<std::uint64_t, std::uint64_t> refusals_before;  // each command was sent last
};

TEST(ForwardingTest, NothingOvertakesARefusal) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    OrderedLink test(seed);
    for (int step = 0; step < 20'000 && !test.is_done(); ++step) {
      if (test.rng.one_in(3)) test.send();
      if (test.rng.one_in(10)) test.repeat();
      if (test.rng.one_in(2)) test.arrive();
      if (test.rng.one_in(3)) test.hear();
    }
    ASSERT_TRUE(test.is_done()) << "seed " << seed;
    ASSERT_EQ(test.log.size() + test.dropped.size(), OrderedLink::kCommands) << "seed " << seed;
    ASSERT_TRUE(std::ranges::is_sorted(test.log)) << "seed " << seed;
    // What is behind a refused one was sent, the last time, by an origin that had heard of it.
    for (const std::uint64_t each : test.log) {
      for (const std::uint64_t before : test.dropped) {
        ASSERT_NE(each, before) << "seed " << seed;
        const bool has_heard = test.refusals_before[each] > test.refusals_before[before];
        ASSERT_TRUE(before > each || has_heard) << "seed " << seed;
      }
    }
  }
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
      const Verdict verdict = receiver.check(epoch, kOrigin, 5, number, 0);
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
