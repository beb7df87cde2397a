#include "node/frame.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <cstring>

#include "base/limits.h"

namespace conclave::node {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kPrefixBytes = 8;  // length, type, version, zero
constexpr std::size_t kHeaderBytes = kPrefixBytes + 8;

struct Prefix {
  std::uint32_t length = 0;
  std::uint8_t type = 0;
  std::uint8_t version = kVersion;
  std::uint16_t zero = 0;
};
static_assert(sizeof(Prefix) == kPrefixBytes);

// The prefix takes part as the seed.
std::uint64_t checksum(const Prefix& prefix, BytesView payload) {
  std::uint64_t seed = 0;
  std::memcpy(&seed, &prefix, sizeof(prefix));
  return XXH3_64bits_withSeed(payload.data(), payload.size(), seed);
}

void put_header(char* at, FrameType type, BytesView payload) {
  const Prefix prefix{.length = static_cast<std::uint32_t>(payload.size()),
                      .type = static_cast<std::uint8_t>(type)};
  const std::uint64_t sum = checksum(prefix, payload);
  std::memcpy(at, &prefix, sizeof(prefix));
  std::memcpy(at + kPrefixBytes, &sum, sizeof(sum));
}

bool is_known(std::uint8_t type) {
  return type >= static_cast<std::uint8_t>(FrameType::kHello) &&
         type <= static_cast<std::uint8_t>(FrameType::kJoinReply);
}

}  // namespace

Bytes encode_frame(FrameType type, BytesView payload) {
  Bytes frame(kHeaderBytes, '\0');
  frame.append(payload);
  put_header(frame.data(), type, payload);
  return frame;
}

Bytes encode_engine_frame(std::uint64_t group, BytesView message) {
  Bytes frame;
  frame.reserve(kHeaderBytes + sizeof(group) + message.size());
  frame.resize(kHeaderBytes);
  frame.append(reinterpret_cast<const char*>(&group), sizeof(group));
  frame.append(message);
  put_header(frame.data(), FrameType::kEngine, BytesView(frame).substr(kHeaderBytes));
  return frame;
}

Result<std::optional<Frame>> FrameReader::next() {
  const BytesView rest = BytesView(buffer_).substr(consumed_);
  Prefix prefix;
  if (rest.size() >= kHeaderBytes) {
    std::memcpy(&prefix, rest.data(), sizeof(prefix));
    if (prefix.version != kVersion || !is_known(prefix.type) || prefix.zero != 0) {
      return fail(ErrorCode::kCorrupt, fmt::format("frame of type {}, version {} is not known",
                                                   prefix.type, prefix.version));
    }
    if (prefix.length > max_payload_bytes_) {
      return fail(ErrorCode::kCorrupt, fmt::format("frame of {} bytes is too long", prefix.length));
    }
  }
  if (rest.size() < kHeaderBytes || rest.size() < kHeaderBytes + prefix.length) {
    buffer_.erase(0, consumed_);
    consumed_ = 0;
    return std::optional<Frame>();
  }
  std::uint64_t sum = 0;
  std::memcpy(&sum, rest.data() + kPrefixBytes, sizeof(sum));
  const BytesView payload = rest.substr(kHeaderBytes, prefix.length);
  if (sum != checksum(prefix, payload)) {
    return fail(ErrorCode::kCorrupt, "frame fails its checksum");
  }
  consumed_ += kHeaderBytes + prefix.length;
  return std::optional<Frame>(Frame{static_cast<FrameType>(prefix.type), payload});
}

}  // namespace conclave::node
