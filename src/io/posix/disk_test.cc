#include "io/posix/disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "io/posix/clock.h"

namespace conclave::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

class DiskTest : public testing::Test {
 protected:
  DiskTest() {
    std::string name = testing::TempDir() + "conclave-disk-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~DiskTest() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::unique_ptr<File> open(const std::string& name, OpenMode mode) {
    return disk_.open(path(name), mode).value();
  }
  Bytes content(const std::string& name) {
    return open(name, OpenMode::kRead)->read(0, 1 << 20).value();
  }

  std::string directory_;
  Loop loop_;
  PosixDisk disk_{loop_};
};

TEST_F(DiskTest, WrittenBytesAreReadBack) {
  auto file = open("a", OpenMode::kCreate);
  ASSERT_TRUE(file->write(0, "hello world"));
  ASSERT_TRUE(file->write(6, "there"));
  ASSERT_TRUE(file->sync());
  EXPECT_EQ(*file->read(0, 11), "hello there");
  EXPECT_EQ(*file->read(6, 100), "there");
  EXPECT_EQ(*file->read(11, 5), "");
  EXPECT_EQ(*file->size(), 11U);
}

TEST_F(DiskTest, SnapshotsTakeLessOfTheProcessorThanTheOthers) {
  std::map<Lane, int> niceness;
  for (const Lane lane : {Lane::kLog, Lane::kSnapshot, Lane::kPasswords}) {
    auto seen = std::make_shared<int>();
    disk_.run(
        lane,
        [seen]() -> Result<void> {
          *seen = ::getpriority(PRIO_PROCESS, 0);  // of this thread
          return {};
        },
        [&, lane, seen](const Result<void>&) {
          niceness[lane] = *seen;
          if (niceness.size() == 3) loop_.stop();
        });
  }
  loop_.run();
  const int own = ::getpriority(PRIO_PROCESS, 0);
  EXPECT_THAT(niceness,
              ElementsAre(Pair(Lane::kLog, own), Pair(Lane::kSnapshot, std::min(own + 10, 19)),
                          Pair(Lane::kPasswords, own)));
}

TEST_F(DiskTest, CreateEmptiesAnExistingFileAndReadWriteKeepsIt) {
  ASSERT_TRUE(open("a", OpenMode::kCreate)->write(0, "old"));
  ASSERT_TRUE(open("a", OpenMode::kReadWrite)->write(3, "er"));
  EXPECT_EQ(content("a"), "older");
  open("a", OpenMode::kCreate);
  EXPECT_EQ(content("a"), "");
}

TEST_F(DiskTest, MissingFilesAreNotFoundByName) {
  for (const auto mode : {OpenMode::kRead, OpenMode::kReadWrite}) {
    const auto file = disk_.open(path("nope"), mode);
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
    EXPECT_THAT(file.error().message, HasSubstr(path("nope")));
    EXPECT_THAT(file.error().message, HasSubstr("No such file"));
  }
  EXPECT_EQ(disk_.remove(path("nope")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(disk_.list(path("nope")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(disk_.rename(path("nope"), path("x")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(disk_.sync_directory(path("nope")).error().code, ErrorCode::kNotFound);
}

TEST_F(DiskTest, WritingToAFileOpenForReadingFails) {
  open("a", OpenMode::kCreate);
  const auto written = open("a", OpenMode::kRead)->write(0, "x");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kIo);
  EXPECT_THAT(written.error().message, HasSubstr(path("a")));
}

// Pieces up to twice what is written directly, read back through the cache in between.
TEST_F(DiskTest, DirectAndCachedWritesOfOneFileSeeEachOther) {
  Rng rng(7);
  auto file = open("a", OpenMode::kCreate);
  constexpr std::size_t kBlocks = 600;
  Bytes expected(kBlocks * kDirectBlockBytes, '\0');
  ASSERT_TRUE(file->preallocate(expected.size()));
  for (int i = 0; i < 200; ++i) {
    const std::size_t first = rng.below(kBlocks);
    const std::size_t blocks = 1 + rng.below(std::min<std::size_t>(kBlocks - first, 512));
    const Bytes data(blocks * kDirectBlockBytes, static_cast<char>('a' + i % 26));
    std::size_t at = first * kDirectBlockBytes;
    if (rng.below(3) > 0) {
      ASSERT_TRUE(file->write_direct(at, data));
      expected.replace(at, data.size(), data);
    } else {
      at += rng.below(kDirectBlockBytes);
      const BytesView part = BytesView(data).substr(0, rng.below(data.size() / 2) + 1);
      ASSERT_TRUE(file->write(at, part));
      expected.replace(at, part.size(), part);
    }
    if (i % 4 == 0) {
      ASSERT_TRUE(file->sync());
    }
    if (i % 8 == 0) {
      ASSERT_EQ(file->read(at, data.size()).value(), expected.substr(at, data.size()));
    }
  }
  EXPECT_TRUE(open("a", OpenMode::kRead)->read(0, expected.size()).value() == expected);
}

TEST_F(DiskTest, ADirectWriteFailsLikeAnyOther) {
  open("a", OpenMode::kCreate);
  const auto written = open("a", OpenMode::kRead)->write_direct(0, Bytes(kDirectBlockBytes, 'x'));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kIo);
  EXPECT_THAT(written.error().message, HasSubstr(path("a")));
}

TEST_F(DiskTest, PreallocatedBytesAreZeroAndTruncateCutsThem) {
  auto file = open("a", OpenMode::kCreate);
  ASSERT_TRUE(file->preallocate(4096));
  ASSERT_TRUE(file->preallocate(0));
  EXPECT_EQ(*file->size(), 4096U);
  EXPECT_EQ(*file->read(0, 4096), Bytes(4096, '\0'));
  ASSERT_TRUE(file->truncate(10));
  EXPECT_EQ(*file->size(), 10U);
}

TEST_F(DiskTest, AFullDiskIsNoSpace) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  auto full = disk_.open("/dev/full", OpenMode::kReadWrite).value();
  const auto written = full->write(0, "x");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kNoSpace);
  EXPECT_THAT(written.error().message, HasSubstr("/dev/full"));
}

TEST_F(DiskTest, PreallocatingMoreThanTheDiskHasIsNoSpace) {
  auto file = open("a", OpenMode::kCreate);
  const std::uint64_t free = disk_.free_bytes(directory_).value();
  const auto reserved = file->preallocate(free + (std::uint64_t{1} << 40));
  ASSERT_FALSE(reserved);
  if (reserved.error().message.find("File too large") != std::string::npos) {
    GTEST_SKIP() << "the file system's files are smaller than its space";
  }
  EXPECT_EQ(reserved.error().code, ErrorCode::kNoSpace) << reserved.error().message;
}

TEST_F(DiskTest, DirectoriesAreCreatedListedAndRemoved) {
  ASSERT_TRUE(disk_.create_directories(path("x/y/z")));
  ASSERT_TRUE(disk_.create_directories(path("x/y/z")));
  open("x/b", OpenMode::kCreate);
  open("x/a", OpenMode::kCreate);
  EXPECT_THAT(*disk_.list(path("x")), ElementsAre("a", "b", "y"));
  ASSERT_TRUE(disk_.sync_directory(path("x")));
  ASSERT_TRUE(disk_.remove(path("x/a")));
  ASSERT_TRUE(disk_.remove(path("x/y/z")));
  EXPECT_THAT(*disk_.list(path("x")), ElementsAre("b", "y"));
}

TEST_F(DiskTest, ADirectoryCannotBeCreatedThroughAFile) {
  open("file", OpenMode::kCreate);
  const auto created = disk_.create_directories(path("file/below"));
  ASSERT_FALSE(created);
  EXPECT_THAT(created.error().message, HasSubstr(path("file")));
}

TEST_F(DiskTest, RenameReplaces) {
  ASSERT_TRUE(open("new", OpenMode::kCreate)->write(0, "new"));
  ASSERT_TRUE(open("old", OpenMode::kCreate)->write(0, "old"));
  ASSERT_TRUE(disk_.rename(path("new"), path("old")));
  EXPECT_EQ(content("old"), "new");
  EXPECT_FALSE(*disk_.exists(path("new")));
  EXPECT_TRUE(*disk_.exists(path("old")));
}

TEST_F(DiskTest, ALockIsExclusiveInThisProcessAndNamesDirectoryAndHolder) {
  auto held = disk_.lock(directory_);
  ASSERT_TRUE(held);
  const auto second = disk_.lock(directory_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_THAT(second.error().message, HasSubstr(directory_));
  EXPECT_THAT(second.error().message, HasSubstr(std::to_string(::getpid())));
  held->reset();
  EXPECT_TRUE(disk_.lock(directory_));
}

TEST_F(DiskTest, ALockOfAnotherProcessIsBusyAndGoesWithIt) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto held = disk_.lock(directory_);
    const char answer = held ? 'y' : 'n';
    if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
    ::pause();
  }
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  ASSERT_EQ(answer, 'y');
  const auto refused = disk_.lock(directory_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr(std::to_string(child)));

  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(disk_.lock(directory_));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(DiskTest, JobsOfALaneRunInOrderOffTheLoopAndFinishOnIt) {
  const auto loop_thread = std::this_thread::get_id();
  std::vector<int> ran;  // touched by the lane only, until the last job is done
  std::vector<int> finished;
  for (int i = 0; i < 200; ++i) {
    disk_.run(
        Lane::kLog,
        [&ran, loop_thread, i]() -> Result<void> {
          EXPECT_NE(std::this_thread::get_id(), loop_thread);
          ran.push_back(i);
          return {};
        },
        [&, i](const Result<void>& result) {
          EXPECT_TRUE(result);
          EXPECT_EQ(std::this_thread::get_id(), loop_thread);
          finished.push_back(i);
          if (i == 199) loop_.stop();
        });
  }
  loop_.run();
  std::vector<int> expected(200);
  for (int i = 0; i < 200; ++i) expected[static_cast<std::size_t>(i)] = i;
  EXPECT_EQ(ran, expected);
  EXPECT_EQ(finished, expected);
}

TEST_F(DiskTest, ASlowSnapshotDoesNotHoldUpTheLog) {
  std::promise<void> release;
  std::vector<std::string> finished;
  disk_.run(
      Lane::kSnapshot,
      [&]() -> Result<void> {
        release.get_future().wait();
        return {};
      },
      [&](const Result<void>&) {
        finished.emplace_back("snapshot");
        loop_.stop();
      });
  disk_.run(
      Lane::kLog, []() -> Result<void> { return fail(ErrorCode::kIo, "broken"); },
      [&](const Result<void>& result) {
        finished.push_back("log: " + result.error().message);
        release.set_value();
      });
  loop_.run();
  EXPECT_THAT(finished, ElementsAre("log: broken", "snapshot"));
}

TEST_F(DiskTest, DestroyingTheDiskDropsWhatIsQueued) {
  int ran = 0;
  {
    PosixDisk disk(loop_);
    std::promise<void> started;
    disk.run(
        Lane::kLog,
        [&]() -> Result<void> {
          started.set_value();
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          ++ran;
          return {};
        },
        [](const Result<void>&) {});
    started.get_future().wait();
    disk.run(
        Lane::kLog,
        [&]() -> Result<void> {
          ++ran;
          return {};
        },
        [](const Result<void>&) {});
  }
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace conclave::io
