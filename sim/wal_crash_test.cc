// The log loses nothing that it acknowledged, whenever the machine stops: at every call that the
// log makes of the disk, with the power or only the process going, again and again, recovery
// included.

#include <gtest/gtest.h>

#include "base/rng.h"
#include "sim/wal_world.h"

namespace conclave::sim {
namespace {

constexpr std::uint64_t kGroups[] = {0, 7};

// Something that an owner of the log does.
void act(WalWorld& world, Rng& rng) {
  const auto group = kGroups[rng.below(2)];
  const auto last = world.last(group);
  switch (rng.below(12)) {
    case 0:
      world.set_hard_state(group, Bytes(rng.between(1, 60), 'h'));
      break;
    case 1: {  // overwrites the end of the group's log, as after a change of leader
      const auto first = last > 2 ? last - rng.below(2) : last + 1;
      world.append(group, first, rng.between(1, 3), 100);
      break;
    }
    case 2:
      world.append(group, last + 1, 1, rng.between(3'000, 9'000));
      break;
    case 3:
      world.append(group, last + 1, 1, rng.one_in(4) ? 50'000 : 20'000);
      break;
    case 4:
      if (world.acknowledged() == world.asked() && last > 0)
        world.release(group, last - rng.below(2));
      break;
    default: {
      const auto entries = rng.between(1, 4);
      world.append(group, last + 1, entries, rng.between(1, 600));
    }
  }
  if (!rng.one_in(3)) world.run_for(microseconds(static_cast<std::int64_t>(rng.below(4'000))));
}

// One run of the member until `actions` are done or the disk stops.
void live(WalWorld& world, Rng& rng, int actions) {
  if (const auto opened = world.open(); !opened) {
    ASSERT_TRUE(world.disk().stopped()) << opened.error().message;
    return;
  }
  for (int i = 0; i < actions && !world.disk().stopped(); ++i) act(world, rng);
  if (rng.one_in(2)) world.settle();
}

void end_run(WalWorld& world, Rng& rng) { rng.one_in(3) ? world.kill() : world.crash(); }

std::uint64_t calls_of_undisturbed_run(std::uint64_t seed, int actions) {
  WalWorld world(seed);
  Rng rng(seed);
  live(world, rng, actions);
  world.settle();
  return world.disk().calls();
}

TEST(WalCrash, AtEveryCallOfARun) {
  constexpr int kActions = 25;
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    const auto calls = calls_of_undisturbed_run(seed, kActions);
    ASSERT_GT(calls, 30u);
    for (std::uint64_t stop = 0; stop < calls; ++stop) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " stop before call " << stop);
      WalWorld world(seed);
      Rng rng(seed);
      world.disk().stop_before(stop);
      live(world, rng, kActions);
      end_run(world, rng);
      const auto opened = world.open();
      ASSERT_TRUE(opened.has_value()) << opened.error().message;
    }
  }
}

TEST(WalCrash, AgainAndAgainAlsoDuringRecovery) {
  for (std::uint64_t seed = 1; seed <= 1'500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    WalWorld world(seed);
    Rng rng(seed);
    for (int run = 0; run < 8; ++run) {
      world.disk().stop_before(world.disk().calls() + rng.below(rng.one_in(2) ? 20 : 120));
      live(world, rng, 30);
      end_run(world, rng);
      if (HasFatalFailure()) return;
    }
    const auto opened = world.open();
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    world.append(0, world.last(0) + 1, 1, 10);
    world.settle();
    ASSERT_EQ(world.acknowledged(), world.asked());
  }
}

// A failed sync leaves pages that later syncs take for written. The member stops, is started again
// while they are still shown, builds on them, and then the power goes.
TEST(WalCrash, AfterAFailedSyncAndARestartOfTheProcess) {
  for (std::uint64_t seed = 1; seed <= 1'500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    WalWorld world(seed);
    Rng rng(seed);
    live(world, rng, static_cast<int>(rng.between(1, 30)));
    world.settle();
    world.disk().fail_next(DiskCall::kSync, "wal/", ErrorCode::kIo);
    for (int i = 0; i < 3 && !world.failure(); ++i) {
      world.append(0, world.last(0) + 1, 1, rng.between(1, 6'000));
      world.settle();
    }
    ASSERT_TRUE(world.failure().has_value());
    world.kill();
    live(world, rng, static_cast<int>(rng.below(10)));
    if (HasFatalFailure()) return;
    world.crash();
    const auto opened = world.open();
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
  }
}

TEST(WalCrash, WhileTheDiskIsFullNowAndThen) {
  for (std::uint64_t seed = 1; seed <= 600; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    WalWorld world(seed);
    Rng rng(seed);
    for (int run = 0; run < 5; ++run) {
      world.disk().set_capacity(0);
      ASSERT_TRUE(world.open().has_value());
      world.disk().stop_before(world.disk().calls() + rng.below(150));
      for (int i = 0; i < 40 && !world.disk().stopped(); ++i) {
        if (rng.one_in(5)) world.disk().set_capacity(rng.one_in(2) ? 0 : 80'000);
        act(world, rng);
        if (rng.one_in(10)) world.run_for(seconds(2));
      }
      ASSERT_FALSE(world.failure().has_value() && !world.disk().stopped())
          << world.failure()->message;
      end_run(world, rng);
    }
  }
}

}  // namespace
}  // namespace conclave::sim
