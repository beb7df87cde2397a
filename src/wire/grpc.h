#pragma once
// gRPC over HTTP/2, apart from the frames: length-prefixed messages, the fields of its headers and
// trailers. Texts of errors are those of grpc-go, which etcd's clients see from a real etcd.

#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace conclave::wire {

enum class GrpcCode : std::uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

struct GrpcStatus {
  GrpcCode code = GrpcCode::kOk;
  Bytes message;

  bool operator==(const GrpcStatus&) const = default;
};

// A message at the front of a stream's body.
struct GrpcMessage {
  enum class State : std::uint8_t { kIncomplete, kComplete, kRefused };
  State state = State::kIncomplete;
  BytesView payload;           // if complete
  std::size_t wire_bytes = 0;  // payload and prefix, if complete
  GrpcStatus refusal;          // if refused: too large, or not plain
};
// Looks at no more than the prefix to refuse, so that an oversized message need not arrive first.
GrpcMessage front_message(BytesView body, std::size_t max_bytes);

// Encodes one message in place: between the two calls the payload is appended to `out`.
//   const std::size_t begin = begin_message(out);  ...append...  end_message(out, begin);
std::size_t begin_message(Bytes& out);
void end_message(Bytes& out, std::size_t begin);
// What goes in front of a message of `length` bytes that is sent in pieces.
Bytes message_prefix(std::size_t length);

// "application/grpc", also with a suffix (+proto) or parameters.
bool is_grpc_content_type(BytesView content_type);

// Messages are not compressed here. What a client is told whose header promises compressed ones.
std::optional<GrpcStatus> check_encoding(std::optional<BytesView> grpc_encoding);

// The value of grpc-timeout ("100m", "5S") in milliseconds, rounded up; nullopt if malformed.
std::optional<std::uint64_t> parse_grpc_timeout_ms(BytesView timeout);

// grpc-message: bytes outside of printable ASCII, and '%', as %XX.
Bytes percent_encode(BytesView text);
// And back; what is no such pair stays as it is.
Bytes percent_decode(BytesView text);

}  // namespace conclave::wire
