// The simulated disk keeps what real disks promise, and breaks what they do not.

#include "sim/disk.h"

#include <gtest/gtest.h>

#include <set>

#include "sim/clock.h"

namespace conclave::sim {
namespace {

struct SimDisk : testing::Test {
  Clock clock;
  Disk disk{clock, 1};

  std::unique_ptr<io::File> create(const std::string& path) {
    return std::move(*disk.open(path, io::OpenMode::kCreate));
  }
  Bytes content(Disk& of, const std::string& path) {
    const auto file = of.open(path, io::OpenMode::kRead);
    return file ? *(*file)->read(0, 1 << 20) : "(none)";
  }
  Bytes content(const std::string& path) { return content(disk, path); }
};

TEST_F(SimDisk, SyncedContentUnderASyncedNameSurvives) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  const auto file = create("d/a");
  ASSERT_TRUE(file->write(0, "hello").has_value());
  ASSERT_TRUE(file->sync().has_value());
  ASSERT_TRUE(disk.sync_directory("d").has_value());
  for (int i = 0; i < 20; ++i) disk.crash();
  EXPECT_EQ(content("d/a"), "hello");
}

TEST_F(SimDisk, UnsyncedContentSurvivesInAnyPart) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Disk one(clock, seed);
    ASSERT_TRUE(one.create_directories("d").has_value());
    const auto file = std::move(*one.open("d/a", io::OpenMode::kCreate));
    ASSERT_TRUE(file->write(0, Bytes(2 * kSectorBytes, 'o')).has_value());
    ASSERT_TRUE(file->sync().has_value());
    ASSERT_TRUE(one.sync_directory("d").has_value());
    ASSERT_TRUE(file->write(0, Bytes(2 * kSectorBytes, 'n')).has_value());
    one.crash();
    const auto found = content(one, "d/a");
    seen.insert({found[0], found[kSectorBytes]});
    // Sectors are whole.
    EXPECT_EQ(found, Bytes(kSectorBytes, found[0]) + Bytes(kSectorBytes, found[kSectorBytes]));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"oo", "on", "no", "nn"}));
}

TEST_F(SimDisk, AnUnsyncedRenamingMayHaveHappenedOrNot) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Disk one(clock, seed);
    ASSERT_TRUE(one.create_directories("d").has_value());
    ASSERT_TRUE(one.open("d/a", io::OpenMode::kCreate).has_value());
    ASSERT_TRUE(one.sync_directory("d").has_value());
    ASSERT_TRUE(one.rename("d/a", "d/b").has_value());
    one.crash();
    const auto names = *one.list("d");
    ASSERT_EQ(names.size(), 1u);
    seen.insert(names.front());
  }
  EXPECT_EQ(seen, (std::set<std::string>{"a", "b"}));
}

TEST_F(SimDisk, AKilledProcessLosesNothing) {
  ASSERT_TRUE(disk.create_directories("d/e").has_value());
  const auto file = create("d/e/a");
  ASSERT_TRUE(file->write(0, "hello").has_value());
  disk.kill();
  EXPECT_EQ(content("d/e/a"), "hello");
  EXPECT_FALSE(file->read(0, 1).has_value()) << "a file of an earlier run";
}

TEST_F(SimDisk, AfterAFailedSyncTheNextSyncWritesNothing) {
  bool lost = false;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Disk one(clock, seed);
    ASSERT_TRUE(one.create_directories("d").has_value());
    const auto file = std::move(*one.open("d/a", io::OpenMode::kCreate));
    ASSERT_TRUE(file->write(0, "old").has_value());
    ASSERT_TRUE(file->sync().has_value());
    ASSERT_TRUE(one.sync_directory("d").has_value());
    ASSERT_TRUE(file->write(0, "new").has_value());
    one.fail_next(DiskCall::kSync, "d/a", ErrorCode::kIo);
    EXPECT_FALSE(file->sync().has_value());
    EXPECT_TRUE(file->sync().has_value());
    EXPECT_EQ(content(one, "d/a"), "new");
    one.crash();
    lost = lost || content(one, "d/a") == "old";
  }
  EXPECT_TRUE(lost);
}

TEST_F(SimDisk, AFullDiskTakesWhatFits) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  const auto file = create("d/a");
  disk.set_capacity(8192);
  EXPECT_TRUE(file->preallocate(4096).has_value());
  EXPECT_EQ(file->preallocate(16'384).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(file->write(0, Bytes(10'000, 'x')).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(*file->size(), 8192u);
  EXPECT_EQ(*disk.free_bytes("d"), 0u);
  ASSERT_TRUE(disk.remove("d/a").has_value());
  EXPECT_EQ(*disk.free_bytes("d"), 8192u);
}

TEST_F(SimDisk, JobsOfALaneRunInOrderAndTakeTime) {
  std::string order;
  for (const char name : {'a', 'b', 'c'})
    disk.run(
        io::Lane::kLog,
        [&order, name]() -> Result<void> {
          order += name;
          return {};
        },
        [&order, name](Result<void>) { order += static_cast<char>(name - 'a' + 'A'); });
  EXPECT_EQ(order, "");
  clock.run_for(seconds(1));
  EXPECT_EQ(order, "aAbBcC");
}

TEST_F(SimDisk, StopsBetweenTwoCallsOfAJob) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  bool answered = false;
  disk.stop_before(disk.calls() + 2);
  disk.run(
      io::Lane::kLog,
      [this]() -> Result<void> {
        const auto file = TRY(disk.open("d/a", io::OpenMode::kCreate));
        TRY(file->write(0, "one"));
        return file->write(0, "two");
      },
      [&](Result<void>) { answered = true; });
  clock.run_for(seconds(1));
  EXPECT_TRUE(disk.stopped());
  EXPECT_FALSE(answered);
  disk.kill();
  EXPECT_EQ(content("d/a"), "one");
}

TEST_F(SimDisk, ADirectoryIsLockedOncePerRun) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  auto lock = disk.lock("d");
  ASSERT_TRUE(lock.has_value());
  EXPECT_EQ(disk.lock("d").error().code, ErrorCode::kBusy);
  lock->reset();
  lock = disk.lock("d");
  EXPECT_TRUE(lock.has_value());
  disk.kill();
  EXPECT_TRUE(disk.lock("d").has_value());
}

TEST(SimClock, FiresInOrderAndPostsAfterWhatIsReady) {
  Clock clock;
  std::string order;
  clock.after(milliseconds(2), [&] { order += 'c'; });
  clock.after(milliseconds(1), [&] {
    order += 'a';
    clock.post([&] { order += 'p'; });
  });
  clock.after(milliseconds(1), [&] { order += 'b'; });
  const auto cancelled = clock.after(milliseconds(1), [&] { order += 'x'; });
  clock.cancel(cancelled);
  clock.run_for(milliseconds(1));
  EXPECT_EQ(order, "abp");
  EXPECT_TRUE(clock.run_until_idle());
  EXPECT_EQ(order, "abpc");
  EXPECT_EQ(clock.now().ns, milliseconds(2).ns);
}

}  // namespace
}  // namespace conclave::sim
