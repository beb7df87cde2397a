#include "wire/grpc_client.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>

#include "base/check.h"

namespace conclave::wire {
namespace {

BytesView view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

nghttp2_nv field(const std::string& name, const std::string& value) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
          value.size(), NGHTTP2_NV_FLAG_NONE};
}

constexpr unsigned kNoGrpcCode = ~0U;

std::optional<unsigned> number(BytesView text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void append_message(Bytes& out, BytesView message) {
  const std::size_t begin = begin_message(out);
  out.append(message);
  end_message(out, begin);
}

struct Call {
  // To the server.
  Bytes upload;
  std::size_t uploaded = 0;
  bool more = false;
  // From the server.
  Bytes body;
  std::size_t taken = 0;       // of the body
  std::size_t unconsumed = 0;  // bytes for which the window has not been opened again
  Bytes http_status;
  std::optional<unsigned> grpc_status;
  Bytes grpc_message;
  bool closed = false;
  std::optional<GrpcStatus> ended;

  BytesView rest() const { return BytesView(body).substr(taken); }
};

}  // namespace

struct GrpcClient::State {
  explicit State(Options given) : options(std::move(given)) {}
  ~State() { nghttp2_session_del(session); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  static State& of(void* user) { return *static_cast<State*>(user); }

  Call* find(CallId id) {
    const auto found = calls.find(id);
    return found == calls.end() ? nullptr : &found->second;
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name_data,
                    std::size_t name_size, const std::uint8_t* value_data, std::size_t value_size,
                    std::uint8_t, void* user) {
    Call* call = of(user).find(frame->hd.stream_id);
    if (call == nullptr) return 0;
    const BytesView name = view(name_data, name_size);
    const BytesView value = view(value_data, value_size);
    if (name == ":status") call->http_status = value;
    if (name == "grpc-status") call->grpc_status = number(value).value_or(kNoGrpcCode);
    if (name == "grpc-message") call->grpc_message = percent_decode(value);
    return 0;
  }

  static int data(nghttp2_session* session, std::uint8_t, std::int32_t id,
                  const std::uint8_t* bytes, std::size_t size, void* user) {
    nghttp2_session_consume_connection(session, size);
    Call* call = of(user).find(id);
    if (call == nullptr || call->ended) return 0;
    call->body.append(view(bytes, size));
    call->unconsumed += size;
    of(user).open_window(id, *call);
    return 0;
  }

  // A message that has not come whole must be able to; what comes behind one waits.
  void open_window(std::int32_t id, Call& call) {
    const GrpcMessage front = front_message(call.rest(), options.max_message_bytes);
    if (front.state == GrpcMessage::State::kComplete) return;
    if (front.state == GrpcMessage::State::kRefused) {
      if (!call.ended) call.ended = front.refusal;
      call.body.clear();
      call.taken = 0;
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
      return;
    }
    nghttp2_session_consume_stream(session, id, call.unconsumed);
    call.unconsumed = 0;
  }

  static int closed(nghttp2_session*, std::int32_t id, std::uint32_t error, void* user) {
    Call* call = of(user).find(id);
    if (call == nullptr) return 0;
    call->closed = true;
    if (call->ended) return 0;
    if (call->grpc_status) {
      const bool is_known = *call->grpc_status <= static_cast<unsigned>(GrpcCode::kUnauthenticated);
      const auto code = is_known ? static_cast<GrpcCode>(*call->grpc_status) : GrpcCode::kUnknown;
      call->ended = GrpcStatus{code, call->grpc_message};
    } else if (!call->http_status.empty() && call->http_status != "200") {
      call->ended = GrpcStatus{GrpcCode::kUnknown, "HTTP status " + call->http_status};
    } else {
      call->ended = GrpcStatus{GrpcCode::kUnavailable, std::string("the call was cut off: ") +
                                                           nghttp2_http2_strerror(error)};
    }
    return 0;
  }

  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY) of(user).closing = true;
    return 0;
  }

  static ssize_t read(nghttp2_session*, std::int32_t id, std::uint8_t* buffer, std::size_t size,
                      std::uint32_t* flags, nghttp2_data_source*, void* user) {
    Call* call = of(user).find(id);
    if (call == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::size_t left = call->upload.size() - call->uploaded;
    if (left == 0 && call->more) return NGHTTP2_ERR_DEFERRED;
    const std::size_t taken = std::min(size, left);
    std::memcpy(buffer, call->upload.data() + call->uploaded, taken);
    call->uploaded += taken;
    if (taken == left) {
      Bytes().swap(call->upload);
      call->uploaded = 0;
      if (!call->more) *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return static_cast<ssize_t>(taken);
  }

  Options options;
  nghttp2_session* session = nullptr;
  std::map<CallId, Call> calls;
  bool closing = false;
};

GrpcClient::GrpcClient(Options options) : state_(std::make_unique<State>(std::move(options))) {
  nghttp2_session_callbacks* callbacks = nullptr;
  CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, State::header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, State::data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, State::closed);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, State::frame_received);
  nghttp2_option* option = nullptr;
  CHECK(nghttp2_option_new(&option) == 0);
  nghttp2_option_set_no_auto_window_update(option, 1);
  CHECK(nghttp2_session_client_new2(&state_->session, callbacks, state_.get(), option) == 0);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, state_->options.stream_window},
  };
  nghttp2_submit_settings(state_->session, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(
      state_->session, NGHTTP2_FLAG_NONE, 0,
      static_cast<std::int32_t>(state_->options.connection_window));
}

GrpcClient::~GrpcClient() = default;

GrpcClient::CallId GrpcClient::call(BytesView method, BytesView message, const Metadata& metadata,
                                    bool more) {
  const Metadata fixed = {{":method", "POST"},
                          {":scheme", "http"},
                          {":path", std::string(method)},
                          {":authority", state_->options.authority},
                          {"content-type", "application/grpc"},
                          {"user-agent", "conclave"},
                          {"te", "trailers"}};
  std::vector<nghttp2_nv> fields;
  for (const auto& [name, value] : fixed) fields.push_back(field(name, value));
  for (const auto& [name, value] : metadata) fields.push_back(field(name, value));
  nghttp2_data_provider provider{};
  provider.read_callback = State::read;
  const CallId id = nghttp2_submit_request(state_->session, nullptr, fields.data(), fields.size(),
                                           &provider, nullptr);
  CHECK(id > 0);
  Call& call = state_->calls[id];
  call.more = more;
  append_message(call.upload, message);
  return id;
}

void GrpcClient::send(CallId id, BytesView message) {
  Call* call = state_->find(id);
  CHECK(call != nullptr);
  CHECK(call->more);
  if (call->ended) return;
  append_message(call->upload, message);
  nghttp2_session_resume_data(state_->session, id);
}

bool GrpcClient::has_message(CallId id) const {
  const Call* call = state_->find(id);
  CHECK(call != nullptr);
  return front_message(call->rest(), state_->options.max_message_bytes).state ==
         GrpcMessage::State::kComplete;
}

std::optional<Bytes> GrpcClient::take(CallId id) {
  Call* call = state_->find(id);
  CHECK(call != nullptr);
  const GrpcMessage front = front_message(call->rest(), state_->options.max_message_bytes);
  if (front.state != GrpcMessage::State::kComplete) return std::nullopt;
  Bytes message(front.payload);
  call->taken += front.wire_bytes;
  if (call->taken == call->body.size()) {
    Bytes().swap(call->body);
    call->taken = 0;
  } else if (call->taken > call->body.size() / 2) {
    call->body.erase(0, call->taken);
    call->taken = 0;
  }
  if (!call->closed) state_->open_window(id, *call);
  return message;
}

std::optional<GrpcStatus> GrpcClient::status(CallId id) const {
  const Call* call = state_->find(id);
  CHECK(call != nullptr);
  return has_message(id) ? std::nullopt : call->ended;
}

void GrpcClient::forget(CallId id) {
  const Call* call = state_->find(id);
  if (call == nullptr) return;
  if (!call->closed) {
    nghttp2_submit_rst_stream(state_->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
  }
  state_->calls.erase(id);
}

Bytes GrpcClient::take_output() {
  Bytes out;
  while (true) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(state_->session, &data);
    if (size <= 0) return out;
    out.append(view(data, static_cast<std::size_t>(size)));
  }
}

bool GrpcClient::receive(BytesView bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const ssize_t taken = nghttp2_session_mem_recv(state_->session, data, bytes.size());
  // A broken frame ends the session rather than the call that read it.
  return taken == static_cast<ssize_t>(bytes.size()) &&
         nghttp2_session_want_read(state_->session) != 0;
}

void GrpcClient::lose(std::string_view why) {
  state_->closing = true;
  for (auto& [id, call] : state_->calls) {
    call.closed = true;
    if (!call.ended) call.ended = GrpcStatus{GrpcCode::kUnavailable, Bytes(why)};
  }
}

bool GrpcClient::is_closing() const { return state_->closing; }

}  // namespace conclave::wire
