#include "wire/http2_test_client.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "wire/grpc.h"

namespace conclave::wire {
namespace {

BytesView view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

struct Upload {
  Bytes body;
  bool more = false;
};

}  // namespace

struct Http2TestClient::State {
  nghttp2_session* session = nullptr;
  std::map<std::int32_t, Answer> answers;
  std::map<std::int32_t, Upload> uploads;
  std::optional<std::uint32_t> goaway;

  ~State() { nghttp2_session_del(session); }

  static State& of(void* user) { return *static_cast<State*>(user); }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                    std::uint8_t, void* user) {
    Answer& answer = of(user).answers[frame->hd.stream_id];
    auto& fields = frame->headers.cat == NGHTTP2_HCAT_RESPONSE ? answer.headers : answer.trailers;
    fields[std::string(view(name, name_size))] = view(value, value_size);
    return 0;
  }

  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY) of(user).goaway = frame->goaway.error_code;
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    if (ends) of(user).answers[frame->hd.stream_id].ended = true;
    return 0;
  }

  static int data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                  std::size_t size, void* user) {
    of(user).answers[id].body.append(view(bytes, size));
    return 0;
  }

  static int closed(nghttp2_session*, std::int32_t id, std::uint32_t error, void* user) {
    Answer& answer = of(user).answers[id];
    if (!answer.ended) answer.reset_error = error;
    return 0;
  }

  static ssize_t read(nghttp2_session*, std::int32_t id, std::uint8_t* buffer, std::size_t size,
                      std::uint32_t* flags, nghttp2_data_source*, void* user) {
    Upload& upload = of(user).uploads[id];
    if (upload.body.empty() && upload.more) return NGHTTP2_ERR_DEFERRED;
    const std::size_t taken = std::min(size, upload.body.size());
    std::memcpy(buffer, upload.body.data(), taken);
    upload.body.erase(0, taken);
    if (upload.body.empty() && !upload.more) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(taken);
  }
};

Http2TestClient::Http2TestClient(const Options& options) : state_(std::make_unique<State>()) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, State::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, State::frame_received);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, State::data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, State::closed);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, options.automatic_window_updates ? 0 : 1);
  nghttp2_session_client_new2(&state_->session, callbacks, state_.get(), option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  std::vector<nghttp2_settings_entry> settings;
  if (options.initial_window) {
    settings.push_back({NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, *options.initial_window});
  }
  nghttp2_submit_settings(state_->session, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
}

Http2TestClient::Http2TestClient() : Http2TestClient(Options{}) {}
Http2TestClient::~Http2TestClient() = default;

std::int32_t Http2TestClient::request(const Fields& headers, BytesView body, bool more) {
  std::vector<nghttp2_nv> values;
  for (const auto& [name, value] : headers) {
    values.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                      reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
                      value.size(), NGHTTP2_NV_FLAG_NONE});
  }
  nghttp2_data_provider provider{};
  provider.read_callback = State::read;
  const std::int32_t id = nghttp2_submit_request(state_->session, nullptr, values.data(),
                                                 values.size(), &provider, nullptr);
  CHECK(id > 0);
  state_->uploads[id] = {Bytes(body), more};
  return id;
}

void Http2TestClient::send_more(std::int32_t stream, BytesView body, bool more) {
  Upload& upload = state_->uploads[stream];
  upload.body.append(body);
  upload.more = more;
  nghttp2_session_resume_data(state_->session, stream);
}

void Http2TestClient::reset(std::int32_t stream) {
  nghttp2_submit_rst_stream(state_->session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
}

void Http2TestClient::grant(std::int32_t stream, std::int32_t bytes) {
  nghttp2_submit_window_update(state_->session, NGHTTP2_FLAG_NONE, stream, bytes);
  nghttp2_submit_window_update(state_->session, NGHTTP2_FLAG_NONE, 0, bytes);
}

Bytes Http2TestClient::take_output() {
  Bytes out;
  while (true) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(state_->session, &data);
    if (size <= 0) return out;
    out.append(view(data, static_cast<std::size_t>(size)));
  }
}

bool Http2TestClient::receive(BytesView bytes) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return nghttp2_session_mem_recv(state_->session, data, bytes.size()) ==
         static_cast<ssize_t>(bytes.size());
}

const Http2TestClient::Answer& Http2TestClient::answer(std::int32_t stream) {
  return state_->answers[stream];
}

void Http2TestClient::forget(std::int32_t stream) {
  state_->answers.erase(stream);
  state_->uploads.erase(stream);
}

std::optional<std::uint32_t> Http2TestClient::goaway_error() const { return state_->goaway; }

Http2TestClient::Fields grpc_headers(BytesView path, const Http2TestClient::Fields& extra) {
  Http2TestClient::Fields headers = {{":method", "POST"},
                                     {":scheme", "http"},
                                     {":path", std::string(path)},
                                     {":authority", "127.0.0.1:2379"},
                                     {"content-type", "application/grpc"},
                                     {"user-agent", "grpc-go/1.26.0"},
                                     {"te", "trailers"}};
  headers.insert(headers.end(), extra.begin(), extra.end());
  return headers;
}

Bytes grpc_frame(BytesView message) {
  Bytes out;
  const std::size_t begin = begin_message(out);
  out.append(message);
  end_message(out, begin);
  return out;
}

}  // namespace conclave::wire
