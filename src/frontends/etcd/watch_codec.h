#pragma once
// The messages of etcd's Watch service: requests to the api's words, news to responses. Events are
// encoded straight from what the store holds, since one of them may go to very many.

#include <expected>
#include <optional>
#include <vector>

#include "api/watch.h"
#include "base/bytes.h"
#include "frontends/etcd/codec.h"
#include "wire/grpc.h"

namespace conclave::etcd {

// nullopt: a request of no kind, which etcd ignores.
std::expected<std::optional<api::WatchRequest>, wire::GrpcStatus> decode_watch_request(
    Format format, BytesView bytes);

// What Observe asks for.
std::expected<api::WatchRequest, wire::GrpcStatus> decode_observe_request(Format format,
                                                                          BytesView bytes);

// The messages for `news`: a LeaderResponse for an ElectionLeader, otherwise the WatchResponses,
// each a message without framing: one, or several if the watch wanted fragments and the events take
// more than `max_bytes`. REQUIRES: not a WatchFeedEnded.
std::vector<Bytes> encode_watch_news(Format format, const api::Header& header,
                                     const api::WatchNews& news, std::size_t max_bytes);

// The same for events, as gRPC messages behind what `out` has.
void append_watch_events(const api::Header& header, const api::WatchEvents& news,
                         std::size_t max_bytes, Bytes& out);

// Notes who asks, where that matters.
void set_asker(api::WatchRequest& request, std::optional<Bytes> token, const std::string& name);

}  // namespace conclave::etcd
