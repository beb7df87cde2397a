#include "frontends/etcd/keep_alives.h"

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/limits.h"
#include "frontends/etcd/errors.h"

namespace conclave::etcd {
namespace {

using wire::GrpcCode;
using wire::GrpcMessage;
using wire::GrpcStatus;
using wire::HeaderField;
using wire::Http2Stream;

constexpr std::array<HeaderField, 2> kHeaders = {
    {{":status", "200"}, {"content-type", "application/grpc"}}};

}  // namespace

bool KeepAlives::read(Http2Stream& stream, api::Session::Effects& effects) {
  Open& open = streams_[stream.key()];
  while (take_message(stream, open, effects)) {
  }
  if (!streams_.contains(stream.key())) return false;
  // Not for each message: what is behind it moves.
  if (open.taken > 0 && open.taken >= stream.body.size() / 2) {
    http2_.consume(stream, std::exchange(open.taken, 0));
  }
  if (stream.body_too_large) {
    finish(stream, status_of({api::ErrorCode::kTooManyRequests, {}}));
    return false;
  }
  const bool is_over = stream.ended && open.under_way == 0;
  const bool has_more = front_message(stream, open).state == GrpcMessage::State::kComplete;
  if (!is_over || has_more) return true;
  const bool is_cut = stream.body.size() > open.taken;
  finish(stream, is_cut ? GrpcStatus{GrpcCode::kInternal, "unexpected EOF"} : GrpcStatus{});
  return false;
}

GrpcMessage KeepAlives::front_message(const Http2Stream& stream, const Open& open) const {
  return wire::front_message(BytesView(stream.body).substr(open.taken), max_message_bytes_);
}

// Hands the next request to the node. False: there is none, or not now, or the stream is over.
bool KeepAlives::take_message(Http2Stream& stream, Open& open, api::Session::Effects& effects) {
  if (open.under_way >= kMaxUnderWay) return false;
  const GrpcMessage message = front_message(stream, open);
  if (message.state == GrpcMessage::State::kIncomplete) return false;
  if (message.state == GrpcMessage::State::kRefused) {
    finish(stream, message.refusal);
    return false;
  }
  if (http2_.held_bytes() > limits::kMaxUnsentBytes) {
    wait_for_room_ = true;
    return false;
  }
  auto body = codec_.decode(Method::kLeaseKeepAlive, Format::kProtobuf, message.payload);
  if (!body) {
    finish(stream, body.error());
    return false;
  }
  open.taken += message.wire_bytes;
  calls_.emplace(++last_call_, stream.key());
  ++open.under_way;
  effects.calls.push_back({last_call_, {std::move(*body), std::nullopt, std::nullopt}});
  return true;
}

Http2Stream* KeepAlives::stream_of(api::CallId call) {
  const auto found = calls_.find(call);
  if (found == calls_.end()) return nullptr;
  const wire::Http2Key key = found->second;
  if (streams_.contains(key)) return http2_.find(key);
  calls_.erase(found);
  return nullptr;
}

bool KeepAlives::answer(Http2Stream& stream, api::CallId call, api::Response& response,
                        api::Session::Effects& effects) {
  calls_.erase(call);
  Open& open = streams_[stream.key()];
  --open.under_way;
  if (const auto* error = std::get_if<api::Error>(&response.answer)) {
    finish(stream, status_of(*error));
    return false;
  }
  if (!std::exchange(open.started, true)) http2_.start(stream, kHeaders);
  Bytes& out = http2_.body_of(stream);
  const std::size_t begin = wire::begin_message(out);
  codec_.encode(Method::kLeaseKeepAlive, Format::kProtobuf, response.header, response.answer, out);
  wire::end_message(out, begin);
  http2_.wrote(stream);
  return read(stream, effects);
}

void KeepAlives::forget(wire::Http2Key stream) { streams_.erase(stream); }

void KeepAlives::finish(Http2Stream& stream, const GrpcStatus& status) {
  const auto open = streams_.extract(stream.key());
  const std::string code = std::to_string(static_cast<int>(status.code));
  const Bytes text = wire::percent_encode(status.message);
  const std::array<HeaderField, 2> trailers = {{{"grpc-status", code}, {"grpc-message", text}}};
  if (open.empty() || !open.mapped().started) http2_.start(stream, kHeaders);
  http2_.finish(stream, std::span(trailers).first(text.empty() ? 1 : 2));
  http2_.consume(stream, stream.body.size());
  counter_.ended(Method::kLeaseKeepAlive, status.code);
}

}  // namespace conclave::etcd
