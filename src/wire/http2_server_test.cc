#include "wire/http2_server.h"

#include <gtest/gtest.h>

#include <functional>

#include "wire/http2_frames.h"
#include "wire/http2_test_client.h"

namespace conclave::wire {
namespace {

constexpr std::uint32_t kRefusedStream = 7;
constexpr std::uint32_t kCancel = 8;

// One client and one server, joined back to back. By default a request is answered with its own
// body once it has ended.
class Http2ServerTest : public ::testing::Test {
 protected:
  void start(const Http2Options& options = {}, const Http2TestClient::Options& client = {}) {
    server_ = std::make_unique<Http2Server>(options);
    client_ = std::make_unique<Http2TestClient>(client);
  }

  std::int32_t post(BytesView body, bool more = false) {
    return client_->request(grpc_headers("/echo"), body, more);
  }

  // Moves bytes both ways until nobody has anything to say.
  void pump() {
    while (true) {
      const Bytes up = client_->take_output();
      if (!up.empty()) server_->receive(up);
      server_->take_news([&](Http2Stream& stream) { on_stream_(stream); });
      Bytes down;
      server_->flush(down);
      if (up.empty() && down.empty()) return;
      ASSERT_TRUE(client_->receive(down));
    }
  }

  void echo(Http2Stream& stream) {
    if (stream.closed || !stream.ended || stream.state == 1) return;
    stream.state = 1;
    server_->start(stream, kOk);
    server_->body_of(stream) += stream.body;
    server_->finish(stream, kTrailers);
  }

  static constexpr std::array<HeaderField, 1> kOk = {{{":status", "200"}}};
  static constexpr std::array<HeaderField, 1> kTrailers = {{{"grpc-status", "0"}}};

  std::unique_ptr<Http2Server> server_;
  std::unique_ptr<Http2TestClient> client_;
  std::function<void(Http2Stream&)> on_stream_ = [this](Http2Stream& stream) { echo(stream); };
};

TEST_F(Http2ServerTest, AnswersWithHeaderBodyAndTrailers) {
  start();
  const auto id = post("hello");
  pump();
  const auto& answer = client_->answer(id);
  EXPECT_EQ(answer.headers.at(":status"), "200");
  EXPECT_EQ(answer.body, "hello");
  EXPECT_EQ(answer.trailers.at("grpc-status"), "0");
  EXPECT_TRUE(answer.ended);
  EXPECT_EQ(server_->open_streams(), 0);
}

TEST_F(Http2ServerTest, SlotsAreReusedAndKeysAreNot) {
  start();
  std::vector<Http2Key> keys;
  on_stream_ = [&](Http2Stream& stream) {
    if (stream.ended) keys.push_back(stream.key());
    EXPECT_EQ(stream.headers.find("te"), "trailers");
    echo(stream);
  };
  for (int i = 0; i < 3; ++i) {
    const auto id = post("x");
    pump();
    EXPECT_EQ(client_->answer(id).body, "x");
  }
  ASSERT_EQ(keys.size(), 3);
  EXPECT_EQ(keys[0] & 0xffff'ffff, keys[1] & 0xffff'ffff);
  EXPECT_NE(keys[0], keys[1]);
  EXPECT_EQ(server_->find(keys[2]), nullptr);
}

TEST_F(Http2ServerTest, AnAnswerWaitsForTheClientsWindow) {
  start({}, {.initial_window = 10, .automatic_window_updates = false});
  const auto id = post("0123456789abcdefghij");
  pump();
  EXPECT_EQ(client_->answer(id).body, "0123456789");
  EXPECT_FALSE(client_->answer(id).ended);
  EXPECT_EQ(server_->held_bytes(), 10);
  client_->grant(id, 4);
  pump();
  EXPECT_EQ(client_->answer(id).body, "0123456789abcd");
  client_->grant(id, 100);
  pump();
  EXPECT_EQ(client_->answer(id).body, "0123456789abcdefghij");
  EXPECT_TRUE(client_->answer(id).ended);
  EXPECT_EQ(server_->held_bytes(), 0);
}

TEST_F(Http2ServerTest, HeldBytesOfAResetStreamAreForgotten) {
  start({}, {.initial_window = 10, .automatic_window_updates = false});
  const auto id = post(Bytes(1000, 'x'));
  pump();
  EXPECT_EQ(server_->held_bytes(), 990);
  client_->reset(id);
  pump();
  EXPECT_EQ(server_->held_bytes(), 0);
  EXPECT_EQ(server_->open_streams(), 0);
}

TEST_F(Http2ServerTest, StreamsMessagesBothWays) {
  start();
  Http2Key key = 0;
  on_stream_ = [&](Http2Stream& stream) {
    if (key == 0) server_->start(stream, kOk);
    key = stream.key();
    stream.long_lived = true;
    server_->body_of(stream) += "<" + stream.body + ">";
    server_->consume(stream, stream.body.size());
    server_->wrote(stream);
    if (stream.ended) server_->finish(stream, kTrailers);
  };
  const auto id = post("one", true);
  pump();
  EXPECT_EQ(client_->answer(id).body, "<one>");
  client_->send_more(id, "two", true);
  pump();
  EXPECT_EQ(client_->answer(id).body, "<one><two>");
  Http2Stream* stream = server_->find(key);
  ASSERT_NE(stream, nullptr);
  server_->body_of(*stream) += "!";
  server_->wrote(*stream);
  pump();
  EXPECT_EQ(client_->answer(id).body, "<one><two>!");
  client_->send_more(id, "", false);
  pump();
  EXPECT_TRUE(client_->answer(id).ended);
  EXPECT_EQ(client_->answer(id).trailers.at("grpc-status"), "0");
}

TEST_F(Http2ServerTest, ABodyBeyondTheLimitIsCutAndCanBeRefusedEarly) {
  start({.max_body_bytes = 1000});
  on_stream_ = [&](Http2Stream& stream) {
    EXPECT_LE(stream.body.size(), 1000);
    if (!stream.body_too_large || stream.closed || stream.state == 1) return;
    stream.state = 1;
    server_->respond(stream, kOk);
  };
  const auto id = post(Bytes(2000, 'x'), true);
  pump();
  EXPECT_TRUE(client_->answer(id).ended);
  EXPECT_EQ(server_->open_streams(), 0) << "the client is told not to send the rest";
  const auto next = post("y");
  on_stream_ = [this](Http2Stream& stream) { echo(stream); };
  pump();
  EXPECT_EQ(client_->answer(next).body, "y");
}

TEST_F(Http2ServerTest, OneConnectionBuffersSoMuch) {
  start({.max_body_bytes = 1000, .max_buffered_bytes = 1500});
  int cut = 0;
  on_stream_ = [&](Http2Stream& stream) { cut += stream.body_too_large ? 1 : 0; };
  post(Bytes(900, 'x'), true);
  pump();
  EXPECT_EQ(cut, 0);
  post(Bytes(900, 'x'), true);
  pump();
  EXPECT_EQ(cut, 1);
}

// Whoever holds little may have it; the flood that fills the rest is cut.
TEST_F(Http2ServerTest, AllConnectionsTogetherBufferSoMuch) {
  const auto all = std::make_shared<RequestBuffers>();
  all->max_bytes = 3 * limits::kLittleBufferedBytes;
  all->bytes = all->max_bytes;  // others'
  start({.max_body_bytes = 2 * limits::kLittleBufferedBytes, .all_buffers = all});
  int cut = 0;
  on_stream_ = [&](Http2Stream& stream) { cut += stream.body_too_large ? 1 : 0; };
  post(Bytes(limits::kLittleBufferedBytes / 2, 'x'), true);
  pump();
  EXPECT_EQ(cut, 0);
  EXPECT_EQ(all->bytes, all->max_bytes + limits::kLittleBufferedBytes / 2);
  post(Bytes(limits::kLittleBufferedBytes, 'x'), true);
  pump();
  EXPECT_GE(cut, 1);
  server_.reset();
  EXPECT_EQ(all->bytes, all->max_bytes) << "a connection that ends holds nothing";
  all->bytes = 2 * all->max_bytes;  // many that have a little less than too much
  start({.max_body_bytes = 2 * limits::kLittleBufferedBytes, .all_buffers = all});
  cut = 0;
  post(Bytes(limits::kLittleRequestBytes, 'x'), true);
  pump();
  EXPECT_EQ(cut, 0) << "small requests are always taken";
  post("x", true);
  pump();
  EXPECT_EQ(cut, 1);
}

TEST_F(Http2ServerTest, AHeaderListBeyondTheLimitIsCut) {
  start({.max_header_bytes = 1000});
  bool cut = false;
  on_stream_ = [&](Http2Stream& stream) {
    cut = stream.header_too_large;
    EXPECT_LE(stream.headers.size_bytes(), 1000);
    echo(stream);
  };
  const auto id = client_->request(grpc_headers("/echo", {{"x", Bytes(2000, 'x')}}), "b");
  pump();
  EXPECT_TRUE(cut);
  EXPECT_EQ(client_->answer(id).body, "b");
}

TEST_F(Http2ServerTest, StreamsBeyondTheLimitAreRefused) {
  start({.max_streams = 2});
  on_stream_ = [](Http2Stream&) {};
  // The client does not know the limit yet when it sends these.
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(post("x"));
  pump();
  EXPECT_EQ(server_->open_streams(), 2);
  EXPECT_EQ(client_->answer(ids[2]).reset_error, kRefusedStream);
}

TEST_F(Http2ServerTest, TheOwnerHearsOfAReset) {
  start();
  int closed = 0;
  on_stream_ = [&](Http2Stream& stream) { closed += stream.closed ? 1 : 0; };
  const auto id = post("x");
  pump();
  client_->reset(id);
  pump();
  EXPECT_EQ(closed, 1);
  EXPECT_EQ(server_->open_streams(), 0);
}

TEST_F(Http2ServerTest, OpenedAndResetInOneReadIsHarmless) {
  start();
  pump();
  const auto id = post("x");
  Bytes up = client_->take_output();
  client_->reset(id);
  up += client_->take_output();
  server_->receive(up);
  int closed = 0;
  server_->take_news([&](Http2Stream& stream) { closed += stream.closed ? 1 : 0; });
  EXPECT_EQ(closed, 1);
  const auto next = post("y");
  pump();
  EXPECT_EQ(client_->answer(next).body, "y");
}

TEST_F(Http2ServerTest, ShutdownFinishesWhatIsOpen) {
  start();
  Http2Key key = 0;
  on_stream_ = [&](Http2Stream& stream) { key = stream.key(); };
  const auto id = post("x");
  pump();
  server_->shutdown();
  pump();
  EXPECT_EQ(client_->goaway_error(), 0);
  EXPECT_FALSE(server_->finished());
  echo(*server_->find(key));
  pump();
  EXPECT_EQ(client_->answer(id).body, "x");
  EXPECT_TRUE(server_->finished());
}

TEST_F(Http2ServerTest, ShutdownOfAnIdleConnectionEndsIt) {
  start();
  pump();
  server_->shutdown();
  pump();
  EXPECT_TRUE(server_->finished());
  EXPECT_EQ(server_->complaint(), "");
}

TEST_F(Http2ServerTest, GarbageEndsTheConnection) {
  start();
  server_->receive(Bytes(kHttp2Preface) + Bytes(100, '\x7f'));
  Bytes out;
  server_->flush(out);
  EXPECT_TRUE(server_->finished());
  EXPECT_NE(server_->complaint(), "");
}

TEST_F(Http2ServerTest, AFloodOfPingsInOneReadEndsTheConnection) {
  start();
  pump();
  const Bytes ping("\0\0\x8\x6\0\0\0\0\0abcdefgh", 17);
  Bytes flood;
  for (int i = 0; i < 5'000; ++i) flood += ping;
  server_->receive(flood);
  EXPECT_TRUE(server_->finished());
}

TEST_F(Http2ServerTest, TooManyResetsBetweenTicksEndTheConnection) {
  start({.max_resets_per_tick = 10});
  pump();
  for (int i = 0; i < 11; ++i) {
    const auto id = post("x", true);
    pump();
    client_->reset(id);
    pump();
  }
  EXPECT_FALSE(server_->finished());
  server_->tick(Instant{} + seconds(1));
  EXPECT_TRUE(server_->finished());
}

TEST_F(Http2ServerTest, ARequestThatDribblesIsReset) {
  start({.request_deadline = seconds(30)});
  on_stream_ = [](Http2Stream&) {};
  const auto id = post("x", true);
  pump();
  for (int second = 1; second <= 31; ++second) {
    EXPECT_EQ(client_->answer(id).reset_error, std::nullopt);
    client_->send_more(id, "x", true);
    server_->tick(Instant{} + seconds(second));
    pump();
  }
  EXPECT_EQ(client_->answer(id).reset_error, kCancel);
  EXPECT_FALSE(server_->finished());
}

TEST_F(Http2ServerTest, AFrameThatNeverEndsEndsTheConnection) {
  start({.request_deadline = seconds(30)});
  pump();
  server_->receive(BytesView("\0\0\x8\x6\0\0\0\0\0abc", 12));
  server_->tick(Instant{} + seconds(1));
  server_->receive("d");
  server_->tick(Instant{} + seconds(30));
  EXPECT_FALSE(server_->finished());
  server_->tick(Instant{} + seconds(31));
  EXPECT_TRUE(server_->finished());
}

TEST_F(Http2ServerTest, AnIdleConnectionStays) {
  start({.request_deadline = seconds(30)});
  const auto id = post("x");
  pump();
  for (int second = 1; second < 1000; ++second) server_->tick(Instant{} + seconds(second));
  EXPECT_TRUE(client_->answer(id).ended);
  EXPECT_FALSE(server_->finished());
}

TEST(FrameBoundaries, AreFoundAtEachSplit) {
  const Bytes ping("\0\0\x8\x6\0\0\0\0\0abcdefgh", 17);
  const Bytes empty("\0\0\0\x4\0\0\0\0\0", 9);
  const Bytes all = Bytes(kHttp2Preface) + empty + ping + empty;
  for (std::size_t split = 0; split <= all.size(); ++split) {
    FrameBoundaries frames;
    frames.feed(BytesView(all).substr(0, split));
    const std::size_t after_preface = kHttp2Preface.size();
    const bool at_boundary = split == 0 || split == after_preface || split == after_preface + 9 ||
                             split == after_preface + 26 || split == all.size();
    EXPECT_EQ(frames.inside(), !at_boundary) << split;
    frames.feed(BytesView(all).substr(split));
    EXPECT_FALSE(frames.inside());
    EXPECT_EQ(frames.count(), 4);
  }
}

}  // namespace
}  // namespace conclave::wire
