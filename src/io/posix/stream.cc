#include "io/posix/stream.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace conclave::io {

namespace {

using std::chrono::milliseconds;

constexpr int kReadsPerTurn = 4;
constexpr int kWritesPerTurn = 4;
constexpr std::size_t kMaxVectors = 64;
// Small sends share a buffer: one copied kilobyte is cheaper than one more vector element for the
// kernel.
constexpr std::size_t kCopyBelow = 4 * 1024;
constexpr std::size_t kSharedBufferBytes = 64 * 1024;
constexpr milliseconds kDrainLimit{3'000};
constexpr milliseconds kLingerLimit{1'000};
constexpr std::size_t kLingerBytes = 16 * 1024 * 1024;

std::string name_of_peer(const Stream::Socket& socket) {
  boost::system::error_code error;
  const auto peer = socket.remote_endpoint(error);
  if (error) return "a peer that is already gone";
  return Address{peer.address().to_string(), peer.port()}.to_string();
}

}  // namespace

void StreamPool::flush_later(std::shared_ptr<Stream> stream) {
  unflushed.push_back(std::move(stream));
  if (unflushed.size() > 1) return;
  loop.post_flush([self = shared_from_this()] {
    self->flushing.swap(self->unflushed);
    for (const auto& each : self->flushing) each->flush();
    self->flushing.clear();
  });
}

Stream::Stream(std::shared_ptr<StreamPool> pool, Socket socket)
    : pool_(std::move(pool)), socket_(std::move(socket)), peer_name_(name_of_peer(socket_)) {
  boost::system::error_code
      ignored;  // a connection that is already broken says so on its first read
  socket_.non_blocking(true, ignored);
  socket_.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(boost::asio::socket_base::keep_alive(true), ignored);
}

void Stream::start(ConnectionHandler* handler) {
  CHECK(handler_ == nullptr);
  handler_ = handler;
  wait_readable();
}

// Reading.

void Stream::pause_reading(bool paused) {
  paused_ = paused;
  if (!paused) wait_readable();
}

void Stream::wait_readable() {
  const bool wanted = (state_ == State::kOpen && !paused_) || state_ == State::kLingering;
  if (!wanted || waiting_readable_) return;
  waiting_readable_ = true;
  socket_.async_wait(Socket::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->waiting_readable_ = false;
                       if (!error) self->on_readable();
                     });
}

void Stream::on_readable() {
  if (state_ == State::kLingering) return discard_input();
  for (int i = 0; i < kReadsPerTurn; ++i) {
    if (state_ != State::kOpen || paused_) return;
    if (!read_once()) break;
  }
  wait_readable();
}

// True if there may be more to read at once.
bool Stream::read_once() {
  auto& buffer = pool_->read_buffer;
  const ssize_t got = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), 0);
  if (got > 0) {
    const auto size = static_cast<std::size_t>(got);
    handler_->on_bytes(BytesView(buffer.data(), size));
    return size == buffer.size();
  }
  if (got == 0) {
    peer_ended_ = true;
    drain_then_close(Error{ErrorCode::kIo, peer_name_ + ": closed by the other side"});
    return false;
  }
  if (errno == EINTR) return true;
  if (errno != EAGAIN) fail(error_of(errno));
  return false;
}

void Stream::discard_input() {
  auto& buffer = pool_->read_buffer;
  for (int i = 0; i < kReadsPerTurn; ++i) {
    const ssize_t got = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EAGAIN) return wait_readable();
    if (got <= 0) return close();
    discarded_ += static_cast<std::size_t>(got);
    if (discarded_ > kLingerBytes) return close();
  }
  wait_readable();
}

// Writing.

void Stream::send(Bytes data) {
  if (state_ != State::kOpen || data.empty()) return;
  unsent_ += data.size();
  if (!queue_.empty() && data.size() < kCopyBelow &&
      queue_.back().size() + data.size() <= kSharedBufferBytes) {
    queue_.back().append(data);
  } else {
    queue_.push_back(std::move(data));
  }
  if (flush_queued_ || waiting_writable_) return;
  flush_queued_ = true;
  pool_->flush_later(shared_from_this());
}

void Stream::flush() {
  flush_queued_ = false;
  if (state_ != State::kOpen && state_ != State::kDraining) return;
  for (int i = 0; i < kWritesPerTurn && !queue_.empty(); ++i) {
    if (!write_once()) return;
  }
  if (queue_.empty()) return on_drained();
  flush_queued_ = true;  // the others first
  pool_->flush_later(shared_from_this());
}

// True if the kernel took all it was given.
bool Stream::write_once() {
  std::array<iovec, kMaxVectors> vectors;
  std::size_t count = 0;
  std::size_t offered = 0;
  std::size_t skip = sent_of_front_;
  for (auto chunk = queue_.begin(); chunk != queue_.end() && count < kMaxVectors; ++chunk) {
    vectors[count++] = {chunk->data() + skip, chunk->size() - skip};
    offered += chunk->size() - skip;
    skip = 0;
  }
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = count;
  const ssize_t sent = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    fail(error_of(errno));
    return false;
  }
  if (sent > 0) consume(static_cast<std::size_t>(sent));
  if (sent == static_cast<ssize_t>(offered)) return true;
  wait_writable();
  return false;
}

void Stream::consume(std::size_t sent) {
  unsent_ -= sent;
  sent_of_front_ += sent;
  while (!queue_.empty() && sent_of_front_ >= queue_.front().size()) {
    sent_of_front_ -= queue_.front().size();
    queue_.pop_front();
  }
}

void Stream::wait_writable() {
  if (waiting_writable_) return;
  waiting_writable_ = true;
  socket_.async_wait(Socket::wait_write,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->waiting_writable_ = false;
                       if (!error) self->flush();
                     });
}

void Stream::on_drained() {
  if (state_ == State::kDraining) return linger();
  if (handler_ != nullptr) handler_->on_drained();
}

// Closing.

void Stream::close_after_send() {
  drain_then_close(Error{ErrorCode::kIo, peer_name_ + ": closed by this side"});
}

void Stream::drain_then_close(Error why) {
  if (state_ != State::kOpen) return;
  state_ = State::kDraining;
  close_reason_ = std::move(why);
  limit_time(kDrainLimit);
  if (flush_queued_ || waiting_writable_) return;
  flush_queued_ = true;  // even with nothing queued: callers are never called back from inside
  pool_->flush_later(shared_from_this());
}

void Stream::linger() {
  if (peer_ended_) return fail(close_reason_);
  state_ = State::kLingering;
  boost::system::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  limit_time(kLingerLimit);
  wait_readable();
  if (handler_ != nullptr) std::exchange(handler_, nullptr)->on_closed(close_reason_);
}

void Stream::limit_time(milliseconds limit) {
  if (!deadline_) deadline_.emplace(socket_.get_executor());
  deadline_->expires_after(limit);
  deadline_->async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error || self->deadline_->expiry() > std::chrono::steady_clock::now()) return;
    if (self->state_ == State::kLingering) return self->close();
    self->fail(Error{ErrorCode::kIo, self->peer_name_ + ": did not take its last bytes in time"});
  });
}

void Stream::fail(Error why) {
  if (state_ == State::kClosed) return;
  close();
  if (handler_ != nullptr) std::exchange(handler_, nullptr)->on_closed(why);
}

void Stream::abandon() {
  handler_ = nullptr;
  if (state_ != State::kLingering) close();
}

void Stream::close() {
  state_ = State::kClosed;
  boost::system::error_code ignored;
  socket_.close(ignored);
  if (deadline_) deadline_->cancel();
  queue_.clear();
  unsent_ = 0;
}

Error Stream::error_of(int error_number) const {
  return Error{ErrorCode::kIo, peer_name_ + ": " + std::generic_category().message(error_number)};
}

}  // namespace conclave::io
