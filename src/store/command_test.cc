// Commands and batches as bytes. What a decoder must survive is command_fuzz.cc's subject.

#include <gtest/gtest.h>

#include "base/limits.h"
#include "store/command_codec.h"
#include "store/replica.h"
#include "store/request_codec.h"

namespace conclave::store {
namespace {

std::string hex(BytesView bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

TEST(Command, AnEntryTellsOfDataDirectories) {
  const auto publish = [](std::uint64_t id, std::uint64_t directory) {
    api::Member member{
        .id = NodeId{id}, .name = "m", .peer_urls = {}, .client_urls = {}, .is_learner = false};
    return encode_command({NodeId{id}, 1, 1}, PublishMember{std::move(member), directory});
  };
  BatchEncoder batch;
  batch.add(encode_command({NodeId{2}, 1, 5}, parse_request("put key value")));
  batch.add(publish(1, 0));
  batch.add(publish(2, 7));
  batch.add(publish(3, 8));
  const Bytes entry = batch.finish(Epoch{3}, Stamp{1000});
  using Told = std::vector<std::pair<NodeId, std::uint64_t>>;
  EXPECT_EQ(told_directories(entry), (Told{{NodeId{2}, 7}, {NodeId{3}, 8}}));
  EXPECT_TRUE(told_directories("").empty());
  EXPECT_TRUE(told_directories(entry.substr(0, entry.size() / 3)).empty());
}

TEST(Command, AWitnessKeepsWhatIsAboutMembers) {
  const Origin origin{NodeId{2}, 1, 5};
  const Bytes publish = encode_command(
      origin,
      PublishMember{api::Member{.id = NodeId{2}, .name = "m", .peer_urls = {}, .client_urls = {}},
                    7});
  MemberChange removal;
  removal.kind = MemberChange::Kind::kRemove;
  removal.id = NodeId{3};
  BatchEncoder batch;
  batch.add(encode_command(origin, parse_request("put key value")));
  batch.add(publish);
  batch.add(encode_command(origin, CheckHash{LogIndex{5}, 6}));
  batch.add(encode_command(origin, SetAlarm{NodeId{2}, Alarm::kNoSpace, true}));
  batch.add(encode_command(origin, removal));
  const Bytes kept = witnessed_part(batch.finish(Epoch{3}, Stamp{1000}));
  BatchEncoder expected;
  expected.add(publish);
  expected.add(encode_command(origin, removal));
  EXPECT_EQ(kept, expected.finish(Epoch{3}, Stamp{1000}));
  EXPECT_EQ(witnessed_part(kept), kept);
}

TEST(Command, OfOtherBatchesAWitnessKeepsTheHeader) {
  BatchEncoder batch;
  batch.add(encode_command({NodeId{2}, 1, 5}, parse_request("put key value")));
  const Bytes entry = batch.finish(Epoch{3}, Stamp{1000});
  const Bytes kept = witnessed_part(entry);
  EXPECT_EQ(kept, entry.substr(0, 17));
  EXPECT_EQ(decode_batch_header(kept)->stamp, Stamp{1000});
  EXPECT_EQ(witnessed_part("no batch"), "");
  EXPECT_EQ(witnessed_part(entry.substr(0, entry.size() - 1)), "");
}

// The example of docs/formats/commands.md.
TEST(Command, APutAsBytes) {
  api::Request request = parse_request("put key value prev");
  request.id = api::RequestId{"app", 300};
  const Bytes command = encode_command({NodeId{2}, 0x1122334455667788, 5}, request);
  EXPECT_EQ(hex(command),
            "01"
            "01"
            "0200000000000000"
            "8877665544332211"
            "05"
            "01"
            "03617070"
            "ac02"
            "01"
            "036b6579"
            "0576616c7565");
  BatchEncoder batch;
  EXPECT_TRUE(batch.empty());
  batch.add(command);
  EXPECT_FALSE(batch.empty());
  EXPECT_EQ(hex(batch.finish(Epoch{3}, Stamp{1000})),
            "01"
            "0300000000000000"
            "e803000000000000"
            "25" +
                hex(command));
  EXPECT_TRUE(batch.empty());
}

// Of conclave.v1: the kind and what stands behind the head that all commands have.
TEST(Command, NativeRequestsAsBytes) {
  const Origin origin{NodeId{1}, 2, 3};
  const auto bytes_of = [&](std::string_view line) {
    return hex(encode_command(origin, parse_request(line)));
  };
  const std::string put = bytes_of("put k v");
  for (const auto& [line, expected] : {
           std::pair{"acquire l 7 of=3 owner=o try", "08 00016c07016f020301"},
           std::pair{"release l/7 9", "09 00036c2f37090000"},
           std::pair{"enter b 7 2", "0a 0001620702"},
           std::pair{"leave b 7", "0b 0001620700"},
       }) {
    const std::string bytes = bytes_of(line);
    EXPECT_EQ(bytes.substr(0, 2), "05");
    EXPECT_EQ(bytes.substr(4, 34), put.substr(4, 34)) << "from whom";
    EXPECT_EQ(bytes.substr(2, 2) + " " + bytes.substr(38), expected) << line;
  }
}

TEST(Command, DecodesWhatWasEncoded) {
  const Origin origin{NodeId{2}, 99, 1u << 20};
  const Bytes bytes = encode_command(origin, parse_request("put k v lease=7 prev ignore_lease"));
  const Result<Command> put = decode_command(bytes);
  ASSERT_TRUE(put.has_value());
  EXPECT_EQ(put->origin, origin);
  EXPECT_FALSE(put->id.has_value());
  const PutOp& op = std::get<PutOp>(put->body);
  EXPECT_EQ(op.key, "k");
  EXPECT_EQ(op.value, "v");
  EXPECT_EQ(op.lease, 7);
  EXPECT_TRUE(op.prev_kv);
  EXPECT_FALSE(op.ignore_value);
  EXPECT_TRUE(op.ignore_lease);

  const CheckHash check{LogIndex{1ull << 40}, ~0ull};
  const auto decoded = decode_command(encode_command(origin, check));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(std::get<CheckHash>(decoded->body).index, check.index);
  EXPECT_EQ(std::get<CheckHash>(decoded->body).hash, check.hash);
}

// Encoding what was decoded gives the same bytes: nothing got lost on the way.
TEST(Command, TransactionsKeepEveryField) {
  const char* line =
      "txn [ value a z != x ; lease b = -5 ] [ range a z limit=9 rev=-1 sort=desc by=value "
      "keys_only count_only "
      "min_mod=1 max_mod=2 min_create=3 max_create=4 ; del a %00 prev ; put a - lease=4 prev "
      "ignore_value ] "
      "[ txn [ ] [ put b 1 ] [ ] ]";
  const Origin origin{NodeId{1}, 1, 1};
  const Bytes bytes = encode_command(origin, parse_request(line));
  auto command = decode_command(bytes);
  ASSERT_TRUE(command.has_value());
  api::Request again{
      .body = std::get<api::TxnRequest>(std::move(command->body)), .id = {}, .timeout_ms = {}};
  EXPECT_EQ(hex(encode_command(origin, again)), hex(bytes));
}

TEST(Command, EveryCutIsRefused) {
  const Origin origin{NodeId{1}, 1, 1};
  for (const char* line :
       {"put key value prev", "del a z", "compact 7",
        "txn [ mod a > 3 ] [ put a 1 ; range a z ] [ del a ; txn [ ] [ ] [ ] ]"}) {
    const Bytes bytes = encode_command(origin, parse_request(line));
    EXPECT_TRUE(is_valid_command(bytes));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(is_valid_command(BytesView(bytes).substr(0, size)))
          << line << " cut at " << size;
    }
    EXPECT_FALSE(is_valid_command(bytes + '\0'));
  }
}

TEST(Command, OtherVersionsAreNamed) {
  Bytes command = encode_command({NodeId{1}, 1, 1}, parse_request("put a 1"));
  command[0] = 2;
  const auto decoded = decode_command(command);
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(decoded.error().message.find("version 2"), std::string::npos);

  BatchEncoder batch;
  batch.add(command);
  Bytes entry = batch.finish(Epoch{1}, Stamp{});
  ASSERT_TRUE(decode_batch_header(entry).has_value());
  entry[0] = 9;
  const auto header = decode_batch_header(entry);
  ASSERT_FALSE(header.has_value());
  EXPECT_NE(header.error().message.find("version 9"), std::string::npos);
}

TEST(Command, NestingBeyondTheBoundIsRefused) {
  const auto nested = [](std::size_t depth) {
    api::TxnRequest txn;
    for (std::size_t i = 1; i < depth; ++i) {
      api::TxnRequest outer;
      outer.success.push_back({std::make_unique<api::TxnRequest>(std::move(txn))});
      txn = std::move(outer);
    }
    return encode_command({NodeId{1}, 1, 1}, {.body = std::move(txn), .id = {}, .timeout_ms = {}});
  };
  EXPECT_TRUE(is_valid_command(nested(kMaxTxnDepth)));
  EXPECT_FALSE(is_valid_command(nested(kMaxTxnDepth + 1)));
}

// The example of docs/formats/commands.md.
TEST(Command, AFencedPutAsBytes) {
  api::Request request = parse_request("put key value");
  const Origin origin{NodeId{2}, 0x1122334455667788, 5};
  const Bytes plain = encode_command(origin, request);
  request.fence = api::Fence{"jobs", 300};
  const Bytes command = encode_command(origin, request);
  EXPECT_EQ(hex(command),
            "04" + hex(plain).substr(2, 36) + "04" + "046a6f6273" + "ac02" + hex(plain).substr(40));
  const auto decoded = decode_command(command);
  ASSERT_TRUE(decoded.has_value());
  ASSERT_TRUE(decoded->fence.has_value());
  EXPECT_EQ(decoded->fence->key, "jobs");
  EXPECT_EQ(decoded->fence->token, 300);
  EXPECT_FALSE(decode_command(plain)->fence.has_value());
  for (std::size_t size = 0; size < command.size(); ++size) {
    EXPECT_FALSE(is_valid_command(BytesView(command).substr(0, size))) << size;
  }
}

// Who asks stands before the fence.
TEST(Command, ANamedPutAsBytes) {
  api::Request request = parse_request("put key value");
  const Origin origin{NodeId{2}, 0x1122334455667788, 5};
  const Bytes plain = encode_command(origin, request);
  request.identity = {"ann", 300};
  const Bytes command = encode_command(origin, request);
  EXPECT_EQ(hex(command),
            "04" + hex(plain).substr(2, 36) + "02" + "03616e6e" + "ac02" + hex(plain).substr(40));
  EXPECT_EQ(decode_command(command)->identity, request.identity);
  request.fence = api::Fence{"jobs", 300};
  EXPECT_EQ(hex(encode_command(origin, request)), "04" + hex(plain).substr(2, 36) + "06" +
                                                      "03616e6e" + "ac02" + "046a6f6273" + "ac02" +
                                                      hex(plain).substr(40));
  EXPECT_EQ(decode_command(plain)->identity, api::Identity{});
}

// In version 4, which older builds wrote, a lease that somebody asked for was nobody's.
TEST(Command, ANamedGrantAsBytes) {
  api::Request request = parse_request("grant 7 60");
  const Origin origin{NodeId{2}, 0x1122334455667788, 5};
  const Bytes plain = encode_command(origin, request);
  EXPECT_EQ(hex(plain).substr(0, 2), "03");
  EXPECT_FALSE(decode_command(plain)->is_owned);
  request.identity = {"ann", 300};
  Bytes command = encode_command(origin, request);
  EXPECT_EQ(hex(command),
            "06" + hex(plain).substr(2, 36) + "02" + "03616e6e" + "ac02" + hex(plain).substr(40));
  EXPECT_TRUE(decode_command(command)->is_owned);
  command[0] = 4;
  ASSERT_TRUE(decode_command(command).has_value());
  EXPECT_FALSE(decode_command(command)->is_owned);
  EXPECT_EQ(decode_command(command)->identity, request.identity);
  request.identity = {"", 300};
  EXPECT_EQ(hex(encode_command(origin, request)).substr(0, 2), "04");
}

TEST(Command, ChangesOfUsersAsBytes) {
  const Origin origin{NodeId{2}, 0x1122334455667788, 5};
  const auto encoded = [&](auto change) {
    api::Request request;
    request.body = api::AuthRequest{std::move(change)};
    return hex(encode_command(origin, request)).substr(2 * 20);
  };
  api::Request request;
  request.body = api::AuthRequest{api::UserAdd{"ann", false, "password", "hash"}};
  request.identity = {"root", 7};
  EXPECT_EQ(hex(encode_command(origin, request)),
            "04"
            "0c"
            "0200000000000000"
            "8877665544332211"
            "05"
            "02"
            "04726f6f74"
            "07"
            "03"
            "03616e6e"
            "00"
            "0468617368");
  EXPECT_EQ(encoded(api::AuthEnable{"key"}), "01036b6579");
  EXPECT_EQ(encoded(api::AuthDisable{}), "02");
  EXPECT_EQ(encoded(api::UserAdd{"cn", true, "", ""}), "0302636e01");
  EXPECT_EQ(encoded(api::UserDelete{"u"}), "040175");
  EXPECT_EQ(encoded(api::UserChangePassword{"u", "password", "hash"}), "0501750468617368");
  EXPECT_EQ(encoded(api::UserGrantRole{"u", "r"}), "0601750172");
  EXPECT_EQ(encoded(api::UserRevokeRole{"u", "r"}), "0701750172");
  EXPECT_EQ(encoded(api::RoleAdd{"r"}), "080172");
  EXPECT_EQ(encoded(api::RoleDelete{"r"}), "090172");
  EXPECT_EQ(encoded(api::RoleGrantPermission{"r", api::Permission{2, "a", "c"}}),
            "0a0172010201610163");
  EXPECT_EQ(encoded(api::RoleRevokePermission{"r", "a", "c"}), "0b017201610163");
}

TEST(Command, ChangesOfUsersHaveNoRequestId) {
  api::Request request;
  request.body = api::AuthRequest{api::RoleAdd{"r"}};
  EXPECT_TRUE(is_valid_command(encode_command({NodeId{1}, 1, 1}, request)));
  request.id = api::RequestId{"c", 1};
  EXPECT_FALSE(is_valid_command(encode_command({NodeId{1}, 1, 1}, request)));
}

TEST(Command, WhatCannotBeFenced) {
  api::Request request = parse_request("put key value");
  for (const api::Fence& fence : {api::Fence{"", 1}, api::Fence{"l", 0}, api::Fence{"l", -1},
                                  api::Fence{Bytes(limits::kMaxFenceKeyBytes + 1, 'l'), 1}}) {
    request.fence = fence;
    EXPECT_FALSE(is_valid_command(encode_command({NodeId{1}, 1, 1}, request)));
  }
  Bytes keep = encode_command({NodeId{1}, 1, 1}, parse_request("keep 7"));
  keep[0] = 4;
  EXPECT_FALSE(is_valid_command(keep));
  Bytes alarm = encode_command({NodeId{1}, 1, 1}, SetAlarm{NodeId{2}, Alarm::kCorrupt, true});
  alarm[0] = 4;
  EXPECT_FALSE(is_valid_command(alarm));
}

// Who asks stands in the head of an import's step, and in no other of this version.
TEST(Command, HeadsOfVersion8) {
  constexpr std::size_t kHasAt = 19;
  const Origin origin{NodeId{2}, 1, 5};
  api::Request write;
  write.body = api::zk::WriteRequest{
      .caller = {}, .time_ms = 1, .op = api::zk::Delete{"/a"}, .quotas = api::zk::Quotas::kCounted};
  api::Request import;
  import.body = api::zk::ImportRequest{.before = "1", .after = "2", .removed = {"/a"}, .nodes = {}};
  const PublishMember publish{
      api::Member{.id = NodeId{2}, .name = "m", .peer_urls = {}, .client_urls = {}}, 7, "m:2181"};
  const std::pair<int, Bytes> commands[] = {{13, encode_command(origin, write)},
                                            {16, encode_command(origin, publish)},
                                            {19, encode_command(origin, import)}};
  for (const auto& [kind, plain] : commands) {
    ASSERT_EQ(plain[0], 8);
    ASSERT_EQ(plain[1], kind);
    ASSERT_EQ(plain[kHasAt], 0);
    for (int has = 0; has <= 8; ++has) {
      Bytes head = plain.substr(0, kHasAt) + static_cast<char>(has);
      if ((has & 1) != 0) head += "\1c\1";
      if ((has & 2) != 0) head += "\3ann\7";
      if ((has & 4) != 0) head += "\1l\1";
      const auto decoded = decode_command(head + plain.substr(kHasAt + 1));
      EXPECT_EQ(decoded.has_value(), has == 0 || (kind == 19 && has == 2))
          << "kind " << kind << ", " << has;
      if (!decoded || has == 0) continue;
      EXPECT_EQ(decoded->identity, (api::Identity{"ann", 7}));
    }
  }
  import.identity = {"ann", 7};
  const Bytes named = encode_command(origin, import);
  EXPECT_EQ(named[0], 8);
  EXPECT_EQ(named[kHasAt], 2);
  EXPECT_EQ(decode_command(named)->identity, import.identity);
}

// Found by command_fuzz.cc: it reached the code that keeps answers, which has no form for this one.
TEST(Command, MembersOwnCommandsHaveNoRequestId) {
  api::Request request = parse_request("put a 1");
  request.id = api::RequestId{"c", 1};
  const Bytes head = encode_command({NodeId{1}, 1, 1}, request).substr(0, 23);
  const Bytes alarm = encode_command({NodeId{1}, 1, 1}, SetAlarm{NodeId{2}, Alarm::kCorrupt, true});
  Bytes crafted = head + alarm.substr(alarm.size() - 10);
  crafted[1] = alarm[1];
  EXPECT_FALSE(is_valid_command(crafted));
  crafted = head.substr(0, 19) + '\0' + alarm.substr(alarm.size() - 10);
  crafted[1] = alarm[1];
  EXPECT_TRUE(is_valid_command(crafted));
}

TEST(Command, AlarmZeroIsNone) {
  const Bytes command =
      encode_command({NodeId{1}, 1, 1}, SetAlarm{NodeId{2}, Alarm::kCorrupt, true});
  EXPECT_TRUE(is_valid_command(command));
  Bytes zero = command;
  zero[zero.size() - 2] = 0;
  EXPECT_FALSE(is_valid_command(zero));
}

}  // namespace
}  // namespace conclave::store
