#pragma once
// How the gateway says that a call failed. Internal to HttpSession.

#include "wire/grpc.h"
#include "wire/http1_server.h"

namespace conclave::etcd {

inline constexpr BytesView kJsonType = "application/json";
// Beside an answer of the service, in place of one of the gateway itself.
inline constexpr BytesView kGatewayHeader = "Grpc-Metadata-Content-Type: application/grpc";

wire::Http1Response error_page(const wire::GrpcStatus& status);

// etcd's gateway takes the header Authorization, and gRPC's metadata with its prefix.
std::optional<Bytes> token_of(const wire::HeaderList& headers);

}  // namespace conclave::etcd
