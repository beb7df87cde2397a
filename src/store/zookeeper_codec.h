#pragma once
// ZooKeeper's writes as they stand in commands (docs/formats/commands.md).

#include "api/zookeeper.h"
#include "store/codec.h"

namespace conclave::store {

// REQUIRES: what the member has to draw was drawn.
void encode(Encoder& out, const api::zk::WriteRequest& request);
// Accepts exactly what encode() writes, of a request whose `quotas` are not kNone if `has_quotas`;
// fails the decoder otherwise. REQUIRES: `request` is as new.
void decode_zookeeper(Decoder& in, bool has_quotas, api::zk::WriteRequest& request);
void encode(Encoder& out, const api::zk::ImportRequest& request);
api::zk::ImportRequest decode_import(Decoder& in);
void encode(Encoder& out, const api::zk::ReconfigRequest& request);
api::zk::ReconfigRequest decode_reconfig(Decoder& in);
// Whether what the client has proved to be is within its limits.
bool is_bounded(const api::zk::Caller& caller);
// Whether it names no more servers, and none at a longer address, than may be.
bool is_bounded(const api::zk::ReconfigRequest& request);
// Of paths and data, about.
std::size_t content_bytes(const api::zk::WriteRequest& request);
std::size_t content_bytes(const api::zk::ImportRequest& request);

}  // namespace conclave::store
