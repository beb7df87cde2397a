// The log on a simulated disk, one behaviour at a time (docs/formats/log.md). What happens at a
// crash is in wal_crash_test.cc.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/log.h"
#include "base/rng.h"
#include "sim/wal_world.h"
#include "wal/batch.h"
#include "wal/segment.h"

namespace conclave::sim {
namespace {

using testing::HasSubstr;

std::vector<std::string>& warnings() {
  static std::vector<std::string> lines;
  return lines;
}

class WalTest : public testing::Test {
 protected:
  WalTest() : world(1) {
    warnings().clear();
    set_log_sink([](LogLevel, std::string_view line) { warnings().emplace_back(line); },
                 LogLevel::kWarn);
  }

  void open() {
    const auto opened = world.open();
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
  }
  // An append of one small entry to group 0, alone in its batch of one block.
  void write_one() {
    world.append(0, world.last(0) + 1, 1, 100);
    world.settle();
  }
  void write(int batches) {
    for (int i = 0; i < batches; ++i) write_one();
  }
  void reopen_cleanly() {
    world.kill();
    open();
  }
  Error error_of_reopening() {
    world.kill();
    auto opened = world.open();
    return opened ? Error{.code = ErrorCode::kInvalid, .message = "opened"} : opened.error();
  }
  std::string path(std::size_t segment) {
    return std::string(WalWorld::kWalDirectory) + "/" + world.segments().at(segment);
  }
  static std::uint64_t block(std::uint64_t n) { return n * wal::kBlockBytes; }
  void zero_block(const std::string& file, std::uint64_t offset) {
    const auto opened = world.disk().open(file, io::OpenMode::kReadWrite);
    ASSERT_TRUE((*opened)->write(offset, Bytes(wal::kBlockBytes, '\0')).has_value());
    ASSERT_TRUE((*opened)->sync().has_value());
  }

  WalWorld world;
};

TEST_F(WalTest, HoldsWhatWasAppended) {
  open();
  world.append(0, 1, 3, 100);
  world.append(7, 1, 1, 5'000);
  world.set_hard_state(7, "term 3");
  world.append(0, 2, 2, 50);  // replaces entries 2 and 3
  world.settle();
  EXPECT_EQ(world.acknowledged(), 4u);
  world.crash();
  open();
  EXPECT_EQ(world.found(), 4u);
}

TEST_F(WalTest, AppendsOfOneTurnShareOneSync) {
  open();
  world.run_for(seconds(1));
  for (std::uint64_t i = 1; i <= 100; ++i) world.append(i % 3, (i + 2) / 3, 1, 20);
  world.settle();
  EXPECT_EQ(world.log().stats().syncs, 1u);
  EXPECT_EQ(world.log().stats().queued_bytes, 0u);
}

TEST_F(WalTest, AppendsDuringASyncShareTheNextOne) {
  open();
  world.append(0, 1, 1, 20);
  world.run_for(nanoseconds(1));  // the first batch is under way
  for (std::uint64_t i = 2; i <= 50; ++i) world.append(0, i, 1, 20);
  world.settle();
  EXPECT_EQ(world.log().stats().syncs, 2u);
}

TEST_F(WalTest, TornTailIsCutOffAndSaid) {
  open();
  write(2);
  world.run_for(seconds(1));
  // The third write reaches the disk in part, and nobody is told of it.
  world.append(0, 3, 1, 20'000);
  world.disk().fail_next(DiskCall::kSync, "wal/", ErrorCode::kIo);
  world.settle();
  world.kill();
  zero_block(path(0), block(4));  // its second block never made it
  open();
  EXPECT_EQ(world.found(), 2u);
  EXPECT_THAT(warnings(),
              testing::Contains(HasSubstr("unfinished write at offset 12288 (batch 3)")));
  warnings().clear();
  write(1);
  reopen_cleanly();
  EXPECT_EQ(world.found(), 3u);
  EXPECT_THAT(warnings(), testing::Not(testing::Contains(HasSubstr("unfinished"))));
}

TEST_F(WalTest, DamageBeforeTheEndIsRefused) {
  open();
  write(3);
  world.disk().rot(path(0), block(2) + 60);
  const auto error = error_of_reopening();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message,
              HasSubstr("member/wal/00000000000000000001.log: damaged at offset 8192"));
  EXPECT_THAT(error.message, HasSubstr("replace it (`conclave member replace`)"));
}

TEST_F(WalTest, ALostBlockBeforeTheEndIsRefused) {
  open();
  write(3);
  world.kill();
  zero_block(path(0), block(1));
  EXPECT_EQ(world.open().error().code, ErrorCode::kCorrupt);
}

TEST_F(WalTest, DamageAtTheEndOfASegmentIsRefusedBecauseOfTheNext) {
  open();
  write(10);
  ASSERT_EQ(world.segments().size(), 3u);  // 1 is full, 2 is written, 3 is prepared
  world.disk().rot(path(0), block(7) + 100);
  EXPECT_THAT(error_of_reopening().message, HasSubstr("damaged at offset 28672: batch 7"));
}

TEST_F(WalTest, ADamagedHeaderIsRefused) {
  open();
  write(1);
  world.disk().rot(path(0), 20);
  const auto error = error_of_reopening();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("offset 0"));
}

// Whichever byte rots: the log is refused, or holds all that it held. (Only the last batch is
// spared: its loss cannot be told from a write that was cut off.)
TEST_F(WalTest, NoRotBeforeTheLastBatchLosesAnything) {
  Rng rng(5);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    WalWorld rotten(static_cast<std::uint64_t>(i));
    ASSERT_TRUE(rotten.open().has_value());
    for (std::uint64_t n = 1; n <= 10; ++n) {
      rotten.append(0, n, 1, 1'000);
      rotten.settle();
    }
    const auto first = std::string(WalWorld::kWalDirectory) + "/" + rotten.segments().front();
    rotten.disk().rot(first, rng.below(rotten.segment_bytes));
    rotten.kill();
    if (!rotten.open()) ++refused;
  }
  EXPECT_GT(refused, 60);  // a quarter of what may rot is not padding
}

TEST_F(WalTest, AMisdirectedWriteIsRefused) {
  open();
  write(2);
  world.disk().misdirect_write("wal/", block(3));
  write(3);
  EXPECT_EQ(error_of_reopening().code, ErrorCode::kCorrupt);
}

TEST_F(WalTest, AMissingSegmentIsRefused) {
  open();
  write(25);
  ASSERT_TRUE(world.disk().remove(path(1)).has_value());
  EXPECT_THAT(error_of_reopening().message, HasSubstr("00000000000000000002.log is missing"));
}

TEST_F(WalTest, AnotherMembersLogIsRefused) {
  open();
  write(1);
  world.identity.member = NodeId{0xb};
  const auto member = error_of_reopening();
  EXPECT_EQ(member.code, ErrorCode::kMismatch);
  EXPECT_THAT(member.message, HasSubstr("belongs to member a of cluster c1, and this is member b"));
  world.identity = {ClusterId{0xc2}, NodeId{0xa}};
  EXPECT_EQ(error_of_reopening().code, ErrorCode::kMismatch);
}

TEST_F(WalTest, AnAppendLargerThanASegmentIsWholeInOne) {
  open();
  world.append(0, 1, 1, 100'000);
  write(3);
  world.append(0, 5, 3, 40'000);
  write(3);
  world.settle();
  EXPECT_EQ(world.acknowledged(), 8u);
  world.crash();
  open();
  EXPECT_EQ(world.found(), 8u);
}

TEST_F(WalTest, ReleasedSegmentsGoAndAreUsedAgain) {
  open();
  for (int round = 0; round < 30; ++round) {
    write(10);
    world.release(0, world.last(0));
    world.run_for(milliseconds(50));
    // The one in use, the next, and two spares.
    EXPECT_LE(world.log().stats().segments, 4u);
    EXPECT_LE(world.disk().used_bytes(), 4 * world.segment_bytes);
  }
  reopen_cleanly();
  EXPECT_GT(*wal::parse_segment_name(world.segments().front()), 30u);
}

TEST_F(WalTest, UsingASegmentAgainNeedsNoRoom) {
  open();
  write(20);
  world.release(0, world.last(0));
  world.run_for(seconds(1));
  world.disk().set_capacity(world.disk().used_bytes());
  for (int i = 0; i < 100; ++i) {
    write(1);
    world.release(0, world.last(0));
  }
  EXPECT_FALSE(world.log().is_full());
  EXPECT_EQ(world.acknowledged(), 120u);
}

TEST_F(WalTest, ASegmentStaysUntilEveryGroupHasReleasedIt) {
  open();
  world.append(7, 1, 1, 100);
  write(30);
  world.run_for(seconds(1));
  const auto before = world.segments().size();
  world.release(0, world.last(0));
  world.run_for(seconds(1));
  EXPECT_EQ(world.segments().size(), before);
  world.release(7, 1);
  world.run_for(seconds(1));
  EXPECT_LT(world.segments().size(), before);
  reopen_cleanly();
}

TEST_F(WalTest, HardStatesOutliveTheSegmentsTheyWereWrittenIn) {
  open();
  world.set_hard_state(0, "term 1, vote 2");
  world.set_hard_state(7, "ballot 9");
  write(30);
  world.release(0, world.last(0));
  world.run_for(seconds(1));
  ASSERT_NE(world.segments().front(), wal::segment_name(1));
  world.crash();
  open();  // compares with the model, hard states included
}

// The oldest segment's first batch has no batch before it that its number could follow. It is also
// where the hard states of all groups are.
TEST_F(WalTest, ADamagedFirstBatchOfTheOldestSegmentIsRefused) {
  open();
  world.set_hard_state(0, "term 1, vote 2");
  write(30);
  world.release(0, world.last(0));
  world.run_for(seconds(1));
  ASSERT_NE(world.segments().front(), wal::segment_name(1));
  write(3);
  world.disk().rot(path(0), block(1) + 60);
  const auto error = error_of_reopening();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt) << error.message;
  EXPECT_THAT(error.message, HasSubstr("damaged at offset 4096"));
}

TEST_F(WalTest, AFullDiskIsWaitedOut) {
  open();
  world.run_for(seconds(1));
  world.disk().set_capacity(world.disk().used_bytes());
  write(3);
  EXPECT_FALSE(world.log().is_full());  // the next segment was made before the disk was full
  for (std::uint64_t i = 4; i <= 40; ++i) {
    world.append(0, i, 1, 2'000);
    world.run_for(milliseconds(20));
  }
  EXPECT_TRUE(world.log().is_full());
  const auto fitted = world.acknowledged();
  EXPECT_GT(fitted, 10u);  // what was left of the last segment is used
  EXPECT_LT(fitted, 40u);
  EXPECT_FALSE(world.failure());
  world.run_for(seconds(30));
  EXPECT_EQ(world.acknowledged(), fitted);
  world.disk().set_capacity(0);
  world.run_for(milliseconds(1'500));
  EXPECT_FALSE(world.log().is_full());
  world.settle();
  EXPECT_EQ(world.acknowledged(), 40u);
  world.crash();
  open();
  EXPECT_EQ(world.found(), 40u);
}

TEST_F(WalTest, AMemberStartsOnAFullDisk) {
  open();
  write(30);
  world.disk().set_capacity(world.disk().used_bytes());
  reopen_cleanly();
  EXPECT_EQ(world.found(), 30u);
}

TEST_F(WalTest, AFailedSyncStopsTheLogForGood) {
  open();
  write(1);
  world.run_for(seconds(1));
  world.disk().fail_next(DiskCall::kSync, "wal/", ErrorCode::kIo);
  world.append(0, 2, 1, 100);
  world.run_for(microseconds(1));
  world.append(0, 3, 1, 100);
  world.settle();
  ASSERT_TRUE(world.failure().has_value());
  EXPECT_EQ(world.failure()->code, ErrorCode::kIo);
  const auto calls = world.disk().calls();
  world.append(0, 4, 1, 100);
  world.run_for(seconds(10));
  EXPECT_EQ(world.disk().calls(), calls);
  EXPECT_EQ(world.acknowledged(), 1u);
}

TEST_F(WalTest, AFullDiskInASyncIsNoReasonToTryAgain) {
  open();
  world.run_for(seconds(1));
  world.disk().fail_next(DiskCall::kSync, "wal/", ErrorCode::kNoSpace);
  write_one();
  ASSERT_TRUE(world.failure().has_value());
  EXPECT_EQ(world.failure()->code, ErrorCode::kIo);
}

TEST_F(WalTest, AFullDiskInAWriteIsWaitedOut) {
  open();
  world.run_for(seconds(1));
  world.disk().fail_next(DiskCall::kWrite, "wal/", ErrorCode::kNoSpace);
  world.append(0, 1, 1, 3'000);
  world.run_for(milliseconds(500));
  EXPECT_TRUE(world.log().is_full());
  world.run_for(milliseconds(1'000));
  EXPECT_FALSE(world.log().is_full());
  EXPECT_EQ(world.acknowledged(), 1u);
  world.crash();
  open();
}

TEST_F(WalTest, AFailureInTheBackgroundStopsTheLog) {
  open();
  world.disk().fail_next(DiskCall::kWrite, "wal/unfinished", ErrorCode::kIo);
  world.run_for(seconds(1));
  world.append(0, 1, 1, 10);
  world.settle();
  EXPECT_TRUE(world.failure().has_value());
}

TEST_F(WalTest, MayBeDestroyedAtAnyMoment) {
  for (std::int64_t us = 0; us < 3'000; us += 100) {
    open();
    world.append(0, world.last(0) + 1, 1, 100);
    world.run_for(microseconds(us));
    world.kill();
  }
  open();
  const wal::Identity identity = world.identity;
  WalWorld other(2);
  ASSERT_TRUE(other.disk().create_directories("m").has_value());
  const wal::Replay nothing{[](GroupId, Bytes) {}, [](GroupId, consensus::Entry) {}};
  auto log = wal::Log::open(other.disk(), other.clock(), "m", identity, {.segment_bytes = 32'768},
                            nothing);
  ASSERT_TRUE(log.has_value());
  int answered = 0;
  for (int i = 0; i < 3; ++i)
    (*log)->append(GroupId{0}, "h", {}, [&](Result<void>) {
      ++answered;
      log->reset();
    });
  other.run_for(seconds(1));
  EXPECT_EQ(answered, 1);
}

TEST_F(WalTest, AnIdleLogLeavesTheDiskAlone) {
  open();
  world.run_for(seconds(1));
  const auto calls = world.disk().calls();
  world.run_for(seconds(100));
  EXPECT_EQ(world.disk().calls(), calls);
}

}  // namespace
}  // namespace conclave::sim
