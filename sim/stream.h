#pragma once
// One side of a simulated connection: what has arrived and waits, what has been sent and is under
// way, and when its handler may hear of either. Shared by its Connection, the other side and what
// is under way; knows nothing of links and faults.
//
// Not thread-safe: one loop.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/time.h"
#include "io/network.h"

namespace conclave::sim {

struct Link;

// A host as its streams know it.
struct HostState {
  std::string name;
  bool paused = false;  // nothing is told to a process that is stopped
};

enum class Ending : std::uint8_t {
  kClosed,  // heard after everything that arrived before
  kReset,   // heard at once
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  // `host` and `link`, the way from this side to the other, outlive the stream.
  Stream(const HostState& host, Link& link) : host_(host), link_(link) {}
  static void join(const std::shared_ptr<Stream>& one, const std::shared_ptr<Stream>& two);

  const HostState& host() const { return host_; }
  Link& link() { return link_; }
  std::shared_ptr<Stream> other() const { return other_.lock(); }
  bool open() const { return open_; }
  std::size_t unsent() const { return unsent_; }

  // --- what the owner does. None of these calls the handler; catch_up() is to follow.

  void set_handler(io::ConnectionHandler* handler) { handler_ = handler; }
  void pause_reading(bool paused) { reading_paused_ = paused; }
  // Nobody listens here any more.
  void abandon();
  // `finish` is called once everything has left.
  void when_sent(std::move_only_function<void()> finish) { finish_ = std::move(finish); }

  // --- what the world does

  // Bytes of this side are under way: unsent until the other side takes them in.
  void add_unsent(std::size_t bytes) { unsent_ += bytes; }
  void withdraw_unsent(std::size_t bytes) { unsent_ -= bytes; }
  // A piece has come. `counted`: the other side counts it as unsent, until now, or until it is read
  // if more waits here than a receive buffer holds.
  void arrive(Bytes piece, bool counted);
  // The connection has ended; told when the handler may hear it.
  void end(Ending ending, const std::string& why);
  // Tells what could not be told before.
  void catch_up();
  // Tells that everything has left, if so.
  void tell_drained();

  // Of pieces on their way to this side; keeps them in order.
  Instant last_arrival;
  // What this side sent into a link that lets nothing (so large) through, in order.
  std::deque<Bytes> blocked;
  // The connection is going to break: nothing that follows is sent.
  bool doomed = false;

 private:
  struct Waiting {
    Bytes piece;
    bool counted = false;
  };

  bool may_hear() const { return open_ && handler_ != nullptr && !host_.paused; }
  bool may_read() const { return may_hear() && !reading_paused_; }
  void credit_sender(std::size_t bytes);
  void finish(const std::string& why);

  const HostState& host_;
  Link& link_;
  std::weak_ptr<Stream> other_;
  io::ConnectionHandler* handler_ = nullptr;  // none before start() and after abandon()
  bool open_ = true;
  bool reading_paused_ = false;
  bool drained_untold_ = false;
  std::size_t unsent_ = 0;
  std::deque<Waiting> waiting_;  // has arrived and was not read
  std::size_t waiting_bytes_ = 0;
  struct Ended {
    Ending ending;
    std::string why;
  };
  std::optional<Ended> ended_;  // and not told yet
  std::move_only_function<void()> finish_;
};

}  // namespace conclave::sim
