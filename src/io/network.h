#pragma once
// Byte streams between processes. Implemented with sockets (io/posix) and on simulated links (sim);
// io/tls encrypts what goes through another one.
//
// Threading: everything is called on, and calls back on, the one loop that owns the member.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace conclave::io {

struct Address {
  std::string host;
  std::uint16_t port = 0;
  bool tls = false;  // encrypted: only io/tls takes such an address

  auto operator<=>(const Address&) const = default;
  std::string to_string() const {
    const bool v6 = host.find(':') != std::string::npos;
    return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  }
};

// Told what happens on a connection. on_closed is the last call, and comes exactly once unless the
// Connection is destroyed first.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  virtual void on_bytes(BytesView bytes) = 0;
  // Everything handed to send() has left.
  virtual void on_drained() = 0;
  // The other side closed, or the stream broke. The Connection sends nothing more.
  virtual void on_closed(const Error& why) = 0;
};

// One stream. Destroying it closes it at once, with no further call to the handler: safe from
// inside a callback.
class Connection {
 public:
  virtual ~Connection() = default;

  // REQUIRES: called once, before the loop turns. `handler` outlives the Connection.
  virtual void start(ConnectionHandler* handler) = 0;
  // Queues `data`; never blocks and never calls back from inside. Calls of one loop turn leave in
  // one system call where possible.
  virtual void send(Bytes data) = 0;
  virtual std::size_t unsent_bytes() const = 0;
  // While paused on_bytes is not called and the sender is slowed down by flow control.
  virtual void pause_reading(bool paused) = 0;
  // Closes after everything queued has left (or after a few seconds); on_closed follows.
  virtual void close_after_send() = 0;
  virtual std::string peer_name() const = 0;
  // The common name in the certificate that the other side has shown and that was verified; empty
  // if there is none.
  virtual std::string peer_common_name() const { return {}; }
};

// Accepts until destroyed.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual Address address() const = 0;  // with the real port, if 0 was asked for
};

class Network {
 public:
  virtual ~Network() = default;

  // kBusy if the port is taken (the message names it).
  virtual Result<std::unique_ptr<Listener>> listen(
      const Address& address,
      std::move_only_function<void(std::unique_ptr<Connection>)> accepted) = 0;
  // Calls `done` once, later, unless the returned Connector is destroyed first.
  class Connector {
   public:
    virtual ~Connector() = default;
  };
  virtual std::unique_ptr<Connector> connect(
      const Address& address,
      std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done) = 0;
};

}  // namespace conclave::io
