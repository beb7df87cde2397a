#include "frontends/etcd/grpc_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "base/fair_limits.h"
#include "frontends/etcd/errors.h"
#include "frontends/etcd/fence.h"
#include "frontends/etcd/grpc_call.h"
#include "frontends/etcd/request_id.h"

namespace conclave::etcd {
namespace {

using wire::GrpcCode;
using wire::GrpcMessage;
using wire::GrpcStatus;
using wire::HeaderField;
using wire::Http2Stream;

// Seconds without a leader that a stream which needs one bears.
constexpr std::uint32_t kLeaderPatience = 3;

constexpr std::array<HeaderField, 1> kOkTrailers = {{{"grpc-status", "0"}}};

// How large Effects::send may become now.
std::size_t send_room(const api::Session::Effects& effects) {
  const std::size_t room =
      limits::kSendAheadBytes - std::min(limits::kSendAheadBytes, effects.unsent);
  return std::min(room, limits::kSendPieceBytes);
}

wire::Http2Options http2_options(const SessionOptions& options) {
  constexpr std::size_t kMessagePrefixBytes = 5;
  wire::Http2Options http2;
  http2.max_body_bytes = options.max_message_bytes() + kMessagePrefixBytes;
  http2.request_deadline = options.request_deadline;
  http2.all_buffers = options.all_buffers;
  return http2;
}

}  // namespace

GrpcSession::GrpcSession(const SessionOptions& options)
    : options_(options),
      http2_(http2_options(options)),
      counter_(options.counts),
      keep_alives_(http2_, codec_, counter_, options.max_message_bytes()) {}

void GrpcSession::on_bytes(BytesView bytes, Effects& effects) {
  http2_.receive(bytes);
  take_news(effects);
  settle(effects);
}

void GrpcSession::on_response(api::CallId id, api::Response response, Effects& effects) {
  if (KeepAlives::owns(id)) return answer_keep_alive(id, response, effects);
  Http2Stream* stream = http2_.find(id);
  if (stream == nullptr) return;
  if (leader_wanted_.contains(id)) {
    hear_of_leader(*stream, response, effects);
    return settle(effects);
  }
  if (progress_of(*stream) != kCalling) return;
  if (method_of(*stream) == Method::kSnapshot) {
    answer_snapshot(*stream, response, effects);
  } else {
    answer(*stream, response);
  }
  settle(effects);
}

bool GrpcSession::on_part(api::CallId id, const api::Header& header, std::vector<api::KeyValue> kvs,
                          Effects& effects) {
  Http2Stream* stream = http2_.find(id);
  if (stream == nullptr || progress_of(*stream) != kCalling) return false;
  RangeAnswer& range = ranges_.try_emplace(id, Format::kProtobuf, header).first->second;
  range.add(std::move(kvs));
  if (range.size_bytes() <= limits::kMaxAnswerBytes) return true;
  refuse(*stream, {GrpcCode::kResourceExhausted,
                   fmt::format("grpc: trying to send message larger than max ({} vs. {})",
                               range.size_bytes(), limits::kMaxAnswerBytes)});
  ranges_.erase(id);
  settle(effects);
  return false;
}

std::size_t GrpcSession::held_bytes() const {
  std::size_t bytes = http2_.held_bytes();
  for (const auto& [key, range] : ranges_) bytes += range.size_bytes();
  return bytes;
}

void GrpcSession::on_tick(Instant now, Effects& effects) {
  http2_.tick(now);
  poll_watches(effects);
  poll_leader(effects);
  settle(effects);
}

void GrpcSession::on_shutdown(Effects& effects) {
  stopping_ = true;
  http2_.shutdown();
  end_watches();
  end_feeds();
  keep_alives_.for_each([&](Http2Stream& stream) {
    keep_alives_.finish(stream, status_of({api::ErrorCode::kStopped, {}}));
    end_keep_alives(stream);
  });
  settle(effects);
}

void GrpcSession::on_drained(Effects& effects) { settle(effects); }

// Sends what can be sent and starts what was held back, which may have more to send, and sees
// whether the connection has ended.
void GrpcSession::settle(Effects& effects) {
  http2_.flush(effects.send, send_room(effects));
  std::size_t sent_before = 0;
  do {
    sent_before = effects.send.size();
    take_news(effects);
    call_waiting(effects);
    announce_room(effects);
    go_on_with_snapshots(effects);
    if (http2_.wants_flush()) http2_.flush(effects.send, send_room(effects));
  } while (effects.send.size() > sent_before);
  if (!http2_.finished()) return;
  effects.close = true;
  if (!http2_.complaint().empty()) effects.close_reason = http2_.complaint();
}

void GrpcSession::take_news(Effects& effects) {
  http2_.take_news([&](Http2Stream& stream) { on_stream(stream, effects); });
}

void GrpcSession::ended(Http2Stream& stream, GrpcCode code) {
  const bool counts = progress_of(stream) != kNew && progress_of(stream) != kDone;
  if (counts) counter_.ended(method_of(stream), code);
  set_progress(stream, kDone);
}

void GrpcSession::on_stream(Http2Stream& stream, Effects& effects) {
  if (stream.closed) {
    if (progress_of(stream) == kCalling) effects.cancelled.push_back(stream.key());
    if (feeds_.erase(stream.key()) > 0) {
      full_feeds_.erase(stream.key());
      effects.watches.push_back({stream.key(), api::WatchFeedClosed{}});
    }
    ranges_.erase(stream.key());
    leader_wanted_.erase(stream.key());
    snapshots_.erase(stream.key());
    snapshot_calls_.erase(stream.key());
    keep_alives_.forget(stream.key());
    return ended(stream, GrpcCode::kCancelled);
  }
  if (progress_of(stream) == kNew && !accept(stream)) return;
  if (progress_of(stream) != kReading) return;
  if (method_of(stream) == Method::kLeaseKeepAlive) return read_keep_alives(stream, effects);
  if (method_of(stream) == Method::kWatch) return read_watches(stream, effects);
  read_message(stream, effects);
}

void GrpcSession::read_keep_alives(Http2Stream& stream, Effects& effects) {
  if (!std::exchange(stream.long_lived, true)) want_leader(stream, effects);
  if (!keep_alives_.read(stream, effects)) end_keep_alives(stream);
}

void GrpcSession::end_keep_alives(Http2Stream& stream) {
  leader_wanted_.erase(stream.key());
  set_progress(stream, kDone);
}

void GrpcSession::answer_keep_alive(api::CallId call, api::Response& response, Effects& effects) {
  Http2Stream* stream = keep_alives_.stream_of(call);
  if (stream == nullptr) return;
  if (!keep_alives_.answer(*stream, call, response, effects)) end_keep_alives(*stream);
  settle(effects);
}

// --- streams that need a leader ------------------------------------------------------------------

// A client may ask (by the metadata "hasleader: true") that its stream ends when the member has no
// leader, since it could go on at another one: at once, or after etcd's three election timeouts.
void GrpcSession::want_leader(const Http2Stream& stream, Effects& effects) {
  if (stream.headers.find("hasleader") != "true") return;
  leader_wanted_[stream.key()] = kLeaderPatience;
  ask_for_leader(stream.key(), effects);
}

void GrpcSession::poll_leader(Effects& effects) {
  for (const auto& [key, seconds_without] : leader_wanted_) ask_for_leader(key, effects);
}

void GrpcSession::ask_for_leader(wire::Http2Key stream, Effects& effects) {
  effects.calls.push_back(
      {stream, {api::HealthRequest{.serializable = true}, std::nullopt, std::nullopt}});
}

void GrpcSession::hear_of_leader(Http2Stream& stream, const api::Response& response,
                                 Effects& effects) {
  std::uint32_t& seconds_without = leader_wanted_[stream.key()];
  const auto* health = std::get_if<api::HealthResponse>(&response.answer);
  if (health != nullptr && health->healthy) {
    seconds_without = 0;
    return;
  }
  if (++seconds_without <= kLeaderPatience) return;
  const GrpcStatus status = status_of({api::ErrorCode::kNoLeader, {}});
  if (feeds_.contains(stream.key())) {
    effects.watches.push_back({stream.key(), api::WatchFeedClosed{}});
    end_feed(stream, status);
  } else {
    keep_alives_.finish(stream, status);
    end_keep_alives(stream);
  }
}

// Looks at the header. False: refused.
bool GrpcSession::accept(Http2Stream& stream) {
  const auto method = find_method(stream.path);
  const auto content_type = stream.headers.find("content-type");
  if (stream.header_too_large) {
    refuse(stream, {GrpcCode::kResourceExhausted, "grpc: the header list is too large"});
  } else if (!content_type || !wire::is_grpc_content_type(*content_type)) {
    refuse_http(stream, "415");
  } else if (stream.method != "POST") {
    refuse_http(stream, "405");
  } else if (const auto status = wire::check_encoding(stream.headers.find("grpc-encoding"))) {
    refuse(stream, *status);
  } else if (!method) {
    return accept_of_service(stream);
  } else {
    set_method(stream, *method);
    counter_.started(*method);
    return true;
  }
  return false;
}

bool GrpcSession::accept_of_service(Http2Stream& stream) {
  std::optional<api::Service::Method> method;
  if (options_.service != nullptr) {
    method = options_.service->find(api::Service::Format::kProtobuf, stream.path);
  }
  if (method) {
    set_service_method(stream, *method);
    counter_.started(Method::kService);
  } else {
    refuse(stream, unknown_method(stream.path));
  }
  return method.has_value();
}

// For what is not gRPC at all.
void GrpcSession::refuse_http(Http2Stream& stream, BytesView http_status) {
  const std::array<HeaderField, 1> headers = {{{":status", http_status}}};
  http2_.respond(stream, headers);
  set_progress(stream, kDone);
}

void GrpcSession::read_message(Http2Stream& stream, Effects& effects) {
  const GrpcMessage message = wire::front_message(stream.body, options_.max_message_bytes());
  if (message.state == GrpcMessage::State::kRefused) return refuse(stream, message.refusal);
  if (stream.body_too_large)
    return refuse(stream, status_of({api::ErrorCode::kTooManyRequests, {}}));
  if (!stream.ended) return;
  if (message.state == GrpcMessage::State::kIncomplete) {
    return refuse(stream, {GrpcCode::kUnknown, stream.body.empty() ? "EOF" : "unexpected EOF"});
  }
  if (http2_.held_bytes() <= limits::kMaxUnsentBytes) return call(stream, effects);
  set_progress(stream, kWaiting);
  waiting_.push_back(stream.key());
}

// Hands a complete request to the node.
void GrpcSession::call(Http2Stream& stream, Effects& effects) {
  const GrpcMessage message = wire::front_message(stream.body, options_.max_message_bytes());
  if (method_of(stream) == Method::kObserve) return observe(stream, message.payload, effects);
  auto request = request_of(stream, message.payload);
  if (!request) return refuse(stream, request.error());
  if (method_of(stream) == Method::kSnapshot) {
    if (snapshot_calls_.size() >= SnapshotStream::kMaxStreams) {
      return refuse(stream, status_of({api::ErrorCode::kTooManyRequests, {}}));
    }
    snapshot_calls_.insert(stream.key());
  }
  http2_.consume(stream, stream.body.size());
  set_progress(stream, kCalling);
  effects.calls.emplace_back(stream.key(), std::move(*request));
}

std::expected<api::Request, GrpcStatus> GrpcSession::request_of(const Http2Stream& stream,
                                                                BytesView message) {
  auto decoded = decode(stream, message);
  if (!decoded) return decoded;
  api::Request& request = *decoded;
  if (const auto timeout = stream.headers.find("grpc-timeout")) {
    request.timeout_ms = wire::parse_grpc_timeout_ms(*timeout);
    if (!request.timeout_ms) {
      return std::unexpected(
          GrpcStatus{GrpcCode::kInternal, fmt::format("malformed time-out: {}", *timeout)});
    }
  }
  if (const auto text = stream.headers.find(kRequestIdHeader); text && takes_id(request)) {
    auto id = parse_request_id(*text);
    if (!id) return std::unexpected(status_of(id.error()));
    request.id = std::move(*id);
  }
  if (const auto error = take_fence(stream.headers, request)) {
    return std::unexpected(status_of(*error));
  }
  request.token = token_of(stream);
  request.identity.user = options_.common_name;
  return decoded;
}

std::expected<api::Request, GrpcStatus> GrpcSession::decode(const Http2Stream& stream,
                                                            BytesView message) {
  if (method_of(stream) == Method::kService) {
    auto request = options_.service->decode(service_method_of(stream),
                                            api::Service::Format::kProtobuf, message);
    if (!request) return std::unexpected(status_of(request.error()));
    return *std::move(request);
  }
  auto body = codec_.decode(method_of(stream), Format::kProtobuf, message);
  if (!body) return std::unexpected(std::move(body.error()));
  return api::Request{std::move(*body), std::nullopt, std::nullopt};
}

// A header alone ("trailers-only"): there is no message to send.
void GrpcSession::refuse(Http2Stream& stream, const GrpcStatus& status) {
  const std::string code = std::to_string(static_cast<int>(status.code));
  const Bytes text = wire::percent_encode(status.message);
  const std::array<HeaderField, 4> headers = {{{":status", "200"},
                                               {"content-type", "application/grpc"},
                                               {"grpc-status", code},
                                               {"grpc-message", text}}};
  http2_.respond(stream, headers);
  http2_.consume(stream, stream.body.size());
  ended(stream, status.code);
}

void GrpcSession::answer(Http2Stream& stream, api::Response& response) {
  const Method method = method_of(stream);
  if (method == Method::kHealthWatch) return answer_watch(stream, response);
  if (method == Method::kService) return answer_of_service(stream, response);
  if (const auto* error = std::get_if<api::Error>(&response.answer)) {
    ranges_.erase(stream.key());
    if (method != Method::kHealthCheck) return refuse(stream, status_of(method, *error));
    response.answer = api::HealthResponse{false, {}};
  }
  start_answer(stream, response.answer);
  if (ranges_.contains(stream.key())) {
    finish_range(stream, response);
  } else {
    write_message(stream, response);
  }
  http2_.finish(stream, kOkTrailers);
  ended(stream, GrpcCode::kOk);
}

void GrpcSession::answer_of_service(Http2Stream& stream, const api::Response& response) {
  Bytes message;
  const auto refusal = options_.service->encode(service_method_of(stream),
                                                api::Service::Format::kProtobuf, response, message);
  if (refusal) return refuse(stream, status_of(*refusal));
  http2_.start(stream, kResponseHeaders);
  Bytes& out = http2_.body_of(stream);
  const std::size_t begin = wire::begin_message(out);
  out += message;
  wire::end_message(out, begin);
  http2_.finish(stream, kOkTrailers);
  ended(stream, GrpcCode::kOk);
}

void GrpcSession::start_answer(Http2Stream& stream, const api::Answer& answer) {
  const auto fence = granted_fence(answer);
  if (!fence) return http2_.start(stream, kResponseHeaders);
  const std::array<HeaderField, 3> headers = {
      {kResponseHeaders[0], kResponseHeaders[1], {api::kFenceHeader, *fence}}};
  http2_.start(stream, headers);
}

void GrpcSession::finish_range(Http2Stream& stream, api::Response& response) {
  const auto found = ranges_.find(stream.key());
  auto* last = std::get_if<api::RangeResponse>(&response.answer);
  CHECK(last != nullptr);
  RangeAnswer range = std::move(found->second);
  ranges_.erase(found);
  range.finish(std::move(*last));
  std::vector<Bytes> body = range.take();
  body.insert(body.begin(), wire::message_prefix(range.size_bytes()));
  http2_.give(stream, std::move(body));
}

// A health watch is told when the answer changes; until then, and after it, the stream stays open.
void GrpcSession::answer_watch(Http2Stream& stream, api::Response& response) {
  const auto* health = std::get_if<api::HealthResponse>(&response.answer);
  const bool healthy = health != nullptr && health->healthy;
  const auto watch = std::ranges::find(watches_, stream.key(), &HealthWatch::key);
  const bool is_new = watch == watches_.end();
  set_progress(stream, kWatching);
  if (is_new) {
    http2_.start(stream, kResponseHeaders);
    watches_.push_back({stream.key(), healthy});
  } else if (std::exchange(watch->healthy, healthy) == healthy) {
    return;
  }
  response.answer = api::HealthResponse{healthy, {}};
  write_message(stream, response);
  http2_.wrote(stream);
  if (stopping_) end_watches();
}

void GrpcSession::write_message(Http2Stream& stream, api::Response& response) {
  Bytes& out = http2_.body_of(stream);
  const std::size_t begin = wire::begin_message(out);
  codec_.encode(method_of(stream), Format::kProtobuf, response.header, response.answer, out);
  wire::end_message(out, begin);
}

// Asks again for each health watch that is not being asked for.
void GrpcSession::poll_watches(Effects& effects) {
  std::erase_if(watches_, [&](const HealthWatch& w) { return http2_.find(w.key) == nullptr; });
  for (const HealthWatch& watch : watches_) {
    Http2Stream& stream = *http2_.find(watch.key);
    if (progress_of(stream) != kWatching) continue;
    set_progress(stream, kCalling);
    effects.calls.push_back({watch.key, {api::HealthRequest{}, std::nullopt, std::nullopt}});
  }
}

void GrpcSession::end_watches() {
  constexpr std::array<HeaderField, 2> kStopped = {
      {{"grpc-status", "14"}, {"grpc-message", "etcdserver: server stopped"}}};
  for (const HealthWatch& watch : std::exchange(watches_, {})) {
    if (Http2Stream* stream = http2_.find(watch.key)) {
      http2_.finish(*stream, kStopped);
      ended(*stream, GrpcCode::kUnavailable);
    }
  }
}

void GrpcSession::call_waiting(Effects& effects) {
  if (http2_.held_bytes() > limits::kMaxUnsentBytes) return;
  if (keep_alives_.wait_for_room()) {
    keep_alives_.for_each([&](Http2Stream& stream) { read_keep_alives(stream, effects); });
  }
  for (const wire::Http2Key key : std::exchange(waiting_, {})) {
    Http2Stream* stream = http2_.find(key);
    if (stream != nullptr && progress_of(*stream) == kWaiting) call(*stream, effects);
  }
}

}  // namespace conclave::etcd
