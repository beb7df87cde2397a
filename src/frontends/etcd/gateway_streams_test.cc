// The gateway's streams. Lines are what etcd 3.4.23 answers to the same requests.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/watch_limits.h"
#include "etcd.pb.h"
#include "frontends/etcd/session.h"
#include "frontends/etcd/watch_codec.h"
#include "wire/json.h"

namespace conclave::etcd {
namespace {

constexpr api::Header kGatewayHeader{ClusterId{1}, NodeId{2}, 3, Epoch{4}};
// How every result begins.
constexpr BytesView kResult =
    R"({"result":{"header":{"cluster_id":"1","member_id":"2","revision":"3","raft_term":"4"})";

Bytes result(BytesView fields) { return Bytes(kResult) + Bytes(fields) + "}}\n"; }

class GatewayStreamsTest : public ::testing::Test {
 protected:
  using Effects = api::Session::Effects;

  Effects post(BytesView path, BytesView body, BytesView version = "1.1") {
    Effects effects;
    session_->on_bytes(fmt::format("POST {} HTTP/{}\r\nContent-Length: {}\r\n\r\n{}", path, version,
                                   body.size(), body),
                       effects);
    return effects;
  }

  // The whole exchange of a call of keepalive, with each request answered alike.
  Bytes keep_alive(BytesView requests, const std::optional<api::Error>& error = std::nullopt) {
    Effects effects = post("/v3/lease/keepalive", requests);
    for (std::size_t i = 0; i < effects.calls.size(); ++i) {
      api::Answer answer = api::LeaseKeepAliveResponse{7, 60};
      if (error) answer = *error;
      session_->on_response(effects.calls[i].id, {kGatewayHeader, std::move(answer)}, effects);
    }
    return effects.send;
  }

  Effects watch(BytesView requests) {
    Effects effects = post("/v3/watch", requests);
    if (!effects.watches.empty()) feed_ = effects.watches.front().feed;
    return effects;
  }
  // What the client gets.
  Bytes tell(const api::WatchNews& news) {
    Effects effects;
    EXPECT_TRUE(session_->on_watch(feed_, kGatewayHeader, news, effects));
    return effects.send;
  }
  // The same without its header.
  Bytes line(const api::WatchNews& news) { return lines(tell(news)); }

  static Bytes status(const Bytes& response) {
    return response.substr(9, response.find("\r\n") - 9);
  }
  // What is in the chunks after a header, if there is one; and "." if the last chunk is.
  static Bytes lines(BytesView response) {
    if (response.starts_with("HTTP/")) {
      const std::size_t header = response.find("\r\n\r\n") + 4;
      EXPECT_NE(response.substr(0, header).find("Transfer-Encoding: chunked\r\n"), Bytes::npos);
      response.remove_prefix(header);
    }
    Bytes text;
    while (!response.empty()) {
      const std::size_t size = std::stoul(Bytes(response), nullptr, 16);
      response.remove_prefix(response.find("\r\n") + 2);
      text += size == 0 ? "." : response.substr(0, size);
      EXPECT_EQ(response.substr(size, 2), "\r\n");
      response.remove_prefix(size + 2);
    }
    return text;
  }

  std::unique_ptr<api::Session> session_ = make_session({}, "test");
  api::CallId feed_ = 0;
};

const Bytes kKeptAlive = result(R"(,"ID":"7","TTL":"60")");

TEST_F(GatewayStreamsTest, KeepAliveAnswersALineForEachRequest) {
  EXPECT_EQ(lines(keep_alive(R"({"ID":7})")), kKeptAlive + ".");
  EXPECT_EQ(lines(keep_alive(R"( {"ID":"7"} {"ID":7} )")), kKeptAlive + kKeptAlive + ".");
  EXPECT_EQ(lines(keep_alive("")), ".");
  EXPECT_EQ(lines(keep_alive(R"({"ID":7}{"ID":"x"})")), kKeptAlive + ".")
      << "what follows a mistake is not read";
}

TEST_F(GatewayStreamsTest, KeepAliveThatFails) {
  EXPECT_EQ(status(keep_alive(R"({"ID":"})")), "500 Internal Server Error");
  EXPECT_EQ(status(keep_alive(R"({"ID":7}{"ID":7})", api::Error{api::ErrorCode::kNoLeader, ""})),
            "503 Service Unavailable");
  Effects effects = post("/v3/lease/keepalive", R"({"ID":7}{"ID":8})");
  session_->on_response(effects.calls[0].id, {kGatewayHeader, api::LeaseKeepAliveResponse{7, 60}},
                        effects);
  session_->on_response(effects.calls[1].id,
                        {kGatewayHeader, api::Error{api::ErrorCode::kNoLeader, ""}}, effects);
  EXPECT_EQ(lines(effects.send),
            kKeptAlive +
                R"({"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader",)"
                R"("http_status":"Service Unavailable"}})"
                "\n.");
  EXPECT_EQ(lines(keep_alive(R"({"ID":7})")), kKeptAlive + ".") << "nothing is left of it";
}

TEST_F(GatewayStreamsTest, KeepAliveWaitsForAClientThatTakesNothing) {
  Effects effects = post("/v3/lease/keepalive", R"({"ID":7}{"ID":8})");
  effects.unsent = limits::kSendAheadBytes;
  session_->on_response(effects.calls[0].id, {kGatewayHeader, api::LeaseKeepAliveResponse{7, 60}},
                        effects);
  EXPECT_EQ(effects.calls.size(), 1);
  Effects drained;
  session_->on_drained(drained);
  EXPECT_EQ(drained.calls.size(), 1);
}

TEST_F(GatewayStreamsTest, Watch) {
  const Effects asked = watch(
      R"({"create_request":{"key":"YQ==","range_end":"Yg==","start_revision":"2","prev_kv":true}})"
      R"( {"progress_request":{}} {"cancel_request":{"watch_id":"1"}} {"unknown":{}} {})");
  EXPECT_EQ(asked.send, "") << "the header comes with the first line";
  ASSERT_EQ(asked.watches.size(), 3);
  const auto& create = std::get<api::WatchCreate>(asked.watches[0].request);
  EXPECT_EQ(create.key, "a");
  EXPECT_EQ(create.range_end, "b");
  EXPECT_EQ(create.start_revision, 2);
  EXPECT_TRUE(create.prev_kv);
  EXPECT_TRUE(std::holds_alternative<api::WatchProgressAsked>(asked.watches[1].request));
  EXPECT_EQ(std::get<api::WatchCancel>(asked.watches[2].request).id, 1);

  const Bytes created = tell(api::WatchCreated{0});
  EXPECT_TRUE(created.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"));
  EXPECT_EQ(lines(created), result(R"(,"created":true)"));
  api::Event put;
  put.kv = {.key = "a", .value = "1", .create_revision = 2, .mod_revision = 2, .version = 1};
  api::Event gone;
  gone.is_delete = true;
  gone.kv = {.key = "a", .mod_revision = 3};
  const std::vector<api::Event> events = {put, gone};
  EXPECT_EQ(line(api::WatchEvents{.id = 0, .events = events}),
            result(R"(,"events":[{"kv":{"key":"YQ==","create_revision":"2","mod_revision":"2",)"
                   R"("version":"1","value":"MQ=="}},)"
                   R"({"type":"DELETE","kv":{"key":"YQ==","mod_revision":"3"}}])"));
  EXPECT_EQ(line(api::WatchProgress{}), result(R"(,"watch_id":"-1")"));
  EXPECT_EQ(line(api::WatchCanceled{1}), result(R"(,"watch_id":"1","canceled":true)"));
  EXPECT_EQ(line(api::WatchCompacted{0, 3}), result(R"(,"canceled":true,"compact_revision":"3")"));
}

// The line is protobuf's own JSON of the message that gRPC's streams carry.
TEST_F(GatewayStreamsTest, EveryKindOfNewsIsTheSameMessageOverGrpc) {
  const Bytes zeros(300, '\0');
  api::Event full;
  full.kv = {.key = "k\xff",
             .value = zeros,
             .create_revision = 5,
             .mod_revision = 7,
             .version = 2,
             .lease = -3};
  full.prev_kv = api::KeyValueView{.key = "k\xff", .mod_revision = 5, .version = 1};
  api::Event gone;
  gone.is_delete = true;
  gone.kv = {.key = "k", .mod_revision = INT64_MAX};
  const std::vector<api::Event> events = {full, gone, full};
  using Reason = api::WatchRefused::Reason;
  const std::vector<api::WatchNews> all = {
      api::WatchCreated{},
      api::WatchCreated{7},
      api::WatchRefused{.id = 3, .reason = Reason::kIdInUse},
      api::WatchRefused{.reason = Reason::kEmptyRange},
      api::WatchEvents{.id = 7, .fragment = false, .events = events},
      api::WatchEvents{.id = 7, .fragment = true, .events = events},
      api::WatchCanceled{INT64_MIN},
      api::WatchCompacted{1, 2},
      api::WatchProgress{},
  };
  constexpr api::Header kLarge{ClusterId{UINT64_MAX}, NodeId{2}, 0, Epoch{1}};
  constexpr std::size_t kSmall = 100;  // splits what may be
  for (const api::WatchNews& news : all) {
    const auto lines = encode_watch_news(Format::kJson, kLarge, news, kSmall);
    const auto messages = encode_watch_news(Format::kProtobuf, kLarge, news, kSmall);
    ASSERT_EQ(lines.size(), messages.size());
    for (std::size_t i = 0; i < lines.size(); ++i) {
      etcdserverpb::WatchResponse response;
      ASSERT_TRUE(response.ParseFromString(messages[i]));
      EXPECT_EQ(lines[i], "{\"result\":" + wire::to_json(response) + "}\n");
    }
  }
}

TEST_F(GatewayStreamsTest, WatchesThatAreMalformed) {
  const Effects first = watch(R"({"create_request":{"key":)");
  EXPECT_EQ(status(first.send), "500 Internal Server Error");
  EXPECT_TRUE(first.send.ends_with(R"("code":2})"));
  EXPECT_TRUE(first.watches.empty());
  // After a sound one: what is there goes on.
  const Effects second = watch(R"({"create_request":{"key":"YQ=="}} {"create_request":5} {})");
  EXPECT_EQ(second.send, "");
  EXPECT_EQ(second.watches.size(), 1);
  EXPECT_EQ(lines(tell(api::WatchCreated{0})), result(R"(,"created":true)"));
}

TEST_F(GatewayStreamsTest, EventsWaitForAClientThatTakesNothing) {
  watch(R"({"create_request":{"key":"YQ=="}})");
  tell(api::WatchCreated{0});
  const std::vector<api::Event> events(1);
  const api::WatchNews news = api::WatchEvents{.id = 0, .events = events};
  Effects full;
  full.unsent = limits::kMaxUnsentEvents;
  EXPECT_FALSE(session_->on_watch(feed_, kGatewayHeader, news, full));
  EXPECT_TRUE(session_->on_watch(feed_, kGatewayHeader, api::WatchCanceled{0}, full))
      << "answers to what it asked for do not wait";
  Effects drained;
  session_->on_drained(drained);
  EXPECT_EQ(drained.has_room, std::vector<api::CallId>{feed_});
  EXPECT_NE(line(news), "");
}

TEST_F(GatewayStreamsTest, TheEndOfAWatch) {
  watch(R"({"create_request":{"key":"YQ=="}})");
  tell(api::WatchCreated{0});
  EXPECT_EQ(line(api::WatchFeedEnded{api::Error{api::ErrorCode::kTooManyRequests, {}}}),
            R"({"error":{"grpc_code":8,"http_code":429,"message":"etcdserver: too many requests",)"
            R"("http_status":"Too Many Requests"}})"
            "\n.");
  Effects effects;
  EXPECT_FALSE(session_->on_watch(feed_, kGatewayHeader, api::WatchCreated{0}, effects));
  // Before the first line it is an answer like any other, and the connection goes on.
  watch(R"({"create_request":{"key":"YQ=="}})");
  EXPECT_EQ(status(tell(api::WatchFeedEnded{api::Error{api::ErrorCode::kTooManyRequests, {}}})),
            "429 Too Many Requests");
  EXPECT_EQ(lines(keep_alive(R"({"ID":7})")), kKeptAlive + ".");
}

TEST_F(GatewayStreamsTest, AStoppingMemberSaysSo) {
  watch(R"({"create_request":{"key":"YQ=="}})");
  tell(api::WatchCreated{0});
  Effects effects;
  session_->on_shutdown(effects);
  EXPECT_TRUE(lines(effects.send).ends_with("\"Service Unavailable\"}}\n."));
  EXPECT_TRUE(effects.close);
}

// Whatever was under way when the member said that it stops, its answers still come.
TEST_F(GatewayStreamsTest, NewsAfterAStoppingMemberSaidSo) {
  struct Under {
    BytesView path;
    BytesView body;
    api::Answer answer;
    bool is_told;  // at once, that the member stops
  };
  Under all[] = {
      {"/v3/lease/keepalive", R"({"ID":7}{"ID":8})", api::LeaseKeepAliveResponse{7, 60}, true},
      {"/v3/watch", R"({"create_request":{"key":"YQ=="}})", {}, true},
      {"/v3/election/observe", R"({"name":"YQ=="})", {}, true},
      {"/v3/lock/lock", R"({"name":"YQ==","lease":"7"})", api::LockResponse{"a/7", 5}, false},
      {"/v3/election/campaign", R"({"name":"YQ==","lease":"7"})", api::CampaignResponse{}, false},
      {"/v3/kv/range", R"({"key":"YQ=="})", api::RangeResponse{}, false},
      {"/v3/maintenance/snapshot", "{}", api::SnapshotResponse{LogIndex{5}, 10}, false},
  };
  for (Under& under : all) {
    SCOPED_TRACE(under.path);
    session_ = make_session({}, "test");
    const Effects asked = post(under.path, under.body);
    ASSERT_EQ(asked.calls.size() + asked.watches.size(), 1);
    const api::CallId id = asked.calls.empty() ? asked.watches[0].feed : asked.calls[0].id;
    Effects effects;
    session_->on_shutdown(effects);
    EXPECT_EQ(effects.close, under.is_told);
    EXPECT_EQ(effects.send.starts_with("HTTP/1.1 503 "), under.is_told);
    if (under.path == "/v3/kv/range") {
      EXPECT_TRUE(session_->on_part(id, kGatewayHeader, {}, effects));
    } else if (under.is_told) {
      EXPECT_FALSE(session_->on_part(id, kGatewayHeader, {}, effects));
    }
    EXPECT_FALSE(session_->on_watch(id, kGatewayHeader, api::WatchCreated{0}, effects));
    session_->on_drained(effects);
    session_->on_tick(Instant{} + seconds(100), effects);
    const std::size_t before = effects.send.size();
    session_->on_response(id, {kGatewayHeader, std::move(under.answer)}, effects);
    EXPECT_EQ(effects.send.size() == before, under.is_told);
    if (under.path == "/v3/maintenance/snapshot") {
      ASSERT_EQ(effects.calls.size(), 1);
      session_->on_response(effects.calls[0].id,
                            {kGatewayHeader, api::SnapshotPieceResponse{Bytes(10, 'x')}}, effects);
    }
    EXPECT_TRUE(effects.close);
    session_->on_bytes("GET /version HTTP/1.1\r\n\r\n", effects);
    EXPECT_EQ(effects.send.find("etcdserver\":"), Bytes::npos);
  }
}

TEST_F(GatewayStreamsTest, NothingFollowsASnapshotThatIsCutShort) {
  const Effects asked = post("/v3/maintenance/snapshot", "{}");
  Effects effects;
  session_->on_response(asked.calls[0].id, {kGatewayHeader, api::SnapshotResponse{LogIndex{5}, 10}},
                        effects);
  session_->on_bytes("GET /version HTTP/1.1\r\n\r\n", effects);
  session_->on_response(effects.calls[0].id,
                        {kGatewayHeader, api::Error{api::ErrorCode::kSnapshotGone, {}}}, effects);
  EXPECT_TRUE(effects.close);
  EXPECT_EQ(effects.send.find("etcdserver\":"), Bytes::npos) << effects.send;
}

TEST_F(GatewayStreamsTest, WithoutChunks) {
  const Effects asked = post("/v3/watch", R"({"create_request":{"key":"YQ=="}})", "1.0");
  ASSERT_EQ(asked.watches.size(), 1);
  feed_ = asked.watches[0].feed;
  EXPECT_TRUE(tell(api::WatchCreated{0}).ends_with("\r\n\r\n" + result(R"(,"created":true)")));
  EXPECT_EQ(tell(api::WatchProgress{}), result(R"(,"watch_id":"-1")"));
}

}  // namespace
}  // namespace conclave::etcd
