#include "sim/history.h"

#include <gtest/gtest.h>

namespace conclave::sim {
namespace {

std::string error_of(std::string_view line) {
  const auto op = parse_operation(line);
  return op ? "parsed" : op.error().message;
}

TEST(History, EveryKindOfOperationSurvivesWritingAndReading) {
  History history(7);
  history[0] = {.client = 1,
                .kind = OpKind::kPut,
                .key = "k",
                .value = "v",
                .called_ns = 5,
                .returned_ns = 9,
                .revision = 3,
                .store_revision = 3};
  history[1] = {
      .kind = OpKind::kPut, .key = "quote\" back\\ line\n", .value = "\x01", .called_ns = -4};
  history[2] = {.kind = OpKind::kGet, .key = "k", .called_ns = 1, .returned_ns = 1};
  history[3] = {.kind = OpKind::kGet, .key = "k", .value = "", .called_ns = 1, .returned_ns = 1};
  history[4] = {.kind = OpKind::kDelete, .key = "k", .called_ns = 7, .returned_ns = 8};
  history[5] = {.kind = OpKind::kCas,
                .key = "k",
                .value = "b",
                .expect = "a",
                .succeeded = false,
                .actual_known = true,
                .called_ns = 7,
                .returned_ns = 8};
  history[6] = {.kind = OpKind::kCas, .key = "k", .value = "b", .called_ns = 7};
  const auto read = parse_history(to_json_lines(history));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, history);
}

TEST(History, ALineMayBeWrittenWithSpacesAndEscapes) {
  const auto op = parse_operation(
      R"( { "key" : "\u00e9\t", "client":2,"op":"get","value":null, "call": 1 ,"return":2 } )");
  ASSERT_TRUE(op) << op.error().message;
  EXPECT_EQ(op->key, "\xc3\xa9\t");
  EXPECT_EQ(op->value, std::nullopt);
}

TEST(History, AMistakeIsNamed) {
  EXPECT_EQ(error_of("nonsense"), "expected '{'");
  EXPECT_EQ(error_of(R"({"client":1)"), "expected ',' or '}'");
  EXPECT_EQ(error_of(R"({"client":1} x)"), "text after the object");
  EXPECT_EQ(error_of(R"({"client":1,"client":2})"), "\"client\" is given twice");
  EXPECT_EQ(error_of(R"({"client":1,"key":"k","call":1})"), "\"op\" is missing");
  EXPECT_EQ(error_of(R"({"client":1,"op":"incr","key":"k","call":1})"), "unknown op \"incr\"");
  EXPECT_EQ(error_of(R"({"client":"1","op":"get","key":"k","call":1})"),
            "\"client\" is of the wrong type");
  EXPECT_EQ(error_of(R"({"client":1,"op":"get","key":"k","call":1,"return":2})"),
            "\"value\" is missing");
  EXPECT_EQ(error_of(R"({"client":1,"op":"put","key":"k","value":"v","call":3,"return":2})"),
            "returned before it was called");
  EXPECT_EQ(error_of(R"({"client":1,"op":"delete","key":"k","value":"v","call":3})"),
            "\"value\" has no place here");
  EXPECT_EQ(error_of(R"({"client":1,"op":"cas","key":"k","value":"v","call":3,"return":4})"),
            "\"ok\" is missing");
  EXPECT_EQ(error_of(R"({"client":1,"op":"put","key":"k)"), "a string does not end");
  EXPECT_EQ(error_of(R"({"client":99999999999999999999})"),
            "expected a string, an integer, an array, true, false or null");
}

TEST(History, TheLineOfAMistakeIsNamed) {
  const auto read =
      parse_history("\n{\"client\":1,\"op\":\"delete\",\"key\":\"k\",\"call\":1}\n{}\n");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message, "line 3: \"client\" is missing");
}

}  // namespace
}  // namespace conclave::sim
