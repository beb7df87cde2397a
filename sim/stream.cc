#include "sim/stream.h"

#include <utility>

namespace conclave::sim {
namespace {

// What the receiver's system takes in before the sender has to wait.
constexpr std::size_t kReceiveBufferBytes = 256 << 10;

}  // namespace

void Stream::join(const std::shared_ptr<Stream>& one, const std::shared_ptr<Stream>& two) {
  one->other_ = two;
  two->other_ = one;
}

void Stream::abandon() {
  handler_ = nullptr;
  open_ = false;
  waiting_.clear();
  blocked.clear();
  finish_ = nullptr;
}

void Stream::arrive(Bytes piece, bool counted) {
  const auto self = shared_from_this();
  const std::size_t size = piece.size();
  const bool wanted = open_ && !ended_;
  if (wanted && !(may_read() && waiting_.empty())) {
    const bool fits = waiting_bytes_ + size <= kReceiveBufferBytes;
    waiting_bytes_ += size;
    waiting_.push_back({std::move(piece), counted && !fits});
    if (counted && fits) credit_sender(size);
    return;
  }
  if (wanted) handler_->on_bytes(piece);
  if (counted) credit_sender(size);
}

void Stream::credit_sender(std::size_t bytes) {
  const std::shared_ptr<Stream> sender = other();
  if (sender == nullptr) return;
  sender->unsent_ -= bytes;
  sender->tell_drained();
}

void Stream::tell_drained() {
  if (unsent_ != 0 || !open_ || handler_ == nullptr) return;
  drained_untold_ = host_.paused;
  if (drained_untold_) return;
  const auto self = shared_from_this();
  if (finish_) return std::exchange(finish_, nullptr)();
  handler_->on_drained();
}

void Stream::end(Ending ending, const std::string& why) {
  if (!open_ || ended_) return;
  const bool unread = ending == Ending::kClosed && !waiting_.empty();
  if (may_hear() && !unread) return finish(why);
  ended_ = {ending, why};
}

void Stream::finish(const std::string& why) {
  open_ = false;
  waiting_.clear();
  const auto self = shared_from_this();
  handler_->on_closed(Error{ErrorCode::kIo, why});
}

void Stream::catch_up() {
  const auto self = shared_from_this();
  while (may_read() && !waiting_.empty()) {
    const Waiting first = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= first.piece.size();
    handler_->on_bytes(first.piece);
    if (first.counted) credit_sender(first.piece.size());
  }
  if (drained_untold_) tell_drained();
  if (!ended_ || !may_hear()) return;
  if (waiting_.empty() || ended_->ending == Ending::kReset) finish(std::string(ended_->why));
}

}  // namespace conclave::sim
