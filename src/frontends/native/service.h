#pragma once
// Conclave's own services, conclave.v1 (proto/conclave.proto): messages to api requests and back,
// for the sessions that serve them beside etcd's on one port.
//
// Has no state: one object serves all connections.

#include "api/service.h"

namespace conclave::native {

class NativeService final : public api::Service {
 public:
  std::optional<Method> find(Format format, BytesView path) const override;
  std::expected<api::Request, Refusal> decode(Method method, Format format,
                                              BytesView message) const override;
  std::optional<Refusal> encode(Method method, Format format, const api::Response& response,
                                Bytes& out) const override;
};

}  // namespace conclave::native
