// Streams of watches: nghttp2's client on one side, a canned member on the other.

#include <gtest/gtest.h>

#include "base/watch_limits.h"
#include "etcd.pb.h"
#include "frontends/etcd/grpc_fixture.h"
#include "frontends/etcd/session.h"
#include "wire/grpc.h"
#include "wire/http2_test_client.h"

namespace conclave::etcd {
namespace {

using wire::grpc_frame;
using wire::grpc_headers;
using wire::Http2TestClient;
namespace pb = etcdserverpb;

constexpr BytesView kWatch = "/etcdserverpb.Watch/Watch";
constexpr std::int32_t kWindow = 65'535;

class WatchStreamsTest : public ::testing::Test {
 protected:
  std::int32_t open(const Http2TestClient::Fields& extra = {}) {
    return client_.request(grpc_headers(kWatch, extra), {}, true);
  }
  void send(std::int32_t stream, const pb::WatchRequest& request) {
    client_.send_more(stream, grpc_frame(request.SerializeAsString()), true);
    pump();
  }
  void pump() {
    for (;;) {
      const Bytes up = client_.take_output();
      api::Session::Effects effects;
      if (!up.empty()) session_->on_bytes(up, effects);
      if (!settle(effects) && up.empty()) return;
    }
  }
  bool settle(api::Session::Effects& effects) {
    EXPECT_TRUE(client_.receive(effects.send));
    for (auto& watch : effects.watches) asked_.push_back(std::move(watch));
    for (auto& call : effects.calls) calls_.push_back(std::move(call));
    roomy_.insert(roomy_.end(), effects.has_room.begin(), effects.has_room.end());
    return !effects.send.empty();
  }
  bool tell(const api::WatchNews& news, std::size_t unsent = 0) {
    api::Session::Effects effects;
    effects.unsent = unsent;
    const bool taken = session_->on_watch(asked_.at(0).feed, kHeader, news, effects);
    settle(effects);
    return taken;
  }
  bool tell(const std::vector<api::Event>& events, bool fragment = false) {
    return tell(api::WatchEvents{.id = 5, .fragment = fragment, .events = events});
  }
  std::vector<pb::WatchResponse> told(std::int32_t stream) {
    std::vector<pb::WatchResponse> responses;
    BytesView rest = client_.answer(stream).body;
    for (;;) {
      const wire::GrpcMessage message = wire::front_message(rest, SIZE_MAX);
      if (message.state != wire::GrpcMessage::State::kComplete) return responses;
      EXPECT_TRUE(responses.emplace_back().ParseFromString(Bytes(message.payload)));
      rest.remove_prefix(message.wire_bytes);
    }
  }
  std::string last_told(std::int32_t stream) { return told(stream).back().ShortDebugString(); }

  static pb::WatchRequest create(const std::string& key) {
    pb::WatchRequest request;
    request.mutable_create_request()->set_key(key);
    return request;
  }

  std::unique_ptr<api::Session> session_ = make_session({}, "test");
  Http2TestClient client_{{.initial_window = kWindow, .automatic_window_updates = false}};
  std::vector<api::Session::Effects::Watch> asked_;
  std::vector<api::Session::Effects::Call> calls_;
  std::vector<api::CallId> roomy_;
};

TEST_F(WatchStreamsTest, Requests) {
  const auto stream = open();
  pb::WatchRequest request;
  auto& wanted = *request.mutable_create_request();
  wanted.set_key("a");
  wanted.set_range_end("b");
  wanted.set_start_revision(3);
  wanted.set_watch_id(7);
  wanted.set_progress_notify(true);
  wanted.set_prev_kv(true);
  wanted.set_fragment(true);
  wanted.add_filters(pb::WatchCreateRequest::NOPUT);
  wanted.add_filters(pb::WatchCreateRequest::NODELETE);
  send(stream, request);
  request.Clear();
  request.mutable_cancel_request()->set_watch_id(9);
  send(stream, request);
  request.Clear();
  send(stream, request);  // of no kind: ignored
  request.mutable_progress_request();
  send(stream, request);
  client_.reset(stream);
  pump();
  ASSERT_EQ(asked_.size(), 4u);
  const auto& made = std::get<api::WatchCreate>(asked_[0].request);
  EXPECT_EQ(made.key, "a");
  EXPECT_EQ(made.range_end, "b");
  EXPECT_EQ(made.start_revision, 3);
  EXPECT_EQ(made.id, 7);
  EXPECT_TRUE(made.progress_notify && made.prev_kv && made.fragment);
  EXPECT_TRUE(made.no_put && made.no_delete);
  EXPECT_EQ(std::get<api::WatchCancel>(asked_[1].request).id, 9);
  EXPECT_TRUE(std::holds_alternative<api::WatchProgressAsked>(asked_[2].request));
  EXPECT_TRUE(std::holds_alternative<api::WatchFeedClosed>(asked_[3].request));
}

TEST_F(WatchStreamsTest, News) {
  const auto stream = open();
  send(stream, create("k"));
  const std::string header = "header { cluster_id: 11 member_id: 22 revision: 33 raft_term: 44 }";
  EXPECT_TRUE(tell(api::WatchCreated{5}));
  EXPECT_EQ(last_told(stream), header + " watch_id: 5 created: true");
  EXPECT_TRUE(tell(api::WatchRefused{-1, api::WatchRefused::Reason::kEmptyRange}));
  EXPECT_EQ(last_told(stream), header +
                                   " watch_id: -1 created: true canceled: true "
                                   "cancel_reason: \"mvcc: watcher range is empty\"");
  EXPECT_TRUE(tell(api::WatchCompacted{5, 30}));
  EXPECT_EQ(last_told(stream), header + " watch_id: 5 canceled: true compact_revision: 30");
  EXPECT_TRUE(tell(api::WatchProgress{}));
  EXPECT_EQ(last_told(stream), header + " watch_id: -1");
  EXPECT_TRUE(tell({{.is_delete = false, .kv = {"k", "v", 1, 33, 300, -1}, .prev_kv = {}},
                    {.is_delete = true,
                     .kv = {.key = "k", .mod_revision = 33},
                     .prev_kv = api::KeyValueView{"k", "", 1, 2, 3, 0}}}));
  EXPECT_EQ(last_told(stream),
            header +
                " watch_id: 5 events { kv { key: \"k\" create_revision: 1 mod_revision: 33 "
                "version: 300 value: \"v\" lease: -1 } } events { type: DELETE kv { key: "
                "\"k\" mod_revision: 33 } prev_kv { key: \"k\" create_revision: 1 "
                "mod_revision: 2 version: 3 } }");
}

TEST_F(WatchStreamsTest, FragmentsWhereTheyAreWanted) {
  const auto stream = open();
  send(stream, create("k"));
  client_.grant(stream, 64 << 20);
  pump();
  const Bytes value(1 << 20, 'x');
  const std::vector<api::Event> events(
      5, {.is_delete = false, .kv = {.key = "k", .value = value}, .prev_kv = {}});
  EXPECT_TRUE(tell(events));
  EXPECT_EQ(told(stream).size(), 1u);
  EXPECT_TRUE(tell(events, true));
  auto responses = told(stream);
  std::vector<std::pair<int, bool>> pieces;
  for (std::size_t i = 1; i < responses.size(); ++i) {
    pieces.emplace_back(responses[i].events_size(), responses[i].fragment());
  }
  EXPECT_EQ(pieces, (std::vector<std::pair<int, bool>>{
                        {1, true}, {1, true}, {1, true}, {1, true}, {1, false}}));
}

TEST_F(WatchStreamsTest, AStreamThatIsNotReadRefusesEvents) {
  const auto stream = open();
  send(stream, create("k"));
  const Bytes value(100'000, 'x');
  const std::vector<api::Event> events(
      1, {.is_delete = false, .kv = {.key = "k", .value = value}, .prev_kv = {}});
  int taken = 0;
  while (tell(events)) ++taken;
  EXPECT_LE(static_cast<std::size_t>(taken) * value.size(),
            limits::kMaxUnsentStreamEvents + kWindow + 2 * value.size());
  EXPECT_FALSE(tell(api::WatchProgress{}));
  EXPECT_TRUE(tell(api::WatchCanceled{5}));  // the little that answers a request is always taken
  EXPECT_TRUE(roomy_.empty());
  client_.grant(stream, 1 << 20);
  pump();
  EXPECT_EQ(roomy_, (std::vector<api::CallId>{asked_[0].feed}));
  EXPECT_TRUE(tell(events));
}

TEST_F(WatchStreamsTest, AConnectionThatSendsNothingRefusesEvents) {
  const auto stream = open();
  send(stream, create("k"));
  const std::vector<api::Event> events(1, {.is_delete = false, .kv = {.key = "k"}, .prev_kv = {}});
  const api::WatchEvents news{.id = 0, .fragment = false, .events = events};
  EXPECT_TRUE(tell(news, limits::kMaxUnsentEvents - 1));
  EXPECT_FALSE(tell(news, limits::kMaxUnsentEvents));
  EXPECT_TRUE(roomy_.empty());
  api::Session::Effects drained;
  session_->on_drained(drained);
  settle(drained);
  EXPECT_EQ(roomy_.size(), 1u);
  EXPECT_EQ(told(stream).size(), 1u);
}

TEST_F(WatchStreamsTest, EndsWithoutALeaderIfTheClientWantsThat) {
  const auto stream = open({{"hasleader", "true"}});
  send(stream, create("k"));
  const auto answer = [&](bool healthy) {
    api::Session::Effects effects;
    session_->on_response(calls_.back().id, {kHeader, api::HealthResponse{healthy, {}}}, effects);
    settle(effects);
  };
  const auto tick = [&](int second) {
    api::Session::Effects effects;
    session_->on_tick(Instant{} + seconds(second), effects);
    settle(effects);
  };
  ASSERT_EQ(calls_.size(), 1u);
  answer(true);
  for (int second = 1; second <= 4; ++second) {
    EXPECT_FALSE(client_.answer(stream).ended);
    tick(second);
    answer(false);
  }
  EXPECT_TRUE(client_.answer(stream).ended);
  EXPECT_EQ(client_.answer(stream).trailers.at("grpc-message"), "etcdserver: no leader");
  EXPECT_TRUE(std::holds_alternative<api::WatchFeedClosed>(asked_.back().request));
}

TEST_F(WatchStreamsTest, SaysThatTheMemberStops) {
  const auto stream = open();
  send(stream, create("k"));
  api::Session::Effects effects;
  session_->on_shutdown(effects);
  settle(effects);
  EXPECT_EQ(client_.answer(stream).trailers.at("grpc-status"), "14");
}

TEST_F(WatchStreamsTest, RefusesWhatIsNoMessage) {
  const auto stream = open();
  client_.send_more(stream, grpc_frame("\xff\xff\xff"), true);
  pump();
  EXPECT_EQ(client_.answer(stream).trailers.at("grpc-status"), "13");
}

}  // namespace
}  // namespace conclave::etcd
