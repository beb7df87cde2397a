#pragma once
// One message of each served method, decoded into the api's words and encoded from them: as
// protobuf for gRPC, as JSON for the gateway. The messages of the hot methods are kept and used
// again.

#include <expected>
#include <memory>

#include "api/request.h"
#include "base/bytes.h"
#include "frontends/etcd/methods.h"
#include "wire/grpc.h"

namespace conclave::etcd {

enum class Format : std::uint8_t { kProtobuf, kJson };

class Codec {
 public:
  Codec();
  ~Codec();

  // The request, or what the client is told about it.
  std::expected<api::Body, wire::GrpcStatus> decode(Method method, Format format, BytesView bytes);

  // Appends the answer to `out`. REQUIRES: it is the kind of answer that the method's request asks
  // for, and no Error.
  void encode(Method method, Format format, const api::Header& header, api::Answer& answer,
              Bytes& out);

 private:
  struct Messages;
  std::unique_ptr<Messages> messages_;
};

}  // namespace conclave::etcd
