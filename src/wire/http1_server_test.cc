#include "wire/http1_server.h"

#include <gtest/gtest.h>

namespace conclave::wire {
namespace {

class Http1ServerTest : public ::testing::Test {
 protected:
  // What the server says at once to `bytes`.
  Bytes feed(BytesView bytes) {
    Bytes out;
    server_.receive(bytes, out);
    return out;
  }
  Bytes respond(const Http1Response& response) {
    Bytes out;
    server_.respond(response, out);
    return out;
  }
  Bytes tick(int second) {
    Bytes out;
    server_.tick(Instant{} + seconds(second), out);
    return out;
  }

  Http1Server server_{{.max_header_bytes = 1000, .max_body_bytes = 100}};
};

constexpr BytesView kPost =
    "POST /v3/kv/put?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-Two: y\r\n\r\nhello";

TEST_F(Http1ServerTest, ARequestAndItsResponse) {
  EXPECT_EQ(feed(kPost), "");
  const Http1Request* request = server_.request();
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->path, "/v3/kv/put");
  EXPECT_EQ(request->query, "a=b");
  EXPECT_EQ(request->headers.find("x-two"), "y");
  EXPECT_EQ(request->body, "hello");
  EXPECT_EQ(respond({.status = 200, .content_type = "text/plain", .body = "hi"}),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_EQ(server_.request(), nullptr);
  EXPECT_FALSE(server_.finished());
}

TEST_F(Http1ServerTest, AllConnectionsTogetherBufferSoMuch) {
  const auto all = std::make_shared<RequestBuffers>();
  all->bytes = 2 * all->max_bytes;  // others'
  const std::size_t others = all->bytes;
  {
    Http1Server server({.max_body_bytes = 2 * limits::kLittleRequestBytes, .all_buffers = all});
    Bytes out;
    server.receive("POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n", out);
    server.receive(Bytes(limits::kLittleRequestBytes, 'x'), out);
    EXPECT_EQ(out, "");
    EXPECT_EQ(all->bytes, others + limits::kLittleRequestBytes);
    server.receive("x", out);
    EXPECT_TRUE(out.starts_with("HTTP/1.1 503 ")) << out;
    EXPECT_TRUE(server.finished());
  }
  EXPECT_EQ(all->bytes, others);
  Http1Server server({.max_body_bytes = 2 * limits::kLittleRequestBytes, .all_buffers = all});
  Bytes out;
  server.receive(kPost, out);
  EXPECT_EQ(all->bytes, others + 5);
  server.receive(Bytes(limits::kLittleRequestBytes, 'x'), out);
  EXPECT_EQ(out, "") << "not in place of the answer";
  EXPECT_TRUE(server.finished());
  server.respond({}, out);
  EXPECT_EQ(all->bytes, others) << "an answered request is not held";
}

TEST_F(Http1ServerTest, IsTheSameAtEachSplit) {
  for (std::size_t split = 0; split <= kPost.size(); ++split) {
    feed(kPost.substr(0, split));
    EXPECT_EQ(server_.request() != nullptr, split == kPost.size());
    feed(kPost.substr(split));
    ASSERT_NE(server_.request(), nullptr) << split;
    EXPECT_EQ(server_.request()->body, "hello");
    respond({.body = "ok"});
  }
}

TEST_F(Http1ServerTest, OneByteAtATime) {
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (const char c : kPost) feed(BytesView(&c, 1));
    ASSERT_NE(server_.request(), nullptr);
    EXPECT_EQ(server_.request()->body, "hello");
    respond({.body = "ok"});
  }
}

TEST_F(Http1ServerTest, RequestsSentAheadComeOneByOne) {
  feed(
      "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\nConnection: close\r\n\r\n");
  for (const char* path : {"/a", "/b", "/c"}) {
    ASSERT_NE(server_.request(), nullptr);
    EXPECT_EQ(server_.request()->path, path);
    EXPECT_FALSE(server_.finished());
    respond({.body = path});
  }
  EXPECT_TRUE(server_.finished());
}

TEST_F(Http1ServerTest, TooMuchSentAheadEndsTheConnection) {
  feed("GET /a HTTP/1.1\r\n\r\n");
  feed(Bytes(2000, 'x'));
  EXPECT_TRUE(server_.finished());
  EXPECT_EQ(server_.complaint(), "too much sent ahead");
}

TEST_F(Http1ServerTest, AClientIsToldToContinue) {
  EXPECT_EQ(feed("POST /a HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"),
            "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(feed("hel"), "");
  EXPECT_EQ(feed("lo"), "");
  ASSERT_NE(server_.request(), nullptr);
  EXPECT_EQ(server_.request()->body, "hello");
}

TEST_F(Http1ServerTest, AChunkedBody) {
  feed("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
  ASSERT_NE(server_.request(), nullptr);
  EXPECT_EQ(server_.request()->body, "hello");
}

TEST_F(Http1ServerTest, Http10ClosesAfterTheResponse) {
  feed("GET /a HTTP/1.0\r\n\r\n");
  EXPECT_NE(respond({.body = "x"}).find("Connection: close\r\n"), Bytes::npos);
  EXPECT_TRUE(server_.finished());
}

TEST_F(Http1ServerTest, AResponseInPieces) {
  const Http1Response head{.content_type = "text/plain", .body = {}};
  feed(Bytes(kPost) + "GET /next HTTP/1.1\r\n\r\n");
  Bytes out;
  server_.begin(head, out);
  EXPECT_EQ(out,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
  out.clear();
  server_.piece("0123456789abcdef\n", out);
  server_.piece("", out);
  EXPECT_EQ(out, "11\r\n0123456789abcdef\n\r\n");
  tick(1);
  EXPECT_EQ(tick(100), "") << "a long answer is no slow request";
  EXPECT_EQ(server_.request()->path, "/v3/kv/put");
  out.clear();
  server_.end(out);
  EXPECT_EQ(out, "0\r\n\r\n");
  ASSERT_NE(server_.request(), nullptr);
  EXPECT_EQ(server_.request()->path, "/next");
  server_.shutdown();
  EXPECT_FALSE(server_.finished());
  out.clear();
  server_.begin(head, out);
  EXPECT_NE(out.find("Connection: close\r\n"), Bytes::npos);
  server_.end(out);
  EXPECT_TRUE(server_.finished());
}

TEST_F(Http1ServerTest, WhoKnowsNoChunksSeesTheEndOfTheConnection) {
  feed("POST /a HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n");
  Bytes out;
  server_.begin({.content_type = "text/plain", .body = {}}, out);
  server_.piece("one", out);
  server_.piece("two", out);
  EXPECT_FALSE(server_.finished());
  server_.end(out);
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nonetwo");
  EXPECT_TRUE(server_.finished());
}

TEST_F(Http1ServerTest, HeadGetsNoBody) {
  feed("HEAD /a HTTP/1.1\r\n\r\n");
  const Bytes response = respond({.body = "body"});
  EXPECT_NE(response.find("Content-Length: 4\r\n"), Bytes::npos);
  EXPECT_TRUE(response.ends_with("\r\n\r\n"));
}

TEST_F(Http1ServerTest, Refusals) {
  struct Case {
    Bytes request;
    BytesView status;
  };
  const Case cases[] = {
      {"garbage\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {Bytes("\0\0\0\0\r\n\r\n", 8), "HTTP/1.1 400 Bad Request"},
      {"GET /a HTTP/9.9\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"POST /a HTTP/1.1\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 400 Bad Request"},
      {"POST /a HTTP/1.1\r\nContent-Length: 101\r\n\r\n", "HTTP/1.1 413 Payload Too Large"},
      {"GET /a HTTP/1.1\r\nx: " + Bytes(2000, 'x') + "\r\n\r\n",
       "HTTP/1.1 431 Request Header Fields Too Large"},
  };
  for (const auto& [request, status] : cases) {
    Http1Server server({.max_header_bytes = 1000, .max_body_bytes = 100});
    Bytes out;
    server.receive(request, out);
    EXPECT_TRUE(out.starts_with(status)) << request << " -> " << out;
    EXPECT_NE(out.find("Connection: close\r\n"), Bytes::npos);
    EXPECT_TRUE(server.finished());
    EXPECT_NE(server.complaint(), "");
  }
}

TEST_F(Http1ServerTest, ARequestThatDribblesIsRefused) {
  feed("GET /a HT");
  EXPECT_EQ(tick(1), "");
  feed("T");
  EXPECT_EQ(tick(30), "");
  EXPECT_TRUE(tick(31).starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(server_.finished());
}

TEST_F(Http1ServerTest, ABodyThatDribblesIsRefused) {
  feed("POST /a HTTP/1.1\r\nContent-Length: 50\r\n\r\n");
  for (int second = 1; second <= 30; ++second) {
    EXPECT_EQ(tick(second), "");
    feed("x");
  }
  EXPECT_TRUE(tick(31).starts_with("HTTP/1.1 408 "));
}

TEST_F(Http1ServerTest, AnIdleConnectionAndASlowAnswerStay) {
  tick(1);
  tick(100);
  EXPECT_FALSE(server_.finished());
  feed("GET /a HTTP/1.1\r\n\r\n");
  tick(101);
  tick(200);
  EXPECT_FALSE(server_.finished());
  respond({.body = "x"});
  tick(201);
  tick(300);
  EXPECT_FALSE(server_.finished());
}

TEST_F(Http1ServerTest, ShutdownAnswersTheOpenRequestAndCloses) {
  feed("GET /a HTTP/1.1\r\n\r\n");
  server_.shutdown();
  EXPECT_FALSE(server_.finished());
  EXPECT_NE(respond({.body = "x"}).find("Connection: close\r\n"), Bytes::npos);
  EXPECT_TRUE(server_.finished());
}

}  // namespace
}  // namespace conclave::wire
