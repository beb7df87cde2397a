#pragma once
// The server's side of one HTTP/1.1 connection, over Boost.Beast's parser: bytes in, one request at
// a time out; its response in, bytes out. Requests that a client sends ahead (pipelining) wait,
// unparsed, within a bound. It does no I/O and reads no clock.
//
// The owner's loop, after each read:
//   server.receive(bytes, out);
//   while (server.request() != nullptr) respond now, or leave the loop and respond later;
//   if (server.finished()) close after `out` has left.
//
// Not thread-safe.

#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/time.h"
#include "wire/header_list.h"
#include "wire/request_buffers.h"

namespace conclave::wire {

struct Http1Options {
  std::uint32_t max_header_bytes = 32 * limits::kKiB;
  std::size_t max_body_bytes = limits::kMaxRequestBytes + limits::kRequestOverheadBytes;
  Duration request_deadline = milliseconds(limits::kClientIdleHeaderMs);
  std::shared_ptr<RequestBuffers> all_buffers = {};  // its requests are a part; may be null
};

struct Http1Request {
  Bytes method;
  Bytes path;          // up to '?'
  Bytes query;         // after it
  HeaderList headers;  // names in lower case
  Bytes body;
  bool keep_alive = false;
  bool takes_chunks = false;  // HTTP/1.1: an answer of unknown length may come in chunks
};

// "Not Found" for 404.
BytesView http1_reason(int status);

struct Http1Response {
  int status = 200;
  BytesView content_type = "text/plain; charset=utf-8";
  Bytes body;
  BytesView extra_header = {};  // "Name: value", if any; CRLF between two
  // That many bytes of body follow which the owner appends to `out` itself.
  std::size_t more_body_bytes = 0;
};

class Http1Server {
 public:
  explicit Http1Server(const Http1Options& options);
  ~Http1Server();
  Http1Server(const Http1Server&) = delete;
  Http1Server& operator=(const Http1Server&) = delete;

  // Appends to `out` what the protocol itself has to say: "100 Continue", or the refusal of a bad
  // request.
  void receive(BytesView bytes, Bytes& out);
  // The request that waits for respond(), or nullptr. Good until then.
  const Http1Request* request() const;
  // REQUIRES: request() is not nullptr.
  void respond(const Http1Response& response, Bytes& out);

  // A response whose length is not known when it begins: begin() writes its header, piece() some of
  // the body, end() ends it. The request waits until then. A client that does not know chunks sees
  // the end of the connection instead.
  // REQUIRES: for begin(), request() is not nullptr and `head` has no body; for the others, a
  // response has begun.
  void begin(const Http1Response& head, Bytes& out);
  void piece(BytesView bytes, Bytes& out) const;
  void end(Bytes& out);

  // Refuses a request that takes longer than the deadline to arrive. About once a second.
  void tick(Instant now, Bytes& out);
  // Takes no new request: finished() once the present one is answered.
  void shutdown();
  bool finished() const { return finished_; }
  // Why, if the client broke the protocol; for the log.
  const std::string& complaint() const { return complaint_; }

 private:
  struct Parser;

  void parse(Bytes& out);
  void step(Bytes& out);
  void complete();
  void count_buffered();
  void settle(bool keep_alive, Bytes& out);
  void refuse(int status, std::string why, Bytes& out);
  // Arrived and not parsed yet.
  BytesView ahead() const { return BytesView(input_).substr(parsed_); }

  Http1Options options_;
  std::unique_ptr<Parser> parser_;
  Bytes input_;
  std::size_t parsed_ = 0;               // of input_
  BufferShare buffered_;                 // input_, and the body that has been parsed
  std::optional<Http1Request> request_;  // complete, and waiting for its response
  Instant partial_since_;  // when tick first saw the request incomplete; 0: it has not
  bool stopping_ = false;
  bool finished_ = false;
  std::string complaint_;
};

}  // namespace conclave::wire
