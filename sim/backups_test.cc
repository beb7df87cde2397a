// Copies of everything that clients take, and alarms, over whole clusters of the shipped code.

#include <gtest/gtest.h>

#include "base/limits.h"
#include "node/group.h"
#include "sim/cluster.h"

namespace conclave::sim {
namespace {

class BackupsTest : public testing::Test {
 protected:
  Cluster& begin(const ClusterOptions& options) {
    cluster_.emplace(11, options);
    for (std::size_t i = 0; i < cluster_->size(); ++i) EXPECT_TRUE(cluster_->start(i));
    EXPECT_TRUE(cluster_->run_until(seconds(10), [&] { return cluster_->leader().has_value(); }));
    cluster_->run_for(seconds(1));
    return *cluster_;
  }
  void put(std::size_t member, int count, std::size_t bytes = 10) {
    for (int i = 0; i < count; ++i) {
      api::PutRequest request{};
      request.key = "k" + std::to_string(i % 10);
      request.value = Bytes(bytes, 'v');
      const auto answer = cluster_->ask(member, request, seconds(10));
      ASSERT_TRUE(answer.has_value());
      ASSERT_TRUE(std::holds_alternative<api::PutResponse>(*answer)) << i;
    }
  }
  // The index of the copy, or why there is none.
  std::variant<LogIndex, api::Error> back_up(std::size_t member, bool serializable = false) {
    auto answer =
        cluster_->ask(member, api::SnapshotRequest{.serializable = serializable}, seconds(60));
    if (!answer) return api::Error{api::ErrorCode::kUnsupported, "no answer"};
    if (auto* error = std::get_if<api::Error>(&*answer)) return *error;
    return std::get<api::SnapshotResponse>(*answer).index;
  }
  static api::ErrorCode code_of(const std::variant<LogIndex, api::Error>& result) {
    const auto* error = std::get_if<api::Error>(&result);
    return error == nullptr ? api::ErrorCode{} : error->code;
  }
  api::Answer read(std::size_t member, LogIndex copy) {
    return *cluster_->ask(
        member, api::SnapshotPieceRequest{.index = copy, .offset = 0, .max_bytes = 10}, seconds(5));
  }
  std::size_t files(std::size_t member) {
    return cluster_->disk(member).list("/data/snap")->size();
  }
  node::Stats stats(std::size_t member) { return cluster_->node(member).stats(); }

  std::optional<Cluster> cluster_;
};

TEST_F(BackupsTest, WithoutAMajorityThereIsOnlyAnOldCopyForWhoAsksForIt) {
  Cluster& cluster = begin({});
  put(0, 3);
  const std::size_t leader = *cluster.leader();
  const std::size_t cut_off = (leader + 1) % 3;
  for (std::size_t i = 0; i < 3; ++i) {
    if (i == cut_off) continue;
    cluster.fabric().cut(Cluster::host(i), Cluster::host(cut_off));
    cluster.fabric().cut(Cluster::host(cut_off), Cluster::host(i));
  }
  cluster.run_for(seconds(5));
  put(leader, 3);
  ASSERT_FALSE(cluster.node(cut_off).group().engine().leader());
  EXPECT_EQ(code_of(back_up(cut_off)), api::ErrorCode::kTimeout);
  const auto old = back_up(cut_off, true);
  ASSERT_TRUE(std::holds_alternative<LogIndex>(old));
  const auto whole = back_up(leader);
  ASSERT_TRUE(std::holds_alternative<LogIndex>(whole));
  EXPECT_LT(std::get<LogIndex>(old), std::get<LogIndex>(whole));
}

TEST_F(BackupsTest, TheyDoNotCutTheLogThatFollowersNeed) {
  for (const auto engine : {node::Consensus::kRaft, node::Consensus::kPaxos}) {
    Cluster& cluster = begin({.engine = engine, .keep_entries = 5});
    const std::size_t leader = *cluster.leader();
    const std::size_t late = (leader + 1) % 3;
    cluster.kill(late);
    for (int i = 0; i < 3; ++i) {
      put(leader, 30);
      ASSERT_TRUE(std::holds_alternative<LogIndex>(back_up(leader)));
    }
    EXPECT_EQ(stats(leader).snapshots_taken, 3);
    ASSERT_TRUE(cluster.start(late));
    ASSERT_TRUE(cluster.run_until(seconds(20), [&] { return cluster.converged(); }));
    EXPECT_EQ(stats(late).snapshots_installed, 0);
  }
}

TEST_F(BackupsTest, TheyLeaveTimeForReclaiming) {
  Cluster& cluster = begin({.members = 1});
  const Instant begun = cluster.clock().now();
  for (int i = 0; i < 4; ++i) {
    put(0, 1);
    ASSERT_TRUE(std::holds_alternative<LogIndex>(back_up(0)));
  }
  EXPECT_GE(cluster.clock().now() - begun, seconds(3));
}

// One of them does not cut the log: what came before it brings the next one nearer.
TEST_F(BackupsTest, TheyHurryWhenASnapshotIsNear) {
  const auto time_of_one = [&](const ClusterOptions& options) {
    Cluster& cluster = begin(options);
    cluster.disk(0).set_latency(io::Lane::kSnapshot, {milliseconds(10), milliseconds(10)});
    put(0, 60, 100'000);
    const Instant begun = cluster.clock().now();
    EXPECT_TRUE(std::holds_alternative<LogIndex>(back_up(0)));
    EXPECT_EQ(stats(0).snapshots_taken, 1) << "and it was a client's";
    return cluster.clock().now() - begun;
  };
  const Duration far = time_of_one({.members = 1});
  EXPECT_LT(time_of_one({.members = 1, .snapshot_entries = 100}) * 2, far);
  EXPECT_LT(time_of_one({.members = 1, .snapshot_log_bytes = 10'000'000}) * 2, far);
}

TEST_F(BackupsTest, AFullDiskIsNotMadeFullerForThem) {
  Cluster& cluster = begin({.members = 1});
  put(0, 10, 10'000);
  cluster.disk(0).set_capacity(cluster.disk(0).used_bytes() + (64 << 20));
  EXPECT_EQ(code_of(back_up(0)), api::ErrorCode::kSnapshotFailed);
  EXPECT_EQ(files(0), 0) << "nothing was begun";
  cluster.disk(0).set_capacity(0);
  cluster.disk(0).fail_next(DiskCall::kWrite, "/data/snap", ErrorCode::kIo);
  EXPECT_EQ(code_of(back_up(0)), api::ErrorCode::kSnapshotFailed);
  const auto again = back_up(0);
  ASSERT_EQ(code_of(again), api::ErrorCode::kSnapshotFailed);
  EXPECT_NE(std::get<api::Error>(again).detail.find("a moment ago"), std::string::npos);
  cluster.run_for(seconds(6));
  EXPECT_TRUE(std::holds_alternative<LogIndex>(back_up(0)));
}

TEST_F(BackupsTest, TheirFilesGoWhenNobodyReadsThem) {
  Cluster& cluster = begin({.members = 1});
  for (int i = 0; i < 4; ++i) {
    put(0, 1);
    ASSERT_TRUE(std::holds_alternative<LogIndex>(back_up(0)));
  }
  EXPECT_EQ(files(0), 4);
  put(0, 1);
  EXPECT_EQ(code_of(back_up(0)), api::ErrorCode::kTooManyRequests);
  cluster.run_for(milliseconds(limits::kBackupPatienceMs) + seconds(5));
  EXPECT_EQ(files(0), 2);
}

TEST_F(BackupsTest, ASnapshotThatArrivesLeavesThemTheirFiles) {
  Cluster& cluster = begin({.snapshot_entries = 20, .keep_entries = 5});
  const std::size_t leader = *cluster.leader();
  const std::size_t late = (leader + 1) % 3;
  put(leader, 3);
  const auto copy = back_up(late);
  ASSERT_TRUE(std::holds_alternative<LogIndex>(copy));
  cluster.run_for(seconds(1));
  put(leader, 45);  // two more of its own
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != late) cluster.fabric().cut(Cluster::host(i), Cluster::host(late));
  }
  put(leader, 100);
  cluster.fabric().heal();
  ASSERT_TRUE(cluster.run_until(seconds(20), [&] { return cluster.converged(); }));
  ASSERT_GE(stats(late).snapshots_installed, 1);
  EXPECT_TRUE(
      std::holds_alternative<api::SnapshotPieceResponse>(read(late, std::get<LogIndex>(copy))));
}

TEST_F(BackupsTest, TheNoSpaceAlarmOfARemovedMemberGoes) {
  Cluster& cluster = begin({});
  put(0, 1);
  const std::size_t gone = (*cluster.leader() + 1) % 3;
  const std::size_t other = *cluster.leader();
  const NodeId id = cluster.node(gone).group().header().member;
  cluster.kill(gone);
  api::AlarmRequest raise{};
  raise.action = api::AlarmRequest::Action::kActivate;
  raise.type = api::AlarmType::kNoSpace;
  for (const NodeId whose : {id, NodeId{5}}) {
    raise.member = whose;
    ASSERT_TRUE(cluster.ask(other, raise, seconds(5)).has_value());
  }
  cluster.run_for(seconds(3));
  const store::Store& store = cluster.node(other).group().store();
  ASSERT_EQ(store.alarms().size(), 2);
  const auto removed = cluster.ask(other, api::MemberRemoveRequest{.id = id}, seconds(10));
  ASSERT_TRUE(removed.has_value());
  ASSERT_FALSE(std::holds_alternative<api::Error>(*removed));
  cluster.run_for(seconds(5));
  ASSERT_EQ(store.alarms().size(), 1);
  EXPECT_EQ(store.alarms()[0].first, NodeId{5}) << "that was nobody's";
}

// Whatever it was that differed.
TEST_F(BackupsTest, ASnapshotHealsAMemberWhoseAlarmWasLost) {
  Cluster& cluster = begin({.snapshot_entries = 50, .keep_entries = 5});
  put(0, 3);
  const std::size_t bad = (*cluster.leader() + 1) % 3;
  ASSERT_TRUE(cluster.run_until(seconds(5), [&] { return cluster.converged(); }));
  auto& state = const_cast<store::Store&>(cluster.node(bad).group().store());
  store::Store empty(store::Limits{});
  for (LogIndex i{1}; i <= state.applied_index(); i = i.next()) {
    empty.apply_empty(i, state.applied_epoch());
  }
  state = std::move(empty);
  put((bad + 1) % 3, 1);
  const auto is_corrupt = [&] { return stats(bad).corrupt; };
  ASSERT_TRUE(cluster.run_until(seconds(10), is_corrupt));
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != bad) cluster.crash(i);
  }
  cluster.run_for(seconds(20));  // it gives up to say so
  cluster.pause(bad);
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != bad) {
      ASSERT_TRUE(cluster.start(i));
    }
  }
  ASSERT_TRUE(cluster.run_until(seconds(20), [&] { return cluster.leader().has_value(); }));
  cluster.run_for(seconds(1));
  put((bad + 1) % 3, 200);
  cluster.resume(bad);
  ASSERT_TRUE(cluster.run_until(seconds(30), [&] { return cluster.converged(); }));
  ASSERT_GE(stats(bad).snapshots_installed, 1);
  EXPECT_FALSE(is_corrupt());
}

}  // namespace
}  // namespace conclave::sim
