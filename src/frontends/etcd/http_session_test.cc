// HTTP/1.1 transcripts. Bodies are what etcd 3.4.23 answers to the same requests.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "frontends/etcd/codec.h"
#include "frontends/etcd/session.h"

namespace conclave::etcd {
namespace {

constexpr api::Header kEtcdHeader{ClusterId{1314590137626661166u}, NodeId{14429705525564268122u}, 2,
                                  Epoch{2}};

class HttpSessionTest : public ::testing::Test {
 protected:
  static Bytes request(BytesView method, BytesView path, BytesView body = {},
                       BytesView header = {}) {
    return fmt::format("{} {} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n{}\r\n{}", method, path,
                       body.size(), header, body);
  }

  // What is sent back, with each call answered by answer_.
  Bytes exchange(BytesView bytes) {
    api::Session::Effects effects;
    session_->on_bytes(bytes, effects);
    for (std::size_t i = 0; i < effects.calls.size(); ++i) {
      session_->on_response(effects.calls[i].id, {kEtcdHeader, std::move(answer_)}, effects);
      last_ = std::move(effects.calls[i].request);
    }
    closed_ = effects.close;
    return effects.send;
  }

  Bytes post(BytesView path, BytesView body, api::Answer answer, BytesView header = {}) {
    answer_ = std::move(answer);
    return exchange(request("POST", path, body, header));
  }
  Bytes get(BytesView path, api::Answer answer = api::HealthResponse{}) {
    answer_ = std::move(answer);
    return exchange(request("GET", path));
  }

  static Bytes body(const Bytes& response) {
    return response.substr(response.find("\r\n\r\n") + 4);
  }
  static Bytes status(const Bytes& response) {
    return response.substr(9, response.find("\r\n") - 9);
  }

  std::unique_ptr<api::Session> session_ = make_session({}, "test");
  api::Answer answer_;
  api::Request last_;
  bool closed_ = false;
};

TEST_F(HttpSessionTest, Health) {
  EXPECT_EQ(get("/health", api::HealthResponse{true, ""}),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 17\r\n"
            "\r\n{\"health\":\"true\"}");
  EXPECT_FALSE(std::get<api::HealthRequest>(last_.body).serializable);
  get("/health?serializable=true", api::HealthResponse{true, ""});
  EXPECT_TRUE(std::get<api::HealthRequest>(last_.body).serializable);
  const Bytes bad = get("/health", api::HealthResponse{false, "no leader"});
  EXPECT_EQ(status(bad), "503 Service Unavailable");
  EXPECT_EQ(body(bad), R"({"health":"false","reason":"no leader"})");
  EXPECT_EQ(body(get("/health", api::Error{api::ErrorCode::kTimeout, ""})),
            R"({"health":"false","reason":"etcdserver: request timed out"})");
}

TEST_F(HttpSessionTest, Probes) {
  EXPECT_EQ(body(get("/livez", api::HealthResponse{true, ""})), "ok\n");
  EXPECT_TRUE(std::get<api::HealthRequest>(last_.body).serializable);
  EXPECT_EQ(body(get("/readyz", api::HealthResponse{true, ""})), "ok\n");
  EXPECT_FALSE(std::get<api::HealthRequest>(last_.body).serializable);
  EXPECT_EQ(status(get("/readyz", api::HealthResponse{false, "why"})), "503 Service Unavailable");
}

TEST_F(HttpSessionTest, VersionAndMetrics) {
  EXPECT_EQ(body(get("/version")),
            R"({"etcdserver":"3.4.23","etcdcluster":"3.4.0","conclave":"0.1.0"})");
  EXPECT_EQ(body(get("/metrics", api::MetricsResponse{"up 1\n"})), "up 1\n");
  EXPECT_TRUE(std::holds_alternative<api::MetricsRequest>(last_.body));
}

TEST_F(HttpSessionTest, Gateway) {
  EXPECT_EQ(post("/v3/kv/put", R"({"key":"Zm9v","value":"YmFy"})", api::PutResponse{}),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 113\r\n"
            "Grpc-Metadata-Content-Type: application/grpc\r\n\r\n"
            R"({"header":{"cluster_id":"1314590137626661166","member_id":"14429705525564268122",)"
            R"("revision":"2","raft_term":"2"}})");
  EXPECT_EQ(std::get<api::PutRequest>(last_.body).key, "foo");
  EXPECT_EQ(std::get<api::PutRequest>(last_.body).value, "bar");

  const api::RangeResponse found{{{"foo", "bar", 2, 2, 1, 0}}, false, 1};
  for (const BytesView path : {"/v3/kv/range", "/v3beta/kv/range"}) {
    EXPECT_EQ(body(post(path, R"({"key":"Zm9v"})", found)),
              R"({"header":{"cluster_id":"1314590137626661166","member_id":"14429705525564268122",)"
              R"("revision":"2","raft_term":"2"},"kvs":[{"key":"Zm9v","create_revision":"2",)"
              R"("mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"})");
  }
  EXPECT_NE(body(post("/v3/kv/deleterange", R"({"key":"Zm9v"})", api::DeleteRangeResponse{1, {}}))
                .find(R"("deleted":"1"})"),
            Bytes::npos);
  post("/v3/kv/compaction", R"({"revision":"2","physical":true})", api::CompactResponse{});
  EXPECT_EQ(std::get<api::CompactRequest>(last_.body).revision, 2);
  EXPECT_NE(body(post("/v3/cluster/member/list", "",
                      api::MemberListResponse{{{NodeId{1}, "m", {"http://p"}, {}, false}}}))
                .find(R"("members":[{"ID":"1","name":"m","peerURLs":["http://p"]}]})"),
            Bytes::npos);
  api::StatusResponse member;
  member.version = "3.4.23";
  member.db_size_bytes = 20480;
  EXPECT_NE(body(post("/v3/maintenance/status", "{}", std::move(member)))
                .find(R"("version":"3.4.23","dbSize":"20480"})"),
            Bytes::npos);
}

TEST_F(HttpSessionTest, GatewayTxn) {
  api::TxnResponse txn;
  txn.succeeded = true;
  txn.results.push_back({api::PutResponse{}});
  EXPECT_EQ(body(post("/v3/kv/txn",
                      R"({"compare":[{"key":"Zm9v","target":"VALUE","value":"YmFy"}],)"
                      R"("success":[{"request_put":{"key":"YQ==","value":"Yg=="}}]})",
                      std::move(txn))),
            R"({"header":{"cluster_id":"1314590137626661166","member_id":"14429705525564268122",)"
            R"("revision":"2","raft_term":"2"},"succeeded":true,"responses":[{"response_put":)"
            R"({"header":{"revision":"2"}}}]})");
  const auto& request = std::get<api::TxnRequest>(last_.body);
  EXPECT_EQ(request.compare[0].value, "bar");
  EXPECT_EQ(std::get<api::PutRequest>(request.success[0].op).key, "a");
}

TEST_F(HttpSessionTest, GatewayErrors) {
  const auto refused = [&](api::ErrorCode code) {
    const Bytes response = post("/v3/kv/put", "{}", api::Error{code, "detail"});
    return status(response) + " " + body(response);
  };
  EXPECT_EQ(refused(api::ErrorCode::kEmptyKey),
            R"(400 Bad Request {"error":"etcdserver: key is not provided",)"
            R"("message":"etcdserver: key is not provided","code":3})");
  EXPECT_EQ(refused(api::ErrorCode::kCompacted),
            R"(400 Bad Request {"error":"etcdserver: mvcc: required revision has been compacted",)"
            R"("message":"etcdserver: mvcc: required revision has been compacted","code":11})");
  EXPECT_EQ(refused(api::ErrorCode::kLeaseNotFound),
            R"(404 Not Found {"error":"etcdserver: requested lease not found",)"
            R"("message":"etcdserver: requested lease not found","code":5})");
  EXPECT_EQ(refused(api::ErrorCode::kNoLeader).substr(0, 23), "503 Service Unavailable");
  EXPECT_EQ(refused(api::ErrorCode::kTooManyRequests).substr(0, 21), "429 Too Many Requests");
  const Bytes malformed = exchange(request("POST", "/v3/kv/put", "x"));
  EXPECT_EQ(status(malformed), "400 Bad Request");
  EXPECT_TRUE(malformed.ends_with(R"(,"code":3})"));
}

TEST_F(HttpSessionTest, GatewayMetadata) {
  for (const BytesView header :
       {"conclave-request-id: c/7\r\n", "Grpc-Metadata-Conclave-Request-Id: c/7\r\n"}) {
    post("/v3/kv/put", "{}", api::PutResponse{}, header);
    EXPECT_EQ(last_.id, (api::RequestId{"c", 7})) << header;
  }
  EXPECT_EQ(status(post("/v3/kv/put", "{}", api::PutResponse{}, "conclave-request-id: 7\r\n")),
            "400 Bad Request");
  post("/v3/kv/put", "{}", api::PutResponse{}, "Grpc-Timeout: 2S\r\n");
  EXPECT_EQ(last_.timeout_ms, 2'000);
  EXPECT_EQ(
      body(exchange(request("POST", "/v3/kv/put", "{}", "Grpc-Timeout: xyz\r\n"))),
      R"({"error":"invalid grpc-timeout: xyz","message":"invalid grpc-timeout: xyz","code":3})");
}

TEST_F(HttpSessionTest, WrongPathsAndMethods) {
  const Bytes nowhere = get("/nope");
  EXPECT_EQ(status(nowhere), "404 Not Found");
  EXPECT_EQ(body(nowhere), "404 page not found\n");
  EXPECT_EQ(body(get("/v3/nope")), "Not Found\n");
  EXPECT_EQ(status(exchange(request("GET", "/v3/kv/put"))), "405 Method Not Allowed");
  const Bytes wrong = exchange(request("POST", "/health"));
  EXPECT_EQ(status(wrong), "405 Method Not Allowed");
  EXPECT_NE(wrong.find("\r\nAllow: GET\r\n"), Bytes::npos);
}

TEST_F(HttpSessionTest, RequestsSentAheadAreAnsweredInOrder) {
  api::Session::Effects effects;
  session_->on_bytes(request("GET", "/health") + request("GET", "/version") + request("GET", "/x"),
                     effects);
  ASSERT_EQ(effects.calls.size(), 1);
  EXPECT_EQ(effects.send, "");
  session_->on_response(effects.calls[0].id, {kEtcdHeader, api::HealthResponse{true, ""}}, effects);
  const std::size_t health = effects.send.find("health");
  const std::size_t version = effects.send.find("etcdserver");
  EXPECT_LT(health, version);
  EXPECT_LT(version, effects.send.find("404 page not found"));
}

TEST_F(HttpSessionTest, ABodyBeyondTheLimitIsRefusedByItsLength) {
  const Bytes response =
      exchange("POST /v3/kv/put HTTP/1.1\r\nHost: h\r\nContent-Length: 30000000\r\n\r\n");
  EXPECT_EQ(status(response), "413 Payload Too Large");
  EXPECT_TRUE(closed_);
}

// The text is protobuf's own, byte for byte, in however many parts it comes.
TEST_F(HttpSessionTest, ARangeThatComesInParts) {
  std::vector<api::KeyValue> all = {{"a", "", 1, 2, 3, 0},
                                    {Bytes("\0\xff", 2), "v", 4, 5, 6, 7},
                                    {"abc", "abcdefgh", INT64_MAX, 1, 1, -1},
                                    {"", Bytes(1'000, '\x80'), 0, 0, 0, 0}};
  for (const std::size_t cut : {0u, 1u, 3u, 4u}) {
    api::Session::Effects effects;
    session_->on_bytes(request("POST", "/v3/kv/range", "{\"key\":\"YQ==\"}"), effects);
    ASSERT_EQ(effects.calls.size(), 1);
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(cut);
    EXPECT_TRUE(
        session_->on_part(effects.calls[0].id, kEtcdHeader, {all.begin(), middle}, effects));
    api::RangeResponse last{{middle, all.end()}, cut > 1, cut > 0 ? 9 : 0};
    session_->on_response(effects.calls[0].id, {kEtcdHeader, std::move(last)}, effects);
    Codec codec;
    Bytes wanted;
    api::Answer whole = api::RangeResponse{all, cut > 1, cut > 0 ? 9 : 0};
    codec.encode(Method::kRange, Format::kJson, kEtcdHeader, whole, wanted);
    EXPECT_EQ(body(effects.send), wanted);
    EXPECT_NE(effects.send.find(fmt::format("Content-Length: {}\r\n", wanted.size())), Bytes::npos);
  }
}

TEST_F(HttpSessionTest, TheConnectionGetsALargeAnswerAsItDrains) {
  api::Session::Effects effects;
  const Bytes asked = request("POST", "/v3/kv/range", "{\"key\":\"YQ==\"}");
  session_->on_bytes(asked + asked, effects);
  ASSERT_EQ(effects.calls.size(), 1);
  for (int i = 0; i < 12; ++i) {
    session_->on_part(effects.calls[0].id, kEtcdHeader, {{"k", Bytes(1 << 20, 'v'), 1, 1, 1, 0}},
                      effects);
  }
  session_->on_response(effects.calls[0].id, {kEtcdHeader, api::RangeResponse{}}, effects);
  Bytes got = effects.send;
  EXPECT_LT(got.size(), limits::kSendAheadBytes + (2 << 20));
  EXPECT_GT(session_->held_bytes(), 10 << 20);
  std::size_t calls = 0;
  while (session_->held_bytes() > 0) {
    api::Session::Effects drained;
    session_->on_drained(drained);
    ASSERT_FALSE(drained.send.empty());
    got += drained.send;
    calls += drained.calls.size();
  }
  EXPECT_EQ(calls, 1) << "the next request waits until the answer has left";
  EXPECT_TRUE(got.ends_with("]}"));
}

TEST_F(HttpSessionTest, Leases) {
  post("/v3/lease/grant", R"({"ID":"7","TTL":60})", api::LeaseGrantResponse{7, 60});
  EXPECT_EQ(std::get<api::LeaseGrantRequest>(last_.body).ttl_s, 60);
  for (const BytesView path : {"/v3/lease/revoke", "/v3/kv/lease/revoke"}) {
    const Bytes answer = post(path, R"({"ID":7})", api::Error{api::ErrorCode::kLeaseNotFound, ""});
    EXPECT_EQ(status(answer), "404 Not Found");
    EXPECT_EQ(std::get<api::LeaseRevokeRequest>(last_.body).id, 7);
  }
  const Bytes left = post("/v3/lease/timetolive", R"({"ID":7,"keys":true})",
                          api::LeaseTimeToLiveResponse{7, 59, 60, {"a"}});
  EXPECT_TRUE(body(left).ends_with(R"("ID":"7","TTL":"59","grantedTTL":"60","keys":["YQ=="]})"));
  const Bytes all = post("/v3/kv/lease/leases", "{}", api::LeaseLeasesResponse{{7, -8}});
  EXPECT_TRUE(body(all).ends_with(R"("leases":[{"ID":"7"},{"ID":"-8"}]})"));
}

}  // namespace
}  // namespace conclave::etcd
