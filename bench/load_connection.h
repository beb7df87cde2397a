#pragma once
// One HTTP/2 connection of bench-load: streams that post a body, over and over. One thread.

#include <nghttp2/nghttp2.h>

#include <csignal>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "load_requests.h"

namespace bench_load {

// Set by SIGINT: nothing more is started.
inline volatile std::sig_atomic_t interrupted = 0;

struct Stream {
  std::string body;
  std::size_t sent = 0;
  std::int64_t began_ns = 0;
  bool ok = false;
  Messages messages;
};

// What all connections share.
struct Run {
  explicit Run(const Options& wanted) : options(wanted), body(wanted.body), numbers(wanted) {}

  bool more(std::int64_t now) const {
    if (interrupted != 0) return false;
    if (options.requests != 0) return started < options.requests;
    return now < began_ns + static_cast<std::int64_t>(options.seconds * 1e9);
  }

  const Options& options;
  Body body;
  Numbers numbers;
  std::int64_t began_ns = 0;
  std::int64_t ended_ns = 0;
  std::uint64_t started = 0;
  std::uint64_t answered = 0;
  std::uint64_t refused = 0;
  std::uint64_t retried = 0;
  std::vector<std::uint32_t> latencies_us;
  std::uint64_t messages = 0;
  std::uint64_t fields = 0;
};

// Does not block; ends the program when the server ends the connection. Owns the socket.
class Connection {
 public:
  Connection(Run& run, int socket);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  bool has_free() const { return !free_.empty(); }

  // REQUIRES has_free(). Goes out with the next flush().
  void start(std::int64_t began_ns);

  // Sends again what was refused long enough ago, with the next flush().
  void retry(std::int64_t now);

  // Takes what the server has sent. With Options::rate 0 each answer starts another request.
  void receive();

  // Sends as much as the socket takes.
  void flush();

 private:
  void submit(Stream* stream);
  static ssize_t read_body(nghttp2_session*, std::int32_t, std::uint8_t* out, std::size_t length,
                           std::uint32_t* flags, nghttp2_data_source* source, void* self);
  static int on_header(nghttp2_session* session, const nghttp2_frame* frame,
                       const std::uint8_t* name, std::size_t name_length, const std::uint8_t* value,
                       std::size_t value_length, std::uint8_t, void*);
  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id,
                     const std::uint8_t* data, std::size_t length, void* self);
  static int on_close(nghttp2_session* session, std::int32_t id, std::uint32_t error, void* self);

  Run& run_;
  int socket_;
  nghttp2_session* session_ = nullptr;
  std::vector<Stream> streams_;
  std::vector<Stream*> free_;
  std::deque<std::pair<std::int64_t, Stream*>> refused_;  // and when they are sent again
  std::string out_;
  std::size_t out_sent_ = 0;
};

}  // namespace bench_load
