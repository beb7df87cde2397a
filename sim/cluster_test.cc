// Whole clusters of the shipped code under crashes, cuts and lossy links: what clients were told
// must be linearizable, and once the storm is over everything finishes and all members agree. The
// seeds are fixed; CONCLAVE_SIM_SEEDS runs more of them.

#include "sim/cluster.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "etcd.pb.h"
#include "node/group.h"
#include "sim/cluster_fixture.h"
#include "sim/etcd_client.h"

namespace conclave::sim {
namespace {

TEST(ClusterTest, ThreeMembersElectALeaderAndAnswer) {
  Cluster cluster(1, {});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  Registers workload(cluster, 1, 3, 100);
  ASSERT_TRUE(cluster.run_until(seconds(60), [&] { return workload.done(); }));
  for (const Operation& op : workload.history()) EXPECT_FALSE(op.is_unknown());
  expect_linearizable(workload.history(), 1);
  EXPECT_TRUE(cluster.run_until(seconds(5), [&] { return cluster.converged(); }));
}

TEST(ClusterTest, MembersCountWhatTheySendToEachOther) {
  Cluster cluster(1, {});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  const auto connected = [&] {
    for (std::size_t i = 0; i < 3; ++i)
      if (cluster.node(i).stats().peers_connected != 2) return false;
    return cluster.leader().has_value();
  };
  ASSERT_TRUE(cluster.run_until(seconds(10), connected));
  const auto counted = [&] {
    std::pair<std::uint64_t, std::uint64_t> sum;
    for (std::size_t i = 0; i < 3; ++i) {
      sum.first += cluster.node(i).stats().peer_messages_sent;
      sum.second += cluster.node(i).stats().peer_bytes_sent;
    }
    return sum;
  };
  auto expected = counted();
  cluster.fabric().tap = [&](const std::string& from, const std::string& to, BytesView piece) {
    if (!cluster.member_at(from) || !cluster.member_at(to)) return;
    ++expected.first;
    expected.second += piece.size();
  };
  const auto before = expected;
  Registers workload(cluster, 1, 3, 20);
  ASSERT_TRUE(cluster.run_until(seconds(60), [&] { return workload.done(); }));
  EXPECT_EQ(counted(), expected);
  EXPECT_GT(expected.first, before.first + 60);
}

TEST(ClusterTest, AcknowledgedWritesSurviveThatAllMembersCrashAtOnce) {
  Cluster cluster(2, {});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  Registers before(cluster, 2, 3, 50);
  ASSERT_TRUE(cluster.run_until(seconds(60), [&] { return before.done(); }));
  for (std::size_t i = 0; i < 3; ++i) cluster.crash(i);
  cluster.run_for(seconds(1));
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  Registers after(cluster, 3, 3, 50);
  ASSERT_TRUE(cluster.run_until(seconds(60), [&] { return after.done(); }));
  History all = before.history();
  const History rest = after.history();
  all.insert(all.end(), rest.begin(), rest.end());
  expect_linearizable(all, 2);
}

TEST(ClusterTest, AFollowerFarBehindCatchesUpBySnapshot) {
  Cluster cluster(3, {.snapshot_entries = 50});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  ASSERT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.leader().has_value(); }));
  const std::size_t late = (*cluster.leader() + 1) % 3;
  cluster.crash(late);
  // More than is kept for followers a little behind.
  Registers workload(cluster, 4, 8, 1'500);
  ASSERT_TRUE(cluster.run_until(seconds(300), [&] { return workload.done(); }));
  start(cluster, late);
  ASSERT_TRUE(cluster.run_until(seconds(30), [&] { return cluster.converged(); }));
  EXPECT_GE(cluster.node(late).stats().snapshots_installed, 1u);
  expect_linearizable(workload.history(), 3);
}

// Memory that went bad on one member: its store is exchanged for an empty one at the same index.
TEST(ClusterTest, AMemberWhoseStateDiffersIsFoundOutAndNobodyIsAnswered) {
  Cluster cluster(5, {});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  Registers before(cluster, 5, 2, 50);
  ASSERT_TRUE(cluster.run_until(seconds(60), [&] { return before.done(); }));
  ASSERT_TRUE(cluster.run_until(seconds(5), [&] { return cluster.converged(); }));
  const std::size_t bad = (*cluster.leader() + 1) % 3;
  auto& state = const_cast<store::Store&>(cluster.node(bad).group().store());
  store::Store empty(store::Limits{});
  for (LogIndex i{1}; i <= state.applied_index(); i = i.next()) {
    empty.apply_empty(i, state.applied_epoch());
  }
  state = std::move(empty);

  Registers after(cluster, 6, 2, 1'000'000);
  const auto all_alarmed = [&] {
    for (std::size_t i = 0; i < 3; ++i) {
      if (!cluster.node(i).stats().corrupt) return false;
    }
    return true;
  };
  EXPECT_TRUE(cluster.run_until(seconds(10), all_alarmed));
  const std::int64_t alarmed_ns = cluster.clock().now().ns;
  cluster.run_for(seconds(2));
  std::size_t refused = 0;
  for (const Operation& op : after.history()) {
    if (op.called_ns <= alarmed_ns) continue;
    EXPECT_TRUE(op.is_unknown());
    ++refused;
  }
  EXPECT_GT(refused, 0u);
}

// --- pauses and clocks --------------------------------------------------------------

bool leads_otherwise(const Cluster& cluster, std::size_t than) {
  const std::optional<std::size_t> leader = cluster.leader();
  return leader && *leader != than;
}

TEST(ClusterTest, APausedLeaderWakesUpAsAFollower) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Cluster cluster(seed, {});
    for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
    Registers workload(cluster, seed, 4, 300);
    ASSERT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.leader().has_value(); }));
    cluster.run_for(milliseconds(200));
    const std::size_t paused = *cluster.leader();
    cluster.pause(paused);
    const Epoch old = cluster.node(paused).group().engine().epoch();
    ASSERT_TRUE(cluster.run_until(seconds(20), [&] { return leads_otherwise(cluster, paused); }));
    EXPECT_TRUE(cluster.node(paused).group().engine().is_leader()) << "it does not know yet";
    EXPECT_EQ(cluster.node(paused).group().engine().epoch(), old);
    cluster.run_for(seconds(2));
    cluster.resume(paused);
    EXPECT_TRUE(cluster.run_until(
        seconds(5), [&] { return !cluster.node(paused).group().engine().is_leader(); }));
    EXPECT_TRUE(cluster.run_until(seconds(120), [&] { return workload.done(); }));
    EXPECT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.converged(); }));
    expect_linearizable(workload.history(), seed);
    EXPECT_EQ(cluster.fault_counts().process.pauses, 1u);
  }
}

TEST(ClusterTest, APausedMemberMayCrashAndStartAgain) {
  Cluster cluster(1, {});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  Registers workload(cluster, 1, 3, 200);
  cluster.run_for(seconds(2));
  cluster.pause(0);
  cluster.run_for(seconds(1));
  cluster.crash(0);
  EXPECT_FALSE(cluster.paused(0));
  cluster.run_for(seconds(1));
  start(cluster, 0);
  EXPECT_TRUE(cluster.run_until(seconds(60), [&] { return workload.done(); }));
  EXPECT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.converged(); }));
  expect_linearizable(workload.history(), 1);
  cluster.crash(1);
  cluster.pause(1);
  EXPECT_FALSE(cluster.paused(1)) << "nothing runs there";
}

TEST(ClusterTest, ClocksOfAnySpeedAndTimeOfDayAgree) {
  Cluster cluster(1, {});
  cluster.set_clock_rate(0, 300'000);
  cluster.set_clock_rate(1, -300'000);
  cluster.set_wall_rate(0, 50'000);
  cluster.jump_wall(1, -86'400'000);
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  const Instant before[] = {cluster.member_clock(0).now(), cluster.member_clock(1).now()};
  EXPECT_NE(before[0], before[1]);
  Registers workload(cluster, 1, 3, 100);
  ASSERT_TRUE(cluster.run_until(seconds(60), [&] { return workload.done(); }));
  cluster.jump_wall(2, 86'400'000);
  EXPECT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.converged(); }));
  expect_linearizable(workload.history(), 1);
  EXPECT_GT((cluster.member_clock(0).now() - before[0]).ns,
            (cluster.member_clock(1).now() - before[1]).ns * 3 / 2);
  EXPECT_EQ(cluster.fault_counts().process.clock_rates, 2u);
  EXPECT_EQ(cluster.fault_counts().process.wall_jumps, 2u);
}

TEST(ClusterTest, FaultsAreCountedAndListed) {
  Cluster cluster(1, {});
  start(cluster, 0);
  cluster.fabric().cut("m0", "m1");
  cluster.run_for(seconds(3));
  cluster.lose_disk(0);
  FaultCounts sum;
  sum += cluster.fault_counts();
  sum += cluster.fault_counts();
  std::map<std::string_view, std::uint64_t> rows;
  for (const auto& [name, count] : sum.rows()) EXPECT_TRUE(rows.emplace(name, count).second);
  EXPECT_EQ(rows["members crashed"], 2u);
  EXPECT_EQ(rows["links cut"], 2u);
  EXPECT_EQ(rows["disks lost"], 2u);
}

// Puts values of this size, one after the other, each to a key of its own; whether all were
// answered within the time.
bool put_values(Cluster& cluster, std::size_t count, std::size_t bytes, Duration limit) {
  static std::size_t next_key = 0;
  EtcdClient client({.seed = 1, .members = &cluster.client_addresses()}, cluster.clock(),
                    cluster.fabric().host("writer"));
  std::size_t answered = 0;
  std::function<void()> put = [&] {
    etcdserverpb::PutRequest request;
    request.set_key(fmt::format("key{}", next_key++));
    request.set_value(std::string(bytes, 'x'));
    client.call("KV/Put", request, [&](const EtcdClient::Reply& reply) {
      if (reply.answered() && ++answered == count) return;
      put();
    });
  };
  put();
  return cluster.run_until(limit, [&] { return answered == count; });
}

TEST(ClusterTest, ASlowLinkIsNotAStuckOne) {
  Cluster cluster(7, {});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  ASSERT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.leader().has_value(); }));
  cluster.run_for(seconds(1));
  const std::size_t leader = *cluster.leader();
  const std::size_t slow = (leader + 1) % 3;
  LinkFaults faults;
  faults.bytes_per_second = 200'000;
  cluster.fabric().set_link_faults(Cluster::host(leader), Cluster::host(slow), faults);
  ASSERT_TRUE(put_values(cluster, 40, 60'000, seconds(20)));  // 12 s of that link
  const auto lost = [&] { return cluster.node(leader).stats().peers_connected < 2; };
  EXPECT_FALSE(cluster.run_until(seconds(10), lost)) << "the link moves, and was broken";
  EXPECT_TRUE(cluster.run_until(seconds(20), [&] { return cluster.converged(); }));
}

// Over a link on which a snapshot takes longer than several of the next ones to be written.
class BothEngines : public testing::TestWithParam<node::Consensus> {};

TEST_P(BothEngines, AFollowerOnASlowLinkGetsItsSnapshotWhileWritesGoOn) {
  Cluster cluster(6, {.engine = GetParam(), .snapshot_entries = 20, .keep_entries = 10});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  ASSERT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.leader().has_value(); }));
  cluster.run_for(seconds(1));
  const std::size_t leader = *cluster.leader();
  const std::size_t late = (leader + 1) % 3;
  cluster.crash(late);
  ASSERT_TRUE(put_values(cluster, 400, 10'000, seconds(60)));
  Registers workload(cluster, 7, 12, 1'000'000);
  LinkFaults faults;
  faults.bytes_per_second = 600'000;  // seven seconds for the snapshot
  cluster.fabric().set_link_faults(Cluster::host(leader), Cluster::host(late), faults);
  start(cluster, late);
  EXPECT_TRUE(cluster.run_until(
      seconds(15), [&] { return cluster.node(late).stats().snapshots_installed >= 1; }));
}

// Leaders need their own disks for nothing, and notice all the same: whatever is wrong with one,
// another member leads within two election timeouts.
constexpr Duration kTwoElectionTimeouts = seconds(2);

bool another_leads(const Cluster& cluster, std::size_t than) {
  return cluster.leader().has_value() && *cluster.leader() != than;
}

TEST_P(BothEngines, ALeaderWhoseDiskHangsLeadsNoMore) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Cluster cluster(seed, {.engine = GetParam()});
    for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
    ASSERT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.leader().has_value(); }));
    Registers workload(cluster, seed, 3, 1'000'000);
    cluster.run_for(milliseconds(static_cast<std::int64_t>(2'000 + 97 * seed)));
    ASSERT_TRUE(cluster.leader().has_value());
    const std::size_t leader = *cluster.leader();
    cluster.disk(leader).hang(io::Lane::kLog, std::nullopt);
    ASSERT_TRUE(
        cluster.run_until(kTwoElectionTimeouts, [&] { return another_leads(cluster, leader); }));
    EXPECT_FALSE(cluster.node(leader).group().engine().is_leader());
    EXPECT_EQ(cluster.node(leader).stats().disk_hand_overs, 1u);
    const std::uint64_t answered = workload.answered();
    cluster.run_for(seconds(2));
    EXPECT_GT(workload.answered(), answered + 10);
    EXPECT_TRUE(another_leads(cluster, leader)) << "it came back";
    expect_linearizable(workload.history(), seed);
  }
}

TEST_P(BothEngines, ALeaderWhoseDiskIsFullLeadsNoMore) {
  Cluster cluster(8, {.engine = GetParam(), .segment_bytes = 64 << 10});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  ASSERT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.leader().has_value(); }));
  ASSERT_TRUE(put_values(cluster, 5, 10'000, seconds(10)));
  const std::size_t leader = *cluster.leader();
  cluster.disk(leader).set_capacity(cluster.disk(leader).used_bytes());
  const auto is_full = [&] { return cluster.node(leader).stats().disk_full; };
  put_values(cluster, 40, 10'000, seconds(1));
  ASSERT_TRUE(cluster.run_until(seconds(5), is_full));
  ASSERT_TRUE(
      cluster.run_until(kTwoElectionTimeouts, [&] { return another_leads(cluster, leader); }));
  EXPECT_EQ(cluster.node(leader).stats().disk_hand_overs, 1u);
  EXPECT_TRUE(put_values(cluster, 20, 10'000, seconds(30))) << "the others have room";
  EXPECT_TRUE(another_leads(cluster, leader)) << "it came back";
}

// Nobody has room: once all have told each other so, leading moves nowhere.
TEST_P(BothEngines, WhereAllDisksAreFullTheLeaderStays) {
  Cluster cluster(8, {.engine = GetParam(), .segment_bytes = 64 << 10});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  ASSERT_TRUE(cluster.run_until(seconds(10), [&] { return cluster.leader().has_value(); }));
  ASSERT_TRUE(put_values(cluster, 5, 10'000, seconds(10)));
  for (std::size_t i = 0; i < 3; ++i) {
    cluster.disk(i).set_capacity(cluster.disk(i).used_bytes());
  }
  put_values(cluster, 40, 10'000, seconds(5));
  cluster.run_for(seconds(5));
  const auto hand_overs = [&] {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < 3; ++i) sum += cluster.node(i).stats().disk_hand_overs;
    return sum;
  };
  const std::uint64_t before = hand_overs();
  EXPECT_LE(before, 10u);
  cluster.run_for(seconds(20));
  EXPECT_EQ(hand_overs(), before);
}

INSTANTIATE_TEST_SUITE_P(ClusterTest, BothEngines,
                         testing::Values(node::Consensus::kRaft, node::Consensus::kPaxos),
                         [](const auto& engine) { return std::string(name_of(engine.param)); });

TEST(ClusterTest, ASnapshotIsDueBeforeTheLogOutgrowsTheStore) {
  Cluster cluster(8, {.members = 1, .snapshot_log_bytes = 100'000});
  start(cluster, 0);
  ASSERT_TRUE(put_values(cluster, 200, 10'000, seconds(20)));
  EXPECT_TRUE(
      cluster.run_until(seconds(5), [&] { return cluster.node(0).stats().snapshots_taken >= 3; }));
}

// Two that are written in the same moment take the processor and the disk from each other.
TEST(ClusterTest, MembersThatBeganTogetherTakeTheirSnapshotsApart) {
  constexpr std::uint64_t kEntries = 300;
  Cluster cluster(10, {.snapshot_entries = kEntries});
  for (std::size_t i = 0; i < 3; ++i) start(cluster, i);
  Registers workload(cluster, 10, 4, 100'000);
  std::vector<std::set<std::uint64_t>> taken(3);
  const auto many = [&] {
    for (std::size_t i = 0; i < 3; ++i) {
      const LogIndex newest = cluster.node(i).stats().snapshot;
      if (newest) taken[i].insert(newest.value);
    }
    return std::ranges::all_of(taken, [](const auto& each) { return each.size() >= 6; });
  };
  ASSERT_TRUE(cluster.run_until(seconds(300), many));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LE(*taken[i].begin(), kEntries) << "the first is early, not late";
    for (const std::uint64_t index : taken[i]) {
      const auto next = taken[(i + 1) % 3].lower_bound(index - std::min(index, kEntries / 4));
      if (next == taken[(i + 1) % 3].end()) continue;
      EXPECT_GT(*next, index + kEntries / 4) << "members " << i << " and " << (i + 1) % 3;
    }
  }
}

TEST(ClusterTest, ASnapshotThatFailsIsTriedAgain) {
  Cluster cluster(9, {.members = 1, .snapshot_log_bytes = 100'000});
  start(cluster, 0);
  cluster.disk(0).fail_next(DiskCall::kWrite, "/data/snap", ErrorCode::kIo);
  ASSERT_TRUE(put_values(cluster, 15, 10'000, seconds(20)));
  cluster.run_for(seconds(1));
  EXPECT_EQ(cluster.node(0).stats().snapshots_taken, 0u);
  cluster.run_for(seconds(6));
  ASSERT_TRUE(put_values(cluster, 1, 10, seconds(5)));
  EXPECT_TRUE(
      cluster.run_until(seconds(5), [&] { return cluster.node(0).stats().snapshots_taken == 1; }));
}

// Nothing is appended then, so no append can fail.
TEST(ClusterTest, ALogThatFailsWhileTheDiskIsFullStopsTheMember) {
  Cluster cluster(10, {.members = 1, .segment_bytes = 64 << 10});
  start(cluster, 0);
  ASSERT_TRUE(put_values(cluster, 1, 10, seconds(10)));
  cluster.disk(0).set_capacity(cluster.disk(0).used_bytes());
  put_values(cluster, 40, 10'000, seconds(5));
  ASSERT_TRUE(cluster.running(0));
  ASSERT_TRUE(cluster.node(0).stats().disk_full);
  cluster.disk(0).set_capacity(0);
  cluster.disk(0).fail_next(DiskCall::kNames, "/data/wal", ErrorCode::kIo);
  cluster.disk(0).fail_next(DiskCall::kWrite, "/data/wal", ErrorCode::kIo);
  EXPECT_TRUE(cluster.run_until(seconds(5), [&] { return !cluster.running(0); }));
}

// One storm: crashes, cuts and lossy links drawn from the seed, then a calm.
void storm(std::uint64_t seed) {
  Rng rng(seed);
  Cluster cluster(seed, {.members = rng.one_in(3) ? 5u : 3u,
                         .snapshot_entries = rng.one_in(2) ? rng.between(5, 100) : 0});
  for (std::size_t i = 0; i < cluster.size(); ++i) start(cluster, i);
  LinkFaults faults;
  faults.lost = static_cast<std::uint32_t>(rng.one_in(2) ? 0 : rng.below(200));
  faults.repeated = static_cast<std::uint32_t>(rng.one_in(2) ? 0 : rng.below(300));
  faults.late = static_cast<std::uint32_t>(rng.one_in(2) ? 0 : rng.below(200));
  std::set<std::string> hosts;
  for (std::size_t i = 0; i < cluster.size(); ++i) hosts.insert(Cluster::host(i));
  cluster.fabric().set_faults(faults, hosts);

  Registers workload(cluster, seed, 5, 150);
  const Instant calm =
      cluster.clock().now() + seconds(static_cast<std::int64_t>(rng.between(5, 30)));
  while (cluster.clock().now() < calm && !workload.done()) {
    cluster.run_for(milliseconds(static_cast<std::int64_t>(rng.between(10, 1'500))));
    const std::size_t member = rng.below(cluster.size());
    const std::size_t other = rng.below(cluster.size());
    switch (rng.below(6)) {
      case 0:
        if (cluster.running(member)) cluster.crash(member);
        break;
      case 1:
        cluster.fabric().cut(Cluster::host(member), Cluster::host(other));
        break;
      case 2:
        cluster.fabric().cut(Cluster::host(member), Cluster::host(other));
        cluster.fabric().cut(Cluster::host(other), Cluster::host(member));
        break;
      case 3:
        cluster.fabric().heal();
        break;
      default:
        if (!cluster.running(member)) start(cluster, member);
        break;
    }
  }
  cluster.fabric().heal();
  cluster.fabric().set_faults({});
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (!cluster.running(i)) start(cluster, i);
  }
  EXPECT_TRUE(cluster.run_until(seconds(240), [&] { return workload.done(); }))
      << "seed " << seed << ": the workload stalls in the calm";
  EXPECT_TRUE(cluster.run_until(seconds(30), [&] { return cluster.converged(); }))
      << "seed " << seed << ": members do not converge";
  expect_linearizable(workload.history(), seed);
}

LinkFaults draw_bad_link(Rng& rng) {
  LinkFaults faults;
  faults.long_tails = static_cast<std::uint32_t>(rng.below(20));
  faults.tail = milliseconds(static_cast<std::int64_t>(rng.between(10, 3'000)));
  faults.bytes_per_second = rng.one_in(2) ? rng.between(5'000, 1'000'000) : 0;
  faults.breaks = static_cast<std::uint32_t>(rng.below(3'000));
  faults.resets = static_cast<std::uint32_t>(rng.below(3'000));
  faults.lost = static_cast<std::uint32_t>(rng.below(301));
  faults.replayed = static_cast<std::uint32_t>(rng.below(501));
  faults.reordered = static_cast<std::uint32_t>(rng.below(301));
  return faults;
}

// One thing that happens to a member, a link or a machine.
void strike(Cluster& cluster, Rng& rng) {
  const std::size_t member = rng.below(cluster.size());
  const std::string host = Cluster::host(member);
  const std::string other = Cluster::host(rng.below(cluster.size()));
  const auto ppm = static_cast<std::int64_t>(rng.below(400'000)) - 200'000;
  const auto lane = rng.one_in(2) ? io::Lane::kLog : io::Lane::kSnapshot;
  switch (rng.below(11)) {
    case 0:
    case 1:
      return cluster.pause(member);
    case 2:
      return cluster.resume(member);
    case 3:
      return cluster.set_clock_rate(member, ppm);
    case 4:
      return cluster.jump_wall(member, ppm * 1'000);
    case 5:
      return cluster.fabric().cut_large(host, other, rng.below(300));
    case 6:
      return cluster.fabric().set_link_faults(host, other, draw_bad_link(rng));
    case 7:
      return cluster.disk(member).hang(
          lane, milliseconds(static_cast<std::int64_t>(rng.between(10, 8'000))));
    case 8:
      return cluster.fabric().heal();
    case 9:
      return cluster.disk(member).stop_before(cluster.disk(member).calls() + rng.below(30));
    default:
      // A disk that is full for a moment may refuse; the next try is soon.
      if (!cluster.running(member)) (void)cluster.start(member);
      return;
  }
}

// A storm of pauses, clocks, bad links and hanging disks, then a calm.
void harder_storm(std::uint64_t seed, FaultCounts& counts) {
  Rng rng(seed);
  Cluster cluster(
      seed, {.snapshot_entries = rng.one_in(2) ? rng.between(5, 100) : 0, .segment_bytes = 32'768});
  for (std::size_t i = 0; i < cluster.size(); ++i) start(cluster, i);
  cluster.fabric().set_faults(draw_bad_link(rng));
  cluster.fabric().set_client_faults(draw_bad_link(rng));
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    cluster.disk(i).set_faults({.no_space = 50'000, .spikes = 5'000, .hangs = 100});
  }
  Registers workload(cluster, seed, 5, 150);
  const Instant calm = cluster.clock().now() + seconds(20);
  while (cluster.clock().now() < calm) {
    cluster.run_for(milliseconds(static_cast<std::int64_t>(rng.between(10, 1'500))));
    strike(cluster, rng);
  }
  cluster.fabric().heal();
  cluster.fabric().set_faults({});
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    cluster.disk(i).set_faults({});
    cluster.disk(i).stop_before(~std::uint64_t{0});
    cluster.resume(i);
    if (!cluster.running(i)) start(cluster, i);
  }
  EXPECT_TRUE(cluster.run_until(seconds(240), [&] { return workload.done(); }))
      << "seed " << seed << ": the workload stalls in the calm";
  EXPECT_TRUE(cluster.run_until(seconds(30), [&] { return cluster.converged(); }))
      << "seed " << seed << ": members do not converge";
  expect_linearizable(workload.history(), seed);
  counts += cluster.fault_counts();
}

TEST(ClusterTest, HarderStormsEndInAgreement) {
  FaultCounts counts;
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    harder_storm(seed, counts);
    if (HasFailure()) return;
  }
  const std::set<std::string_view> not_drawn{
      "members killed", "pieces repeated", "pieces late",        "pieces stopped by cuts",
      "failed reads",   "failed writes",   "failed syncs",       "other failed calls",
      "rotten bits",    "disks lost",      "misdirected writes",
  };
  for (const auto& [name, count] : counts.rows())
    EXPECT_EQ(count == 0, not_drawn.contains(name)) << name;
}

TEST(ClusterTest, StormsEndInAgreement) {
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    storm(seed);
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace conclave::sim
