// Maintenance over gRPC and the JSON gateway, with a canned member behind the session.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "etcd.pb.h"
#include "frontends/etcd/session.h"
#include "frontends/etcd/snapshot_stream.h"
#include "wire/grpc.h"
#include "wire/http2_test_client.h"
#include "wire/sha256.h"

namespace conclave::etcd {
namespace {

namespace pb = etcdserverpb;
using wire::Http2TestClient;

constexpr api::Header kHeader{ClusterId{11}, NodeId{22}, 33, Epoch{44}};
constexpr BytesView kSnapshot = "/etcdserverpb.Maintenance/Snapshot";

Bytes file_of(std::size_t bytes) {
  Bytes file;
  for (std::size_t i = 0; i < bytes; ++i) file += static_cast<char>(i * 7 + i / 251);
  return file;
}

// A member that holds a snapshot file.
struct Holder {
  explicit Holder(std::size_t bytes) : file(file_of(bytes)) {}

  api::Answer operator()(const api::Request& request) {
    if (std::holds_alternative<api::SnapshotRequest>(request.body)) {
      return api::SnapshotResponse{.index = LogIndex{5}, .size_bytes = file.size()};
    }
    const auto& piece = std::get<api::SnapshotPieceRequest>(request.body);
    EXPECT_EQ(piece.index, LogIndex{5});
    if (++pieces > pieces_there) return api::Error{api::ErrorCode::kSnapshotGone, {}};
    return api::SnapshotPieceResponse{file.substr(piece.offset, piece.max_bytes)};
  }

  Bytes file;
  std::size_t pieces = 0;
  std::size_t pieces_there = SIZE_MAX;
};

class MaintenanceTest : public ::testing::Test {
 protected:
  std::int32_t call(BytesView path, const google::protobuf::Message& message) {
    return client_.request(wire::grpc_headers(path), wire::grpc_frame(message.SerializeAsString()));
  }
  std::int32_t call(BytesView path) {
    return client_.request(wire::grpc_headers(path), wire::grpc_frame(""));
  }

  // Moves bytes both ways and answers calls, until nothing moves; at most `calls` calls.
  void pump(std::size_t calls = SIZE_MAX) {
    for (bool moved = true; moved;) {
      const Bytes up = client_.take_output();
      api::Session::Effects effects;
      if (!up.empty()) session_->on_bytes(up, effects);
      moved = !up.empty();
      while (true) {
        EXPECT_TRUE(client_.receive(std::exchange(effects.send, {})));
        for (auto& item : std::exchange(effects.calls, {})) calls_.push_back(std::move(item));
        if (calls_.empty() || calls == 0) break;
        --calls;
        const auto item = std::move(calls_.front());
        calls_.erase(calls_.begin());
        session_->on_response(item.id, {kHeader, answer_(item.request)}, effects);
        moved = true;
      }
    }
  }

  std::pair<std::string, std::string> status(std::int32_t id) {
    const auto& answer = client_.answer(id);
    const auto& fields = answer.trailers.empty() ? answer.headers : answer.trailers;
    const auto text = fields.find("grpc-message");
    return {fields.at("grpc-status"), text == fields.end() ? "" : text->second};
  }

  template <class Message>
  std::vector<Message> messages(std::int32_t id) {
    std::vector<Message> all;
    BytesView body = client_.answer(id).body;
    while (!body.empty()) {
      const auto front = wire::front_message(body, body.size());
      EXPECT_EQ(front.state, wire::GrpcMessage::State::kComplete);
      EXPECT_TRUE(all.emplace_back().ParseFromArray(front.payload.data(),
                                                    static_cast<int>(front.payload.size())));
      body.remove_prefix(front.wire_bytes);
    }
    return all;
  }

  std::unique_ptr<api::Session> session_ = make_session({}, "test");
  Http2TestClient client_;
  std::vector<api::Session::Effects::Call> calls_;
  std::function<api::Answer(const api::Request&)> answer_;
};

TEST_F(MaintenanceTest, AlarmsHaveNoHeaderAsEtcds) {
  pb::AlarmRequest request;
  request.set_action(pb::AlarmRequest::ACTIVATE);
  request.set_memberid(5);
  request.set_alarm(pb::CORRUPT);
  answer_ = [](const api::Request& asked) -> api::Answer {
    const auto& alarm = std::get<api::AlarmRequest>(asked.body);
    EXPECT_EQ(alarm.action, api::AlarmRequest::Action::kActivate);
    EXPECT_EQ(alarm.member, NodeId{5});
    EXPECT_EQ(alarm.type, api::AlarmType::kCorrupt);
    return api::AlarmResponse{{{NodeId{5}, api::AlarmType::kCorrupt}}};
  };
  const auto id = call("/etcdserverpb.Maintenance/Alarm", request);
  pump();
  EXPECT_EQ(messages<pb::AlarmResponse>(id).at(0).ShortDebugString(),
            "alarms { memberID: 5 alarm: CORRUPT }");
}

TEST_F(MaintenanceTest, AConnectionHasFewStreamsOfSnapshots) {
  Holder holder(10 << 20);
  answer_ = std::ref(holder);
  Http2TestClient slow({.initial_window = 0, .automatic_window_updates = false});
  std::vector<std::int32_t> streams;
  for (int i = 0; i < 100; ++i) {
    streams.push_back(slow.request(wire::grpc_headers(kSnapshot), wire::grpc_frame("")));
  }
  api::Session::Effects effects;
  session_->on_bytes(slow.take_output(), effects);
  std::size_t calls = 0;
  while (!effects.calls.empty()) {
    for (auto& item : std::exchange(effects.calls, {})) {
      ++calls;
      session_->on_response(item.id, {kHeader, holder(item.request)}, effects);
    }
  }
  EXPECT_TRUE(slow.receive(effects.send));
  EXPECT_LE(session_->held_bytes(), SnapshotStream::kMaxStreams *
                                        (SnapshotStream::kMaxUnsent + SnapshotStream::kPieceBytes));
  EXPECT_GE(calls, 2 * SnapshotStream::kMaxStreams);
  std::size_t refused = 0;
  for (const std::int32_t stream : streams) {
    const auto& headers = slow.answer(stream).headers;
    const auto code = headers.find("grpc-status");
    if (code != headers.end() && code->second == "8") ++refused;
  }
  EXPECT_EQ(refused, 100 - SnapshotStream::kMaxStreams);
  slow.reset(streams[0]);
  slow.request(wire::grpc_headers(kSnapshot), wire::grpc_frame(""));
  effects = {};
  session_->on_bytes(slow.take_output(), effects);
  EXPECT_EQ(effects.calls.size(), 1) << "there is room for another one";
}

TEST_F(MaintenanceTest, ASnapshotOfTheMemberAlone) {
  std::vector<bool> asked;
  answer_ = [&](const api::Request& request) -> api::Answer {
    asked.push_back(std::get<api::SnapshotRequest>(request.body).serializable);
    return api::Error{api::ErrorCode::kNoLeader, {}};
  };
  pb::SnapshotRequest request;
  call(kSnapshot, request);
  request.set_serializable(true);
  call(kSnapshot, request);
  pump();
  EXPECT_EQ(asked, (std::vector<bool>{false, true}));
}

TEST_F(MaintenanceTest, AnAlarmThatIsNoneIsRefused) {
  pb::AlarmRequest request;
  request.set_action(pb::AlarmRequest::ACTIVATE);
  const auto id = call("/etcdserverpb.Maintenance/Alarm", request);
  pump();
  EXPECT_EQ(status(id).first, "3");
}

TEST_F(MaintenanceTest, HashesAndLeadership) {
  answer_ = [](const api::Request& asked) -> api::Answer {
    if (std::holds_alternative<api::HashKvRequest>(asked.body)) {
      EXPECT_EQ(std::get<api::HashKvRequest>(asked.body).revision, 9);
      return api::HashKvResponse{.hash = 7, .compact_revision = -1};
    }
    EXPECT_EQ(std::get<api::MoveLeaderRequest>(asked.body).target, NodeId{3});
    return api::Error{api::ErrorCode::kBadTransferee, {}};
  };
  pb::HashKVRequest hash;
  hash.set_revision(9);
  const auto hashed = call("/etcdserverpb.Maintenance/HashKV", hash);
  pb::MoveLeaderRequest move;
  move.set_targetid(3);
  const auto moved = call("/etcdserverpb.Maintenance/MoveLeader", move);
  pump();
  EXPECT_EQ(messages<pb::HashKVResponse>(hashed).at(0).ShortDebugString(),
            "header { cluster_id: 11 member_id: 22 revision: 33 raft_term: 44 } hash: 7 "
            "compact_revision: -1");
  EXPECT_EQ(status(moved),
            std::pair(std::string("9"), std::string("etcdserver: bad leader transferee")));
}

TEST_F(MaintenanceTest, DowngradeSaysWhyNot) {
  const auto id = call("/etcdserverpb.Maintenance/Downgrade");
  pump();
  EXPECT_EQ(status(id).first, "12");
  EXPECT_EQ(status(id).second.find("conclave: not supported: "), 0);
}

// Sizes around a piece and around the sectors that etcdctl counts in.
TEST_F(MaintenanceTest, SnapshotIsTheFileAndItsChecksum) {
  constexpr std::size_t kPiece = SnapshotStream::kPieceBytes;
  for (const std::size_t size : {std::size_t{1}, std::size_t{511}, std::size_t{512}, kPiece - 1,
                                 kPiece, kPiece + 1, 5 * kPiece}) {
    Holder holder(size);
    answer_ = std::ref(holder);
    const auto id = call(kSnapshot);
    pump();
    const auto parts = messages<pb::SnapshotResponse>(id);
    EXPECT_EQ(status(id).first, "0");
    ASSERT_EQ(parts.size(), (size + kPiece - 1) / kPiece + 1);
    Bytes whole;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) whole += parts[i].blob();
    EXPECT_EQ(whole.size() % 512, 0);
    EXPECT_EQ(whole.substr(0, size), holder.file);
    EXPECT_EQ(whole.find_first_not_of('\0', size), Bytes::npos);
    std::size_t sent = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      sent += parts[i].blob().size();
      EXPECT_EQ(parts[i].remaining_bytes(), whole.size() - sent);
    }
    wire::Sha256 hash;
    hash.add(whole);
    EXPECT_EQ(parts.back().blob(), hash.finish());
  }
}

TEST_F(MaintenanceTest, SnapshotThatCannotBeMade) {
  answer_ = [](const api::Request&) -> api::Answer {
    return api::Error{api::ErrorCode::kSnapshotFailed, "no room"};
  };
  const auto id = call(kSnapshot);
  pump();
  EXPECT_EQ(status(id),
            std::pair(std::string("14"), std::string("conclave: the snapshot could not be written: "
                                                     "no room")));
}

TEST_F(MaintenanceTest, SnapshotThatGoesOnTheWay) {
  Holder holder(3 * SnapshotStream::kPieceBytes);
  holder.pieces_there = 2;
  answer_ = std::ref(holder);
  const auto id = call(kSnapshot);
  pump();
  EXPECT_EQ(messages<pb::SnapshotResponse>(id).size(), 2);
  EXPECT_EQ(status(id).first, "14");
}

// A connection that takes nothing: what is unsent stays within a bound, and goes on afterwards.
TEST_F(MaintenanceTest, SnapshotWaitsForTheClient) {
  Holder holder(100 * SnapshotStream::kPieceBytes);
  answer_ = std::ref(holder);
  const auto id = call(kSnapshot);
  pump(1);
  ASSERT_EQ(calls_.size(), 1);
  std::size_t unsent = 0;
  while (!calls_.empty()) {
    api::Session::Effects effects;
    effects.unsent = unsent;
    const auto item = std::move(calls_.front());
    calls_.erase(calls_.begin());
    session_->on_response(item.id, {kHeader, answer_(item.request)}, effects);
    unsent += effects.send.size();
    EXPECT_TRUE(client_.receive(effects.send));
    for (auto& next : effects.calls) calls_.push_back(std::move(next));
  }
  EXPECT_LT(session_->held_bytes() + unsent, limits::kSendAheadBytes + limits::kMiB);
  EXPECT_LT(holder.pieces, 50);
  api::Session::Effects effects;
  session_->on_drained(effects);
  EXPECT_TRUE(client_.receive(effects.send));
  for (auto& next : effects.calls) calls_.push_back(std::move(next));
  pump();
  EXPECT_EQ(holder.pieces, 100);
  EXPECT_EQ(status(id).first, "0");
}

// Over HTTP/1.1 each line is a JSON object, and the announced length is that of all of them.
TEST(MaintenanceGateway, Snapshot) {
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{600}, std::size_t{3 * SnapshotStream::kPieceBytes + 5}}) {
    const auto session = make_session({}, "test");
    Holder holder(size);
    api::Session::Effects effects;
    session->on_bytes(
        "POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        effects);
    Bytes answer;
    while (!effects.calls.empty() || effects.send.size() > 0) {
      answer += std::exchange(effects.send, {});
      for (auto& item : std::exchange(effects.calls, {})) {
        session->on_response(item.id, {kHeader, holder(item.request)}, effects);
      }
    }
    const std::size_t body = answer.find("\r\n\r\n") + 4;
    EXPECT_NE(answer.find(fmt::format("Content-Length: {}\r\n", answer.size() - body)),
              Bytes::npos);
    EXPECT_EQ(std::count(answer.begin(), answer.end(), '\n') - 5,
              static_cast<std::ptrdiff_t>((size - 1) / SnapshotStream::kPieceBytes + 2));
    EXPECT_FALSE(effects.close);
  }
}

TEST(MaintenanceGateway, SnapshotThatGoesOnTheWayEndsTheConnection) {
  const auto session = make_session({}, "test");
  Holder holder(3 * SnapshotStream::kPieceBytes);
  holder.pieces_there = 1;
  api::Session::Effects effects;
  session->on_bytes(
      "POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", effects);
  while (!effects.calls.empty()) {
    for (auto& item : std::exchange(effects.calls, {})) {
      session->on_response(item.id, {kHeader, holder(item.request)}, effects);
    }
  }
  EXPECT_TRUE(effects.close);
}

}  // namespace
}  // namespace conclave::etcd
