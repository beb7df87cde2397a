#pragma once
// A connection that a command of ours makes to a server, with or without TLS: bytes both ways. What
// they mean is for whoever derives from it.
//
// Handlers that are under way keep the object, so it lives in a shared_ptr. One thread: the
// context's.

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "io/network.h"
#include "server/client_tls.h"

namespace conclave::server {

class DialedConnection : public std::enable_shared_from_this<DialedConnection> {
 public:
  virtual ~DialedConnection() = default;
  DialedConnection(const DialedConnection&) = delete;
  DialedConnection& operator=(const DialedConnection&) = delete;

  // Resolves, connects and shakes hands. `protocols`: what is offered by ALPN, as it writes them.
  // Failures end in lose().
  void begin(const ClientTls& tls, std::span<const unsigned char> protocols = {});

  // Sends what output() has, now or when the connection is up.
  void flush();
  // Ends it, for this reason; the first one counts. Nothing is received afterwards.
  void lose(const std::string& why);

  bool is_up() const { return up_; }
  bool is_down() const { return down_; }
  const std::string& why_down() const { return why_; }
  // It is down because of what `tls` says: no other server would help.
  bool is_misconfigured() const { return is_misconfigured_; }

 protected:
  DialedConnection(boost::asio::io_context& context, const io::Address& server);
  const io::Address& server() const { return server_; }

 private:
  // Takes what is to be sent next; empty: nothing now.
  virtual Bytes output() = 0;
  // Takes what came. May lose() the connection.
  virtual void received(BytesView bytes) = 0;
  virtual void lost(const std::string& /*why*/) {}

  static constexpr std::size_t kReadBytes = 256 * 1024;

  template <class Use>
  void with_stream(Use&& use) {
    if (secured_) return use(*secured_);
    use(socket_);
  }
  void connect(std::vector<boost::asio::ip::tcp::endpoint> endpoints);
  void shake_hands();
  void open();
  void read();

  io::Address server_;
  boost::asio::ip::tcp::resolver resolver_;
  boost::asio::ip::tcp::socket socket_;
  std::unique_ptr<boost::asio::ssl::context> context_;
  // Around the socket, with TLS.
  std::optional<boost::asio::ssl::stream<boost::asio::ip::tcp::socket&>> secured_;
  std::vector<boost::asio::ip::tcp::endpoint> endpoints_;
  std::array<char, kReadBytes> input_{};
  Bytes output_;
  bool writing_ = false;
  bool up_ = false;
  bool down_ = false;
  bool is_misconfigured_ = false;
  std::string why_;
};

}  // namespace conclave::server
