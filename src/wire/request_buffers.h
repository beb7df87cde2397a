#pragma once
// Requests that are still arriving on the connections of one member, which have one bound for what
// they hold together. Beyond it connections that hold more than a little get no more of theirs, and
// beyond twice as much only those get it that hold next to nothing.

#include <cstddef>
#include <memory>
#include <utility>

#include "base/fair_limits.h"

namespace conclave::wire {

// Of connections of one thread.
struct RequestBuffers {
  std::size_t bytes = 0;
  std::size_t max_bytes = limits::kMaxAllBufferedBytes;
};

// What one connection holds.
class BufferShare {
 public:
  // `all`: of which it is a part; may be null.
  explicit BufferShare(std::shared_ptr<RequestBuffers> all) : all_(std::move(all)) {}
  ~BufferShare() { set(0); }
  BufferShare(const BufferShare&) = delete;
  BufferShare& operator=(const BufferShare&) = delete;

  std::size_t bytes() const { return bytes_; }
  void set(std::size_t bytes) {
    if (all_) all_->bytes += bytes - bytes_;
    bytes_ = bytes;
  }
  // Whether it may hold so much more.
  bool has_room(std::size_t more) const {
    if (!all_) return true;
    const std::size_t own = bytes_ + more;
    const std::size_t all = all_->bytes + more;
    return all <= all_->max_bytes || own <= limits::kLittleRequestBytes ||
           (own <= limits::kLittleBufferedBytes && all <= 2 * all_->max_bytes);
  }

 private:
  std::shared_ptr<RequestBuffers> all_;
  std::size_t bytes_ = 0;
};

}  // namespace conclave::wire
