// Leases and the cluster's time when leaders fail: nobody's lease ends early or is given more than
// a heartbeat, an outage ends none, and a leader of the past revokes nothing. The workload `leases`
// asks the same of storms.

#include <gtest/gtest.h>

#include <algorithm>

#include "node/group.h"
#include "sim/cluster_fixture.h"

namespace conclave::sim {
namespace {

constexpr std::uint64_t kHeartbeatMs = 100;

class LeasesTest : public testing::Test {
 protected:
  void elect() {
    for (std::size_t i = 0; i < 3; ++i) start(cluster_, i);
    wait_for_leader(cluster_);
    cluster_.run_for(seconds(2));
  }

  template <class Answer>
  Answer ask(api::Body body) {
    const auto answer = cluster_.ask(*cluster_.leader(), std::move(body), seconds(20));
    EXPECT_TRUE(answer.has_value());
    const auto* expected = answer ? std::get_if<Answer>(&*answer) : nullptr;
    EXPECT_NE(expected, nullptr);
    return expected == nullptr ? Answer{} : *expected;
  }

  api::LeaseId grant(std::int64_t ttl_s) {
    return ask<api::LeaseGrantResponse>(api::LeaseGrantRequest{.ttl_s = ttl_s, .id = 0}).id;
  }

  const store::Store& store(std::size_t member) const {
    return cluster_.node(member).group().store();
  }
  std::size_t leases() const { return store(*cluster_.leader()).lease_count(); }
  // The newest that any member knows of which runs.
  Stamp time() const {
    Stamp newest;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (cluster_.running(i)) newest = std::max(newest, store(i).stamp());
    }
    return newest;
  }

  Cluster cluster_{21, {}};
};

TEST_F(LeasesTest, ExpireInTheClustersTime) {
  elect();
  grant(5);
  const std::int64_t begin = cluster_.clock().now().ns;
  ASSERT_TRUE(cluster_.run_until(seconds(30), [&] { return leases() == 0; }));
  EXPECT_NEAR(static_cast<double>(cluster_.clock().now().ns - begin) / 1e9, 5.0, 0.2);
}

TEST_F(LeasesTest, NoHeartbeatPassesWithoutAStampWhileThereAreAny) {
  elect();
  grant(60);
  for (int i = 0; i < 20; ++i) {
    const Stamp before = time();
    cluster_.run_for(milliseconds(kHeartbeatMs + 50));
    EXPECT_GT(time(), before);
  }
}

TEST_F(LeasesTest, AChangeOfTheLeaderCostsTheClockAHeartbeatAtMost) {
  elect();
  grant(60);
  for (int i = 0; i < 4; ++i) {
    cluster_.run_for(milliseconds(1'234));
    const std::size_t leader = *cluster_.leader();
    const Stamp before = time();
    cluster_.crash(leader);
    ASSERT_TRUE(cluster_.run_until(seconds(20), [&] {
      return cluster_.leader().has_value() && time().ms + 2 * kHeartbeatMs > before.ms;
    }));
    const std::int64_t led_since = cluster_.clock().now().ns;
    EXPECT_LE(time().ms, before.ms + 2 * kHeartbeatMs) << "nobody led meanwhile";
    cluster_.run_for(seconds(2));
    const auto led_ms =
        static_cast<std::uint64_t>((cluster_.clock().now().ns - led_since) / 1'000'000);
    EXPECT_GE(time().ms + 2 * kHeartbeatMs, before.ms + led_ms);
    EXPECT_LE(time().ms, before.ms + led_ms + 2 * kHeartbeatMs);
    start(cluster_, leader);
  }
}

TEST_F(LeasesTest, AnOutageEndsNone) {
  elect();
  grant(3);
  cluster_.run_for(seconds(1));
  for (std::size_t i = 0; i < 3; ++i) cluster_.crash(i);
  cluster_.run_for(seconds(600));
  for (std::size_t i = 0; i < 3; ++i) start(cluster_, i);
  wait_for_leader(cluster_);
  cluster_.run_for(seconds(1));
  EXPECT_EQ(leases(), 1u);
  ASSERT_TRUE(cluster_.run_until(seconds(5), [&] { return leases() == 0; }));
}

TEST_F(LeasesTest, ALeaderWithoutAQuorumStopsTheClock) {
  elect();
  grant(4);
  const std::size_t leader = *cluster_.leader();
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != leader) cluster_.crash(i);
  }
  cluster_.run_for(seconds(300));
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != leader) start(cluster_, i);
  }
  wait_for_leader(cluster_);
  cluster_.run_for(seconds(1));
  EXPECT_EQ(leases(), 1u);
}

TEST_F(LeasesTest, ALeaderOfThePastRevokesNothing) {
  elect();
  const api::LeaseId lease = grant(4);
  const std::size_t old = *cluster_.leader();
  cluster_.pause(old);
  ASSERT_TRUE(cluster_.run_until(seconds(20),
                                 [&] { return cluster_.leader() && *cluster_.leader() != old; }));
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(ask<api::LeaseKeepAliveResponse>(api::LeaseKeepAliveRequest{lease}).ttl_s, 4);
    cluster_.run_for(seconds(1));
  }
  cluster_.resume(old);
  cluster_.run_for(milliseconds(500));
  wait_for_leader(cluster_);
  EXPECT_EQ(leases(), 1u);
  EXPECT_EQ(ask<api::LeaseKeepAliveResponse>(api::LeaseKeepAliveRequest{lease}).ttl_s, 4);
}

TEST_F(LeasesTest, ManyThatEndTogetherLetOthersInBetween) {
  elect();
  constexpr std::size_t kLeases = 16'000;
  std::size_t granted = 0;
  for (std::size_t i = 0; i < kLeases; ++i) {
    cluster_.ask(*cluster_.leader(), api::LeaseGrantRequest{.ttl_s = 10, .id = 0},
                 [&](const api::Answer& answer) {
                   granted += std::holds_alternative<api::LeaseGrantResponse>(answer) ? 1u : 0u;
                 });
  }
  ASSERT_TRUE(cluster_.run_until(seconds(5), [&] { return granted == kLeases; }));
  ASSERT_TRUE(cluster_.run_until(seconds(20), [&] { return leases() < kLeases; }));
  EXPECT_GT(leases(), kLeases / 2) << "a piece at a time";
  ask<api::PutResponse>(api::PutRequest{.key = "k", .value = "v"});
  EXPECT_GT(leases(), 0u) << "a write need not wait for all of them";
  ASSERT_TRUE(cluster_.run_until(seconds(2), [&] { return leases() == 0; }));
  ASSERT_TRUE(cluster_.run_until(seconds(2), [&] { return cluster_.converged(); }));
}

}  // namespace
}  // namespace conclave::sim
