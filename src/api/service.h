#pragma once
// Services that another front-end has beside those of the port it shares. The session on the port
// knows HTTP and gRPC; a Service knows its messages. So a front-end's session needs none of the
// others' headers, and who puts them together is the server.
//
// One request, one answer: streams are not for services of this kind.

#include <cstdint>
#include <expected>
#include <optional>

#include "api/request.h"
#include "base/bytes.h"

namespace conclave::api {

class Service {
 public:
  enum class Format : std::uint8_t { kProtobuf, kJson };
  // What a client is told instead of an answer; the code is gRPC's.
  struct Refusal {
    int grpc_code = 0;
    Bytes message;
  };
  using Method = std::uint16_t;

  virtual ~Service() = default;

  // The method of a gRPC path ("/conclave.v1.Lock/Acquire") or, of kJson, of a path of its URLs
  // ("/v1/lock/acquire").
  virtual std::optional<Method> find(Format format, BytesView path) const = 0;
  virtual std::expected<Request, Refusal> decode(Method method, Format format,
                                                 BytesView message) const = 0;
  // Appends the answer's message to `out`, unless it is refused; nothing is appended then.
  virtual std::optional<Refusal> encode(Method method, Format format, const Response& response,
                                        Bytes& out) const = 0;
};

}  // namespace conclave::api
