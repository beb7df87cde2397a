#pragma once
// The streams of Lease/LeaseKeepAlive on one connection. A client keeps any number of leases alive
// on one stream; each request is handed to the node as it arrives, and answered when it has been
// applied, whether or not others before it have. A stream ends when the client ends it, or with the
// first request that fails.

#include <cstdint>
#include <map>

#include "api/session.h"
#include "frontends/etcd/call_counts.h"
#include "frontends/etcd/codec.h"
#include "wire/http2_server.h"

namespace conclave::etcd {

class KeepAlives {
 public:
  // Requests of one stream that the node has not answered; the rest waits with the client.
  static constexpr std::size_t kMaxUnderWay = 1'000;

  // All three outlive it.
  KeepAlives(wire::Http2Server& http2, Codec& codec, CallCounter& counter,
             std::size_t max_message_bytes)
      : http2_(http2), codec_(codec), counter_(counter), max_message_bytes_(max_message_bytes) {}

  // Whether a call is one of these: their ids are no stream's key.
  static bool owns(api::CallId call) { return (call & kCallBit) != 0; }

  // Takes what the client has sent so far. False: the stream has been finished.
  bool read(wire::Http2Stream& stream, api::Session::Effects& effects);
  // The stream that the call belongs to; nullptr if nobody waits for its answer.
  wire::Http2Stream* stream_of(api::CallId call);
  // The same result as read's. REQUIRES: `stream` is stream_of(call).
  bool answer(wire::Http2Stream& stream, api::CallId call, api::Response& response,
              api::Session::Effects& effects);
  // The client has reset it.
  void forget(wire::Http2Key stream);
  // Calls visit(Http2Stream&) for each open stream, which visit may read or finish.
  template <class Visit>
  void for_each(Visit&& visit) {
    wait_for_room_ = false;
    for (auto it = streams_.begin(); it != streams_.end();) {
      wire::Http2Stream* stream = http2_.find((it++)->first);
      if (stream != nullptr) visit(*stream);
    }
  }
  void finish(wire::Http2Stream& stream, const wire::GrpcStatus& status);
  // Requests were left where they are because the client takes no answers: read its streams again
  // once it does.
  bool wait_for_room() const { return wait_for_room_; }

 private:
  static constexpr api::CallId kCallBit = api::CallId{1} << 63;

  struct Open {
    bool started = false;  // its response
    std::size_t under_way = 0;
    std::size_t taken = 0;  // of the body's bytes
  };

  wire::GrpcMessage front_message(const wire::Http2Stream& stream, const Open& open) const;
  bool take_message(wire::Http2Stream& stream, Open& open, api::Session::Effects& effects);

  wire::Http2Server& http2_;
  Codec& codec_;
  CallCounter& counter_;
  std::size_t max_message_bytes_;
  std::map<wire::Http2Key, Open> streams_;
  std::map<api::CallId, wire::Http2Key> calls_;
  api::CallId last_call_ = kCallBit;
  bool wait_for_room_ = false;
};

}  // namespace conclave::etcd
