// Locks and elections when leaders fail, members are cut off or stop, and clients go away: the
// queue stays in order, a release is heard of at once, and nobody is granted what it has lost. The
// workloads `locks` and `native` ask the same of storms.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "base/limits.h"
#include "conclave.pb.h"
#include "etcd_lock.pb.h"
#include "sim/cluster_fixture.h"
#include "sim/etcd_client.h"
#include "sim/key_history.h"
#include "sim/workloads/election_observer.h"

namespace conclave::sim {
namespace {

constexpr Duration kAtOnce = milliseconds(500);
const std::string kLock = "lock";
const std::string kElection = "election";

class LocksTest : public testing::TestWithParam<node::Consensus> {
 protected:
  using Pending = std::shared_ptr<std::optional<api::Answer>>;

  LocksTest() {
    cluster_.after_step = [this] { history_.look(); };
    for (std::size_t i = 0; i < 3; ++i) start(cluster_, i);
    wait_for_leader(cluster_);
    cluster_.run_for(seconds(2));
    leader_ = *cluster_.leader();
  }

  std::size_t follower(std::size_t number) const { return (leader_ + 1 + number) % 3; }

  Pending ask(std::size_t member, api::Body body) {
    const auto answer = std::make_shared<std::optional<api::Answer>>();
    cluster_.ask(member, std::move(body),
                 [answer](api::Answer given) { *answer = std::move(given); });
    return answer;
  }
  bool answered(const Pending& answer, Duration limit) {
    return cluster_.run_until(limit, [&] { return answer->has_value(); });
  }
  void grant(api::LeaseId lease, std::int64_t ttl_s) {
    ASSERT_TRUE(
        answered(ask(leader_, api::LeaseGrantRequest{.ttl_s = ttl_s, .id = lease}), seconds(5)));
  }
  // It has its place when this returns.
  Pending lock(std::size_t member, api::LeaseId lease) {
    Pending lock = ask(member, api::LockRequest{kLock, lease});
    cluster_.run_for(kAtOnce);
    return lock;
  }
  void release(std::size_t member, api::LeaseId lease) {
    api::DeleteRangeRequest removal;
    removal.key = key_of(lease);
    ASSERT_TRUE(answered(ask(member, std::move(removal)), seconds(10)));
  }
  // conclave.v1's; it has its place when this returns.
  Pending acquire(std::size_t member, api::LeaseId lease, std::uint32_t permits = 2) {
    api::AcquireRequest request;
    request.name = kLock;
    request.lease = lease;
    request.mode = api::LockMode::kSemaphore;
    request.permits = permits;
    Pending acquire = ask(member, std::move(request));
    cluster_.run_for(kAtOnce);
    return acquire;
  }
  static const api::AcquireResponse* acquired(const Pending& acquire) {
    return acquire->has_value() ? std::get_if<api::AcquireResponse>(&**acquire) : nullptr;
  }
  void give_back(std::size_t member, const api::AcquireResponse& held) {
    ASSERT_TRUE(
        answered(ask(member, api::ReleaseRequest{held.key, held.token, true, 0}), seconds(10)));
  }
  static std::string key_of(api::LeaseId lease) { return LockJudge::key_of(kLock, lease); }
  bool is_queued(api::LeaseId lease) const {
    for (const KeyLife& life : history_.lives(kLock)) {
      if (life.key == key_of(lease) && life.is_alive()) return true;
    }
    return false;
  }
  static const api::LockResponse* granted(const Pending& lock) {
    return lock->has_value() ? std::get_if<api::LockResponse>(&**lock) : nullptr;
  }
  static std::optional<api::ErrorCode> refused(const Pending& lock) {
    const auto* error = lock->has_value() ? std::get_if<api::Error>(&**lock) : nullptr;
    return error == nullptr ? std::nullopt : std::optional(error->code);
  }
  void cut_off(std::size_t member) {
    for (std::size_t i = 0; i < 3; ++i) {
      if (i == member) continue;
      cluster_.fabric().cut(Cluster::host(member), Cluster::host(i));
      cluster_.fabric().cut(Cluster::host(i), Cluster::host(member));
    }
  }

  Cluster cluster_{21, {.engine = GetParam()}};
  KeyHistory history_{cluster_, ""};
  std::size_t leader_ = 0;
};

TEST_P(LocksTest, TheQueueOutlivesTheLeader) {
  for (const api::LeaseId lease : {1, 2, 3}) grant(lease, 60);
  const Pending first = lock(leader_, 1);
  ASSERT_NE(granted(first), nullptr);
  const Pending second = lock(follower(0), 2);
  const Pending third = lock(follower(1), 3);
  cluster_.crash(leader_);
  ASSERT_TRUE(cluster_.run_until(
      seconds(20), [&] { return cluster_.leader().has_value() && *cluster_.leader() != leader_; }));
  cluster_.run_for(seconds(1));
  EXPECT_FALSE(second->has_value() || third->has_value());

  release(follower(1), 1);
  ASSERT_TRUE(answered(second, kAtOnce));
  ASSERT_NE(granted(second), nullptr);
  EXPECT_FALSE(answered(third, seconds(2))) << "one is woken";
  release(follower(0), 2);
  ASSERT_TRUE(answered(third, kAtOnce));
  ASSERT_NE(granted(third), nullptr);
  EXPECT_LT(granted(first)->token, granted(second)->token);
  EXPECT_LT(granted(second)->token, granted(third)->token);
}

TEST_P(LocksTest, WhoIsCutOffIsNotGrantedWhatItsLeaseHasLost) {
  grant(1, 60);
  grant(2, 2);
  lock(leader_, 1);
  const Pending second = lock(follower(0), 2);
  cut_off(follower(0));
  ASSERT_TRUE(cluster_.run_until(seconds(20), [&] { return !is_queued(2); }));
  release(leader_, 1);
  EXPECT_FALSE(answered(second, seconds(5)));
  cluster_.fabric().heal();
  ASSERT_TRUE(answered(second, seconds(10)));
  EXPECT_EQ(refused(second), api::ErrorCode::kLockLost);
}

TEST_P(LocksTest, WhoIsCutOffKeepsItsPlaceWithItsLease) {
  grant(1, 60);
  grant(2, 60);
  lock(leader_, 1);
  const Pending second = lock(follower(0), 2);
  cut_off(follower(0));
  cluster_.run_for(seconds(5));
  release(leader_, 1);
  EXPECT_FALSE(answered(second, seconds(5)));
  cluster_.fabric().heal();
  ASSERT_TRUE(answered(second, seconds(10)));
  EXPECT_NE(granted(second), nullptr);
}

TEST_P(LocksTest, AMemberThatStopsLeavesThePlaceToBeTakenElsewhere) {
  for (const api::LeaseId lease : {1, 2, 3}) grant(lease, 60);
  lock(leader_, 1);
  const Pending second = lock(follower(0), 2);
  const std::int64_t token = history_.lives(kLock).back().created;
  const Pending third = lock(follower(1), 3);
  cluster_.stop(follower(0));
  ASSERT_TRUE(answered(second, seconds(10)));
  EXPECT_EQ(refused(second), api::ErrorCode::kStopped);
  const Pending again = lock(follower(1), 2);
  release(leader_, 1);
  ASSERT_TRUE(answered(again, seconds(5)));
  ASSERT_NE(granted(again), nullptr);
  EXPECT_EQ(granted(again)->token, token) << "before the third";
  EXPECT_FALSE(third->has_value());
}

TEST_P(LocksTest, AClientThatGoesAwayLeavesNoKey) {
  for (const api::LeaseId lease : {1, 2, 3}) grant(lease, 60);
  lock(leader_, 1);
  for (const bool resets : {false, true}) {
    EtcdClient client({.seed = 1, .members = &cluster_.client_addresses()}, cluster_.clock(),
                      cluster_.fabric().host(resets ? "resets" : "disconnects"));
    client.set_patience(seconds(2), resets);
    v3lockpb::LockRequest request;
    request.set_name(kLock);
    request.set_lease(2);
    bool is_over = false;
    client.call("v3lockpb.Lock/Lock", request, [&is_over](const auto&) { is_over = true; });
    cluster_.run_for(seconds(1));
    EXPECT_TRUE(is_queued(2));
    const Pending third = lock(follower(0), 3);
    ASSERT_TRUE(cluster_.run_until(seconds(5), [&] { return is_over; }));
    ASSERT_TRUE(cluster_.run_until(kAtOnce, [&] { return !is_queued(2); }));
    EXPECT_FALSE(third->has_value()) << "the first is still there";
    release(leader_, 1);
    ASSERT_TRUE(answered(third, kAtOnce)) << "nobody is in between any more";
    EXPECT_NE(granted(third), nullptr);
    release(leader_, 3);
    lock(leader_, 1);
  }
}

// Of conclave.v1 from here.

TEST_P(LocksTest, PermitsGoToThoseWhoWaitWhoeverLeads) {
  for (const api::LeaseId lease : {1, 2, 3, 4}) grant(lease, 60);
  const Pending first = acquire(leader_, 1);
  const Pending second = acquire(follower(0), 2);
  ASSERT_NE(acquired(first), nullptr);
  ASSERT_NE(acquired(second), nullptr);
  const Pending third = acquire(follower(0), 3);
  const Pending fourth = acquire(follower(1), 4);
  cluster_.crash(leader_);
  ASSERT_TRUE(cluster_.run_until(
      seconds(20), [&] { return cluster_.leader().has_value() && *cluster_.leader() != leader_; }));
  cluster_.run_for(seconds(1));
  EXPECT_FALSE(third->has_value() || fourth->has_value());

  give_back(follower(1), *acquired(second));
  ASSERT_TRUE(answered(third, kAtOnce));
  ASSERT_NE(acquired(third), nullptr);
  EXPECT_FALSE(answered(fourth, seconds(2))) << "one is answered";
  give_back(follower(0), *acquired(first));
  ASSERT_TRUE(answered(fourth, kAtOnce));
  ASSERT_NE(acquired(fourth), nullptr);
}

TEST_P(LocksTest, WhoIsCutOffHoldsNoPermitThatItsLeaseHasLost) {
  for (const api::LeaseId lease : {1, 2}) grant(lease, 60);
  const Pending first = acquire(leader_, 1);
  acquire(leader_, 2);
  grant(3, 2);
  const Pending third = acquire(follower(0), 3);
  cut_off(follower(0));
  cluster_.run_for(seconds(10));
  give_back(leader_, *acquired(first));
  EXPECT_FALSE(answered(third, seconds(5)));
  cluster_.fabric().heal();
  ASSERT_TRUE(answered(third, seconds(10)));
  EXPECT_EQ(refused(third), api::ErrorCode::kLockLost);
}

// Longer than what is read in one turn.
TEST_P(LocksTest, AQueueOfThousands) {
  for (const api::LeaseId lease : {1, 2}) grant(lease, 600);
  const Pending first = acquire(leader_, 1, 1);
  for (std::size_t i = 0; i < limits::kReadSliceKeys; i += 64) {
    api::TxnRequest more;
    for (std::size_t k = i; k < i + 64; ++k) {
      api::PutRequest put;
      put.key = fmt::format("{}/a{}.shared", kLock, k);
      more.success.push_back({std::move(put)});
    }
    ASSERT_TRUE(answered(ask(leader_, std::move(more)), seconds(5)));
  }
  api::AcquireRequest shared;
  shared.name = kLock;
  shared.lease = 2;
  shared.mode = api::LockMode::kShared;
  const Pending second = ask(follower(0), std::move(shared));
  EXPECT_FALSE(answered(second, seconds(2)));
  give_back(leader_, *acquired(first));
  ASSERT_TRUE(answered(second, seconds(2)));
  EXPECT_NE(acquired(second), nullptr);
}

// Its member cannot tell anybody for a while.
TEST_P(LocksTest, APlaceThatIsGivenUpWhileThereIsNoLeaderIsNotKept) {
  for (const api::LeaseId lease : {1, 2, 3}) grant(lease, 600);
  const Pending first = acquire(leader_, 1, 1);
  const std::vector<io::Address> asked = {cluster_.client_addresses().at(follower(0))};
  EtcdClient client({.seed = 1, .members = &asked}, cluster_.clock(),
                    cluster_.fabric().host("gives up"));
  client.set_patience(seconds(3), true);
  conclave::v1::AcquireRequest request;
  request.set_name(kLock);
  request.set_lease(2);
  request.set_mode(conclave::v1::AcquireRequest::SEMAPHORE);
  request.set_permits(1);
  bool is_over = false;
  client.call("conclave.v1.Lock/Acquire", request, [&is_over](const auto&) { is_over = true; });
  cluster_.run_for(seconds(1));
  const Pending third = acquire(follower(1), 3, 1);
  cut_off(follower(0));
  ASSERT_TRUE(cluster_.run_until(seconds(5), [&] { return is_over; }));
  cluster_.run_for(seconds(15));
  give_back(leader_, *acquired(first));
  EXPECT_FALSE(answered(third, seconds(2))) << "the place is still there";
  cluster_.fabric().heal();
  ASSERT_TRUE(answered(third, seconds(10)));
  EXPECT_NE(acquired(third), nullptr);
}

TEST_P(LocksTest, ObserversHearOfTheLeaderThatFollowsWhoeverLeadsTheCluster) {
  for (const api::LeaseId lease : {1, 2}) grant(lease, 60);
  Trace trace([this] { return cluster_.clock().now(); }, false);
  Site site{cluster_.clock(), cluster_.fabric(), cluster_.client_addresses(), trace};
  site.lock_keys = &history_;
  ElectionObserver observer(site, kElection, 5, 0);
  observer.trust();
  const auto campaign = [&](std::size_t member, api::LeaseId lease) {
    const Pending elected = ask(member, api::CampaignRequest{kElection, lease, "v"});
    cluster_.run_for(kAtOnce);
    return elected;
  };
  const Pending first = campaign(leader_, 1);
  campaign(follower(0), 2);
  EXPECT_EQ(observer.heard(), 1u);
  cluster_.crash(leader_);
  ASSERT_TRUE(cluster_.run_until(
      seconds(20), [&] { return cluster_.leader().has_value() && *cluster_.leader() != leader_; }));
  ASSERT_TRUE(first->has_value());
  const auto& won = std::get<api::CampaignResponse>(**first);
  ASSERT_TRUE(answered(ask(follower(0), api::ResignRequest{won.leader}), seconds(10)));
  const std::int64_t second = history_.lives(kElection).back().created;
  EXPECT_TRUE(cluster_.run_until(kAtOnce, [&] { return observer.has_heard_of(second); }));
}

// The look of a waiter is a read that is carried out in slices, as a client's is.
TEST_P(LocksTest, AsManyKeysAsASliceOfAReadHas) {
  grant(1, 600);
  std::size_t keys = 0;
  while (keys < limits::kReadSliceKeys - 2) {
    api::TxnRequest puts;
    while (keys < limits::kReadSliceKeys - 2 && puts.success.size() < limits::kMaxTxnOps) {
      api::PutRequest put;
      put.key = kLock + "/by-hand" + std::to_string(keys++);
      puts.success.emplace_back(std::move(put));
    }
    ASSERT_TRUE(answered(ask(leader_, std::move(puts)), seconds(5)));
  }
  const Pending waiting = lock(leader_, 1);
  EXPECT_FALSE(waiting->has_value());
  api::DeleteRangeRequest removal;
  removal.key = kLock + "/by-hand";
  removal.range_end = kLock + "/by-hane";
  ASSERT_TRUE(answered(ask(leader_, std::move(removal)), seconds(10)));
  ASSERT_TRUE(answered(waiting, seconds(5)));
  EXPECT_NE(granted(waiting), nullptr);
}

INSTANTIATE_TEST_SUITE_P(, LocksTest,
                         testing::Values(node::Consensus::kRaft, node::Consensus::kPaxos),
                         [](const auto& engine) {
                           return std::string(node::name_of(engine.param));
                         });

}  // namespace
}  // namespace conclave::sim
