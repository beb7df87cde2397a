#pragma once
// The server's side of one HTTP/2 connection, over nghttp2's session: bytes in, streams with news
// out; responses in, bytes out. It does no I/O and reads no clock.
//
// The owner's loop, after each read:
//   server.receive(bytes);
//   server.take_news([&](Http2Stream& stream) { look at it; perhaps respond });
//   server.flush(out);            // everything that may leave now
//   if (server.finished()) close;
// and respond + flush whenever an answer is ready. A request's body can be read as it arrives
// (streaming) or once `ended` is set (unary). Nothing is unbounded: streams, header lists, bodies,
// control frames and resets have limits.
//
// Not thread-safe.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/time.h"
#include "wire/header_list.h"
#include "wire/request_buffers.h"

namespace conclave::wire {

struct Http2Options {
  std::uint32_t max_streams = limits::kMaxStreamsPerConnection;
  std::uint32_t max_header_bytes = 32 * limits::kKiB;
  // Body bytes that one stream, and the whole connection, may hold until the owner consumes them.
  std::size_t max_body_bytes = limits::kMaxRequestBytes + limits::kRequestOverheadBytes;
  std::size_t max_buffered_bytes = 64 * limits::kMiB;
  std::shared_ptr<RequestBuffers> all_buffers = {};  // of which they are a part; may be null
  std::int32_t stream_window_bytes = 4 * limits::kMiB;
  std::int32_t connection_window_bytes = 16 * limits::kMiB;
  Duration request_deadline = milliseconds(limits::kClientIdleHeaderMs);
  std::uint32_t max_resets_per_tick = 20'000;
};

// Names a stream within its connection, also after it has ended: no two streams have the same key.
using Http2Key = std::uint64_t;

// One request and its response. Owned by the server; a pointer to it is good until the server's
// next receive or flush, a key forever.
class Http2Stream {
 public:
  Http2Key key() const { return key_; }

  // --- the request ---
  Bytes method;
  Bytes path;
  HeaderList headers;             // without pseudo-header fields
  Bytes body;                     // as far as it has arrived, until consume
  bool ended = false;             // the request is complete
  bool header_too_large = false;  // fields beyond the limit were thrown away
  bool body_too_large = false;    // so was the rest of the body
  bool closed = false;            // the client reset it: nothing can be answered any more
  // --- the owner's own notes ---
  std::uint32_t state = 0;  // 0 in a new stream
  // No deadline for completing the request; its client is held back until what it sent is consumed.
  bool long_lived = false;

 private:
  friend class Http2Server;
  friend struct Http2Callbacks;

  Http2Key key_ = 0;
  std::int32_t id_ = 0;
  bool open_ = false;  // nghttp2 knows the stream
  bool in_news_ = false;
  bool deferred_ = false;        // nghttp2 asked for data and there was none
  bool finished_ = false;        // the owner has nothing more to send
  std::size_t owed_window_ = 0;  // of a long-lived stream: received, and not consumed
  Bytes out_;
  std::size_t out_sent_ = 0;  // of out_
  std::vector<Bytes> later_;  // follows out_
  std::size_t later_taken_ = 0;
  std::size_t later_bytes_ = 0;
  std::size_t out_counted_ = 0;  // of out_ and later_, in held_bytes_

  std::size_t unsent() const { return out_.size() - out_sent_ + later_bytes_; }
  // out_ has been sent: goes on with what follows.
  void next_out();
  HeaderList trailers_;
  Instant first_seen_;  // by tick; 0: not yet
};

class Http2Server {
 public:
  explicit Http2Server(const Http2Options& options);
  ~Http2Server();
  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;

  void receive(BytesView bytes);

  // Calls `visit(Http2Stream&)` for each stream of which something new is known: its header is
  // complete, more of its body has arrived, it ended, or the client reset it.
  template <class Visit>
  void take_news(Visit&& visit) {
    for (std::size_t i = 0; i < news_.size(); ++i) visit(*news_[i]);
    release_news();
  }

  // nullptr if the stream has ended meanwhile.
  Http2Stream* find(Http2Key key);
  // The owner has no further use for the first `bytes` of stream.body.
  void consume(Http2Stream& stream, std::size_t bytes);

  // The response: start, then write any number of times, then finish (with trailers or without).
  // Ignored on a closed stream. If the request has not ended by then, the client is told to stop
  // sending it.
  void start(Http2Stream& stream, std::span<const HeaderField> headers);
  // A header alone is the whole response.
  void respond(Http2Stream& stream, std::span<const HeaderField> headers);
  // Where to append the next bytes of the response's body; call wrote() afterwards. REQUIRES:
  // started.
  Bytes& body_of(Http2Stream& stream) { return stream.out_; }
  // The whole body at once, in pieces that go as they are sent. REQUIRES: started, nothing written.
  void give(Http2Stream& stream, std::vector<Bytes> body);
  void wrote(Http2Stream& stream);
  void finish(Http2Stream& stream, std::span<const HeaderField> trailers);
  // Ends the stream without (the rest of) a response.
  void reset(Http2Stream& stream, std::uint32_t http2_error);

  // Appends what can leave now, while `out` is smaller than `max_bytes`: what the client's
  // flow-control windows allow.
  void flush(Bytes& out, std::size_t max_bytes = SIZE_MAX);
  // Whether flush() has something to append.
  bool wants_flush() const;

  // Response bytes that wait for the client's windows, or for flush.
  std::size_t held_bytes() const { return held_bytes_; }
  std::size_t held_bytes(const Http2Stream& stream) const { return stream.unsent(); }
  std::size_t open_streams() const { return open_streams_; }

  // Resets requests, and ends a connection, that take longer than the deadline to arrive. About
  // once a second.
  void tick(Instant now);
  // Takes no new streams; finished() once the open ones are answered.
  void shutdown();
  // Nothing more will be read or sent: close the connection after what flush gave has left.
  bool finished() const;
  // What the client did wrong, if it did; for the log.
  const std::string& complaint() const { return failure_.empty() ? complaint_ : failure_; }

 private:
  friend struct Http2Callbacks;
  struct Session;

  Http2Stream& open(std::int32_t id);
  void tell(Http2Stream& stream);
  void receive_body(Http2Stream& stream, BytesView chunk);
  bool may_buffer(const Http2Stream& stream, std::size_t bytes) const;
  void closed(Http2Stream& stream);
  void release(Http2Stream& stream);
  void release_news();
  void tick_streams(Instant now);
  void tick_frame(Instant now);
  void fail(std::string reason);

  Http2Options options_;
  std::unique_ptr<Session> session_;
  std::vector<std::unique_ptr<Http2Stream>> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<Http2Stream*> news_;
  std::size_t open_streams_ = 0;
  std::size_t held_bytes_ = 0;  // of responses
  BufferShare buffered_;        // of requests
  std::uint32_t resets_ = 0;    // by the client, since the last tick
  std::string complaint_;       // of nghttp2, which tells the client with a GOAWAY or RST_STREAM
  std::string failure_;         // the end: nothing more is read or sent
};

}  // namespace conclave::wire
