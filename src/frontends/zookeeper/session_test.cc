// A client's bytes into a session, and what the session asks and answers.

#include "frontends/zookeeper/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "base/zookeeper_limits.h"
#include "frontends/zookeeper/jute.h"
#include "frontends/zookeeper/messages.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Bytes packet(BytesView payload) {
  Bytes bytes;
  Writer(bytes).buffer(payload);
  return bytes;
}

Bytes connect_packet(std::int32_t timeout_ms, zk::SessionId session = 0, BytesView password = {},
                     zk::Zxid seen = 0, bool has_read_only = true) {
  Bytes payload;
  Writer writer(payload);
  writer.int32(0);
  writer.int64(seen);
  writer.int32(timeout_ms);
  writer.int64(session);
  writer.buffer(password.empty() ? BytesView("0123456789abcdef") : password);
  if (has_read_only) writer.boolean(false);
  return packet(payload);
}

// A request of any opcode; `write` adds the body.
template <class Body>
Bytes request_packet(std::int32_t xid, Opcode opcode, Body&& write) {
  Bytes payload;
  Writer writer(payload);
  writer.int32(xid);
  writer.int32(static_cast<std::int32_t>(opcode));
  write(writer);
  return packet(payload);
}

Bytes get_packet(std::int32_t xid, BytesView path) {
  return request_packet(xid, Opcode::kGetData, [path](Writer& writer) {
    writer.buffer(path);
    writer.boolean(false);
  });
}

Bytes set_packet(std::int32_t xid, BytesView path, BytesView data = {}) {
  return request_packet(xid, Opcode::kSetData, [&](Writer& writer) {
    writer.buffer(path);
    writer.buffer(data);
    writer.int32(-1);
  });
}

Bytes simple_packet(std::int32_t xid, Opcode opcode) {
  return request_packet(xid, opcode, [](Writer&) {});
}

Bytes reconfig_packet(std::int32_t xid, BytesView joining, BytesView leaving = {}) {
  return request_packet(xid, Opcode::kReconfig, [&](Writer& writer) {
    writer.buffer(joining);
    writer.buffer(leaving);
    writer.null();
    writer.int64(-1);
  });
}

Bytes auth_packet(BytesView scheme, BytesView credentials) {
  return request_packet(kAuthXid, Opcode::kAuth, [&](Writer& writer) {
    writer.int32(0);
    writer.buffer(scheme);
    writer.buffer(credentials);
  });
}

class ZooKeeperSessionTest : public ::testing::Test {
 protected:
  ZooKeeperSessionTest() {
    options_.connections = std::make_shared<Connections>();
    session_ = make_session(options_, "10.1.2.3:4567", {});
  }

  void receive(BytesView bytes) { session_->on_bytes(bytes, effects_); }
  void open() {
    receive(connect_packet(10'000));
    answer(take_call(), zk::Session{77, Bytes(16, 'p'), 10'000, 5});
    effects_.send.clear();
  }

  api::Session::Effects::Call take_call() {
    EXPECT_FALSE(effects_.calls.empty());
    auto first = std::move(effects_.calls.front());
    effects_.calls.erase(effects_.calls.begin());
    return first;
  }
  template <class Op>
  Op take_write() {
    return std::get<Op>(std::get<zk::WriteRequest>(take_call().request.body).op);
  }

  template <class Result>
  void answer(const api::Session::Effects::Call& call, Result result, zk::Zxid zxid = 9) {
    zk::Reply reply{.code = zk::Code::kOk, .zxid = zxid, .result = std::move(result)};
    session_->on_response(call.id, {{}, std::move(reply)}, effects_);
  }
  void refuse(const api::Session::Effects::Call& call, zk::Code code) {
    session_->on_response(call.id, {{}, zk::Reply{.code = code, .zxid = 9, .result = {}}},
                          effects_);
  }

  // The xids of what has been sent since, with their codes where those are not 0.
  std::vector<std::string> take_answers() {
    std::vector<std::string> xids;
    BytesView rest = effects_.send;
    while (!rest.empty()) {
      Reader reader(rest);
      const auto length = static_cast<std::size_t>(reader.int32());
      const std::int32_t xid = reader.int32();
      reader.int64();
      const std::int32_t code = reader.int32();
      EXPECT_TRUE(reader.ok());
      xids.push_back(std::to_string(xid) + (code == 0 ? "" : ":" + std::to_string(code)));
      rest.remove_prefix(4 + length);
    }
    effects_.send.clear();
    return xids;
  }

  SessionOptions options_;
  std::unique_ptr<api::Session> session_;
  api::Session::Effects effects_;
};

TEST_F(ZooKeeperSessionTest, ANewClientGetsASession) {
  receive(connect_packet(10'000));
  const auto call = take_call();
  const auto& write = std::get<zk::WriteRequest>(call.request.body);
  EXPECT_EQ(std::get<zk::OpenSession>(write.op).timeout_ms, 10'000);
  answer(call, zk::Session{77, Bytes(16, 'p'), 10'000, 5});
  Reader reader(effects_.send);
  EXPECT_EQ(reader.int32(), 37);
  EXPECT_EQ(reader.int32(), 0);
  EXPECT_EQ(reader.int32(), 10'000);
  EXPECT_EQ(reader.int64(), 77);
  EXPECT_EQ(reader.buffer(), Bytes(16, 'p'));
  EXPECT_FALSE(reader.boolean());
  EXPECT_EQ(reader.left(), 0);
  EXPECT_TRUE(reader.ok());
}

TEST_F(ZooKeeperSessionTest, AClientThatDoesNotKnowReadOnlyIsNotToldOfIt) {
  receive(connect_packet(10'000, 0, {}, 0, false));
  answer(take_call(), zk::Session{77, Bytes(16, 'p'), 10'000, 5});
  EXPECT_EQ(Reader(effects_.send).int32(), 36);
}

TEST_F(ZooKeeperSessionTest, ATimeoutIsFrom2To20Ticks) {
  receive(connect_packet(1));
  EXPECT_EQ(take_write<zk::OpenSession>().timeout_ms, 4'000);
  session_ = make_session(options_, "10.1.2.3:4567", {});
  receive(connect_packet(1'000'000));
  EXPECT_EQ(take_write<zk::OpenSession>().timeout_ms, 40'000);
}

TEST_F(ZooKeeperSessionTest, AClientComesBack) {
  receive(connect_packet(10'000, 77, "fedcba9876543210", 12));
  const auto write = take_write<zk::Reconnect>();
  EXPECT_EQ(write.last_zxid, 12);
  EXPECT_EQ(write.id, 77);
  EXPECT_EQ(write.password, "fedcba9876543210");
}

TEST_F(ZooKeeperSessionTest, WhoseSessionHasExpiredIsToldSo) {
  receive(connect_packet(10'000, 77));
  refuse(take_call(), zk::Code::kSessionExpired);
  Reader reader(effects_.send);
  reader.int32();
  reader.int32();
  EXPECT_EQ(reader.int32(), 0) << "the timeout";
  EXPECT_EQ(reader.int64(), 0);
  EXPECT_EQ(reader.buffer(), Bytes(16, '\0'));
  EXPECT_TRUE(reader.ok());
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, WhoComesBackToAMemberWithoutSpaceIsNotToldThatHisSessionHasExpired) {
  receive(connect_packet(10'000, 77));
  refuse(take_call(), zk::Code::kQuotaExceeded);
  EXPECT_EQ(effects_.send, "");
  EXPECT_TRUE(effects_.close);
}

// What a client has seen last is what its newest answer says.
TEST_F(ZooKeeperSessionTest, ARefusalForLackOfSpaceIsOfNoState) {
  open();
  receive(set_packet(1, "/a") + set_packet(2, "/b"));
  const auto first = take_call();
  refuse(take_call(), zk::Code::kQuotaExceeded);
  EXPECT_EQ(effects_.send, "");
  answer(first, zk::Changed{}, 12);
  Reader reader(effects_.send);
  const auto size = static_cast<std::size_t>(reader.int32());
  reader = Reader(BytesView(effects_.send).substr(4 + size));
  reader.int32();
  EXPECT_EQ(reader.int32(), 2);
  EXPECT_EQ(reader.int64(), kNoZxid);
  EXPECT_EQ(reader.int32(), static_cast<std::int32_t>(zk::Code::kQuotaExceeded));
}

TEST_F(ZooKeeperSessionTest, WhoHasSeenWhatIsNotHereComesFromAnotherCluster) {
  receive(connect_packet(10'000, 0, {}, 1'000));
  answer(take_call(), zk::Session{77, Bytes(16, 'p'), 10'000, 5}, 999);
  EXPECT_TRUE(effects_.close);
  EXPECT_THAT(effects_.close_reason, HasSubstr("another cluster"));
  EXPECT_EQ(effects_.send, "");
}

TEST_F(ZooKeeperSessionTest, SoDoesWhoComesBackAndHasSeenMoreThanThereIs) {
  receive(connect_packet(10'000, 77, {}, 1'000));
  refuse(take_call(), zk::Code::kBadArguments);
  EXPECT_TRUE(effects_.close);
  EXPECT_THAT(effects_.close_reason, HasSubstr("another cluster"));
  EXPECT_EQ(effects_.send, "");
}

TEST_F(ZooKeeperSessionTest, WhatIsSentWithTheFirstPacketWaitsForTheSession) {
  receive(connect_packet(10'000) + auth_packet("digest", "bob:pw") + get_packet(1, "/a"));
  const auto connect = take_call();
  EXPECT_TRUE(effects_.calls.empty());
  EXPECT_FALSE(session_->takes_bytes());
  answer(connect, zk::Session{77, Bytes(16, 'p'), 10'000, 5});
  const auto identified = take_call();
  EXPECT_EQ(std::get<zk::PingRequest>(identified.request.body).caller.ids.size(), 2u);
  effects_.send.clear();
  answer(identified, std::monostate());
  EXPECT_THAT(take_answers(), ElementsAre()) << "the client has its answer to auth";
  const auto read = take_call();
  const zk::Caller& caller = std::get<zk::ReadRequest>(read.request.body).caller;
  EXPECT_EQ(caller.session, 77);
  EXPECT_EQ(caller.generation, 5);
  EXPECT_THAT(caller.ids, ElementsAre(zk::Id{"ip", "10.1.2.3"},
                                      zk::Id{"digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM="}));
}

TEST_F(ZooKeeperSessionTest, AnyWayOfCuttingTheBytesIsTheSame) {
  const Bytes bytes = connect_packet(10'000) + set_packet(1, "/a", "x") + get_packet(2, "/b");
  for (std::size_t at = 0; at <= bytes.size(); ++at) {
    session_ = make_session(options_, "10.1.2.3:4567", {});
    effects_ = {};
    receive(BytesView(bytes).substr(0, at));
    receive(BytesView(bytes).substr(at));
    answer(take_call(), zk::Session{77, Bytes(16, 'p'), 10'000, 5});
    EXPECT_EQ(take_write<zk::SetData>().path, "/a") << at;
  }
}

TEST_F(ZooKeeperSessionTest, WritesGoTogetherAndAReadWaitsForThem) {
  open();
  receive(set_packet(1, "/a") + set_packet(2, "/a") + get_packet(3, "/a") + get_packet(4, "/a") +
          set_packet(5, "/a"));
  ASSERT_EQ(effects_.calls.size(), 2);
  const auto first = take_call();
  const auto second = take_call();
  answer(first, zk::Changed{});
  EXPECT_THAT(take_answers(), ElementsAre("1"));
  EXPECT_TRUE(effects_.calls.empty());
  refuse(second, zk::Code::kNoNode);
  EXPECT_THAT(take_answers(), ElementsAre("2:-101"));
  ASSERT_EQ(effects_.calls.size(), 2) << "both reads";
  const auto third = take_call();
  const auto fourth = take_call();
  answer(third, zk::Data{});
  EXPECT_TRUE(effects_.calls.empty()) << "the write would be seen by the second read";
  answer(fourth, zk::Data{});
  EXPECT_EQ(effects_.calls.size(), 1);
  EXPECT_THAT(take_answers(), ElementsAre("3", "4"));
}

TEST_F(ZooKeeperSessionTest, AReconfigIsAskedForAlone) {
  options_.reconfig = true;
  session_ = make_session(options_, "10.1.2.3:4567", {});
  open();
  receive(set_packet(1, "/a") + reconfig_packet(2, {}, "3") + reconfig_packet(3, {}, "4") +
          set_packet(4, "/a") + get_packet(5, "/a"));
  ASSERT_EQ(effects_.calls.size(), 1);
  answer(take_call(), zk::Changed{});
  for (const std::uint64_t leaves : {3u, 4u}) {
    ASSERT_EQ(effects_.calls.size(), 1);
    const auto call = take_call();
    const auto& asked = std::get<zk::ReconfigRequest>(call.request.body);
    EXPECT_THAT(asked.leaving, ElementsAre(NodeId{leaves}));
    EXPECT_EQ(asked.caller.session, 77);
    EXPECT_EQ(asked.caller.generation, 5);
    EXPECT_THAT(asked.caller.ids, ElementsAre(zk::Id{"ip", "10.1.2.3"}));
    answer(call, zk::Configured{"version=1", {}});
  }
  EXPECT_THAT(take_answers(), ElementsAre("1", "2", "3"));
  ASSERT_EQ(effects_.calls.size(), 1);
  answer(take_call(), zk::Changed{});
  ASSERT_EQ(effects_.calls.size(), 1);
  receive(reconfig_packet(6, {}, "5"));
  EXPECT_EQ(effects_.calls.size(), 1) << "the read may not see what it does";
  answer(take_call(), zk::Data{});
  EXPECT_EQ(effects_.calls.size(), 1);
}

TEST_F(ZooKeeperSessionTest, TheAnswerToAReconfigIsANodesDataAndStat) {
  options_.reconfig = true;
  session_ = make_session(options_, "10.1.2.3:4567", {});
  open();
  receive(reconfig_packet(2, "server.4=h:1:2;3"));
  zk::Stat stat;
  stat.mzxid = 12;
  answer(take_call(), zk::Configured{"version=c", stat}, 12);
  Reader reader(effects_.send);
  reader.int32();
  EXPECT_EQ(reader.int32(), 2);
  EXPECT_EQ(reader.int64(), 12);
  EXPECT_EQ(reader.int32(), 0);
  EXPECT_EQ(reader.buffer(), "version=c");
  reader.int64();
  EXPECT_EQ(reader.int64(), 12) << "mzxid";
  EXPECT_EQ(reader.left(), 52);
}

TEST_F(ZooKeeperSessionTest, AReconfigIsRefusedUnlessItIsAllowed) {
  open();
  receive(reconfig_packet(2, "nonsense") + simple_packet(3, Opcode::kReconfig));
  EXPECT_THAT(take_answers(), ElementsAre("2:-123", "3:-5"));
  options_.reconfig = true;
  session_ = make_session(options_, "10.1.2.3:4567", {});
  open();
  receive(reconfig_packet(2, "nonsense") + reconfig_packet(3, {}, "x"));
  EXPECT_THAT(take_answers(), ElementsAre("2:-8", "3:-5"));
  EXPECT_THAT(effects_.calls, IsEmpty());
  EXPECT_FALSE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, AnswersLeaveInOrder) {
  open();
  receive(get_packet(1, "/a") + get_packet(2, "/a") + simple_packet(3, Opcode::kWhoAmI));
  const auto first = take_call();
  const auto second = take_call();
  answer(second, zk::Data{"abc", {}});
  EXPECT_THAT(take_answers(), IsEmpty());
  EXPECT_GT(session_->held_bytes(), 0);
  answer(first, zk::Data{});
  EXPECT_THAT(take_answers(), ElementsAre("1", "2", "3"));
  EXPECT_EQ(session_->held_bytes(), 0);
}

TEST_F(ZooKeeperSessionTest, PingsAndAuthAreAnsweredOutOfOrder) {
  open();
  receive(set_packet(1, "/a") + simple_packet(kPingXid, Opcode::kPing) +
          auth_packet("digest", "a:b"));
  EXPECT_THAT(take_answers(), ElementsAre("-4"));
  take_call();
  answer(take_call(), std::monostate{});
  EXPECT_THAT(take_answers(), ElementsAre("-2"));
}

// The member is told of an identity, and nobody waits for its answer.
TEST_F(ZooKeeperSessionTest, WhatAuthTellsTheMemberMayFailAndAPingMayNot) {
  open();
  const auto fail = [&](const api::Session::Effects::Call& call) {
    session_->on_response(call.id, {{}, api::Error{api::ErrorCode::kTimeout, {}}}, effects_);
  };
  receive(auth_packet("digest", "a:b"));
  EXPECT_THAT(take_answers(), ElementsAre("-4"));
  fail(take_call());
  EXPECT_FALSE(effects_.close);
  receive(simple_packet(kPingXid, Opcode::kPing));
  answer(take_call(), std::monostate{});
  EXPECT_THAT(take_answers(), ElementsAre("-2"));
  receive(simple_packet(kPingXid, Opcode::kPing));
  fail(take_call());
  EXPECT_TRUE(effects_.close);
  EXPECT_THAT(effects_.close_reason, HasSubstr("no answer in time"));
  EXPECT_THAT(take_answers(), IsEmpty());
}

// Whichever question of the connection brings it to light.
TEST_F(ZooKeeperSessionTest, ASessionThatIsOverEndsItsConnection) {
  for (const Bytes& asked : {auth_packet("digest", "a:b"), simple_packet(kPingXid, Opcode::kPing),
                             set_packet(1, "/a"), get_packet(1, "/a")}) {
    for (const auto& [code, reason] : {std::pair{zk::Code::kSessionMoved, "another connection"},
                                       {zk::Code::kSessionExpired, "has expired"}}) {
      session_ = make_session(options_, "10.1.2.3:4567", {});
      effects_ = {};
      open();
      receive(asked);
      effects_.send.clear();  // auth is answered by the connection itself
      refuse(take_call(), code);
      EXPECT_TRUE(effects_.close);
      EXPECT_THAT(effects_.close_reason, HasSubstr(reason));
      EXPECT_THAT(take_answers(), IsEmpty());
    }
  }
}

TEST_F(ZooKeeperSessionTest, WhoCannotProveItIsToldSoAndGoes) {
  open();
  receive(auth_packet("kerberos", "x") + get_packet(1, "/a"));
  EXPECT_THAT(take_answers(), ElementsAre("-4:-115"));
  EXPECT_TRUE(effects_.close);
  EXPECT_TRUE(effects_.calls.empty());
}

TEST_F(ZooKeeperSessionTest, ACertificateIsAnIdentity) {
  session_ = make_session(options_, "[::1]:4567", {.common_name = "alice"});
  open();
  receive(auth_packet("x509", "") + get_packet(1, "/a"));
  EXPECT_THAT(take_answers(), ElementsAre("-4"));
  const auto call = take_call();
  EXPECT_THAT(std::get<zk::ReadRequest>(call.request.body).caller.ids,
              ElementsAre(zk::Id{"ip", "::1"}, zk::Id{"x509", "CN=alice"}));
}

TEST_F(ZooKeeperSessionTest, TheSuperUserIsWhoeverHasHisPassword) {
  options_.super_digest = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";
  session_ = make_session(options_, "10.1.2.3:4567", {});
  open();
  receive(auth_packet("digest", "bob:pw2") + auth_packet("digest", "ann:pw"));
  effects_.calls.clear();
  receive(auth_packet("digest", "bob:pw") + get_packet(1, "/a"));
  take_call();
  const auto call = take_call();
  const auto& ids = std::get<zk::ReadRequest>(call.request.body).caller.ids;
  ASSERT_EQ(ids.size(), 5u);
  EXPECT_EQ(ids[3], (zk::Id{"super", ""}));
  EXPECT_EQ(ids[4], (zk::Id{"digest", options_.super_digest}));
}

TEST_F(ZooKeeperSessionTest, ConnectionsOfOneAddressAreBounded) {
  options_.max_per_address = 2;
  session_ = make_session(options_, "10.1.2.3:1", {});
  auto second = make_session(options_, "10.1.2.3:2", {});
  const auto refused = make_session(options_, "[::ffff:10.1.2.3]:3", {});
  const auto other = make_session(options_, "10.1.2.4:1", {});
  api::Session::Effects effects;
  other->on_bytes(connect_packet(10'000), effects);
  EXPECT_FALSE(effects.close);
  refused->on_bytes(connect_packet(10'000), effects);
  EXPECT_TRUE(effects.close);
  EXPECT_EQ(effects.close_reason, "2 connections of its address are open");
  EXPECT_EQ(effects.calls.size(), 1u) << "the other one's";
  second.reset();
  const auto third = make_session(options_, "10.1.2.3:4", {});
  effects = {};
  third->on_bytes(connect_packet(10'000), effects);
  EXPECT_FALSE(effects.close);
  const auto quiet = make_session(options_, "10.1.2.3:5", {});
  effects = {};
  quiet->on_tick(Instant{1}, effects);
  EXPECT_TRUE(effects.close);
}

TEST_F(ZooKeeperSessionTest, WhoSaysTooMuchOfWhoItIsGoes) {
  open();
  for (int i = 0; i < 20 && !effects_.close; ++i) {
    receive(auth_packet("digest", std::to_string(i) + Bytes(500, 'u') + ":pw"));
  }
  EXPECT_TRUE(effects_.close);
  EXPECT_LT(take_answers().size(), 10);
}

TEST_F(ZooKeeperSessionTest, WhatAClientSaysIsShortAndInOneLineInTheLog) {
  open();
  receive(auth_packet("x\"\n2026 [info]" + Bytes(100'000, 'y'), ""));
  EXPECT_TRUE(effects_.close);
  EXPECT_LT(effects_.close_reason.size(), 100);
  EXPECT_THAT(effects_.close_reason, HasSubstr("x??2026 [info]"));
}

TEST_F(ZooKeeperSessionTest, AnAddressOfIPv4IsOneHoweverItCame) {
  session_ = make_session(options_, "[::ffff:10.1.2.3]:4567", {});
  open();
  receive(get_packet(1, "/a"));
  EXPECT_THAT(std::get<zk::ReadRequest>(take_call().request.body).caller.ids,
              ElementsAre(zk::Id{"ip", "10.1.2.3"}));
}

TEST_F(ZooKeeperSessionTest, APasswordOfAnotherLengthIsWrong) {
  receive(connect_packet(10'000, 77, "short"));
  EXPECT_TRUE(effects_.calls.empty());
  EXPECT_EQ(effects_.send.size(), 4 + 37);
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, TheFirstPacketIsAShortOne) {
  Bytes bytes;
  Writer(bytes).int32(limits::kMaxZooKeeperConnectBytes + 1);
  receive(bytes);
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, WhoDoesNotTakeAnswersIsNotBlamedForAHalfPacket) {
  open();
  receive(get_packet(1, "/a").substr(0, 10));
  session_->on_tick(Instant{1'000}, effects_);
  effects_.unsent = 1;
  session_->on_tick(Instant{1'000} + milliseconds(limits::kClientIdleHeaderMs), effects_);
  EXPECT_FALSE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, EventsLeaveAtOnce) {
  open();
  receive(set_packet(1, "/a"));
  const auto call = take_call();
  session_->on_zookeeper(zk::Event{zk::EventType::kDataChanged, "/a", 12}, effects_);
  answer(call, zk::Changed{}, 12);
  EXPECT_THAT(take_answers(), ElementsAre("-1", "1"));
}

TEST_F(ZooKeeperSessionTest, WhoDoesNotTakeItsEventsIsCutOff) {
  open();
  effects_.unsent = limits::kMaxUnsentBytes + 1;
  session_->on_zookeeper(zk::Event{zk::EventType::kDataChanged, "/a", 12}, effects_);
  EXPECT_TRUE(effects_.close);
  EXPECT_EQ(effects_.send, "");
}

TEST_F(ZooKeeperSessionTest, AConnectionEndsWithItsSession) {
  open();
  session_->on_zookeeper(zk::ConnectionOver{zk::ConnectionOver::Why::kSessionMoved}, effects_);
  EXPECT_TRUE(effects_.close);
  EXPECT_THAT(effects_.close_reason, HasSubstr("another connection"));
}

TEST_F(ZooKeeperSessionTest, ARequestThatCannotBeAnsweredEndsTheConnection) {
  open();
  receive(set_packet(1, "/a") + set_packet(2, "/a"));
  session_->on_response(take_call().id, {{}, api::Error{api::ErrorCode::kTimeout, {}}}, effects_);
  EXPECT_TRUE(effects_.close);
  EXPECT_THAT(take_answers(), IsEmpty());
}

TEST_F(ZooKeeperSessionTest, AnUnknownOpcodeIsTheLast) {
  open();
  receive(set_packet(1, "/a") + simple_packet(2, static_cast<Opcode>(999)) + get_packet(3, "/a"));
  ASSERT_EQ(effects_.calls.size(), 1);
  EXPECT_FALSE(effects_.close);
  EXPECT_FALSE(session_->takes_bytes());
  answer(take_call(), zk::Changed{});
  EXPECT_THAT(take_answers(), ElementsAre("1", "2:-6"));
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, WhatCannotBeReadIsRefusedAndTheConnectionGoesOn) {
  open();
  receive(simple_packet(1, Opcode::kCreate) + get_packet(2, "/a"));
  EXPECT_THAT(take_answers(), ElementsAre("1:-5"));
  EXPECT_EQ(effects_.calls.size(), 1);
  EXPECT_FALSE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, AClosedSessionsConnectionIsClosed) {
  open();
  receive(simple_packet(1, Opcode::kCloseSession) + get_packet(2, "/a"));
  const auto call = take_call();
  EXPECT_TRUE(
      std::holds_alternative<zk::CloseSession>(std::get<zk::WriteRequest>(call.request.body).op));
  EXPECT_TRUE(effects_.calls.empty());
  answer(call, std::monostate{});
  EXPECT_THAT(take_answers(), ElementsAre("1"));
  EXPECT_TRUE(effects_.close);
  EXPECT_EQ(effects_.close_reason, "");
}

TEST_F(ZooKeeperSessionTest, LengthsOutOfRangeEndTheConnection) {
  for (const std::int32_t length : {-1, -2'000'000'000, 0x100000, 0x7fffffff}) {
    session_ = make_session(options_, "10.1.2.3:4567", {});
    effects_ = {};
    open();
    Bytes bytes;
    Writer(bytes).int32(length);
    receive(bytes + "abc");
    EXPECT_TRUE(effects_.close) << length;
    EXPECT_THAT(effects_.close_reason, HasSubstr("a packet of"));
  }
}

TEST_F(ZooKeeperSessionTest, OtherProtocolsAreNamed) {
  receive("\x16\x03\x01\x02\x01");
  EXPECT_TRUE(effects_.close);
  EXPECT_THAT(effects_.close_reason, HasSubstr("TLS"));
  session_ = make_session(options_, "10.1.2.3:4567", {});
  effects_ = {};
  receive("GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(effects_.close);
  EXPECT_THAT(effects_.close_reason, HasSubstr("does not speak"));
}

TEST_F(ZooKeeperSessionTest, HalfAPacketIsWaitedForAndNotForever) {
  open();
  receive(get_packet(1, "/a").substr(0, 10));
  session_->on_tick(Instant{1'000}, effects_);
  EXPECT_FALSE(effects_.close);
  session_->on_tick(Instant{1'000} + milliseconds(limits::kClientIdleHeaderMs), effects_);
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, WhoSaysNothingAtFirstIsCutOffAndWhoHasASessionIsNot) {
  session_->on_tick(Instant{1'000}, effects_);
  session_->on_tick(Instant{1'000} + milliseconds(limits::kClientIdleHeaderMs), effects_);
  EXPECT_TRUE(effects_.close);
  session_ = make_session(options_, "10.1.2.3:4567", {});
  effects_ = {};
  open();
  session_->on_tick(Instant{1'000}, effects_);
  session_->on_tick(Instant{1'000} + seconds(3'600), effects_);
  EXPECT_FALSE(effects_.close) << "its session will end, and it with that";
}

TEST_F(ZooKeeperSessionTest, NoMoreIsTakenThanThereMayBeUnderWay) {
  open();
  for (std::size_t i = 0; i < limits::kMaxZooKeeperRequests; ++i) {
    EXPECT_TRUE(session_->takes_bytes());
    receive(set_packet(static_cast<std::int32_t>(i), "/a"));
  }
  EXPECT_FALSE(session_->takes_bytes());
  receive(set_packet(1'000'000, "/last"));
  EXPECT_EQ(effects_.calls.size(), limits::kMaxZooKeeperRequests);
  answer(take_call(), zk::Changed{});
  EXPECT_EQ(effects_.calls.size(), limits::kMaxZooKeeperRequests);
  EXPECT_FALSE(session_->takes_bytes());
  answer(take_call(), zk::Changed{});
  EXPECT_TRUE(session_->takes_bytes());
}

TEST_F(ZooKeeperSessionTest, LargeRequestsAreLimitedByTheirBytes) {
  open();
  const Bytes data(1'000'000, 'x');
  for (int i = 0; i < 9; ++i) receive(set_packet(i, "/a", data));
  EXPECT_FALSE(session_->takes_bytes());
  EXPECT_EQ(effects_.calls.size(), 9);
}

TEST_F(ZooKeeperSessionTest, AMultisFailureIsInItsParts) {
  open();
  receive(request_packet(1, Opcode::kMulti, [](Writer& writer) {
    writer.int32(static_cast<std::int32_t>(Opcode::kCheck));
    writer.boolean(false);
    writer.int32(-1);
    writer.buffer("/a");
    writer.int32(3);
    writer.int32(-1);
    writer.boolean(true);
    writer.int32(-1);
  }));
  const auto call = take_call();
  const auto& multi =
      std::get<zk::Multi>(std::get<zk::WriteRequest>(call.request.body).op).operations;
  ASSERT_EQ(multi.size(), 1);
  EXPECT_EQ(std::get<zk::Check>(multi[0]), (zk::Check{"/a", 3}));
  answer(call, zk::Results{{{zk::Code::kBadVersion, {}}}});
  Reader reader(effects_.send);
  reader.int32();
  EXPECT_EQ(reader.int32(), 1);
  reader.int64();
  EXPECT_EQ(reader.int32(), 0) << "of the multi itself";
  EXPECT_EQ(reader.int32(), -1);
  EXPECT_FALSE(reader.boolean());
  EXPECT_EQ(reader.int32(), -103);
  EXPECT_EQ(reader.int32(), -103);
  EXPECT_EQ(reader.int32(), -1);
  EXPECT_TRUE(reader.boolean());
  EXPECT_EQ(reader.int32(), -1);
  EXPECT_EQ(reader.left(), 0);
  EXPECT_TRUE(reader.ok());
}

TEST_F(ZooKeeperSessionTest, AStoppingMemberAnswersWhatItWasAsked) {
  open();
  receive(set_packet(1, "/a"));
  session_->on_shutdown(effects_);
  EXPECT_FALSE(effects_.close);
  answer(take_call(), zk::Changed{});
  EXPECT_THAT(take_answers(), ElementsAre("1"));
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, ReadsOfTheMembersOwnStateIfThatIsWanted) {
  options_.local_reads = true;
  session_ = make_session(options_, "10.1.2.3:4567", {});
  open();
  receive(get_packet(1, "/a"));
  EXPECT_TRUE(std::get<zk::ReadRequest>(take_call().request.body).local);
  receive(request_packet(2, Opcode::kSync, [](Writer& writer) { writer.buffer("/a"); }));
  EXPECT_FALSE(std::get<zk::ReadRequest>(take_call().request.body).local) << "that is its point";
}

TEST_F(ZooKeeperSessionTest, AWordIsAnsweredAndTheConnectionClosed) {
  receive("ruok");
  EXPECT_EQ(effects_.send, "imok");
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, AMemberWithoutALeaderSaysThatItDoesNotServe) {
  receive("srvr");
  for (int question = 0; question < 3; ++question) {
    api::Answer told = zk::Reply{};
    if (question == 0) told = api::StatusResponse{};
    if (question == 1) told = api::MemberListResponse{};
    session_->on_response(take_call().id, {{}, std::move(told)}, effects_);
  }
  EXPECT_EQ(effects_.send, "This ZooKeeper instance is not currently serving requests\n");
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, AWordThatIsNotAllowedIsRefused) {
  receive("dump\n");
  EXPECT_EQ(effects_.send, "dump is not executed because it is not in the whitelist.\n");
  EXPECT_TRUE(effects_.close);
}

TEST_F(ZooKeeperSessionTest, MonitorTellsWhatItWasTold) {
  open();
  const auto watcher = make_session(options_, "10.9.9.9:1", {});
  effects_ = {};
  watcher->on_bytes("mn", effects_);
  watcher->on_bytes("tr", effects_);
  const auto tell = [&](api::Answer answer) {
    watcher->on_response(take_call().id, {{}, std::move(answer)}, effects_);
  };
  api::StatusResponse status;
  status.role = "leader";
  status.leader = NodeId{1};
  status.peers = {{NodeId{2}, LogIndex{5}, "replicate", true},
                  {NodeId{3}, LogIndex{1}, "probe", false}};
  tell(status);
  tell(api::MemberListResponse{std::vector<api::Member>(3)});
  tell(zk::Reply{zk::Code::kOk, 9, zk::Counts{.nodes = 12, .ephemerals = 3, .watches = 4}});
  for (const char* line :
       {"zk_server_state\tleader\n", "zk_znode_count\t12\n", "zk_ephemerals_count\t3\n",
        "zk_watch_count\t4\n", "zk_num_alive_connections\t2\n", "zk_synced_followers\t1\n",
        "zk_packets_received\t1\n", "zk_quorum_size\t3\n"}) {
    EXPECT_THAT(effects_.send, HasSubstr(line));
  }
  EXPECT_TRUE(effects_.close);
}

}  // namespace
}  // namespace conclave::zookeeper
