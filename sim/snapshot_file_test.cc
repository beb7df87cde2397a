// Snapshot files on a simulated disk: whole or not there, whatever happens on the way.

#include "wal/snapshot_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "base/rng.h"
#include "sim/clock.h"
#include "sim/disk.h"

namespace conclave::sim {
namespace {

using consensus::Membership;
using consensus::SnapshotMeta;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr GroupId kGroup{3};
constexpr const char* kMember = "member";

SnapshotMeta meta_at(std::uint64_t index) {
  return {.index = LogIndex{index},
          .epoch = Epoch{index / 10},
          .membership = Membership::of_majority({NodeId{1}, NodeId{2}, NodeId{3}})};
}

Bytes content_of(std::uint64_t seed, std::size_t bytes) {
  Rng rng(seed);
  Bytes content(bytes, '\0');
  for (auto& byte : content) byte = static_cast<char>(rng.next());
  return content;
}

// One member's disk and directory of snapshots.
struct Member {
  explicit Member(Clock& clock, std::uint64_t seed) : disk(clock, seed) {}

  Result<void> open(ClusterId cluster = ClusterId{0xc1}) {
    TRY(disk.create_directories(kMember));
    dir = TRY(wal::SnapshotDir::open(disk, kMember, {cluster, NodeId{1}}));
    return {};
  }
  Result<void> write(std::uint64_t index, BytesView content, std::size_t piece = 100'000) {
    TRY(write_alone(index, content, piece));
    return dir->remove_unused(kGroup, {});
  }
  // Leaves the older ones.
  Result<void> write_alone(std::uint64_t index, BytesView content, std::size_t piece = 100'000) {
    auto writer = TRY(dir->create(kGroup, meta_at(index)));
    for (; !content.empty(); content.remove_prefix(std::min(piece, content.size())))
      TRY(writer.append(content.substr(0, piece)));
    return writer.finish();
  }
  // The content, and the meta in `found`.
  Result<Bytes> load() {
    Bytes content;
    found = TRY(dir->load_newest(kGroup, [&](BytesView piece) -> Result<void> {
      largest_piece = std::max(largest_piece, piece.size());
      content += piece;
      return {};
    }));
    return content;
  }
  std::vector<std::string> files() { return *disk.list("member/snap"); }

  Disk disk;
  std::optional<wal::SnapshotDir> dir;
  std::optional<SnapshotMeta> found;
  std::size_t largest_piece = 0;
};

// Sends the snapshot at `index` in pieces; then the receiver verifies it.
Result<Bytes> transfer(Member& from, Member& to, std::uint64_t index,
                       const SnapshotMeta& announced) {
  for (std::uint64_t offset = 0;;) {
    const auto [bytes, last] =
        TRY(from.dir->read_raw(kGroup, LogIndex{index}, offset, 512 * limits::kKiB));
    TRY(to.dir->write_raw(kGroup, LogIndex{index}, offset, bytes));
    offset += bytes.size();
    if (last) break;
  }
  Bytes content;
  TRY(to.dir->verify_received(kGroup, announced, [&](BytesView piece) -> Result<void> {
    content += piece;
    return {};
  }));
  return content;
}

class SnapshotFiles : public testing::Test {
 protected:
  SnapshotFiles() {
    EXPECT_TRUE(one.open().has_value());
    EXPECT_TRUE(two.open().has_value());
  }
  Clock clock;
  Member one{clock, 1};
  Member two{clock, 2};
};

TEST_F(SnapshotFiles, GiveBackWhatWasWritten) {
  for (const std::size_t bytes : {0u, 1u, 1'000u, 1'048'576u, 1'048'577u, 3'000'000u}) {
    const auto content = content_of(bytes, bytes);
    ASSERT_TRUE(one.write(bytes + 1, content).has_value());
    one.disk.crash();
    ASSERT_TRUE(one.open().has_value());
    EXPECT_EQ(*one.load(), content);
    ASSERT_TRUE(one.found.has_value());
    EXPECT_EQ(one.found->index.value, bytes + 1);
    EXPECT_EQ(one.found->epoch.value, (bytes + 1) / 10);
    EXPECT_EQ(one.found->membership, meta_at(1).membership);
    EXPECT_EQ(one.dir->newest_index(kGroup)->value, bytes + 1);
  }
  EXPECT_LE(one.largest_piece, limits::kMiB);
}

TEST_F(SnapshotFiles, NoneIsNoError) {
  EXPECT_EQ(*one.load(), "");
  EXPECT_FALSE(one.found.has_value());
  EXPECT_EQ(one.dir->newest_index(kGroup)->value, 0u);
}

TEST_F(SnapshotFiles, TheNewestTwoOfAGroupAreKept) {
  for (const std::uint64_t index : {5u, 90u, 700u, 8'000u})
    ASSERT_TRUE(one.write(index, "x").has_value());
  EXPECT_THAT(one.files(),
              ElementsAre("3-00000000000000000700.snap", "3-00000000000000008000.snap"));
}

// Whichever step of the removal it was that failed.
TEST_F(SnapshotFiles, WhatAFailedRemovalLeftGoesWithTheNextOne) {
  const auto large = content_of(1, 17 * limits::kMiB);
  for (const auto& [call, path] : {std::pair{DiskCall::kNames, ".removed"},
                                   {DiskCall::kSync, ".removed"},
                                   {DiskCall::kWrite, ".removed"},
                                   {DiskCall::kSyncDirectory, "member/snap"}}) {
    SCOPED_TRACE(testing::Message() << "call " << static_cast<int>(call));
    Member member(clock, 1);
    ASSERT_TRUE(member.open().has_value());
    ASSERT_TRUE(member.write(10, large).has_value());
    ASSERT_TRUE(member.write(20, "x").has_value());
    ASSERT_TRUE(member.write_alone(30, "y").has_value());
    member.disk.fail_next(call, path, ErrorCode::kIo);
    EXPECT_EQ(member.dir->remove_unused(kGroup, {}).error().code, ErrorCode::kIo);
    EXPECT_THAT(member.files(), Contains("3-00000000000000000010.removed"));
    EXPECT_EQ(*member.load(), "y") << "as if nothing had been";
    ASSERT_TRUE(member.dir->remove_unused(kGroup, {}).has_value());
    EXPECT_THAT(member.files(),
                ElementsAre("3-00000000000000000020.snap", "3-00000000000000000030.snap"));
  }
}

TEST_F(SnapshotFiles, GroupsDoNotMix) {
  ASSERT_TRUE(one.write(5, "x").has_value());
  EXPECT_EQ(one.dir->newest_index(GroupId{33})->value, 0u);
}

TEST_F(SnapshotFiles, AnyRottenByteIsFoundAndTheFileNamed) {
  const auto content = content_of(1, 2'000);
  for (std::uint64_t at = 0;; ++at) {
    ASSERT_TRUE(one.write(5, content).has_value());
    const auto size =
        *(*one.disk.open("member/snap/" + one.files()[0], io::OpenMode::kRead))->size();
    if (at == size) break;
    one.disk.rot("member/snap/" + one.files()[0], at);
    const auto loaded = one.load();
    ASSERT_FALSE(loaded.has_value()) << at;
    EXPECT_EQ(loaded.error().code, ErrorCode::kCorrupt) << at;
    EXPECT_THAT(loaded.error().message, HasSubstr("member/snap/3-00000000000000000005.snap"));
    EXPECT_THAT(loaded.error().message, HasSubstr("conclave member replace"));
  }
}

TEST_F(SnapshotFiles, ADamagedOldOneBehindAWholeNewOneIsIgnored) {
  ASSERT_TRUE(one.write(5, "old").has_value());
  ASSERT_TRUE(one.write(6, "new").has_value());
  one.disk.rot("member/snap/" + one.files()[0], 20);
  EXPECT_EQ(*one.load(), "new");
}

TEST_F(SnapshotFiles, AnotherClustersIsRefused) {
  ASSERT_TRUE(one.write(5, "x").has_value());
  ASSERT_TRUE(one.open(ClusterId{0xc2}).has_value());
  EXPECT_EQ(one.load().error().code, ErrorCode::kMismatch);
}

TEST_F(SnapshotFiles, TravelBetweenMembers) {
  const auto content = content_of(9, 2'500'000);
  ASSERT_TRUE(one.write(50, content).has_value());
  EXPECT_EQ(*transfer(one, two, 50, meta_at(50)), content);
  two.disk.crash();
  ASSERT_TRUE(two.open().has_value());
  EXPECT_EQ(*two.load(), content);
}

TEST_F(SnapshotFiles, ADerivedOneTravelsLikeAnyOther) {
  const auto content = content_of(9, 2'500'000);
  ASSERT_TRUE(one.write(50, content).has_value());
  const auto head = [](BytesView begin) -> Result<Bytes> { return Bytes(begin.substr(0, 10)); };
  for (std::uint64_t offset = 0;;) {
    const auto piece = one.dir->read_derived(kGroup, LogIndex{50}, offset, 100, head);
    ASSERT_TRUE(piece.has_value()) << piece.error().message;
    const auto& [bytes, last] = *piece;
    ASSERT_TRUE(two.dir->write_raw(kGroup, LogIndex{50}, offset, bytes).has_value());
    offset += bytes.size();
    if (last) break;
    ASSERT_EQ(bytes.size(), 100u);
  }
  Bytes received;
  const auto keep = [&](BytesView piece) -> Result<void> {
    received += piece;
    return {};
  };
  ASSERT_TRUE(two.dir->verify_received(kGroup, meta_at(50), keep).has_value());
  EXPECT_EQ(received, content.substr(0, 10));
  EXPECT_FALSE(one.dir->read_derived(kGroup, LogIndex{50}, 10'000, 100, head).has_value());
  EXPECT_FALSE(one.dir->read_derived(kGroup, LogIndex{60}, 0, 100, head).has_value());
}

TEST_F(SnapshotFiles, AReceivedFileThatIsDamagedIsRefusedAndRemoved) {
  ASSERT_TRUE(one.write(50, content_of(9, 200'000)).has_value());
  one.disk.rot("member/snap/" + one.files()[0], 150'000);
  EXPECT_EQ(transfer(one, two, 50, meta_at(50)).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(two.files().empty());
}

TEST_F(SnapshotFiles, AReceivedFileMustBeWhatWasAnnounced) {
  ASSERT_TRUE(one.write(50, "x").has_value());
  auto other_epoch = meta_at(50);
  other_epoch.epoch = Epoch{99};
  EXPECT_EQ(transfer(one, two, 50, other_epoch).error().code, ErrorCode::kCorrupt);
  auto other_members = meta_at(50);
  other_members.membership = Membership::of_majority({NodeId{1}});
  EXPECT_EQ(transfer(one, two, 50, other_members).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(two.files().empty());
}

TEST_F(SnapshotFiles, ATruncatedFileIsRefused) {
  ASSERT_TRUE(one.write(50, content_of(1, 5'000)).has_value());
  const auto bytes = one.dir->read_raw(kGroup, LogIndex{50}, 0, 5'000)->first;
  ASSERT_TRUE(two.dir->write_raw(kGroup, LogIndex{50}, 0, bytes).has_value());
  const auto ignore = [](BytesView) -> Result<void> { return {}; };
  EXPECT_EQ(two.dir->verify_received(kGroup, meta_at(50), ignore).error().code,
            ErrorCode::kCorrupt);
}

TEST_F(SnapshotFiles, WhatTheStoreRefusesIsNotKept) {
  ASSERT_TRUE(one.write(50, "x").has_value());
  const auto bytes = one.dir->read_raw(kGroup, LogIndex{50}, 0, 5'000)->first;
  ASSERT_TRUE(two.dir->write_raw(kGroup, LogIndex{50}, 0, bytes).has_value());
  const auto refuse = [](BytesView) -> Result<void> { return fail(ErrorCode::kCorrupt, "no"); };
  EXPECT_FALSE(two.dir->verify_received(kGroup, meta_at(50), refuse).has_value());
  EXPECT_TRUE(two.files().empty());
}

TEST_F(SnapshotFiles, AGapInWhatIsReceivedIsRefused) {
  ASSERT_TRUE(two.dir->write_raw(kGroup, LogIndex{50}, 0, "abc").has_value());
  EXPECT_EQ(two.dir->write_raw(kGroup, LogIndex{50}, 5, "abc").error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(two.dir->write_raw(kGroup, LogIndex{50}, 0, "a new start").has_value());
}

TEST_F(SnapshotFiles, ASnapshotThatIsGoneCannotBeSent) {
  EXPECT_EQ(one.dir->read_raw(kGroup, LogIndex{1}, 0, 100).error().code, ErrorCode::kNotFound);
}

TEST_F(SnapshotFiles, AFullDiskLeavesNothingBehind) {
  one.disk.set_capacity(100'000);
  EXPECT_EQ(one.write(5, content_of(1, 3'000'000)).error().code, ErrorCode::kNoSpace);
  EXPECT_TRUE(one.files().empty());
  EXPECT_EQ(one.disk.used_bytes(), 0u);
}

// Stops at every call of writing or receiving a second snapshot: afterwards the newest is the first
// or the second.
TEST(SnapshotCrash, AtEveryCall) {
  const auto first = content_of(1, 3'000);
  const auto second = content_of(2, 1'200'000);
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    for (std::uint64_t stop = 0;; ++stop) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " stop before call " << stop);
      Clock clock;
      Member sender(clock, seed);
      Member member(clock, seed);
      ASSERT_TRUE(sender.open().has_value());
      ASSERT_TRUE(sender.write(20, second).has_value());
      ASSERT_TRUE(member.open().has_value());
      ASSERT_TRUE(member.write(10, first).has_value());
      member.disk.stop_before(member.disk.calls() + stop);
      const bool receives = seed % 2 == 0;
      const auto done = receives ? transfer(sender, member, 20, meta_at(20)).has_value()
                                 : member.write(20, second).has_value();
      seed % 3 == 0 ? member.disk.kill() : member.disk.crash();
      ASSERT_TRUE(member.open().has_value());
      const auto loaded = member.load();
      ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
      ASSERT_TRUE(*loaded == (member.found->index.value == 20 ? second : first));
      if (!done) continue;
      ASSERT_EQ(member.found->index.value, 20u);
      break;
    }
  }
}

// A large one is removed piece by piece; wherever that ends, no part of it is taken for a snapshot.
TEST(SnapshotCrash, AtEveryCallOfRemovingALargeOne) {
  const auto large = content_of(1, 17 * limits::kMiB);
  const auto small = content_of(2, 3'000);
  bool was_cut = false;
  for (std::uint64_t stop = 0;; ++stop) {
    SCOPED_TRACE(testing::Message() << "stop before call " << stop);
    Clock clock;
    Member member(clock, stop);
    ASSERT_TRUE(member.open().has_value());
    ASSERT_TRUE(member.write(10, large).has_value());
    ASSERT_TRUE(member.write(20, small).has_value());
    member.disk.stop_before(member.disk.calls() + stop);
    const bool done = member.write(30, small).has_value();
    stop % 2 == 0 ? member.disk.kill() : member.disk.crash();
    for (const auto& file : member.disk.files()) {
      was_cut = was_cut || (file.path.ends_with(".removed") && file.bytes < 17 * limits::kMiB);
      EXPECT_FALSE(file.path.ends_with("10.snap") && file.bytes < 17 * limits::kMiB);
    }
    ASSERT_TRUE(member.open().has_value());
    EXPECT_EQ(*member.load(), small);
    for (const auto& name : member.files()) EXPECT_THAT(name, testing::EndsWith(".snap"));
    if (!done) continue;
    EXPECT_EQ(member.files().size(), 2u);
    break;
  }
  EXPECT_TRUE(was_cut);
}

}  // namespace
}  // namespace conclave::sim
