// The Lock and Election services: nghttp2's client on one side, a canned member on the other.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "etcd_election.pb.h"
#include "etcd_lock.pb.h"
#include "frontends/etcd/grpc_fixture.h"
#include "wire/grpc.h"

namespace conclave::etcd {
namespace {

constexpr BytesView kHeaderText =
    "header { cluster_id: 11 member_id: 22 revision: 33 raft_term: 44 }";

class LockServicesTest : public GrpcFixture {
 protected:
  template <class Request>
  const Request& asked() {
    return std::get<Request>(asked_.calls.back().request.body);
  }
  // The first message of an answer.
  template <class Message>
  std::string told(std::int32_t stream) {
    const auto front = wire::front_message(client_.answer(stream).body, SIZE_MAX);
    Message message;
    EXPECT_TRUE(
        message.ParseFromArray(front.payload.data(), static_cast<int>(front.payload.size())));
    return message.ShortDebugString();
  }
};

TEST_F(LockServicesTest, Lock) {
  v3lockpb::LockRequest request;
  request.set_name("n");
  request.set_lease(7);
  const auto stream = call("/v3lockpb.Lock/Lock", request);
  EXPECT_EQ(asked<api::LockRequest>().name, "n");
  EXPECT_EQ(asked<api::LockRequest>().lease, 7);
  respond(api::LockResponse{"n/7", 5});
  EXPECT_EQ(told<v3lockpb::LockResponse>(stream), fmt::format("{} key: \"n/7\"", kHeaderText));
}

TEST_F(LockServicesTest, UnlockDeletesTheKey) {
  v3lockpb::UnlockRequest request;
  request.set_key("n/7");
  const auto stream = call("/v3lockpb.Lock/Unlock", request);
  EXPECT_EQ(asked<api::DeleteRangeRequest>(), (api::DeleteRangeRequest{"n/7", {}, false}));
  respond(api::DeleteRangeResponse{1, {}});
  EXPECT_EQ(told<v3lockpb::UnlockResponse>(stream), kHeaderText);
}

TEST_F(LockServicesTest, AWaitingCallThatIsResetIsCancelled) {
  const auto stream = call("/v3lockpb.Lock/Lock", v3lockpb::LockRequest());
  client_.reset(stream);
  pump();
  EXPECT_EQ(asked_.cancelled, (std::vector<api::CallId>{asked_.calls.back().id}));
}

TEST_F(LockServicesTest, Campaign) {
  v3electionpb::CampaignRequest request;
  request.set_name("e");
  request.set_lease(7);
  request.set_value("v");
  const auto stream = call("/v3electionpb.Election/Campaign", request);
  EXPECT_EQ(asked<api::CampaignRequest>().value, "v");
  respond(api::CampaignResponse{{"e", "e/7", 5, 7}});
  EXPECT_EQ(told<v3electionpb::CampaignResponse>(stream),
            fmt::format("{} leader {{ name: \"e\" key: \"e/7\" rev: 5 lease: 7 }}", kHeaderText));
}

TEST_F(LockServicesTest, ARequestOfALeaderNamesIt) {
  const auto stream = call("/v3electionpb.Election/Resign", v3electionpb::ResignRequest());
  EXPECT_TRUE(asked_.calls.empty());
  EXPECT_EQ(refusal(stream), "2 \"leader\" field must be provided");
  v3electionpb::ProclaimRequest request;
  request.mutable_leader()->set_key("e/7");
  request.mutable_leader()->set_rev(5);
  call("/v3electionpb.Election/Proclaim", request);
  EXPECT_EQ(asked<api::ProclaimRequest>().leader.key, "e/7");
  EXPECT_EQ(asked<api::ProclaimRequest>().leader.revision, 5);
}

TEST_F(LockServicesTest, TheCodesOfWhatTheyAskForAreLost) {
  const auto told_of = [this](api::ErrorCode code) {
    const auto stream = call("/v3lockpb.Lock/Lock", v3lockpb::LockRequest());
    respond(api::Error{code, {}});
    return refusal(stream);
  };
  EXPECT_EQ(told_of(api::ErrorCode::kLeaseNotFound), "2 etcdserver: requested lease not found");
  EXPECT_EQ(told_of(api::ErrorCode::kTimeout), "2 etcdserver: request timed out");
  EXPECT_EQ(told_of(api::ErrorCode::kLockLost), "2 mutex: session is expired");
  EXPECT_EQ(told_of(api::ErrorCode::kStopped), "14 etcdserver: server stopped");
  EXPECT_EQ(told_of(api::ErrorCode::kDeadlineExceeded), "4 context deadline exceeded");
}

TEST_F(LockServicesTest, ObserveIsAFeedUntilTheClientHasEnough) {
  v3electionpb::LeaderRequest request;
  request.set_name("e");
  const auto stream = call("/v3electionpb.Election/Observe", request);
  ASSERT_EQ(asked_.watches.size(), 1U);
  const api::CallId feed = asked_.watches[0].feed;
  EXPECT_EQ(std::get<api::ObserveElection>(asked_.watches[0].request).name, "e");
  const api::ElectionLeader leader{{.key = "e/7", .value = "v", .create_revision = 5}};
  EXPECT_TRUE(session_->on_watch(feed, kHeader, leader, asked_));
  pump();
  EXPECT_EQ(told<v3electionpb::LeaderResponse>(stream),
            fmt::format("{} kv {{ key: \"e/7\" create_revision: 5 value: \"v\" }}", kHeaderText));
  client_.reset(stream);
  pump();
  EXPECT_TRUE(std::holds_alternative<api::WatchFeedClosed>(asked_.watches.back().request));
  EXPECT_FALSE(session_->on_watch(feed, kHeader, leader, asked_));
}

}  // namespace
}  // namespace conclave::etcd
