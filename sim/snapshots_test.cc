// How a member's own snapshot is spread over time, on a disk whose jobs all take equally long.

#include "node/snapshots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "base/limits.h"
#include "sim/clock.h"
#include "sim/disk.h"
#include "store/command.h"

namespace conclave::sim {
namespace {

using testing::Each;
using testing::Eq;
using testing::IsEmpty;
using testing::SizeIs;

constexpr GroupId kGroup{1};
constexpr NodeId kSelf{1};
constexpr int kPieces = 5;  // of a store's snapshot, at least

// The same clock, which keeps what is waited for on it: with the disk on the other one, the pauses.
class PauseClock final : public io::Clock {
 public:
  explicit PauseClock(Clock& clock) : clock_(clock) {}

  Instant now() const override { return clock_.now(); }
  std::uint64_t wall_ms() const override { return clock_.wall_ms(); }
  TimerId after(Duration delay, std::move_only_function<void()> fire) override {
    pauses.push_back(delay);
    return clock_.after(delay, std::move(fire));
  }
  void cancel(TimerId timer) override { clock_.cancel(timer); }
  void post(std::move_only_function<void()> run) override { clock_.post(std::move(run)); }

  std::vector<Duration> pauses;

 private:
  Clock& clock_;
};

class SnapshotPacing : public testing::Test {
 protected:
  SnapshotPacing() {
    EXPECT_TRUE(disk_.create_directories("m").has_value());
    auto directory = wal::SnapshotDir::open(disk_, "m", {ClusterId{1}, kSelf});
    EXPECT_TRUE(directory.has_value());
    jobs_take(milliseconds(10));
    snapshots_.emplace(kGroup, *std::move(directory), store::Limits{}, waits_, disk_, hooks());
    for (int i = 0; i < kPieces; ++i) put(Bytes(limits::kSnapshotWriteBytes, 'v'));
  }

  node::Snapshots::Hooks hooks() {
    node::Snapshots::Hooks hooks;
    hooks.taken = [this](const consensus::SnapshotMeta& meta) { taken_ = meta.index; };
    hooks.failed = [](const Error& error) { ADD_FAILURE() << error.message; };
    hooks.percent_to_next = [this](LogIndex begun) {
      EXPECT_EQ(begun, store_.applied_index());
      return std::exchange(percent_, percent_ + percent_per_piece_);
    };
    hooks.in_use = [] { return std::vector<LogIndex>(); };
    hooks.is_witness = [](NodeId) { return false; };
    return hooks;
  }

  void jobs_take(Duration time) { disk_.set_latency(io::Lane::kSnapshot, {time, time}); }

  void put(Bytes value) {
    api::Request request;
    request.body = api::PutRequest{.key = "k", .value = std::move(value)};
    store::BatchEncoder batch;
    batch.add(store::encode_command({kSelf, 1, 1}, request));
    const Bytes entry = batch.finish(Epoch{1}, Stamp{1});
    ASSERT_TRUE(store_.apply(store_.applied_index().next(), entry, kSelf, 1).has_value());
  }

  void begin() {
    consensus::SnapshotMeta meta{
        .index = store_.applied_index(),
        .epoch = store_.applied_epoch(),
        .membership = consensus::Membership::of_majority({kSelf}),
    };
    snapshots_->begin(store_, meta, 0);
  }

  // The pauses of a snapshot at a time when so much of what makes the next one due has come.
  std::vector<Duration> pauses_at(std::int64_t percent) {
    percent_ = percent;
    taken_.reset();
    waits_.pauses.clear();
    put("x");
    begin();
    EXPECT_TRUE(clock_.run_until_idle());
    EXPECT_EQ(taken_, store_.applied_index());
    EXPECT_FALSE(snapshots_->writing());
    return waits_.pauses;
  }

  // Begins one, and goes on into its second pause.
  void begin_and_reach_a_pause() {
    begin();
    while (waits_.pauses.size() < 2) ASSERT_TRUE(clock_.step());
    ASSERT_TRUE(snapshots_->writing());
  }

  std::vector<std::string> files() { return *disk_.list("m/snap"); }

  Clock clock_;
  PauseClock waits_{clock_};
  Disk disk_{clock_, 1};
  store::Store store_{store::Limits{}};
  std::optional<node::Snapshots> snapshots_;
  std::int64_t percent_ = 0;
  std::int64_t percent_per_piece_ = 0;
  std::optional<LogIndex> taken_;
};

TEST_F(SnapshotPacing, APieceIsFollowedByAPauseOfThreeTimesItsTime) {
  const auto pauses = pauses_at(0);
  EXPECT_GE(pauses.size(), kPieces);
  EXPECT_THAT(pauses, Each(Eq(milliseconds(30))));
  jobs_take(milliseconds(2));
  EXPECT_THAT(pauses_at(0), Each(Eq(milliseconds(6))));
}

TEST_F(SnapshotPacing, PausesShrinkAsTheNextOneComesNear) {
  EXPECT_THAT(pauses_at(10), Each(Eq(milliseconds(24))));
  EXPECT_THAT(pauses_at(25), Each(Eq(milliseconds(15))));
  EXPECT_THAT(pauses_at(49), Each(Eq(microseconds(600))));
  EXPECT_THAT(waits_.pauses, SizeIs(testing::Ge(kPieces)));
}

TEST_F(SnapshotPacing, FromHalfOfTheWayOnThereAreNone) {
  for (const std::int64_t percent : {50, 51, 100, 1'000'000}) {
    EXPECT_THAT(pauses_at(percent), IsEmpty()) << percent;
  }
}

TEST_F(SnapshotPacing, EachPauseIsOfItsOwnMoment) {
  percent_per_piece_ = 20;
  EXPECT_THAT(pauses_at(0),
              testing::ElementsAre(milliseconds(30), milliseconds(18), milliseconds(6)));
}

TEST_F(SnapshotPacing, ASlowDiskDoesNotMakeThemLong) {
  jobs_take(seconds(2));
  EXPECT_THAT(pauses_at(0), Each(Eq(milliseconds(100))));
  EXPECT_THAT(pauses_at(40), Each(Eq(milliseconds(100))));
  EXPECT_THAT(waits_.pauses, SizeIs(testing::Ge(kPieces)));
}

TEST_F(SnapshotPacing, OneThatIsGivenUpDuringAPauseStaysSo) {
  begin_and_reach_a_pause();
  snapshots_->abort();
  EXPECT_FALSE(snapshots_->writing());
  ASSERT_TRUE(clock_.run_until_idle());
  EXPECT_FALSE(taken_.has_value());
  EXPECT_EQ(waits_.pauses.size(), 2u);
  for (const std::string& name : files()) EXPECT_THAT(name, testing::EndsWith(".writing"));
}

// Each goes on with its own pieces: the pause of the first must not move the second.
TEST_F(SnapshotPacing, AnotherMayBeginWhileThePauseOfOneThatWasGivenUpLasts) {
  const auto undisturbed = pauses_at(0).size();
  waits_.pauses.clear();
  taken_.reset();
  put("x");
  begin_and_reach_a_pause();
  snapshots_->abort();
  EXPECT_EQ(pauses_at(0).size(), undisturbed);
  EXPECT_THAT(files(), SizeIs(2));
}

TEST_F(SnapshotPacing, ItsEndDuringAPauseIsTheEnd) {
  begin_and_reach_a_pause();
  snapshots_.reset();
  ASSERT_TRUE(clock_.run_until_idle());
  EXPECT_FALSE(taken_.has_value());
  EXPECT_EQ(waits_.pauses.size(), 2u);
  EXPECT_TRUE(store_.begin_snapshot() != nullptr) << "the store has been let go";
}

}  // namespace
}  // namespace conclave::sim
