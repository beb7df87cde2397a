#include "node/writes.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace conclave::node {
namespace {

constexpr Instant kLater{1'000};
constexpr std::size_t kPlenty = 1'000'000;

// A transcript vocabulary: add("a") returns the call number, take(epoch) the commands taken.
class WritesTest : public ::testing::Test {
 protected:
  std::uint64_t add(const std::string& command, bool idempotent = false,
                    Instant deadline = kLater) {
    return add_from(1, command, idempotent, deadline);
  }
  std::uint64_t add_from(std::uint64_t connection, const std::string& command,
                         bool idempotent = false, Instant deadline = kLater) {
    const std::uint64_t call = writes_.next_call();
    writes_.add(ClientCall{connection, call}, command, idempotent, deadline);
    return call;
  }
  std::string take(std::uint64_t epoch, std::size_t max_bytes = kPlenty) {
    std::string taken;
    for (const Writes::Sent& write : writes_.take_unsent(Epoch{epoch}, max_bytes)) {
      taken += write.command;
      taken += ' ';
    }
    return taken;
  }
  Writes writes_;
};

TEST_F(WritesTest, AreTakenOnceInOrderOfArrival) {
  add("a");
  add("b");
  EXPECT_EQ(take(1), "a b ");
  EXPECT_EQ(take(1), "");
  EXPECT_EQ(writes_.waiting(), 2u);
}

TEST_F(WritesTest, ABatchIsLimitedButNeverEmpty) {
  add("aaaa");
  add("bbbb");
  EXPECT_EQ(take(1, 2), "aaaa ");
  EXPECT_EQ(take(1, 2), "bbbb ");
}

TEST_F(WritesTest, WhatALowerEpochMayHaveLostIsSentAgain) {
  add("old");
  EXPECT_EQ(take(1), "old ");
  add("new");
  EXPECT_EQ(take(2), "new ");
  writes_.put_back_before(Epoch{2});
  add("newest");
  EXPECT_EQ(take(3), "old newest ");
}

TEST_F(WritesTest, WhatHasEndedIsNotSentAgain) {
  const auto a = add("a");
  add("b");
  take(1);
  EXPECT_EQ(writes_.finish(a)->call, a);
  EXPECT_FALSE(writes_.finish(a).has_value());
  writes_.put_back_before(Epoch{2});
  EXPECT_EQ(take(2), "b ");
}

TEST_F(WritesTest, ARefusedBatchGoesBackInOrder) {
  const auto a = add("a");
  const auto b = add("b");
  take(1);
  add("c");
  writes_.put_back({b, a});
  EXPECT_EQ(take(1), "a b c ");
}

TEST_F(WritesTest, AnExpiredWriteIsUnknownOnlyIfItWasSent) {
  add("sent", false, Instant{10});
  take(1);
  add("unsent", false, Instant{10});
  add("patient", false, Instant{20});
  const auto expired = writes_.expire(Instant{10});
  ASSERT_EQ(expired.size(), 2u);
  EXPECT_TRUE(expired[0].fate_unknown);
  EXPECT_FALSE(expired[1].fate_unknown);
  EXPECT_EQ(writes_.waiting(), 1u);
  EXPECT_EQ(take(1), "patient ");
}

TEST_F(WritesTest, AfterAJumpOnlyIdempotentWritesAreSentAgain) {
  const auto plain = add("plain");
  add("idempotent", true);
  take(1);
  add("unsent");
  const auto forgotten = writes_.forget_sent();
  ASSERT_EQ(forgotten.size(), 1u);
  EXPECT_EQ(forgotten[0].call, plain);
  EXPECT_EQ(take(2), "idempotent unsent ");
}

TEST_F(WritesTest, BytesAreCountedUntilAWriteEnds) {
  const auto a = add("aaaa");
  add("bb", false, Instant{10});
  take(1);
  EXPECT_EQ(writes_.waiting_bytes(), 6u);
  writes_.finish(a);
  EXPECT_EQ(writes_.waiting_bytes(), 2u);
  writes_.expire(Instant{10});
  EXPECT_EQ(writes_.waiting_bytes(), 0u);
}

// What a small write costs, about.
constexpr std::uint64_t kSmall = limits::kRequestCost + limits::kOperationCost + 1;

TEST_F(WritesTest, SoManyAreUnderWayAtOnce) {
  writes_.set_window(10 * kSmall);
  const auto first = add("f");
  for (int i = 0; i < 19; ++i) add("f");
  EXPECT_EQ(take(1).size(), 2 * 10u);
  EXPECT_FALSE(writes_.may_send(Epoch{1}));
  EXPECT_EQ(writes_.queued(), 10u);
  writes_.finish(first);
  EXPECT_TRUE(writes_.may_send(Epoch{1}));
  EXPECT_EQ(take(1), "f ");
}

// Ordered writes of connection 1: what comes later must not overtake what may have to be sent
// again.
TEST_F(WritesTest, OrderedOnesDoNotOvertakeEachOther) {
  const auto add_ordered = [this](const std::string& command) {
    const std::uint64_t call = writes_.next_call();
    writes_.add(ClientCall{1, call}, command, false, kLater, 1, true);
    return call;
  };
  const auto a = add_ordered("a");
  EXPECT_EQ(take(1), "a ");
  add_ordered("b");
  EXPECT_FALSE(writes_.may_send(Epoch{2})) << "the fate of a is not known";
  EXPECT_EQ(take(2), "");
  EXPECT_TRUE(writes_.may_send(Epoch{1}));
  writes_.put_back_before(Epoch{2});
  add_ordered("c");
  EXPECT_EQ(take(2), "a b c ");
  EXPECT_FALSE(writes_.may_send(Epoch{3}));
  for (auto call = a; call < writes_.next_call(); ++call) writes_.finish(call);
  add("d");
  EXPECT_EQ(take(3), "d ");
  add("e");
  EXPECT_EQ(take(4), "e ") << "others do not wait";
}

TEST_F(WritesTest, NothingFollowsAnOrderedOneThatFailed) {
  const auto add_ordered = [this](std::uint64_t connection, const std::string& command) {
    writes_.add(ClientCall{connection, 0}, command, false, kLater, 1, true);
  };
  add_ordered(1, "a");
  add_ordered(1, "b");
  add_ordered(2, "x");
  EXPECT_EQ(take(1), "a b x ");
  writes_.put_back_before(Epoch{2});
  add_ordered(1, "c");
  writes_.drop_after_failure(1);
  EXPECT_EQ(take(2), "x ");
  EXPECT_EQ(writes_.waiting(), 1u);
  // Nor if it was under way, and turns out to have come to nothing.
  add_ordered(3, "y");
  add_ordered(3, "z");
  EXPECT_EQ(take(2), "y z ");
  writes_.drop_after_failure(3);
  EXPECT_EQ(writes_.waiting(), 3u) << "they may have happened";
  writes_.put_back_before(Epoch{3});
  EXPECT_EQ(take(3), "x ");
  EXPECT_EQ(writes_.waiting(), 1u);
}

TEST_F(WritesTest, AQuietConnectionWaitsForNobodysQueue) {
  writes_.set_window(10 * kSmall);
  for (int i = 0; i < 100; ++i) add("flood");
  take(1);
  EXPECT_FALSE(writes_.may_send(Epoch{1}));
  add_from(2, "quiet");
  EXPECT_EQ(take(1), "quiet ");
}

TEST_F(WritesTest, ExpiredOnesTakeNoPlaceInTheWindow) {
  writes_.set_window(1);
  add("a", false, Instant{10});
  add("b", false, Instant{10});
  add("c");
  EXPECT_EQ(take(1), "a ");
  writes_.expire(Instant{10});
  EXPECT_EQ(writes_.queued(), 1u);
  EXPECT_EQ(take(1), "c ");
}

TEST_F(WritesTest, WhatWasSentBeforeIsSentAgainWhateverTheWindow) {
  writes_.set_window(10 * kSmall);
  for (const char each : {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'}) add(std::string(1, each));
  const std::string sent = take(1);
  EXPECT_EQ(sent, "a b c d e f g h i ");
  add("j");
  writes_.set_window(1);
  writes_.put_back_before(Epoch{2});
  EXPECT_EQ(take(2), sent);
}

// Locks' requests are part of the shares of those who ask for them.
TEST_F(WritesTest, ACallCanBeOnBehalfOfAnotherConnection) {
  for (int i = 0; i < 8; ++i) add("f");
  writes_.add(ClientCall{kLocksConnection, 7, 1}, "lock", false, kLater);
  writes_.add(ClientCall{kLocksConnection, 8, 2}, "other", false, kLater);
  EXPECT_EQ(take(1), "f f f f f f f other f lock ");
}

// Not what was sent, nor what a procedure still has to do for that client.
TEST_F(WritesTest, UnsentOnesOfAConnectionCanBeDropped) {
  add("sent");
  EXPECT_EQ(take(1), "sent ");
  add("a");
  add_from(2, "b");
  writes_.add(ClientCall{kLocksConnection, 7, 1}, "lock", false, kLater);
  writes_.drop_unsent(1);
  EXPECT_EQ(writes_.waiting(), 3u);
  EXPECT_EQ(take(1), "lock b ");
}

TEST_F(WritesTest, NumbersAreNeverReused) {
  const auto a = add("a");
  writes_.finish(a);
  EXPECT_EQ(add("b"), a + 1);
}

}  // namespace
}  // namespace conclave::node
