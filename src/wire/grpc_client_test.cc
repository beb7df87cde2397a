#include "wire/grpc_client.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>

#include "wire/http2_server.h"
#include "wire/http2_test_client.h"

namespace conclave::wire {
namespace {

// One client and one server, joined back to back. By default a call is answered with its own
// message once it has ended.
class GrpcClientTest : public ::testing::Test {
 protected:
  void pump() {
    while (true) {
      const Bytes up = client_.take_output();
      if (!up.empty()) server_.receive(up);
      server_.take_news([&](Http2Stream& stream) { on_stream_(stream); });
      Bytes down;
      server_.flush(down);
      if (up.empty() && down.empty()) return;
      ASSERT_TRUE(client_.receive(down));
    }
  }

  void answer(Http2Stream& stream, BytesView body, BytesView code, BytesView message = {}) {
    if (stream.closed || !stream.ended || stream.state == 1) return;
    stream.state = 1;
    server_.start(stream, kOk);
    server_.body_of(stream) += body;
    const std::array<HeaderField, 2> trailers = {
        {{"grpc-status", code}, {"grpc-message", message}}};
    server_.finish(stream, trailers);
  }

  static constexpr std::array<HeaderField, 1> kOk = {{{":status", "200"}}};

  Http2Server server_{Http2Options{}};
  GrpcClient client_{{.authority = "a:1", .stream_window = 64, .max_message_bytes = 1'000}};
  std::function<void(Http2Stream&)> on_stream_ = [this](Http2Stream& stream) {
    answer(stream, stream.body, "0");
  };
};

TEST_F(GrpcClientTest, GetsTheMessageAndThenTheStatus) {
  const auto call = client_.call("/s/M", "hello", {{"token", "t"}});
  on_stream_ = [&](Http2Stream& stream) {
    EXPECT_EQ(stream.path, "/s/M");
    EXPECT_EQ(stream.headers.find("token"), "t");
    EXPECT_EQ(stream.headers.find("te"), "trailers");
    answer(stream, stream.body, "0");
  };
  EXPECT_FALSE(client_.take(call));
  pump();
  EXPECT_TRUE(client_.has_message(call));
  EXPECT_FALSE(client_.status(call));
  EXPECT_EQ(client_.take(call), "hello");
  EXPECT_FALSE(client_.take(call));
  EXPECT_EQ(client_.status(call), (GrpcStatus{GrpcCode::kOk, ""}));
  client_.forget(call);
  pump();
  EXPECT_EQ(server_.open_streams(), 0U);
}

TEST_F(GrpcClientTest, ReadsTheErrorOfTheTrailers) {
  on_stream_ = [&](Http2Stream& stream) { answer(stream, "", "11", "50%25 is 100%"); };
  const auto call = client_.call("/s/M", "", {});
  pump();
  EXPECT_FALSE(client_.take(call));
  EXPECT_EQ(client_.status(call), (GrpcStatus{GrpcCode::kOutOfRange, "50% is 100%"}));
}

TEST_F(GrpcClientTest, AnErrorMayComeAsAHeaderAlone) {
  on_stream_ = [&](Http2Stream& stream) {
    if (stream.state++ > 0) return;
    server_.respond(stream,
                    std::array<HeaderField, 3>{
                        {{":status", "200"}, {"grpc-status", "5"}, {"grpc-message", "no"}}});
  };
  const auto call = client_.call("/s/M", "", {});
  pump();
  EXPECT_EQ(client_.status(call), (GrpcStatus{GrpcCode::kNotFound, "no"}));
}

TEST_F(GrpcClientTest, SomethingElseThanGrpcIsAnError) {
  on_stream_ = [&](Http2Stream& stream) {
    if (stream.state++ > 0) return;
    server_.respond(stream, std::array<HeaderField, 1>{{{":status", "404"}}});
  };
  const auto call = client_.call("/s/M", "", {});
  pump();
  EXPECT_EQ(client_.status(call), (GrpcStatus{GrpcCode::kUnknown, "HTTP status 404"}));
  GrpcClient other({.authority = "a:1"});
  (void)other.receive("HTTP/1.1 400 Bad Request\r\n\r\nwhat is this?");
  (void)other.take_output();  // it says good-bye
  EXPECT_FALSE(other.receive("more"));
}

TEST_F(GrpcClientTest, AMessageLargerThanTheWindowComes) {
  const Bytes large(900, 'x');
  const auto call = client_.call("/s/M", large, {});
  pump();
  EXPECT_EQ(client_.take(call), large);
}

TEST_F(GrpcClientTest, AMessageBeyondTheLimitEndsItsCallOnly) {
  const auto call = client_.call("/s/M", Bytes(1'001, 'x'), {});
  const auto other = client_.call("/s/M", "small", {});
  pump();
  EXPECT_FALSE(client_.take(call));
  EXPECT_EQ(client_.status(call)->code, GrpcCode::kResourceExhausted);
  EXPECT_EQ(client_.take(other), "small");
}

TEST_F(GrpcClientTest, ACodeThatIsNoneIsUnknown) {
  for (const BytesView code : {"17", "256", "-1", "", "99999999999"}) {
    on_stream_ = [&](Http2Stream& stream) { answer(stream, "", code, "why"); };
    const auto call = client_.call("/s/M", "", {});
    pump();
    EXPECT_EQ(client_.status(call), (GrpcStatus{GrpcCode::kUnknown, "why"})) << code;
    client_.forget(call);
  }
}

TEST_F(GrpcClientTest, WhatIsNotTakenHoldsTheServerBack) {
  Http2Key key = 0;
  on_stream_ = [&](Http2Stream& stream) {
    key = stream.key();
    stream.long_lived = true;
    if (stream.state++ > 0) return;
    server_.start(stream, kOk);
    for (int i = 0; i < 100; ++i) server_.body_of(stream) += grpc_frame("0123456789");
    server_.wrote(stream);
  };
  const auto call = client_.call("/s/M", "", {}, true);
  pump();
  EXPECT_GE(server_.held_bytes(), 100U * 15 - 64 - 15);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(client_.take(call), "0123456789") << i;
    pump();
  }
  EXPECT_EQ(server_.held_bytes(), 0U);
  EXPECT_FALSE(client_.status(call));
  client_.forget(call);
  pump();
  EXPECT_EQ(server_.open_streams(), 0U);
}

TEST_F(GrpcClientTest, ACallCanHaveMoreMessages) {
  Bytes came;
  on_stream_ = [&](Http2Stream& stream) {
    stream.long_lived = true;
    came += stream.body;
    server_.consume(stream, stream.body.size());
  };
  const auto call = client_.call("/s/M", "a", {}, true);
  pump();
  client_.send(call, "b");
  client_.send(call, "c");
  pump();
  EXPECT_EQ(came, grpc_frame("a") + grpc_frame("b") + grpc_frame("c"));
}

TEST_F(GrpcClientTest, EveryCallEndsWithItsConnection) {
  on_stream_ = [](Http2Stream&) {};
  const auto call = client_.call("/s/M", "a", {});
  pump();
  EXPECT_FALSE(client_.status(call));
  client_.lose("it broke");
  EXPECT_EQ(client_.status(call), (GrpcStatus{GrpcCode::kUnavailable, "it broke"}));
  EXPECT_TRUE(client_.is_closing());
}

}  // namespace
}  // namespace conclave::wire
