// The client's messages, beside the server's: each reads what the other writes.

#include "frontends/zookeeper/client_messages.h"

#include <gtest/gtest.h>

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;

// Without its length, which must be true.
Bytes packet_of(const Bytes& out) {
  EXPECT_GE(out.size(), 4U);
  std::size_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(out[i]);
  EXPECT_EQ(length, out.size() - 4);
  return out.substr(4);
}

Request asked(Opcode opcode, BytesView path) {
  Bytes out;
  append_question(7, opcode, path, out);
  const auto request = decode_request(packet_of(out));
  EXPECT_TRUE(request.has_value());
  EXPECT_EQ(request->xid, 7);
  EXPECT_EQ(request->opcode, static_cast<std::int32_t>(opcode));
  return *request;
}

ClientAnswer answered(Opcode opcode, const decltype(zk::Reply::result)& result) {
  Bytes out;
  append_answer(asked(opcode, "/a"), {.code = zk::Code::kOk, .zxid = 9, .result = result}, out);
  const Bytes packet = packet_of(out);
  const auto answer = decode_answer(opcode, packet);
  EXPECT_TRUE(answer.has_value());
  EXPECT_EQ(answer->header.xid, 7);
  EXPECT_EQ(answer->header.zxid, 9);
  for (std::size_t size = 0; size < packet.size(); ++size) {
    EXPECT_FALSE(decode_answer(opcode, BytesView(packet).substr(0, size)).has_value()) << size;
  }
  return *answer;
}

const zk::Stat kStat{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

TEST(ClientMessages, ConnectingAndTheAnswer) {
  Bytes out;
  append(ConnectRequest{5, 30'000, 7, "0123456789abcdef", true}, out);
  const auto request = decode_connect(packet_of(out));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->last_zxid_seen, 5);
  EXPECT_EQ(request->timeout_ms, 30'000);
  EXPECT_EQ(request->session, 7);
  EXPECT_EQ(request->password, "0123456789abcdef");
  EXPECT_TRUE(request->has_read_only);
  out.clear();
  append(ConnectResponse{20'000, 77, "fedcba9876543210", true}, out);
  const Bytes packet = packet_of(out);
  const auto response = decode_connected(packet);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->timeout_ms, 20'000);
  EXPECT_EQ(response->session, 77);
  EXPECT_EQ(response->password, "fedcba9876543210");
  EXPECT_TRUE(response->has_read_only);
  EXPECT_FALSE(decode_connected(BytesView(packet).substr(0, packet.size() - 2)).has_value());
}

TEST(ClientMessages, WhoAsks) {
  Bytes out;
  append_auth("digest", "ann:pw", out);
  const auto request = decode_request(packet_of(out));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->xid, kAuthXid);
  const auto& auth = std::get<Auth>(request->what);
  EXPECT_EQ(auth.scheme, "digest");
  EXPECT_EQ(auth.credentials, "ann:pw");
}

TEST(ClientMessages, QuestionsLeaveNoWatch) {
  const auto read = [](Opcode opcode) { return std::get<Read>(asked(opcode, "/a").what); };
  EXPECT_EQ(std::get<zk::GetData>(read(Opcode::kGetData)).path, "/a");
  EXPECT_FALSE(std::get<zk::GetData>(read(Opcode::kGetData)).watch);
  EXPECT_FALSE(std::get<zk::Exists>(read(Opcode::kExists)).watch);
  EXPECT_FALSE(std::get<zk::GetChildren>(read(Opcode::kGetChildren2)).watch);
  EXPECT_EQ(std::get<zk::GetAcl>(read(Opcode::kGetAcl)).path, "/a");
  EXPECT_EQ(std::get<zk::CountChildren>(read(Opcode::kGetAllChildrenNumber)).path, "/a");
  const Request closing = asked(Opcode::kCloseSession, "");
  EXPECT_TRUE(std::holds_alternative<zk::CloseSession>(std::get<Write>(closing.what)));
}

TEST(ClientMessages, AnswersAreWhatTheServerSaid) {
  const zk::Data data{"x", kStat};
  EXPECT_EQ(std::get<zk::Data>(answered(Opcode::kGetData, data).what), data);
  const zk::Changed stat{kStat};
  EXPECT_EQ(std::get<zk::Changed>(answered(Opcode::kExists, stat).what), stat);
  const zk::Acls acls{{{31, {"world", "anyone"}}, {-1, {"digest", "a:b"}}}, kStat};
  EXPECT_EQ(std::get<zk::Acls>(answered(Opcode::kGetAcl, acls).what), acls);
  const zk::Names names{{"a", "b", ""}, kStat};
  EXPECT_EQ(std::get<zk::Names>(answered(Opcode::kGetChildren2, names).what), names);
  const zk::Count count{12};
  EXPECT_EQ(std::get<zk::Count>(answered(Opcode::kGetAllChildrenNumber, count).what), count);
}

TEST(ClientMessages, ARefusalHasNothingMore) {
  Bytes out;
  append_answer(3, 4, zk::Code::kNoAuth, out);
  const auto answer = decode_answer(Opcode::kGetData, packet_of(out));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->header.code, zk::Code::kNoAuth);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(answer->what));
}

}  // namespace
}  // namespace conclave::zookeeper
