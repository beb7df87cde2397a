#pragma once
// What GrpcSession notes in its streams: how far a call is, and its method. Internal to it.

#include <array>
#include <optional>

#include "api/service.h"
#include "frontends/etcd/methods.h"
#include "wire/http2_server.h"

namespace conclave::etcd {

// Http2Stream::state: what has become of a call, and above the low byte, its method. Above that, of
// kService, the method of the service.
enum Progress : std::uint32_t {
  kNew,
  kReading,   // the request is still arriving
  kWaiting,   // complete, held back
  kCalling,   // handed to the node
  kWatching,  // a health watch between two calls, or an election that is observed
  kSending,   // a snapshot between two calls
  kDone,      // answered or refused
};

inline Progress progress_of(const wire::Http2Stream& stream) {
  return static_cast<Progress>(stream.state & 0xff);
}
inline Method method_of(const wire::Http2Stream& stream) {
  return static_cast<Method>(stream.state >> 8 & 0xff);
}
inline void set_progress(wire::Http2Stream& stream, Progress progress) {
  stream.state = (stream.state & ~std::uint32_t{0xff}) | progress;
}
inline void set_method(wire::Http2Stream& stream, Method method) {
  stream.state = static_cast<std::uint32_t>(method) << 8 | kReading;
}
inline api::Service::Method service_method_of(const wire::Http2Stream& stream) {
  return static_cast<api::Service::Method>(stream.state >> 16);
}
inline void set_service_method(wire::Http2Stream& stream, api::Service::Method method) {
  set_method(stream, Method::kService);
  stream.state |= std::uint32_t{method} << 16;
}

// As etcd: the field that its clients send, or the one that its gateway does.
inline std::optional<Bytes> token_of(const wire::Http2Stream& stream) {
  auto token = stream.headers.find("token");
  if (!token) token = stream.headers.find("authorization");
  if (!token) return std::nullopt;
  return Bytes(*token);
}

inline constexpr std::array<wire::HeaderField, 2> kResponseHeaders = {
    {{":status", "200"}, {"content-type", "application/grpc"}}};

}  // namespace conclave::etcd
