// Fences in metadata: over gRPC with nghttp2's client, and through the gateway.

#include "frontends/etcd/fence.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "etcd.pb.h"
#include "etcd_election.pb.h"
#include "etcd_lock.pb.h"
#include "frontends/etcd/grpc_fixture.h"
#include "frontends/etcd/session.h"

namespace conclave::etcd {
namespace {

namespace pb = ::etcdserverpb;

class GrpcFenceTest : public GrpcFixture {};

TEST_F(GrpcFenceTest, WritesCarryIt) {
  const Fields fence = {{"conclave-fence", "jobs/a/12"}};
  call("/etcdserverpb.KV/Put", pb::PutRequest(), fence);
  call("/etcdserverpb.KV/DeleteRange", pb::DeleteRangeRequest(), fence);
  call("/etcdserverpb.KV/Txn", pb::TxnRequest(), fence);
  call("/etcdserverpb.Lease/LeaseGrant", pb::LeaseGrantRequest(), fence);
  call("/v3lockpb.Lock/Lock", v3lockpb::LockRequest(), fence);
  call("/v3lockpb.Lock/Unlock", v3lockpb::UnlockRequest(), fence);
  ASSERT_EQ(asked_.calls.size(), 6);
  for (const auto& asked : asked_.calls) {
    EXPECT_EQ(asked.request.fence, (api::Fence{"jobs/a", 12})) << asked.request.body.index();
  }
  call("/etcdserverpb.KV/Put", pb::PutRequest());
  EXPECT_EQ(asked_.calls.back().request.fence, std::nullopt);
}

TEST_F(GrpcFenceTest, ReadsIgnoreIt) {
  call("/etcdserverpb.KV/Range", pb::RangeRequest(), {{"conclave-fence", "nonsense"}});
  ASSERT_EQ(asked_.calls.size(), 1);
  EXPECT_EQ(asked_.calls.back().request.fence, std::nullopt);
}

TEST_F(GrpcFenceTest, WhatCannotHaveItIsRefused) {
  const std::string invalid = "3 conclave: invalid fence: ";
  const std::string kind = invalid + "a request of this kind takes none";
  const Fields fence = {{"conclave-fence", "l/1"}};
  EXPECT_EQ(refusal(call("/etcdserverpb.Cluster/MemberAdd", pb::MemberAddRequest(), fence)), kind);
  EXPECT_EQ(refusal(call("/etcdserverpb.Maintenance/MoveLeader", pb::MoveLeaderRequest(), fence)),
            kind);
  const auto put = [&](const Fields& fields) {
    return refusal(call("/etcdserverpb.KV/Put", pb::PutRequest(), fields));
  };
  EXPECT_EQ(put({{"conclave-fence", "l"}}), invalid + "expected <key>/<token>");
  EXPECT_EQ(put({{"conclave-fence", "l/x"}}), invalid + "the token is not a revision");
  EXPECT_EQ(put({{"conclave-fence", "l/1"}, {"conclave-fence", "m/2"}}), invalid + "there are two");
  EXPECT_TRUE(asked_.calls.empty());
}

TEST_F(GrpcFenceTest, ARefusedWriteIsAFailedPrecondition) {
  const auto put = call("/etcdserverpb.KV/Put", pb::PutRequest(), {{"conclave-fence", "l/1"}});
  respond(api::Error{api::ErrorCode::kFenced, "l: token 1 is not the highest, which is 2"});
  EXPECT_EQ(refusal(put), "9 conclave: fenced off: l: token 1 is not the highest, which is 2");
  const auto lock =
      call("/v3lockpb.Lock/Lock", v3lockpb::LockRequest(), {{"conclave-fence", "l/1"}});
  respond(api::Error{api::ErrorCode::kFenced, {}});
  EXPECT_EQ(refusal(lock), "9 conclave: fenced off") << "not etcd's Unknown of these services";
}

TEST_F(GrpcFenceTest, AGrantSaysIt) {
  const auto lock = call("/v3lockpb.Lock/Lock", v3lockpb::LockRequest());
  respond(api::LockResponse{"a/b/7", 5});
  EXPECT_EQ(field(lock, "conclave-fence"), "a/b/5");
  EXPECT_EQ(client_.answer(lock).trailers.at("grpc-status"), "0");
  const auto campaign = call("/v3electionpb.Election/Campaign", v3electionpb::CampaignRequest());
  respond(api::CampaignResponse{{"e", "e/7", 6, 7}});
  EXPECT_EQ(field(campaign, "conclave-fence"), "e/6");
  const auto odd = call("/v3lockpb.Lock/Lock", v3lockpb::LockRequest());
  respond(api::LockResponse{"a\r\nb/7", 5});
  EXPECT_EQ(field(odd, "conclave-fence"), "none") << "no header can carry it";
  const auto put = call("/etcdserverpb.KV/Put", pb::PutRequest());
  respond(api::PutResponse{});
  EXPECT_EQ(field(put, "conclave-fence"), "none");
}

class GatewayFenceTest : public ::testing::Test {
 protected:
  Bytes post(BytesView path, BytesView header) {
    api::Session::Effects effects;
    session_->on_bytes(
        fmt::format("POST {} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n{}\r\n{{}}", path, header),
        effects);
    asked_ = std::move(effects.calls);
    return std::move(effects.send);
  }
  Bytes respond(api::Answer answer) {
    api::Session::Effects effects;
    session_->on_response(asked_.back().id, {kHeader, std::move(answer)}, effects);
    return std::move(effects.send);
  }

  std::unique_ptr<api::Session> session_ = make_session({}, "test");
  std::vector<api::Session::Effects::Call> asked_;
};

TEST_F(GatewayFenceTest, AHeaderUnderEitherName) {
  for (const BytesView header :
       {"conclave-fence: jobs/12\r\n", "Grpc-Metadata-Conclave-Fence: jobs/12\r\n"}) {
    post("/v3/kv/put", header);
    ASSERT_EQ(asked_.size(), 1);
    EXPECT_EQ(asked_.back().request.fence, (api::Fence{"jobs", 12})) << header;
    const Bytes refused = respond(api::Error{api::ErrorCode::kFenced, "why"});
    EXPECT_TRUE(refused.starts_with("HTTP/1.1 412 Precondition Failed\r\n")) << refused;
    EXPECT_TRUE(refused.ends_with(R"("message":"conclave: fenced off: why","code":9})")) << refused;
  }
  const Bytes both =
      post("/v3/kv/put", "conclave-fence: a/1\r\nGrpc-Metadata-Conclave-Fence: b/2\r\n");
  EXPECT_TRUE(both.starts_with("HTTP/1.1 400 Bad Request\r\n")) << both;
  EXPECT_TRUE(asked_.empty());
}

TEST_F(GatewayFenceTest, AGrantSaysIt) {
  post("/v3/lock/lock", "");
  const Bytes held = respond(api::LockResponse{"jobs/7", 5});
  EXPECT_NE(held.find("\r\nGrpc-Metadata-Conclave-Fence: jobs/5\r\n"), Bytes::npos) << held;
  post("/v3/lock/lock", "");
  const Bytes odd = respond(api::LockResponse{"jobs\r\nX: y/7", 6});
  EXPECT_EQ(odd.find("Conclave-Fence"), Bytes::npos) << odd;
}

}  // namespace
}  // namespace conclave::etcd
