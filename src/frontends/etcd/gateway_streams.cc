// Calls of the gateway that are streams, Watch, LeaseKeepAlive and Observe: part of HttpSession.
// All requests are in the body, JSON objects one after the other: as etcd's, the gateway reads
// nothing more once it answers. Each answer is a line, {"result":...}; the header leaves with the
// first.

#include <fmt/format.h>

#include <utility>

#include "base/limits.h"
#include "base/watch_limits.h"
#include "frontends/etcd/errors.h"
#include "frontends/etcd/gateway_page.h"
#include "frontends/etcd/http_session.h"
#include "frontends/etcd/watch_codec.h"
#include "wire/json.h"

namespace conclave::etcd {

using wire::GrpcCode;
using wire::GrpcStatus;

namespace {

// How long the first of several JSON objects is, with what is before it; 0 if there is nothing but
// white space. What is no object is taken as a whole: a parser will say what is wrong with it.
std::size_t front_object_size(BytesView text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == BytesView::npos) return 0;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && c == '{') {
      ++depth;
    } else if (!in_string && c == '}' && --depth <= 0) {
      return i + 1;
    }
  }
  return text.size();
}

Bytes error_line(const GrpcStatus& status) {
  const int http = http_status_of(status.code);
  return fmt::format(
      "{{\"error\":{{\"grpc_code\":{},\"http_code\":{},\"message\":{},\"http_status\":\"{}\"}}}}\n",
      static_cast<int>(status.code), http, wire::json_string(status.message),
      wire::http1_reason(http));
}

// etcd's gateway has no code of gRPC for what it cannot read on a stream.
GrpcStatus malformed(const GrpcStatus& status) { return {GrpcCode::kUnknown, status.message}; }

}  // namespace

void HttpSession::begin_stream(Effects& effects) {
  GatewayStream& stream = stream_.emplace();
  stream.requests = http_.request()->body;
  if (method_ == Method::kLeaseKeepAlive) return keep_alive_next(effects);
  stream.feed = ++last_call_;
  if (method_ == Method::kObserve) return observe(effects);
  read_watches(effects);
}

// The client has taken what it was sent.
void HttpSession::resume_stream(Effects& effects) {
  stream_->is_waiting = false;
  if (method_ == Method::kLeaseKeepAlive) return keep_alive_next(effects);
  effects.has_room.push_back(stream_->feed);
}

// The next object of the requests; empty after the last.
BytesView HttpSession::next_request() {
  const BytesView rest = BytesView(stream_->requests).substr(stream_->read);
  const std::size_t size = front_object_size(rest);
  stream_->read += size;
  return rest.substr(0, size);
}

// The body as a whole is the request.
void HttpSession::observe(Effects& effects) {
  auto request = decode_observe_request(Format::kJson, stream_->requests);
  if (!request) return fail_stream(request.error(), effects);
  effects.watches.push_back({stream_->feed, std::move(*request)});
  stream_->requests = {};
}

// What follows a mistake is not read; the watches before it go on.
void HttpSession::read_watches(Effects& effects) {
  bool is_first = true;
  for (BytesView text = next_request(); !text.empty(); text = next_request()) {
    auto request = decode_watch_request(Format::kJson, text);
    if (!request && is_first) return fail_stream(malformed(request.error()), effects);
    if (!request) break;
    if (*request) effects.watches.push_back({stream_->feed, std::move(**request)});
    is_first = false;
  }
  stream_->requests = {};
}

bool HttpSession::on_watch(api::CallId feed, const api::Header& header, const api::WatchNews& news,
                           Effects& effects) {
  if (!stream_ || stream_->feed != feed) return false;
  if (const auto* ended = std::get_if<api::WatchFeedEnded>(&news)) {
    fail_stream(status_of(method_, ended->error), effects);
    serve(effects);
    return true;
  }
  if (api::may_wait(news) && effects.unsent + effects.send.size() >= limits::kMaxUnsentEvents) {
    stream_->is_waiting = true;
    return false;
  }
  for (const Bytes& line :
       encode_watch_news(Format::kJson, header, news, options_.max_message_bytes())) {
    write_line(line, effects);
  }
  return true;
}

// Asks for the next lease to be kept alive, once the one before it was.
void HttpSession::keep_alive_next(Effects& effects) {
  if (effects.unsent + effects.send.size() >= limits::kSendAheadBytes) {
    stream_->is_waiting = true;
    return;
  }
  const bool is_first = stream_->read == 0;
  const BytesView text = next_request();
  if (text.empty()) return end_stream(effects);
  auto body = codec_.decode(Method::kLeaseKeepAlive, Format::kJson, text);
  if (body) return call(Page::kGateway, {std::move(*body), std::nullopt, std::nullopt}, effects);
  if (is_first) return fail_stream(malformed(body.error()), effects);
  end_stream(effects);
}

void HttpSession::kept_alive(api::Response& response, Effects& effects) {
  if (const auto* error = std::get_if<api::Error>(&response.answer)) {
    return fail_stream(status_of(*error), effects);
  }
  Bytes line = R"({"result":)";
  codec_.encode(method_, Format::kJson, response.header, response.answer, line);
  line += "}\n";
  write_line(line, effects);
  keep_alive_next(effects);
}

void HttpSession::write_line(BytesView line, Effects& effects) {
  if (!std::exchange(stream_->has_begun, true)) {
    http_.begin({.content_type = kJsonType, .body = {}, .extra_header = kGatewayHeader},
                effects.send);
  }
  http_.piece(line, effects.send);
}

void HttpSession::end_stream(Effects& effects) {
  if (!stream_->has_begun) {
    http_.begin({.content_type = kJsonType, .body = {}, .extra_header = kGatewayHeader},
                effects.send);
  }
  stream_.reset();
  http_.end(effects.send);
}

void HttpSession::fail_stream(const GrpcStatus& status, Effects& effects) {
  if (stream_->has_begun) {
    write_line(error_line(status), effects);
    return end_stream(effects);
  }
  stream_.reset();
  http_.respond(error_page(status), effects.send);
}

}  // namespace conclave::etcd
