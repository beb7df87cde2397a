#include "load_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace bench_load {
namespace {

constexpr std::int32_t kWindow = (1 << 30) - 1;  // h2load's
constexpr std::size_t kFlushBytes = 256 * 1024;
constexpr std::int64_t kRetryAfter = kSecond / 5;

nghttp2_nv header(std::string_view name, std::string_view value) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
          value.size(), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

}  // namespace

Connection::Connection(Run& run, int socket)
    : run_(run), socket_(socket), streams_(run.options.streams) {
  for (Stream& each : streams_) free_.push_back(&each);
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  nghttp2_session_client_new(&session_, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  const std::array<nghttp2_settings_entry, 2> settings{
      {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(kWindow)}}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindow);
}

Connection::~Connection() {
  nghttp2_session_del(session_);
  close(socket_);
}

void Connection::start(std::int64_t began_ns) {
  Stream* const stream = free_.back();
  free_.pop_back();
  *stream = Stream{std::move(stream->body), 0, began_ns, false, {}};
  run_.body.write_to(stream->body, run_.numbers);
  submit(stream);
  ++run_.started;
}

void Connection::submit(Stream* stream) {
  nghttp2_data_provider source{};
  source.source.ptr = stream;
  source.read_callback = read_body;
  const Options& options = run_.options;
  const std::array<nghttp2_nv, 6> headers{header(":method", "POST"),
                                          header(":scheme", "http"),
                                          header(":path", options.path),
                                          header(":authority", options.to),
                                          header("content-type", "application/grpc"),
                                          header("te", "trailers")};
  if (nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &source, stream) <
      0) {
    fail("no more streams on a connection");
  }
}

void Connection::retry(std::int64_t now) {
  while (!refused_.empty() && refused_.front().first <= now) {
    submit(refused_.front().second);
    refused_.pop_front();
  }
}

void Connection::receive() {
  std::array<std::uint8_t, 65536> buffer;
  while (true) {
    const ssize_t count = recv(socket_, buffer.data(), buffer.size(), 0);
    if (count == 0) fail("the server closed a connection");
    if (count < 0) {
      if (errno == EAGAIN) return;
      fail(std::string("recv: ") + std::strerror(errno));
    }
    const ssize_t used =
        nghttp2_session_mem_recv(session_, buffer.data(), static_cast<std::size_t>(count));
    if (used < 0) fail(nghttp2_strerror(static_cast<int>(used)));
    if (static_cast<std::size_t>(count) < buffer.size()) return;
  }
}

void Connection::flush() {
  while (true) {
    while (out_.size() - out_sent_ < kFlushBytes) {
      const std::uint8_t* data = nullptr;
      const ssize_t count = nghttp2_session_mem_send(session_, &data);
      if (count < 0) fail(nghttp2_strerror(static_cast<int>(count)));
      if (count == 0) break;
      out_.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(count));
    }
    if (out_.size() == out_sent_) return;
    const ssize_t sent =
        send(socket_, out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EAGAIN) return;
      fail(std::string("send: ") + std::strerror(errno));
    }
    out_sent_ += static_cast<std::size_t>(sent);
    if (out_sent_ == out_.size()) {
      out_.clear();
      out_sent_ = 0;
    }
  }
}

ssize_t Connection::read_body(nghttp2_session*, std::int32_t, std::uint8_t* out, std::size_t length,
                              std::uint32_t* flags, nghttp2_data_source* source, void* self) {
  auto& stream = *static_cast<Stream*>(source->ptr);
  const std::size_t count = std::min(length, stream.body.size() - stream.sent);
  const bool holds = static_cast<Connection*>(self)->run_.options.hold;
  if (count == 0 && holds) return NGHTTP2_ERR_DEFERRED;
  std::memcpy(out, stream.body.data() + stream.sent, count);
  stream.sent += count;
  if (stream.sent == stream.body.size() && !holds) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(count);
}

int Connection::on_header(nghttp2_session* session, const nghttp2_frame* frame,
                          const std::uint8_t* name, std::size_t name_length,
                          const std::uint8_t* value, std::size_t value_length, std::uint8_t,
                          void*) {
  const std::string_view is(reinterpret_cast<const char*>(name), name_length);
  if (is != "grpc-status") return 0;
  auto* const stream =
      static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
  if (stream != nullptr) stream->ok = value_length == 1 && value[0] == '0';
  return 0;
}

int Connection::on_data(nghttp2_session* session, std::uint8_t, std::int32_t id,
                        const std::uint8_t* data, std::size_t length, void* self) {
  Run& run = static_cast<Connection*>(self)->run_;
  auto* const stream = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
  if (!run.options.hold || stream == nullptr) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data), length);
  stream->messages.add(bytes, run.options.field, run.messages, run.fields);
  return 0;
}

int Connection::on_close(nghttp2_session* session, std::int32_t id, std::uint32_t error,
                         void* self) {
  auto& connection = *static_cast<Connection*>(self);
  Run& run = connection.run_;
  auto* const stream = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
  if (run.options.hold) fail("the server ended a stream that was to stay open");
  const std::int64_t now = now_ns();
  run.ended_ns = now;
  const bool refused = !stream->ok || error != 0;
  if (refused && run.options.retry) {
    ++run.retried;
    stream->sent = 0;
    stream->ok = false;
    connection.refused_.emplace_back(now + kRetryAfter, stream);
    return 0;
  }
  ++run.answered;
  if (refused) ++run.refused;
  run.latencies_us.push_back(static_cast<std::uint32_t>((now - stream->began_ns) / 1000));
  connection.free_.push_back(stream);
  if (run.options.rate == 0 && run.more(now)) connection.start(now);
  return 0;
}

}  // namespace bench_load
