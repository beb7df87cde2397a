#include "wire/grpc.h"

#include <gtest/gtest.h>

namespace conclave::wire {
namespace {

Bytes frame(BytesView payload) {
  Bytes out = "before";
  const std::size_t begin = begin_message(out);
  out += payload;
  end_message(out, begin);
  return out.substr(6);
}

TEST(GrpcMessage, ComesBackAsItWasFramed) {
  const Bytes body = frame("hello") + frame("");
  const GrpcMessage first = front_message(body, 100);
  EXPECT_EQ(first.state, GrpcMessage::State::kComplete);
  EXPECT_EQ(first.payload, "hello");
  const GrpcMessage second = front_message(BytesView(body).substr(first.wire_bytes), 100);
  EXPECT_EQ(second.state, GrpcMessage::State::kComplete);
  EXPECT_EQ(second.payload, "");
  EXPECT_EQ(first.wire_bytes + second.wire_bytes, body.size());
}

TEST(GrpcMessage, IsIncompleteAtEachCut) {
  const Bytes body = frame("hello");
  for (std::size_t cut = 0; cut < body.size(); ++cut) {
    EXPECT_EQ(front_message(BytesView(body).substr(0, cut), 100).state,
              GrpcMessage::State::kIncomplete);
  }
}

TEST(GrpcMessage, IsRefusedByItsPrefixAlone) {
  const GrpcMessage large = front_message(BytesView("\0\xff\xff\xff\xff", 5), 2'097'152);
  EXPECT_EQ(large.refusal, (GrpcStatus{GrpcCode::kResourceExhausted,
                                       "grpc: received message larger than max (4294967295 vs. "
                                       "2097152)"}));
  const GrpcMessage compressed = front_message(BytesView("\1\0\0\0\0", 5), 100);
  EXPECT_EQ(compressed.refusal,
            (GrpcStatus{GrpcCode::kInternal,
                        "grpc: compressed flag set with identity or empty encoding"}));
  const GrpcMessage strange = front_message(BytesView("\2\0\0\0\0", 5), 100);
  EXPECT_EQ(strange.refusal,
            (GrpcStatus{GrpcCode::kInternal, "grpc: received unexpected payload format 2"}));
}

TEST(GrpcHeaders, ContentTypes) {
  EXPECT_TRUE(is_grpc_content_type("application/grpc"));
  EXPECT_TRUE(is_grpc_content_type("application/grpc+proto"));
  EXPECT_TRUE(is_grpc_content_type("application/grpc;charset=utf-8"));
  EXPECT_FALSE(is_grpc_content_type("application/grpcx"));
  EXPECT_FALSE(is_grpc_content_type("application/json"));
  EXPECT_FALSE(is_grpc_content_type(""));
}

TEST(GrpcHeaders, Encodings) {
  EXPECT_EQ(check_encoding(std::nullopt), std::nullopt);
  EXPECT_EQ(check_encoding("identity"), std::nullopt);
  EXPECT_EQ(check_encoding("gzip"),
            (GrpcStatus{GrpcCode::kUnimplemented,
                        "grpc: Decompressor is not installed for grpc-encoding \"gzip\""}));
}

TEST(GrpcHeaders, Timeouts) {
  EXPECT_EQ(parse_grpc_timeout_ms("2H"), 7'200'000);
  EXPECT_EQ(parse_grpc_timeout_ms("3M"), 180'000);
  EXPECT_EQ(parse_grpc_timeout_ms("5S"), 5'000);
  EXPECT_EQ(parse_grpc_timeout_ms("100m"), 100);
  EXPECT_EQ(parse_grpc_timeout_ms("4999999u"), 5'000);
  EXPECT_EQ(parse_grpc_timeout_ms("1n"), 1);
  EXPECT_EQ(parse_grpc_timeout_ms("0n"), 0);
  for (const char* bad : {"", "S", "5", "5x", "-5S", "+5S", "999999999S", "5 S", " 5S"}) {
    EXPECT_EQ(parse_grpc_timeout_ms(bad), std::nullopt) << bad;
  }
}

TEST(GrpcHeaders, PercentEncoding) {
  EXPECT_EQ(percent_encode("etcdserver: key not found"), "etcdserver: key not found");
  EXPECT_EQ(percent_encode("100%\n\xc3\xa9"), "100%25%0A%C3%A9");
}

TEST(GrpcHeaders, PercentDecodingLeavesAloneWhatIsNoPair) {
  EXPECT_EQ(percent_decode("a%41%e2%82%ACb"),
            "aA\xe2\x82\xac"
            "b");
  EXPECT_EQ(percent_decode("%"), "%");
  EXPECT_EQ(percent_decode("%4"), "%4");
  EXPECT_EQ(percent_decode("%zz%"), "%zz%");
}

}  // namespace
}  // namespace conclave::wire
