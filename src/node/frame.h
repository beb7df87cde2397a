#pragma once
// Frames between members: how messages are cut out of a byte stream (docs/formats/peer.md).
//
//   u32 length of the payload | u8 type | u8 version | u16 zero | u64 XXH3 of the first 8 bytes and
//   the payload | payload
//
// Little-endian. The checksum guards against what TCP's lets through; a frame that fails it ends
// the connection.
//
// Pure.

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/result.h"

namespace conclave::node {

// What members say to each other first: the version of every message between them (peer.proto).
inline constexpr std::uint32_t kPeerProtocol = 1;

enum class FrameType : std::uint8_t {
  kHello = 1,
  kHelloReply = 2,
  kEngine = 3,  // u64 group, then the engine's message
  kForward = 4,
  kForwardReply = 5,
  kReport = 6,
  kJoin = 7,
  kJoinReply = 8,
};

struct Frame {
  FrameType type = FrameType::kHello;
  BytesView payload;  // into the reader's buffer: valid until its next call
};

Bytes encode_frame(FrameType type, BytesView payload);
Bytes encode_engine_frame(std::uint64_t group, BytesView message);

class FrameReader {
 public:
  explicit FrameReader(std::size_t max_payload_bytes = limits::kMaxPeerFrameBytes)
      : max_payload_bytes_(max_payload_bytes) {}
  void allow(std::size_t max_payload_bytes) { max_payload_bytes_ = max_payload_bytes; }
  void feed(BytesView bytes) { buffer_.append(bytes); }
  // The next whole frame; nullopt if more bytes are needed. kCorrupt for a bad checksum, an unknown
  // type or version, or a length beyond what is allowed: the stream cannot be used any further.
  Result<std::optional<Frame>> next();

 private:
  std::size_t max_payload_bytes_;
  Bytes buffer_;
  std::size_t consumed_ = 0;
};

}  // namespace conclave::node
