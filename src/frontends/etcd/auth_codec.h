#pragma once
// The messages of etcd's Auth service: part of Codec (codec.h).

#include <expected>

#include "frontends/etcd/codec.h"

namespace conclave::etcd {

// REQUIRES of both: is_of_auth(method).
std::expected<api::Body, wire::GrpcStatus> decode_auth_request(Method method, Format format,
                                                               BytesView bytes);
void encode_auth_response(Method method, Format format, const api::Header& header,
                          api::AuthResponse& response, Bytes& out);

}  // namespace conclave::etcd
