// Timers come up in the order documented, whatever is cancelled in between.

#include "sim/timer_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <utility>

#include "base/rng.h"

namespace conclave::sim {
namespace {

Instant at(std::int64_t ns) { return Instant{ns}; }

TEST(TimerQueue, OfOneInstantTheFirstAskedForIsFirst) {
  TimerQueue queue;
  std::string order;
  queue.add(at(2), [&] { order += 'd'; });
  queue.add(at(1), [&] { order += 'a'; });
  const auto cancelled = queue.add(at(1), [&] { order += 'x'; });
  queue.add(at(1), [&] { order += 'b'; });
  queue.cancel(cancelled);
  queue.add(at(1), [&] { order += 'c'; });  // in the place of the cancelled one, but later
  while (queue.next()) queue.take()();
  EXPECT_EQ(order, "abcd");
}

TEST(TimerQueue, CancellingWhatIsGoneDoesNothing) {
  TimerQueue queue;
  int fired = 0;
  const auto first = queue.add(at(1), [&] { ++fired; });
  queue.take()();
  const auto second = queue.add(at(1), [&] { ++fired; });
  EXPECT_NE(first, second);
  queue.cancel(first);
  queue.cancel(0);
  queue.cancel(~TimerQueue::Id{0});
  ASSERT_TRUE(queue.next().has_value());
  queue.take()();
  EXPECT_EQ(fired, 2);
}

TEST(TimerQueue, WhatIsCancelledIsDestroyedAtOnce) {
  TimerQueue queue;
  const auto held = std::make_shared<int>();
  const auto one = queue.add(at(1), [held] {});
  queue.add(at(2), [held] {});
  queue.cancel(one);
  EXPECT_EQ(held.use_count(), 2);
  queue.clear();
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_FALSE(queue.next().has_value());
}

// Against a map, which is slow and obviously right.
TEST(TimerQueue, BehavesLikeASortedMap) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed);
    TimerQueue queue;
    std::map<std::pair<Instant, TimerQueue::Id>, int> model;
    int fired = -1;
    for (int i = 0; i < 3'000; ++i) {
      const auto dice = rng.below(10);
      if (dice < 5) {
        const Instant when{static_cast<std::int64_t>(rng.below(100))};
        model.emplace(std::pair{when, queue.add(when, [&fired, i] { fired = i; })}, i);
      } else if (dice < 8 && !model.empty()) {
        const auto chosen = std::next(model.begin(), static_cast<long>(rng.below(model.size())));
        queue.cancel(chosen->first.second);
        model.erase(chosen);
      } else if (!model.empty()) {
        ASSERT_EQ(queue.next(), model.begin()->first.first);
        queue.take()();
        ASSERT_EQ(fired, model.begin()->second);
        model.erase(model.begin());
      }
      ASSERT_EQ(queue.next().has_value(), !model.empty());
    }
  }
}

}  // namespace
}  // namespace conclave::sim
