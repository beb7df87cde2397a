// The simulated disk keeps what real disks promise, and breaks what they do not.

#include "sim/disk.h"

#include <gtest/gtest.h>

#include <set>

#include "sim/clock.h"
#include "sim/rot_places.h"

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

// --- slow and hanging disks ---------------------------------------------------------

struct SlowDisk : SimDisk {
  // Jobs that have ended, by lane.
  std::string log;
  std::string snapshots;

  void submit(io::Lane lane, char name) {
    std::string& ended = lane == io::Lane::kLog ? log : snapshots;
    disk.run(
        lane, []() -> Result<void> { return {}; }, [&ended, name](Result<void>) { ended += name; });
  }
};

TEST_F(SlowDisk, ALaneHangsForAWhileAndGoesOnInOrder) {
  submit(io::Lane::kLog, 'a');
  disk.hang(io::Lane::kLog, seconds(5));
  submit(io::Lane::kLog, 'b');
  submit(io::Lane::kSnapshot, 's');
  clock.run_for(milliseconds(4'999));
  EXPECT_TRUE(disk.hangs(io::Lane::kLog));
  EXPECT_EQ(log, "");
  EXPECT_EQ(snapshots, "s");
  clock.run_for(seconds(1));
  EXPECT_FALSE(disk.hangs(io::Lane::kLog));
  EXPECT_EQ(log, "ab");
  EXPECT_EQ(disk.fault_counts().hangs, 1u);
}

TEST_F(SlowDisk, AShorterHangDoesNotEndALongerOne) {
  disk.hang(io::Lane::kLog, seconds(1));
  disk.hang(io::Lane::kLog, seconds(10));
  disk.hang(io::Lane::kLog, seconds(2));
  submit(io::Lane::kLog, 'a');
  clock.run_for(seconds(9));
  EXPECT_EQ(log, "");
  clock.run_for(seconds(2));
  EXPECT_EQ(log, "a");
}

TEST_F(SlowDisk, ALaneThatHangsForEverIsFreedByACrash) {
  disk.hang(io::Lane::kLog, std::nullopt);
  submit(io::Lane::kLog, 'a');
  clock.run_for(seconds(100'000));
  EXPECT_EQ(log, "");
  disk.crash();
  submit(io::Lane::kLog, 'b');
  clock.run_for(seconds(1));
  EXPECT_EQ(log, "b");
}

TEST_F(SlowDisk, AHangOfAnEarlierRunDoesNotEndOneOfThis) {
  disk.hang(io::Lane::kLog, seconds(1));
  disk.kill();
  disk.hang(io::Lane::kLog, std::nullopt);
  submit(io::Lane::kLog, 'a');
  clock.run_for(seconds(10));
  EXPECT_EQ(log, "");
}

TEST_F(SlowDisk, SpikesAndHangsAreDrawn) {
  disk.set_faults({.spikes = 1'000'000, .longest_spike = milliseconds(500)});
  for (int i = 0; i < 20; ++i) submit(io::Lane::kLog, 'a');
  clock.run_for(milliseconds(500));
  EXPECT_LT(log.size(), 10u);
  clock.run_for(seconds(10));
  EXPECT_EQ(log.size(), 20u);
  EXPECT_EQ(disk.fault_counts().spikes, 20u);

  disk.set_faults({.hangs = 1'000'000, .longest_hang = seconds(10)});
  for (int i = 0; i < 20; ++i) submit(io::Lane::kLog, 'a');
  clock.run_for(seconds(10));
  EXPECT_LT(log.size(), 30u);
  clock.run_for(seconds(200));
  EXPECT_EQ(log.size(), 40u);
  EXPECT_EQ(disk.fault_counts().hangs, 20u);
}

// --- what else is drawn, and counted ------------------------------------------------

TEST_F(SimDisk, CallsFailAsOftenAsTheyAreToldAndAreCounted) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  const auto file = create("d/a");
  disk.set_faults({.reads = 100'000, .writes = 200'000, .syncs = 300'000});
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t syncs = 0;
  for (int i = 0; i < 10'000; ++i) {
    reads += !file->read(0, 1).has_value();
    writes += !file->write(0, "x").has_value();
    syncs += !file->sync().has_value();
  }
  EXPECT_NEAR(static_cast<double>(reads), 1'000, 150);
  EXPECT_NEAR(static_cast<double>(writes), 2'000, 200);
  EXPECT_NEAR(static_cast<double>(syncs), 3'000, 250);
  EXPECT_EQ(disk.fault_counts().read_errors, reads);
  EXPECT_EQ(disk.fault_counts().write_errors, writes);
  EXPECT_EQ(disk.fault_counts().sync_errors, syncs);
}

TEST_F(SimDisk, ADiskMayBeFullForAMomentButNotWhereRoomIsReserved) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  const auto file = create("d/a");
  ASSERT_TRUE(file->preallocate(4096).has_value());
  disk.set_faults({.no_space = 1'000'000});
  EXPECT_TRUE(file->write(0, Bytes(4096, 'x')).has_value());
  EXPECT_EQ(file->write(4000, Bytes(200, 'y')).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(file->preallocate(8192).error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(disk.fault_counts().no_space, 2u);
  disk.set_faults({});
  EXPECT_TRUE(file->preallocate(8192).has_value());
}

TEST_F(SimDisk, WritesAreMisdirectedToAnotherSector) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  const auto file = create("d/a");
  const Bytes empty(16 * kSectorBytes, '.');
  ASSERT_TRUE(file->write(0, empty).has_value());
  disk.set_faults({.misdirected = 1'000'000});
  std::set<std::size_t> places;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(file->write(8, "x").has_value());
    const std::size_t place = content("d/a").find('x');
    EXPECT_EQ(place % kSectorBytes, 8u);
    places.insert(place / kSectorBytes);
    disk.set_faults({});
    ASSERT_TRUE(file->write(0, empty).has_value());
    disk.set_faults({.misdirected = 1'000'000});
  }
  EXPECT_EQ(places.size(), 16u);
  EXPECT_EQ(disk.fault_counts().misdirected, 200u);
}

TEST_F(SimDisk, AMisdirectionIsOfTheDiskThatWasThere) {
  const auto write_twice = [&] {
    ASSERT_TRUE(disk.create_directories("d").has_value());
    const auto file = create("d/a");
    ASSERT_TRUE(file->preallocate(16 * kSectorBytes).has_value());
    for (const std::uint64_t sector : {1u, 8u}) {
      ASSERT_TRUE(file->write(sector * kSectorBytes, "x").has_value());
      ASSERT_TRUE(file->sync().has_value());
    }
  };
  disk.misdirect_write("d/", kSectorBytes);
  disk.lose_everything();
  write_twice();
  EXPECT_EQ(disk.fault_counts().misdirected, 0u);
  EXPECT_EQ(content("d/a").find('x'), kSectorBytes);
  disk.lose_everything();
  disk.misdirect_write("d/", kSectorBytes);
  write_twice();
  EXPECT_EQ(disk.fault_counts().misdirected, 1u);
  EXPECT_EQ(content("d/a").find('x'), 0u);
}

TEST_F(SimDisk, AFileThatGrewMayHaveAnySizeAfterAPowerCut) {
  std::set<std::size_t> sizes;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Disk one(clock, seed);
    ASSERT_TRUE(one.create_directories("d").has_value());
    const auto file = std::move(*one.open("d/a", io::OpenMode::kCreate));
    ASSERT_TRUE(file->write(0, "old").has_value());
    ASSERT_TRUE(file->sync().has_value());
    ASSERT_TRUE(one.sync_directory("d").has_value());
    ASSERT_TRUE(file->write(3, "new").has_value());
    one.crash();
    const Bytes found = content(one, "d/a");
    EXPECT_TRUE(found.starts_with("old"));
    sizes.insert(found.size());
  }
  EXPECT_EQ(sizes, (std::set<std::size_t>{3, 4, 5, 6}));
}

TEST_F(SimDisk, PowerCutsAndLostSectorsAreCounted) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  const auto file = create("d/a");
  ASSERT_TRUE(file->sync().has_value());
  ASSERT_TRUE(disk.sync_directory("d").has_value());
  disk.crash();
  EXPECT_EQ(disk.fault_counts().lost_sectors, 0u);
  for (int i = 0; i < 20; ++i) {
    const auto again = std::move(*disk.open("d/a", io::OpenMode::kReadWrite));
    ASSERT_TRUE(again->write(0, Bytes(10 * kSectorBytes, 'x')).has_value());
    disk.crash();
  }
  EXPECT_EQ(disk.fault_counts().power_cuts, 21u);
  EXPECT_GT(disk.fault_counts().lost_sectors, 20u);
  EXPECT_LT(disk.fault_counts().lost_sectors, 180u);
}

TEST_F(SimDisk, ALostDiskComesBackEmpty) {
  ASSERT_TRUE(disk.create_directories("d").has_value());
  create("d/a");
  disk.lose_everything();
  EXPECT_EQ(*disk.exists("d"), false);
  EXPECT_EQ(disk.fault_counts().lost_disks, 1u);
}

// --- places for rot -----------------------------------------------------------------

struct RotPlaces : SimDisk {
  void write(const std::string& path, BytesView data, std::uint64_t reserved) {
    const auto file = create(path);
    ASSERT_TRUE(file->write(0, data).has_value());
    ASSERT_TRUE(file->preallocate(reserved).has_value());
  }
  std::vector<std::string> paths() {
    std::vector<std::string> paths;
    for (const FileInfo& file : rot_places(disk)) paths.push_back(file.path);
    return paths;
  }
};

TEST_F(RotPlaces, AreOldSegmentsAndSnapshots) {
  for (const char* directory : {"data/wal", "data/snap"})
    ASSERT_TRUE(disk.create_directories(directory).has_value());
  Rng rng(1);
  EXPECT_FALSE(pick_rot_place(disk, rng).has_value());
  for (const char* name : {"1.log", "2.log", "3.log", "4.log", "spare-0", "unfinished.tmp"})
    write(std::string("data/wal/") + name, "used", 4096);
  write("data/snap/0-7.snap", "whole", 0);
  write("data/LOCK", "", 0);
  EXPECT_EQ(paths(),
            (std::vector<std::string>{"data/snap/0-7.snap", "data/wal/1.log", "data/wal/2.log"}));
  for (int i = 0; i < 100; ++i) {
    const auto place = pick_rot_place(disk, rng);
    ASSERT_TRUE(place.has_value());
    EXPECT_LT(place->offset, place->path.ends_with(".snap") ? 5u : 4u);
    const Bytes before = content(place->path);
    disk.rot(place->path, place->offset);
    EXPECT_NE(content(place->path), before);
  }
  EXPECT_EQ(disk.fault_counts().rotten, 100u);
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
