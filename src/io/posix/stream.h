#pragma once
// One TCP connection: the part that lives as long as the kernel still owes it something, which is
// longer than the io::Connection handed out (network.h). Internal to io/posix.
//
// Reading: a readable socket is read into one buffer that all streams of a network share, a few
// times per turn at most, so one busy peer does not starve the others. Writing: send() queues; at
// the end of the turn everything queued leaves in one sendmsg; what the kernel does not take waits
// for the socket to become writable.
//
// Closing politely (close_after_send) drains the queue, shuts our side down, tells the handler, and
// then discards what still arrives for a moment: closing a socket with unread input would reset the
// connection, and the last answer could be lost on its way.

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/network.h"
#include "io/posix/loop.h"

namespace conclave::io {

class Stream;

// What all streams of one network have in common. Outlives the network if streams still linger.
struct StreamPool : std::enable_shared_from_this<StreamPool> {
  explicit StreamPool(Loop& owner) : loop(owner) {}

  Loop& loop;
  std::array<char, 128 * 1024> read_buffer{};
  std::vector<std::shared_ptr<Stream>> unflushed, flushing;

  // Flushes `stream` at the end of this turn.
  void flush_later(std::shared_ptr<Stream> stream);
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  // REQUIRES: `socket` is connected.
  Stream(std::shared_ptr<StreamPool> pool, Socket socket);

  // These six are io::Connection's; abandon() is its destructor.
  void start(ConnectionHandler* handler);
  void send(Bytes data);
  std::size_t unsent_bytes() const { return unsent_; }
  void pause_reading(bool paused);
  void close_after_send();
  const std::string& peer_name() const { return peer_name_; }
  void abandon();

  // Sends what is queued. Called by the pool at the end of a turn.
  void flush();

 private:
  enum class State { kOpen, kDraining, kLingering, kClosed };

  void wait_readable();
  void on_readable();
  bool read_once();
  void discard_input();
  void wait_writable();
  bool write_once();
  void consume(std::size_t sent);
  void on_drained();
  void drain_then_close(Error why);
  void linger();
  void limit_time(std::chrono::milliseconds limit);
  void fail(Error why);
  void close();
  Error error_of(int error_number) const;

  std::shared_ptr<StreamPool> pool_;
  Socket socket_;
  std::string peer_name_;
  ConnectionHandler* handler_ = nullptr;
  State state_ = State::kOpen;
  bool paused_ = false;
  bool waiting_readable_ = false;
  bool waiting_writable_ = false;
  bool flush_queued_ = false;
  bool peer_ended_ = false;
  std::deque<Bytes> queue_;
  std::size_t sent_of_front_ = 0;
  std::size_t unsent_ = 0;
  std::size_t discarded_ = 0;
  Error close_reason_;
  std::optional<boost::asio::steady_timer> deadline_;
};

}  // namespace conclave::io
