// conclave.v1: what its messages ask for, and how they are answered.

#include "frontends/native/service.h"

#include <gtest/gtest.h>

#include "conclave.pb.h"

namespace conclave::native {
namespace {

namespace pb = ::conclave::v1;
using Format = api::Service::Format;

class ServiceTest : public ::testing::Test {
 protected:
  // A call of JSON; what it asks for is in `asked_`.
  std::string ask(BytesView path, BytesView json) {
    method_ = service_.find(Format::kJson, path).value();
    auto decoded = service_.decode(method_, Format::kJson, json);
    if (!decoded) return std::to_string(decoded.error().grpc_code) + " " + decoded.error().message;
    asked_ = *std::move(decoded);
    return "ok";
  }
  std::string answer(api::Answer answer) {
    Bytes out;
    const api::Response response{{ClusterId{1}, NodeId{2}, 33, Epoch{4}}, std::move(answer)};
    const auto refusal = service_.encode(method_, Format::kJson, response, out);
    return refusal ? std::to_string(refusal->grpc_code) + " " + refusal->message : out;
  }
  template <class Request>
  const Request& asked() {
    return std::get<Request>(asked_.body);
  }

  NativeService service_;
  api::Service::Method method_ = 0;
  api::Request asked_;
};

TEST_F(ServiceTest, Acquire) {
  EXPECT_EQ(ask("/v1/lock/acquire", R"({"name":"bA==","lease":"7"})"), "ok");
  EXPECT_EQ(
      asked<api::AcquireRequest>(),
      (api::AcquireRequest{"l", 7, "", api::LockMode::kExclusive, 0, api::LockWait::kUntilHeld}));
  EXPECT_EQ(answer(api::AcquireResponse{"l/7", 5, 0, 2}),
            R"({"revision":"33","held":true,"key":"bC83","token":"5","fence":"l/5","times":2})");
  EXPECT_EQ(ask("/v1/lock/acquire",
                R"({"name":"bA==","lease":"7","owner":"bw==","mode":"SEMAPHORE","permits":3,)"
                R"("wait":"NOT_AT_ALL"})"),
            "ok");
  EXPECT_EQ(
      asked<api::AcquireRequest>(),
      (api::AcquireRequest{"l", 7, "o", api::LockMode::kSemaphore, 3, api::LockWait::kNotAtAll}));
  EXPECT_EQ(answer(api::AcquireResponse{"", 0, 4, 0}), R"({"revision":"33","ahead":4})");
  EXPECT_EQ(ask("/v1/lock/acquire", R"({"mode":"SHARED","wait":"IN_QUEUE"})"), "ok");
  EXPECT_EQ(asked<api::AcquireRequest>(),
            (api::AcquireRequest{"", 0, "", api::LockMode::kShared, 0, api::LockWait::kInQueue}));
  EXPECT_EQ(ask("/v1/lock/acquire", R"({"mode":9})"), "3 conclave: invalid lock: unknown mode");
  EXPECT_EQ(answer(api::Error{api::ErrorCode::kLockConflict, {}}),
            "9 conclave: the lock is wanted in another way already");
}

TEST_F(ServiceTest, Release) {
  EXPECT_EQ(ask("/v1/lock/release", R"({"key":"bC83","token":"5","altogether":true})"), "ok");
  EXPECT_EQ(asked<api::ReleaseRequest>(), (api::ReleaseRequest{"l/7", 5, true, 0}));
  EXPECT_EQ(answer(api::ReleaseResponse{true, 1}),
            R"({"revision":"33","was_there":true,"times":1})");
}

TEST_F(ServiceTest, ValidateIsAnEmptyTransaction) {
  EXPECT_EQ(ask("/v1/lock/validate", R"({"fence":"l/5"})"), "ok");
  EXPECT_TRUE(asked<api::TxnRequest>().success.empty());
  EXPECT_EQ(asked_.fence, (api::Fence{"l", 5}));
  EXPECT_EQ(answer(api::TxnResponse{true, {}}), R"({"revision":"33","valid":true})");
  EXPECT_EQ(answer(api::Error{api::ErrorCode::kFenced, "why"}),
            R"({"revision":"33","reason":"why"})");
  EXPECT_EQ(answer(api::Error{api::ErrorCode::kNoLeader, {}}), "14 conclave: no leader");
  EXPECT_EQ(ask("/v1/lock/validate", R"({"fence":"l"})"),
            "3 conclave: invalid fence: expected <key>/<token>");
}

TEST_F(ServiceTest, Elections) {
  EXPECT_EQ(ask("/v1/election/campaign", R"({"name":"ZQ==","lease":"7","value":"dg=="})"), "ok");
  EXPECT_EQ(asked<api::CampaignRequest>().value, "v");
  EXPECT_EQ(answer(api::CampaignResponse{{"e", "e/7", 5, 7}}),
            R"({"revision":"33","term":{"name":"ZQ==","key":"ZS83","token":"5","lease":"7"},)"
            R"("fence":"e/5"})");
  EXPECT_EQ(ask("/v1/election/proclaim", R"({"term":{"key":"ZS83","token":"5"},"value":"dw=="})"),
            "ok");
  EXPECT_EQ(asked<api::ProclaimRequest>().leader.revision, 5);
  EXPECT_EQ(answer(api::Error{api::ErrorCode::kNotElectionLeader, {}}),
            "9 conclave: not the leader of the election");
  EXPECT_EQ(ask("/v1/election/leader", R"({"name":"ZQ=="})"), "ok");
  EXPECT_EQ(answer(api::LeaderResponse{{"e/7", "v", 5, 6, 2, 7}}),
            R"({"revision":"33","term":{"name":"ZQ==","key":"ZS83","token":"5","lease":"7"},)"
            R"("value":"dg==","fence":"e/5"})");
  EXPECT_EQ(ask("/v1/election/resign", R"({"term":{"key":"ZS83","token":"5"}})"), "ok");
  EXPECT_EQ(answer(api::ResignResponse{}), R"({"revision":"33"})");
}

TEST_F(ServiceTest, Barriers) {
  EXPECT_EQ(ask("/v1/barrier/enter", R"({"name":"Yg==","lease":"7","count":3})"), "ok");
  EXPECT_EQ(asked<api::EnterRequest>(), (api::EnterRequest{"b", 7, 3, true}));
  EXPECT_EQ(answer(api::EnterResponse{true, 3}), R"({"revision":"33","present":3})");
  EXPECT_EQ(ask("/v1/barrier/leave", R"({"name":"Yg==","lease":"7","at_once":true})"), "ok");
  EXPECT_EQ(asked<api::LeaveRequest>(), (api::LeaveRequest{"b", 7, false}));
  EXPECT_EQ(answer(api::LeaveResponse{2, 9}), R"({"revision":"33","present":2})");
}

TEST_F(ServiceTest, AsProtobuf) {
  const auto method = service_.find(Format::kProtobuf, "/conclave.v1.Lock/Release");
  ASSERT_TRUE(method.has_value());
  pb::ReleaseRequest request;
  request.set_key("l/7");
  const auto decoded = service_.decode(*method, Format::kProtobuf, request.SerializeAsString());
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(std::get<api::ReleaseRequest>(decoded->body).key, "l/7");
  EXPECT_EQ(service_.decode(*method, Format::kProtobuf, "\xff").error().grpc_code, 13);
  Bytes out;
  const api::Response response{{ClusterId{1}, NodeId{2}, 33, Epoch{4}},
                               api::ReleaseResponse{true, 0}};
  EXPECT_FALSE(service_.encode(*method, Format::kProtobuf, response, out).has_value());
  pb::ReleaseResponse answer;
  ASSERT_TRUE(answer.ParseFromString(out));
  EXPECT_EQ(answer.ShortDebugString(), "revision: 33 was_there: true");
}

TEST_F(ServiceTest, NobodyElsesPaths) {
  for (const BytesView path : {"/v1/lock/lock", "/v1/", "/conclave.v1.Lock/Acquire"}) {
    EXPECT_EQ(service_.find(Format::kJson, path), std::nullopt) << path;
  }
  EXPECT_EQ(service_.find(Format::kProtobuf, "/v3lockpb.Lock/Lock"), std::nullopt);
}

TEST_F(ServiceTest, ImportAndExportOfZnodes) {
  EXPECT_EQ(ask("/v1/znodes/import",
                R"({"before":"MQ==","after":"Mg==","merge":true,"removed":["L3g="],"nodes":[{)"
                R"("path":"L2E=","data":"ZA==","acl":[{"permissions":31,"scheme":"d29ybGQ=",)"
                R"("id":"YW55b25l"}],"ctime":"1","mtime":"2","version":3,"aversion":4,)"
                R"("created":5}]})"),
            "ok");
  const api::zk::TreeNode node{"/a", "d", {{31, {"world", "anyone"}}}, 1, 2, 3, 4, 5};
  EXPECT_EQ(asked<api::zk::ImportRequest>(),
            (api::zk::ImportRequest{"1", "2", true, {"/x"}, {node}}));
  EXPECT_EQ(answer(api::zk::Reply{}), R"({"revision":"33"})");
  const api::zk::Names which{.names = {"/x"}, .stat = {}};
  EXPECT_EQ(answer(api::zk::Reply{api::zk::Code::kNotEmpty, 1, which}),
            "9 conclave: /x: it has children, and is to be removed");
  EXPECT_EQ(answer(api::Error{api::ErrorCode::kFenced, "another"}),
            "9 conclave: fenced off: another");

  EXPECT_EQ(ask("/v1/znodes/export", R"({"from":"L2E="})"), "ok");
  EXPECT_EQ(asked<api::zk::ExportRequest>().from, "/a");
  const api::zk::TreeNode box{"/b", "", {{1, {"ip", "::1"}}}, 0, 0, 0, 0, 0, false};
  EXPECT_EQ(answer(api::zk::Reply{{}, 9, api::zk::Tree{"1", {box}, "/c"}}),
            R"({"revision":"33","mark":"MQ==","nodes":[{"path":"L2I=","acl":[{"permissions":1,)"
            R"("scheme":"aXA=","id":"Ojox"}],"timed":true}],"next":"L2M="})");
}

}  // namespace
}  // namespace conclave::native
