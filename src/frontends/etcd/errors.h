#pragma once
// What went wrong, in etcd's words: its clients match on the gRPC code and the text.

#include "api/request.h"
#include "api/service.h"
#include "frontends/etcd/methods.h"
#include "wire/grpc.h"

namespace conclave::etcd {

wire::GrpcStatus status_of(const api::Error& error);
// As an answer of this method: within etcd's Lock and Election services the codes of what they ask
// of the store are lost.
wire::GrpcStatus status_of(Method method, const api::Error& error);

wire::GrpcStatus status_of(const api::Service::Refusal& refusal);

// As etcd writes it into the cancel_reason of a watch.
Bytes reason_of(api::ErrorCode code);

// The status of an HTTP answer that carries a gRPC status, as etcd's gateway maps them.
int http_status_of(wire::GrpcCode code);

}  // namespace conclave::etcd
