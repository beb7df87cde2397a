#pragma once
// Any message from bytes and to bytes, in either format, and what a client is told that sends what
// cannot be read.

#include <google/protobuf/message.h>

#include <expected>

#include "base/bytes.h"
#include "frontends/etcd/codec.h"
#include "wire/grpc.h"

namespace conclave::etcd {

std::expected<void, wire::GrpcStatus> parse_message(google::protobuf::Message& message,
                                                    Format format, BytesView bytes);
// Appends.
void write_message(const google::protobuf::Message& message, Format format, Bytes& out);

}  // namespace conclave::etcd
