#pragma once
// Where frames begin and end in a client's bytes. nghttp2 does not tell whether it waits in the
// middle of one; to cut off a client that dribbles, one has to know.

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace conclave::wire {

inline constexpr BytesView kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

class FrameBoundaries {
 public:
  void feed(BytesView bytes);
  // Bytes of a frame (or of the preface) have arrived, but not all of them.
  bool inside() const { return (begun_ && left_ > 0) || header_have_ > 0; }
  // Frames that have begun, with the preface as the first.
  std::uint64_t count() const { return count_; }

 private:
  std::size_t left_ = kHttp2Preface.size();  // of the frame's payload
  bool begun_ = false;
  std::size_t header_have_ = 0;
  std::array<std::uint8_t, 3> length_{};
  std::uint64_t count_ = 1;
};

}  // namespace conclave::wire
