// Streams of watches, and of an election's leaders: part of GrpcSession. A stream of watches stays
// in the state kReading until it ends, as requests come at any time; a client that says that no
// more will come still hears events.

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/watch_limits.h"
#include "frontends/etcd/errors.h"
#include "frontends/etcd/grpc_call.h"
#include "frontends/etcd/grpc_session.h"
#include "frontends/etcd/watch_codec.h"

namespace conclave::etcd {

using wire::GrpcMessage;
using wire::GrpcStatus;
using wire::HeaderField;
using wire::Http2Stream;

void GrpcSession::open_feed(Http2Stream& stream, Effects& effects) {
  feeds_.insert(stream.key());
  stream.long_lived = true;
  http2_.start(stream, kResponseHeaders);
  want_leader(stream, effects);
}

// Election/Observe: one request, and answers until the client has enough.
void GrpcSession::observe(Http2Stream& stream, BytesView message, Effects& effects) {
  auto request = decode_observe_request(Format::kProtobuf, message);
  if (!request) return refuse(stream, request.error());
  set_asker(*request, token_of(stream), options_.common_name);
  http2_.consume(stream, stream.body.size());
  set_progress(stream, kWatching);
  open_feed(stream, effects);
  effects.watches.push_back({stream.key(), std::move(*request)});
}

void GrpcSession::read_watches(Http2Stream& stream, Effects& effects) {
  if (!feeds_.contains(stream.key())) open_feed(stream, effects);
  std::size_t taken = 0;  // of the body, in one piece at the end: what is behind it moves then
  const auto consume = [&] { http2_.consume(stream, std::exchange(taken, 0)); };
  for (;;) {
    if (stream.body_too_large) {
      effects.watches.push_back({stream.key(), api::WatchFeedClosed{}});
      return end_feed(stream, status_of({api::ErrorCode::kTooManyRequests, {}}));
    }
    // What it asks for is answered: it has to take some answers first.
    if (http2_.held_bytes() > limits::kMaxUnsentBytes && http2_.held_bytes(stream) > 0) {
      full_feeds_.insert(stream.key());
      return consume();
    }
    const GrpcMessage message =
        wire::front_message(BytesView(stream.body).substr(taken), options_.max_message_bytes());
    if (message.state == GrpcMessage::State::kIncomplete) return consume();
    std::expected<std::optional<api::WatchRequest>, GrpcStatus> request =
        std::unexpected(message.refusal);
    if (message.state == GrpcMessage::State::kComplete) {
      request = decode_watch_request(Format::kProtobuf, message.payload);
    }
    if (!request) {
      effects.watches.push_back({stream.key(), api::WatchFeedClosed{}});
      return end_feed(stream, request.error());
    }
    taken += message.wire_bytes;
    if (!*request) continue;
    set_asker(**request, token_of(stream), options_.common_name);
    effects.watches.push_back({stream.key(), std::move(**request)});
  }
}

bool GrpcSession::on_watch(api::CallId feed, const api::Header& header, const api::WatchNews& news,
                           Effects& effects) {
  Http2Stream* stream = http2_.find(feed);
  if (stream == nullptr || !feeds_.contains(feed)) return false;
  if (const auto* ended = std::get_if<api::WatchFeedEnded>(&news)) {
    effects.watches.push_back({feed, api::WatchFeedClosed{}});  // of what was asked since
    end_feed(*stream, status_of(method_of(*stream), ended->error));
    settle(effects);
    return true;
  }
  if (api::may_wait(news) && !has_room_for_events(*stream, effects)) {
    full_feeds_.insert(feed);
    return false;
  }
  Bytes& out = http2_.body_of(*stream);
  const std::size_t max_bytes = options_.max_message_bytes();
  if (const auto* events = std::get_if<api::WatchEvents>(&news)) {
    append_watch_events(header, *events, max_bytes, out);
  } else {
    for (const Bytes& message : encode_watch_news(Format::kProtobuf, header, news, max_bytes)) {
      const std::size_t begin = wire::begin_message(out);
      out += message;
      wire::end_message(out, begin);
    }
  }
  http2_.wrote(*stream);
  settle_later(effects);
  return true;
}

// What other streams hold is bounded apart: one whose client does not read it is no reason for
// those to wait that have taken everything.
bool GrpcSession::has_room_for_events(const Http2Stream& stream, const Effects& effects) const {
  const std::size_t held = http2_.held_bytes(stream);
  return effects.unsent + effects.send.size() < limits::kMaxUnsentEvents &&
         (http2_.held_bytes() < limits::kMaxUnsentBytes || held == 0) &&
         held < limits::kMaxUnsentStreamEvents;
}

// Feeds that were full and are so no more, by a margin: to go on in small pieces is expensive.
void GrpcSession::announce_room(Effects& effects) {
  if (full_feeds_.empty()) return;
  if (effects.unsent + effects.send.size() >= limits::kMaxUnsentEvents / 2) return;
  const bool is_full = http2_.held_bytes() >= limits::kMaxUnsentBytes / 2;
  std::vector<wire::Http2Key> roomy;
  for (const wire::Http2Key key : full_feeds_) {
    Http2Stream* stream = http2_.find(key);
    if (stream == nullptr) continue;
    const std::size_t held = http2_.held_bytes(*stream);
    const bool has_room = held == 0 || (!is_full && held < limits::kMaxUnsentStreamEvents / 2);
    if (has_room) roomy.push_back(key);
  }
  for (const wire::Http2Key key : roomy) {
    full_feeds_.erase(key);
    effects.has_room.push_back(key);
    Http2Stream* stream = http2_.find(key);
    if (stream != nullptr && method_of(*stream) == Method::kWatch) read_watches(*stream, effects);
  }
}

void GrpcSession::end_feed(Http2Stream& stream, const GrpcStatus& status) {
  const std::string code = std::to_string(static_cast<int>(status.code));
  const Bytes text = wire::percent_encode(status.message);
  const std::array<HeaderField, 2> trailers = {{{"grpc-status", code}, {"grpc-message", text}}};
  http2_.finish(stream, trailers);
  http2_.consume(stream, stream.body.size());
  ended(stream, status.code);
  feeds_.erase(stream.key());
  full_feeds_.erase(stream.key());
  leader_wanted_.erase(stream.key());
}

void GrpcSession::end_feeds() {
  for (const wire::Http2Key key : std::exchange(feeds_, {})) {
    if (Http2Stream* stream = http2_.find(key)) {
      end_feed(*stream, status_of({api::ErrorCode::kStopped, {}}));
    }
  }
}

}  // namespace conclave::etcd
