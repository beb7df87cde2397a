#include "wire/json.h"

#include <gtest/gtest.h>

#include "etcd.pb.h"

namespace conclave::wire {
namespace {

using namespace etcdserverpb;

// What etcd 3.4.23 answered to a Range through its gateway.
constexpr BytesView kRangeResponse =
    R"({"header":{"cluster_id":"1314590137626661166","member_id":"14429705525564268122",)"
    R"("revision":"2","raft_term":"2"},"kvs":[{"key":"Zm9v","create_revision":"2",)"
    R"("mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"})";

TEST(Json, IsEtcdsByteByByte) {
  RangeResponse range;
  auto& header = *range.mutable_header();
  header.set_cluster_id(1314590137626661166);
  header.set_member_id(14429705525564268122u);
  header.set_revision(2);
  header.set_raft_term(2);
  auto& kv = *range.add_kvs();
  kv.set_key("foo");
  kv.set_value("bar");
  kv.set_create_revision(2);
  kv.set_mod_revision(2);
  kv.set_version(1);
  range.set_count(1);
  EXPECT_EQ(to_json(range), kRangeResponse);

  RangeResponse back;
  ASSERT_TRUE(from_json(kRangeResponse, back));
  EXPECT_EQ(back.SerializeAsString(), range.SerializeAsString());
}

TEST(Json, TakesWhatEtcdTakes) {
  RangeRequest range;
  ASSERT_TRUE(from_json(
      R"({"key":"Zm9v","limit":"5","revision":7,"sort_order":"DESCEND","keysOnly":true,"x":[{}]})",
      range));
  EXPECT_EQ(range.key(), "foo");
  EXPECT_EQ(range.limit(), 5);
  EXPECT_EQ(range.revision(), 7);
  EXPECT_EQ(range.sort_order(), RangeRequest::DESCEND);
  EXPECT_TRUE(range.keys_only());
  ASSERT_TRUE(from_json("", range));
  EXPECT_EQ(range.key(), "") << "an empty text is an empty message";
}

// As etcd 3.4.23 words it.
TEST(Json, RefusesUnknownNamesOfEnums) {
  const auto refusal = [](auto message, const char* text) {
    const auto parsed = from_json(text, message);
    return parsed ? std::string("taken") : parsed.error().message;
  };
  EXPECT_EQ(refusal(RangeRequest(), R"({"sort_order":"SIDEWAYS"})"),
            R"(unknown value "SIDEWAYS" for enum etcdserverpb.RangeRequest_SortOrder)");
  EXPECT_EQ(refusal(RangeRequest(), R"({"x":1,"sortTarget":"NOPE"})"),
            R"(unknown value "NOPE" for enum etcdserverpb.RangeRequest_SortTarget)");
  EXPECT_EQ(refusal(etcdserverpb::TxnRequest(), R"({"compare":[{"x":1},{"result":"NOPE"}]})"),
            R"(unknown value "NOPE" for enum etcdserverpb.Compare_CompareResult)");
  EXPECT_EQ(refusal(RangeRequest(), R"({"x":1,"sort_order":7,"sort_target":null})"), "taken");
}

TEST(Json, RefusesWhatDoesNotFit) {
  PutRequest put;
  for (const char* bad : {"x", "{", "[]", R"({"key":{}})", R"({"lease":"abc"})", R"({"key":"a"}x)",
                          R"({"prev_kv":"perhaps"})"}) {
    const auto parsed = from_json(bad, put);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
    EXPECT_NE(parsed.error().message, "");
  }
}

TEST(Json, Base64IsReadAsItIsWritten) {
  Bytes bytes;
  for (int size = 0; size < 70; ++size) {
    Bytes text;
    append_base64(bytes, text);
    EXPECT_EQ(from_base64(text), bytes);
    bytes.push_back(static_cast<char>(size * 37));
  }
  EXPECT_EQ(from_base64("/+8="), Bytes("\xff\xef"));
  for (const char* bad : {"a", "ab", "abc", "ab==c", "=", "====", "a===", "ab=c", "/+9=", "ab-_"}) {
    EXPECT_EQ(from_base64(bad), std::nullopt) << bad;
  }
}

TEST(Json, Strings) {
  EXPECT_EQ(json_string("plain"), R"("plain")");
  EXPECT_EQ(json_string("a\"b\\c\n\x01<&>"), R"("a\"b\\c\n\u0001\u003c\u0026\u003e")");
}

}  // namespace
}  // namespace conclave::wire
