// Streams of Maintenance/Snapshot: part of GrpcSession. Each asks for one piece at a time, and for
// the next one when its client has taken most of the last. A connection has few of them, so they
// hold little together, and the node answers none for a connection that has not taken other
// answers.

#include <array>
#include <string>
#include <utility>

#include "frontends/etcd/errors.h"
#include "frontends/etcd/grpc_call.h"
#include "frontends/etcd/grpc_session.h"

namespace conclave::etcd {

using wire::GrpcStatus;
using wire::HeaderField;
using wire::Http2Stream;

void GrpcSession::answer_snapshot(Http2Stream& stream, api::Response& response, Effects& effects) {
  const auto open = snapshots_.find(stream.key());
  if (const auto* error = std::get_if<api::Error>(&response.answer)) {
    if (open == snapshots_.end()) {
      snapshot_calls_.erase(stream.key());
      return refuse(stream, status_of(Method::kSnapshot, *error));
    }
    return end_snapshot(stream, status_of(Method::kSnapshot, *error));
  }
  if (const auto* begun = std::get_if<api::SnapshotResponse>(&response.answer)) {
    http2_.start(stream, kResponseHeaders);
    SnapshotStream& snapshot = snapshots_.try_emplace(stream.key(), *begun).first->second;
    return go_on_with_snapshot(stream, snapshot, effects);
  }
  auto* piece = std::get_if<api::SnapshotPieceResponse>(&response.answer);
  if (piece == nullptr || open == snapshots_.end()) return;
  const auto message = open->second.take(std::move(*piece));
  if (!message) return end_snapshot(stream, status_of({api::ErrorCode::kSnapshotGone, {}}));
  send_snapshot_part(stream, *message);
  go_on_with_snapshot(stream, open->second, effects);
}

// Asks for the next piece, or waits for room, or ends.
void GrpcSession::go_on_with_snapshot(Http2Stream& stream, SnapshotStream& snapshot,
                                      Effects& effects) {
  std::optional<api::Body> next = snapshot.next();
  if (!next) {
    send_snapshot_part(stream, snapshot.checksum());
    return end_snapshot(stream, {});
  }
  set_progress(stream, kSending);
  const bool has_room = http2_.held_bytes(stream) < SnapshotStream::kMaxUnsent &&
                        effects.unsent + effects.send.size() < limits::kSendAheadBytes;
  if (!has_room) return;
  set_progress(stream, kCalling);
  effects.calls.push_back({stream.key(), {std::move(*next), std::nullopt, std::nullopt}});
}

void GrpcSession::send_snapshot_part(Http2Stream& stream, const SnapshotStream::Message& message) {
  Bytes& out = http2_.body_of(stream);
  const std::size_t begin = wire::begin_message(out);
  out += SnapshotStream::protobuf(message);
  wire::end_message(out, begin);
  http2_.wrote(stream);
}

void GrpcSession::end_snapshot(Http2Stream& stream, const GrpcStatus& status) {
  const std::string code = std::to_string(static_cast<int>(status.code));
  const Bytes text = wire::percent_encode(status.message);
  const std::array<HeaderField, 2> trailers = {{{"grpc-status", code}, {"grpc-message", text}}};
  http2_.finish(stream, std::span(trailers).first(text.empty() ? 1 : 2));
  ended(stream, status.code);
  snapshots_.erase(stream.key());
  snapshot_calls_.erase(stream.key());
}

void GrpcSession::go_on_with_snapshots(Effects& effects) {
  for (auto it = snapshots_.begin(); it != snapshots_.end();) {
    auto& [key, snapshot] = *it++;  // it may end
    Http2Stream* stream = http2_.find(key);
    if (stream == nullptr || progress_of(*stream) != kSending) continue;
    go_on_with_snapshot(*stream, snapshot, effects);
  }
}

}  // namespace conclave::etcd
