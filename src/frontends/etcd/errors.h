#pragma once
// What went wrong, in etcd's words: its clients match on the gRPC code and the text.

#include "api/request.h"
#include "wire/grpc.h"

namespace conclave::etcd {

wire::GrpcStatus status_of(const api::Error& error);

// The status of an HTTP answer that carries a gRPC status, as etcd's gateway maps them.
int http_status_of(wire::GrpcCode code);

}  // namespace conclave::etcd
