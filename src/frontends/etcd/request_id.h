#pragma once
// The client's own name for a write, as it stands in metadata: `conclave-request-id:
// <client>/<sequence>`.

#include <expected>

#include "api/request.h"

namespace conclave::etcd {

inline constexpr BytesView kRequestIdHeader = "conclave-request-id";

// <client> is any text of up to limits::kMaxRequestIdBytes, <sequence> a decimal number. On
// failure: what is wrong.
std::expected<api::RequestId, api::Error> parse_request_id(BytesView text);

// A request id only means something with a write; and who asks about a fence (which came with the
// message) asks how things are now.
bool takes_id(const api::Request& request);

}  // namespace conclave::etcd
