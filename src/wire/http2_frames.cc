#include "wire/http2_frames.h"

#include <algorithm>

namespace conclave::wire {
namespace {

constexpr std::size_t kFrameHeaderBytes = 9;  // RFC 9113, 4.1: a 24-bit length comes first

}  // namespace

void FrameBoundaries::feed(BytesView bytes) {
  begun_ = begun_ || !bytes.empty();
  while (!bytes.empty()) {
    if (left_ > 0) {
      const std::size_t skipped = std::min(left_, bytes.size());
      left_ -= skipped;
      bytes.remove_prefix(skipped);
      continue;
    }
    if (header_have_ == 0) ++count_;
    if (header_have_ < length_.size()) {
      length_[header_have_] = static_cast<std::uint8_t>(bytes.front());
      bytes.remove_prefix(1);
      ++header_have_;
      continue;
    }
    const std::size_t skipped = std::min(kFrameHeaderBytes - header_have_, bytes.size());
    header_have_ += skipped;
    bytes.remove_prefix(skipped);
    if (header_have_ < kFrameHeaderBytes) return;
    left_ = static_cast<std::size_t>(length_[0]) << 16 | static_cast<std::size_t>(length_[1]) << 8 |
            length_[2];
    header_have_ = 0;
  }
}

}  // namespace conclave::wire
