// ZooKeeper's commands as bytes.

#include "store/zookeeper_codec.h"

#include <gtest/gtest.h>

#include "store/command_codec.h"
#include "store/replica.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;

std::string in_hex(BytesView bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

Bytes command_of(const zk::WriteRequest& write) {
  api::Request request;
  request.body = write;
  return encode_command({NodeId{2}, 0x1122334455667788, 5}, request);
}

// One of each.
std::vector<zk::WriteRequest> all_writes() {
  const std::vector<zk::Acl> acl{{31, {"world", "anyone"}}, {-1, {"digest", "a:b"}}};
  const zk::Caller caller{-7, 300, {{"ip", "1.2.3.4"}, {"digest", "a:b"}}};
  const zk::Create create{"/a", "data", acl, zk::Mode::kPersistentTtl, 500};
  std::vector<zk::WriteRequest> writes;
  const auto add = [&](auto op) { writes.push_back({caller, 1'700'000'000'000, std::move(op)}); };
  add(create);
  add(zk::Delete{"/a", 3});
  add(zk::DeleteContainer{"/a"});
  add(zk::SetData{"/a", "data", -1});
  add(zk::SetAcl{"/a", acl, INT32_MIN});
  add(zk::Check{"/a", 2});
  add(zk::Multi{{create, zk::Delete{"/a"}, zk::SetData{"/b", ""}, zk::Check{"/c", 0}}});
  add(zk::Multi{});
  add(zk::OpenSession{2'500, 4, 77, Bytes(16, 'p')});
  add(zk::Reconnect{77, Bytes(16, 'p')});
  add(zk::CloseSession{});
  add(create);
  writes.back().quotas = zk::Quotas::kEnforced;
  add(zk::Delete{"/a", 3});
  writes.back().quotas = zk::Quotas::kCounted;
  return writes;
}

// The example of docs/formats/commands.md.
TEST(ZooKeeperCodec, ACreateAsBytes) {
  const zk::WriteRequest write{
      {7, 1, {{"ip", "::1"}}}, 300, zk::Create{"/a", "x", {{31, {"world", "anyone"}}}}};
  EXPECT_EQ(in_hex(command_of(write)),
            "07"                // command version
            "0d"                // kind: ZooKeeper's
            "0200000000000000"  // member 2
            "8877665544332211"
            "05"              // call 5
            "00"              // nothing more of a request's head
            "07"              // session 7
            "01"              // generation 1
            "01"              // one id
            "026970033a3a31"  // "ip" "::1"
            "ac02"            // 300 ms
            "00"              // create
            "022f61"          // "/a"
            "0178"            // "x"
            "01"              // one rule
            "1f"              // everything
            "05776f726c6406616e796f6e65"
            "00"                      // persistent
            "ffffffffffffffffff01");  // no TTL
}

TEST(ZooKeeperCodec, ADeletionWithQuotasAsBytes) {
  zk::WriteRequest write{{7, 1, {}}, 300, zk::Delete{"/a", 3}};
  write.quotas = zk::Quotas::kEnforced;
  EXPECT_EQ(in_hex(command_of(write)),
            "080d02000000000000008877665544332211"
            "0500070100ac02"
            "02"  // enforced
            "01022f6103");
  Bytes other = command_of(write);
  other[25] = '\0';
  EXPECT_FALSE(is_valid_command(other)) << "an older build's, and not its version";
  other[25] = '\3';
  EXPECT_FALSE(is_valid_command(other));
}

TEST(ZooKeeperCodec, DecodesWhatWasEncoded) {
  for (const zk::WriteRequest& write : all_writes()) {
    const auto command = decode_command(command_of(write));
    ASSERT_TRUE(command.has_value()) << write.op.index();
    EXPECT_EQ(std::get<zk::WriteRequest>(command->body), write) << write.op.index();
  }
  const TouchSessions touched{{1, -2, 3}};
  const auto touch = decode_command(encode_command({}, touched));
  EXPECT_EQ(std::get<TouchSessions>(touch->body).sessions, touched.sessions);
  const ReapZnodes reaped{{"/a", "/b"}};
  const auto reap = decode_command(encode_command({}, reaped));
  EXPECT_EQ(std::get<ReapZnodes>(reap->body).paths, reaped.paths);
}

// A mode that a client made up is refused when it is applied, and must not look like damage.
TEST(ZooKeeperCodec, AnUnknownModeIsNone) {
  zk::Create create;
  create.mode = static_cast<zk::Mode>(0xff);
  const auto command = decode_command(command_of({{}, 0, create}));
  ASSERT_TRUE(command.has_value());
  const auto& op = std::get<zk::WriteRequest>(command->body).op;
  EXPECT_EQ(std::get<zk::Create>(op).mode, zk::Mode::kNone);
}

TEST(ZooKeeperCodec, EveryCutIsRefused) {
  std::vector<Bytes> commands{encode_command({}, TouchSessions{{1, 2}}),
                              encode_command({}, ReapZnodes{{"/a"}})};
  for (const zk::WriteRequest& write : all_writes()) commands.push_back(command_of(write));
  for (const Bytes& bytes : commands) {
    EXPECT_TRUE(is_valid_command(bytes));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(is_valid_command(BytesView(bytes).substr(0, size))) << in_hex(bytes) << size;
    }
    EXPECT_FALSE(is_valid_command(bytes + '\0'));
    Bytes other = bytes;
    other[0] = 6;
    EXPECT_FALSE(is_valid_command(other));
  }
}

TEST(ZooKeeperCodec, WhatCannotBeIsRefused) {
  const auto is_good = [](zk::OpenSession op) { return is_valid_command(command_of({{}, 0, op})); };
  EXPECT_TRUE(is_good({1, 1, 1, Bytes(16, 'p')}));
  EXPECT_FALSE(is_good({0, 1, 1, Bytes(16, 'p')}));
  EXPECT_FALSE(is_good({1, 0, 1, Bytes(16, 'p')}));
  EXPECT_FALSE(is_good({1, 1, 0, Bytes(16, 'p')}));
  EXPECT_FALSE(is_good({1, 1, 1, Bytes(15, 'p')}));
  EXPECT_FALSE(is_valid_command(command_of({{}, -1, zk::CloseSession{}})));
  EXPECT_FALSE(is_valid_command(command_of({{}, INT64_MAX, zk::CloseSession{}})));
  EXPECT_FALSE(is_valid_command(encode_command({}, TouchSessions{})));
  EXPECT_FALSE(is_valid_command(encode_command({}, ReapZnodes{})));
}

}  // namespace
}  // namespace conclave::store
