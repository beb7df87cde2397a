// A member's own clock: its rate, its wall clock, and that nothing runs while it is paused.

#include "sim/member_clock.h"

#include <gtest/gtest.h>

#include <string>

#include "base/rng.h"
#include "sim/disk.h"

namespace conclave::sim {
namespace {

struct MemberClockTest : testing::Test {
  Clock world;
  MemberClock clock{world, Instant{seconds(1'000).ns}};

  std::int64_t up() const { return clock.now().ns - seconds(1'000).ns; }
  // Ticks of 10 ms of its own in one second of the world.
  int ticks_in_a_second() {
    int ticks = 0;
    std::function<void()> tick = [&] {
      ++ticks;
      timer = clock.after(milliseconds(10), [&] { tick(); });
    };
    timer = clock.after(milliseconds(10), [&] { tick(); });
    world.run_for(milliseconds(1'001));  // each may be some nanoseconds late
    clock.cancel(timer);
    return ticks;
  }
  io::Clock::TimerId timer = 0;
};

TEST_F(MemberClockTest, BeginsAtItsOriginAndGoesWithTheWorld) {
  EXPECT_EQ(up(), 0);
  EXPECT_EQ(clock.wall_ms(), world.wall_ms());
  world.run_for(milliseconds(1'234));
  EXPECT_EQ(up(), milliseconds(1'234).ns);
  EXPECT_EQ(clock.wall_ms(), world.wall_ms());
}

TEST_F(MemberClockTest, AFasterClockTicksMoreOften) {
  EXPECT_EQ(ticks_in_a_second(), 100);
  clock.set_rate(100'000);
  EXPECT_EQ(ticks_in_a_second(), 110);
  clock.set_rate(-500'000);
  EXPECT_EQ(ticks_in_a_second(), 50);
  EXPECT_EQ(up(), microseconds(1'001'000 + 1'101'100 + 500'500).ns);
}

TEST_F(MemberClockTest, AChangeOfRateMovesTimersThatWait) {
  bool fired = false;
  clock.after(seconds(10), [&] { fired = true; });
  world.run_for(seconds(5));
  clock.set_rate(1'000'000);
  world.run_for(milliseconds(2'499));
  EXPECT_FALSE(fired);
  world.run_for(milliseconds(1));
  EXPECT_TRUE(fired);

  fired = false;
  clock.after(seconds(10), [&] { fired = true; });
  clock.set_rate(-900'000);
  world.run_for(seconds(99));
  EXPECT_FALSE(fired);
  world.run_for(seconds(1));
  EXPECT_TRUE(fired);
}

TEST_F(MemberClockTest, MonotonicTimeNeverGoesBackAndTimersAreNeverEarly) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed);
    Clock outer;
    MemberClock inner(outer, Instant{static_cast<std::int64_t>(rng.below(1ull << 52))});
    Instant last = inner.now();
    int fired = 0;
    for (int i = 0; i < 200; ++i) {
      const auto ppm = static_cast<std::int64_t>(rng.between(1, 3'000'000)) - 999'999;
      if (rng.one_in(3)) inner.set_rate(ppm);
      if (rng.one_in(5)) inner.set_wall_rate(-ppm / 4);
      if (rng.one_in(5)) inner.jump_wall(ppm);
      const Instant due = inner.now() + Duration{static_cast<std::int64_t>(rng.below(50'000'000))};
      inner.after(due - inner.now(), [&inner, &fired, due] {
        EXPECT_GE(inner.now(), due);
        ++fired;
      });
      outer.run_for(Duration{static_cast<std::int64_t>(rng.below(10'000'000))});
      ASSERT_GE(inner.now(), last);
      last = inner.now();
    }
    inner.set_rate(0);
    outer.run_for(seconds(1));
    EXPECT_EQ(fired, 200);
  }
}

TEST_F(MemberClockTest, TheWallClockLeavesTheMonotonicOneBehind) {
  clock.jump_wall(-3'600'000);
  EXPECT_EQ(clock.wall_ms(), world.wall_ms() - 3'600'000);
  clock.jump_wall(7'200'000);
  EXPECT_EQ(clock.wall_ms(), world.wall_ms() + 3'600'000);
  EXPECT_EQ(up(), 0);
  clock.set_wall_rate(1'000);
  world.run_for(seconds(100));
  EXPECT_EQ(clock.wall_ms(), world.wall_ms() + 3'600'000 + 100);
  EXPECT_EQ(up(), seconds(100).ns);
}

TEST_F(MemberClockTest, FiresInOrderAndPostsAfterWhatIsReady) {
  std::string order;
  clock.after(milliseconds(2), [&] { order += 'c'; });
  clock.after(milliseconds(1), [&] {
    order += 'a';
    clock.post([&] { order += 'p'; });
  });
  clock.after(milliseconds(1), [&] { order += 'b'; });
  clock.cancel(clock.after(milliseconds(1), [&] { order += 'x'; }));
  world.run_for(milliseconds(1));
  EXPECT_EQ(order, "abp");
  EXPECT_TRUE(world.run_until_idle());
  EXPECT_EQ(order, "abpc");
}

TEST_F(MemberClockTest, NothingRunsWhilePausedAndThenAllThatIsDueDoesInOrder) {
  std::string order;
  clock.after(milliseconds(3), [&] { order += 'b'; });
  clock.after(milliseconds(1), [&] { order += 'a'; });
  clock.after(seconds(20), [&] { order += 'z'; });
  clock.post([&] { order += 'p'; });
  clock.pause();
  clock.post([&] { order += 'q'; });
  world.run_for(seconds(10));
  EXPECT_EQ(order, "");
  EXPECT_EQ(up(), seconds(10).ns);
  clock.resume();
  EXPECT_EQ(order, "") << "not from inside";
  world.run_for(Duration{});
  EXPECT_EQ(order, "abpq");
  world.run_for(seconds(10));
  EXPECT_EQ(order, "abpqz");
}

TEST_F(MemberClockTest, ATimerMayPauseItsClock) {
  std::string order;
  clock.after(milliseconds(1), [&] {
    order += 'a';
    clock.pause();
  });
  clock.after(milliseconds(1), [&] { order += 'b'; });
  world.run_for(seconds(1));
  EXPECT_EQ(order, "a");
  clock.resume();
  world.run_for(Duration{});
  EXPECT_EQ(order, "ab");
}

TEST_F(MemberClockTest, JobsOfItsDiskWaitToo) {
  Disk disk(clock, 1);
  std::string order;
  const auto submit = [&] {
    disk.run(
        io::Lane::kLog,
        [&]() -> Result<void> {
          order += 'j';
          return {};
        },
        [&](Result<void>) { order += 'd'; });
  };
  submit();
  clock.pause();
  world.run_for(seconds(1));
  EXPECT_EQ(order, "");
  clock.resume();
  world.run_for(seconds(1));
  EXPECT_EQ(order, "jd");
}

TEST_F(MemberClockTest, AfterTheEndOfARunNothingOfItHappens) {
  std::string order;
  clock.after(milliseconds(1), [&] { order += 'x'; });
  clock.post([&] { order += 'x'; });
  clock.pause();
  clock.end_run(Instant{seconds(5).ns});
  EXPECT_FALSE(clock.paused());
  EXPECT_EQ(clock.now(), Instant{seconds(5).ns});
  clock.after(milliseconds(2), [&] { order += 'b'; });
  clock.post([&] { order += 'a'; });
  world.run_for(seconds(1));
  EXPECT_EQ(order, "ab");
}

TEST(MemberClockLifeTest, ADestroyedClockLeavesNothingInTheWorld) {
  Clock world;
  bool ran = false;
  {
    MemberClock clock(world);
    clock.after(milliseconds(1), [&] { ran = true; });
    clock.post([&] { ran = true; });
  }
  world.run_for(seconds(1));
  EXPECT_FALSE(ran);
}

TEST(DriftingTimeTest, FindsTheInstantAtWhichAValueIsReached) {
  Rng rng(7);
  for (int i = 0; i < 20'000; ++i) {
    const Instant since{static_cast<std::int64_t>(rng.below(1ull << 50))};
    DriftingTime time(since, 17);
    time.set_rate(since, static_cast<std::int64_t>(rng.between(1, 5'000'000)) - 999'000);
    const std::int64_t value = 17 + static_cast<std::int64_t>(rng.below(1ull << 50));
    const Instant when = time.when(value);
    ASSERT_GE(time.at(when), value);
    ASSERT_LT(time.at(when - nanoseconds(3'000)), value);
  }
}

}  // namespace
}  // namespace conclave::sim
