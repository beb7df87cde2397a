#include "wire/http2_server.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "wire/http2_frames.h"

namespace conclave::wire {
namespace {

constexpr std::size_t kMaxResponseHeaders = 16;
// A slot's buffers are kept for the next stream unless they have grown beyond this.
constexpr std::size_t kKeptBufferBytes = 16 * limits::kKiB;

// What submits to nghttp2 are built from. nghttp2 copies what it is given, so the views may end
// with the call.
class NameValues {
 public:
  void add(const HeaderField& field) {
    CHECK(count_ < kMaxResponseHeaders);
    values_[count_++] = {bytes(field.name), bytes(field.value), field.name.size(),
                         field.value.size(), NGHTTP2_NV_FLAG_NONE};
  }
  const nghttp2_nv* data() const { return values_.data(); }
  std::size_t size() const { return count_; }

 private:
  // nghttp2's struct is not const-correct; it only reads.
  static std::uint8_t* bytes(BytesView view) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(view.data()));
  }
  std::array<nghttp2_nv, kMaxResponseHeaders> values_;
  std::size_t count_ = 0;
};

NameValues name_values(std::span<const HeaderField> headers) {
  NameValues result;
  for (const HeaderField& field : headers) result.add(field);
  return result;
}

BytesView view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

void reuse(Bytes& buffer) {
  if (buffer.capacity() > kKeptBufferBytes) {
    Bytes().swap(buffer);
  } else {
    buffer.clear();
  }
}

}  // namespace

void Http2Stream::next_out() {
  out_sent_ = 0;
  if (later_bytes_ == 0) {
    std::vector<Bytes>().swap(later_);
    later_taken_ = 0;
    return reuse(out_);
  }
  out_ = std::move(later_[later_taken_++]);
  later_bytes_ -= out_.size();
}

struct Http2Server::Session {
  nghttp2_session* nghttp2 = nullptr;
  Bytes* sink = nullptr;        // where flush collects
  Http2Stream* last = nullptr;  // of the last callback: frames of a stream come in runs
  FrameBoundaries frames;
  std::uint64_t partial_frame = 0;  // the one that was incomplete at the last tick; 0: none
  Instant partial_since;

  ~Session() { nghttp2_session_del(nghttp2); }

  // nullptr for a stream that we do not follow any more.
  Http2Stream* stream(std::int32_t id) {
    if (last != nullptr && last->id_ == id && last->open_) return last;
    auto* found = static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(nghttp2, id));
    if (found != nullptr) last = found;
    return found;
  }
};

// What nghttp2 calls back while it reads and writes. Static functions of a struct, for access to
// private members.
struct Http2Callbacks {
  using Server = Http2Server;

  static int begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;  // trailers
    auto& server = *static_cast<Server*>(user);
    Http2Stream& stream = server.open(frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, &stream);
    server.session_->last = &stream;
    return 0;
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                    std::uint8_t, void* user) {
    auto& server = *static_cast<Server*>(user);
    Http2Stream* stream = server.session_->stream(frame->hd.stream_id);
    if (stream == nullptr || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    const BytesView key = view(name, name_size);
    const BytesView text = view(value, value_size);
    if (stream->headers.size_bytes() + key.size() + text.size() >
        server.options_.max_header_bytes) {
      stream->header_too_large = true;
    } else if (!key.starts_with(':')) {
      stream->headers.add(key, text);
    } else if (key == ":path") {
      stream->path.assign(text);
    } else if (key == ":method") {
      stream->method.assign(text);
    }
    return 0;
  }

  static int frame_received(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    auto& server = *static_cast<Server*>(user);
    if (frame->hd.type == NGHTTP2_RST_STREAM) ++server.resets_;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    Http2Stream* stream = server.session_->stream(frame->hd.stream_id);
    if (stream == nullptr) return 0;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) stream->ended = true;
    const bool trailers =
        frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat != NGHTTP2_HCAT_REQUEST;
    if (trailers && !stream->ended) {  // nothing may follow them (RFC 9113, 8.1)
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                NGHTTP2_PROTOCOL_ERROR);
      return 0;
    }
    server.tell(*stream);
    return 0;
  }

  static int data_received(nghttp2_session*, std::uint8_t, std::int32_t id,
                           const std::uint8_t* data, std::size_t size, void* user) {
    auto& server = *static_cast<Server*>(user);
    nghttp2_session_consume_connection(server.session_->nghttp2, size);
    Http2Stream* stream = server.session_->stream(id);
    if (stream != nullptr) server.receive_body(*stream, view(data, size));
    return 0;
  }

  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    auto& server = *static_cast<Server*>(user);
    Http2Stream* stream = server.session_->stream(id);
    if (stream != nullptr) server.closed(*stream);
    return 0;
  }

  static void note_goaway(Server& server, const nghttp2_goaway& goaway) {
    if (goaway.error_code == NGHTTP2_NO_ERROR) return;
    server.complaint_ = nghttp2_http2_strerror(goaway.error_code);
    if (goaway.opaque_data_len == 0) return;
    server.complaint_ += ": ";
    server.complaint_ += view(goaway.opaque_data, goaway.opaque_data_len);
  }

  // The response ended before its request: without a reset the client would have to send the rest
  // (RFC 9113, 8.1).
  static int frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    auto& server = *static_cast<Server*>(user);
    if (frame->hd.type == NGHTTP2_GOAWAY) note_goaway(server, frame->goaway);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    const Http2Stream* stream = server.session_->stream(frame->hd.stream_id);
    if (stream == nullptr || stream->ended) return 0;
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
  }

  static int invalid_frame(nghttp2_session*, const nghttp2_frame*, int error, void* user) {
    static_cast<Server*>(user)->complaint_ = nghttp2_strerror(error);
    return 0;
  }

  // Says how much of a response's body the next DATA frame takes; send_data then appends it without
  // a copy between.
  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t*,
                           std::size_t size, std::uint32_t* flags, nghttp2_data_source* source,
                           void*) {
    auto& stream = *static_cast<Http2Stream*>(source->ptr);
    const std::size_t left = stream.out_.size() - stream.out_sent_;
    if (left == 0 && !stream.finished_) {
      stream.deferred_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!stream.finished_ || left > size || stream.later_bytes_ > 0) {
      return static_cast<ssize_t>(std::min(left, size));
    }
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream.trailers_.size() > 0) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      submit_trailers(session, id, stream.trailers_);
    }
    return static_cast<ssize_t>(left);
  }

  static void submit_trailers(nghttp2_session* session, std::int32_t id, const HeaderList& list) {
    NameValues values;
    for (std::size_t i = 0; i < list.size(); ++i) values.add(list[i]);
    nghttp2_submit_trailer(session, id, values.data(), values.size());
  }

  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* frame_header,
                       std::size_t size, nghttp2_data_source* source, void* user) {
    constexpr std::size_t kFrameHeaderBytes = 9;
    auto& server = *static_cast<Server*>(user);
    auto& stream = *static_cast<Http2Stream*>(source->ptr);
    Bytes& sink = *server.session_->sink;
    sink.append(view(frame_header, kFrameHeaderBytes));
    sink.append(BytesView(stream.out_).substr(stream.out_sent_, size));
    stream.out_sent_ += size;
    stream.out_counted_ -= size;
    server.held_bytes_ -= size;
    if (stream.out_sent_ == stream.out_.size()) stream.next_out();
    return 0;
  }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* callbacks = nullptr;
    CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_received);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, frame_sent);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, invalid_frame);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    return callbacks;
  }

  static nghttp2_option* options() {
    nghttp2_option* option = nullptr;
    CHECK(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_outbound_ack(option, 1'000);
    nghttp2_option_set_max_settings(option, 32);
    // Windows open as receive_body and consume say.
    nghttp2_option_set_no_auto_window_update(option, 1);
    // Go's gRPC sends what it dialled as :authority, URL and all ("http://host:port"), which
    // nghttp2 would refuse. What a request needs (method, path, content type) sessions check.
    nghttp2_option_set_no_http_messaging(option, 1);
    // nghttp2's own limit reads the system's clock; tick counts resets instead.
    nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, UINT64_MAX);
    return option;
  }
};

Http2Server::Http2Server(const Http2Options& options)
    : options_(options), session_(std::make_unique<Session>()), buffered_(options.all_buffers) {
  nghttp2_session_callbacks* callbacks = Http2Callbacks::make();
  nghttp2_option* option = Http2Callbacks::options();
  CHECK(nghttp2_session_server_new2(&session_->nghttp2, callbacks, this, option) == 0);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);

  const std::array<nghttp2_settings_entry, 4> settings{{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
       static_cast<std::uint32_t>(options_.stream_window_bytes)},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options_.max_header_bytes},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  }};
  nghttp2_submit_settings(session_->nghttp2, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_->nghttp2, NGHTTP2_FLAG_NONE, 0,
                                        options_.connection_window_bytes);
}

Http2Server::~Http2Server() = default;

void Http2Server::receive(BytesView bytes) {
  if (finished()) return;
  session_->frames.feed(bytes);
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const ssize_t taken = nghttp2_session_mem_recv(session_->nghttp2, data, bytes.size());
  if (taken < 0) fail(nghttp2_strerror(static_cast<int>(taken)));
}

Http2Stream& Http2Server::open(std::int32_t id) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.push_back(std::make_unique<Http2Stream>());
    slots_.back()->key_ = free_slots_.back();
  }
  Http2Stream& stream = *slots_[free_slots_.back()];
  free_slots_.pop_back();
  stream.key_ += std::uint64_t{1} << 32;  // slot in the low half, how often it was used in the high
  stream.id_ = id;
  stream.open_ = true;
  ++open_streams_;
  return stream;
}

Http2Stream* Http2Server::find(Http2Key key) {
  const std::size_t slot = key & 0xffff'ffff;
  if (slot >= slots_.size()) return nullptr;
  Http2Stream& stream = *slots_[slot];
  return stream.key_ == key && stream.open_ ? &stream : nullptr;
}

void Http2Server::tell(Http2Stream& stream) {
  if (std::exchange(stream.in_news_, true)) return;
  news_.push_back(&stream);
}

// The client of a long-lived stream is told to go on when what it sent has been consumed; a request
// that is too large for its limit is never complete, so its client need not wait to be told so.
void Http2Server::receive_body(Http2Stream& stream, BytesView chunk) {
  if (stream.long_lived) {
    stream.owed_window_ += chunk.size();
  } else {
    nghttp2_session_consume_stream(session_->nghttp2, stream.id_, chunk.size());
  }
  if (stream.body_too_large || stream.finished_) return;
  if (may_buffer(stream, chunk.size())) {
    stream.body.append(chunk);
    buffered_.set(buffered_.bytes() + chunk.size());
  } else {
    stream.body_too_large = true;
  }
  tell(stream);
}

bool Http2Server::may_buffer(const Http2Stream& stream, std::size_t bytes) const {
  const std::size_t window = static_cast<std::size_t>(options_.stream_window_bytes);
  const std::size_t limit = options_.max_body_bytes + (stream.long_lived ? window : 0);
  if (stream.body.size() + bytes > limit) return false;
  return buffered_.bytes() + bytes <= options_.max_buffered_bytes && buffered_.has_room(bytes);
}

void Http2Server::consume(Http2Stream& stream, std::size_t bytes) {
  buffered_.set(buffered_.bytes() - bytes);
  if (bytes == stream.body.size()) {
    reuse(stream.body);
  } else {
    stream.body.erase(0, bytes);
  }
  const std::size_t owed = std::min(bytes, stream.owed_window_);
  stream.owed_window_ -= owed;
  if (owed > 0) nghttp2_session_consume_stream(session_->nghttp2, stream.id_, owed);
}

// nghttp2 has forgotten the stream. Unless it ended well, the owner is told before the slot is used
// again.
void Http2Server::closed(Http2Stream& stream) {
  stream.open_ = false;
  --open_streams_;
  if (!stream.finished_) {
    stream.closed = true;
    tell(stream);
  }
  if (!stream.in_news_) release(stream);
}

void Http2Server::release_news() {
  for (Http2Stream* stream : news_) {
    stream->in_news_ = false;
    if (!stream->open_) release(*stream);
  }
  news_.clear();
}

void Http2Server::release(Http2Stream& stream) {
  CHECK(!stream.open_);
  consume(stream, stream.body.size());
  held_bytes_ -= std::exchange(stream.out_counted_, 0);
  stream.headers.clear();
  stream.trailers_.clear();
  stream.later_bytes_ = 0;
  stream.next_out();
  stream.ended = stream.closed = stream.long_lived = false;
  stream.owed_window_ = 0;
  stream.header_too_large = stream.body_too_large = false;
  stream.deferred_ = stream.finished_ = false;
  stream.state = 0;
  stream.first_seen_ = {};
  if (session_->last == &stream) session_->last = nullptr;
  free_slots_.push_back(static_cast<std::uint32_t>(stream.key_ & 0xffff'ffff));
}

void Http2Server::start(Http2Stream& stream, std::span<const HeaderField> headers) {
  if (!stream.open_) return;
  const NameValues values = name_values(headers);
  nghttp2_data_provider provider{};
  provider.source.ptr = &stream;
  provider.read_callback = Http2Callbacks::read_body;
  nghttp2_submit_response(session_->nghttp2, stream.id_, values.data(), values.size(), &provider);
}

void Http2Server::respond(Http2Stream& stream, std::span<const HeaderField> headers) {
  if (!stream.open_) return;
  const NameValues values = name_values(headers);
  stream.finished_ = true;
  nghttp2_submit_response(session_->nghttp2, stream.id_, values.data(), values.size(), nullptr);
}

void Http2Server::wrote(Http2Stream& stream) {
  if (!stream.open_) return;
  const std::size_t held = stream.unsent();
  held_bytes_ += held - stream.out_counted_;
  stream.out_counted_ = held;
  if (std::exchange(stream.deferred_, false)) {
    nghttp2_session_resume_data(session_->nghttp2, stream.id_);
  }
}

void Http2Server::give(Http2Stream& stream, std::vector<Bytes> body) {
  if (!stream.open_) return;
  CHECK(stream.unsent() == 0);
  std::erase_if(body, [](const Bytes& piece) { return piece.empty(); });
  for (const Bytes& piece : body) stream.later_bytes_ += piece.size();
  stream.later_ = std::move(body);
  stream.later_taken_ = 0;
  stream.next_out();
}

void Http2Server::finish(Http2Stream& stream, std::span<const HeaderField> trailers) {
  if (!stream.open_) return;
  for (const HeaderField& field : trailers) stream.trailers_.add(field.name, field.value);
  stream.finished_ = true;
  wrote(stream);
}

void Http2Server::reset(Http2Stream& stream, std::uint32_t http2_error) {
  if (!stream.open_) return;
  stream.finished_ = true;
  nghttp2_submit_rst_stream(session_->nghttp2, NGHTTP2_FLAG_NONE, stream.id_, http2_error);
}

void Http2Server::flush(Bytes& out, std::size_t max_bytes) {
  session_->sink = &out;
  while (failure_.empty() && out.size() < max_bytes) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_->nghttp2, &data);
    if (size < 0) fail(nghttp2_strerror(static_cast<int>(size)));
    if (size <= 0) break;
    out.append(view(data, static_cast<std::size_t>(size)));
  }
  session_->sink = nullptr;
}

bool Http2Server::wants_flush() const {
  return failure_.empty() && nghttp2_session_want_write(session_->nghttp2) != 0;
}

void Http2Server::tick(Instant now) {
  if (std::exchange(resets_, 0) > options_.max_resets_per_tick) fail("too many stream resets");
  tick_streams(now);
  tick_frame(now);
}

void Http2Server::tick_streams(Instant now) {
  for (const auto& stream : slots_) {
    if (!stream->open_ || stream->ended || stream->long_lived || stream->finished_) continue;
    if (stream->first_seen_.ns == 0) stream->first_seen_ = now;
    if (now - stream->first_seen_ < options_.request_deadline) continue;
    nghttp2_submit_rst_stream(session_->nghttp2, NGHTTP2_FLAG_NONE, stream->id_, NGHTTP2_CANCEL);
  }
}

void Http2Server::tick_frame(Instant now) {
  if (!session_->frames.inside()) {
    session_->partial_frame = 0;
    return;
  }
  if (session_->partial_frame != session_->frames.count()) {
    session_->partial_frame = session_->frames.count();
    session_->partial_since = now;
  }
  if (now - session_->partial_since >= options_.request_deadline) {
    fail("a frame did not arrive in time");
  }
}

void Http2Server::shutdown() {
  if (finished()) return;
  nghttp2_submit_goaway(session_->nghttp2, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_->nghttp2),
                        NGHTTP2_NO_ERROR, nullptr, 0);
}

bool Http2Server::finished() const {
  if (!failure_.empty()) return true;
  return nghttp2_session_want_read(session_->nghttp2) == 0 &&
         nghttp2_session_want_write(session_->nghttp2) == 0;
}

void Http2Server::fail(std::string reason) {
  if (failure_.empty()) failure_ = std::move(reason);
}

}  // namespace conclave::wire
