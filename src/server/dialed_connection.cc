#include "server/dialed_connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "io/tls/certificates.h"

namespace conclave::server {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;

DialedConnection::DialedConnection(asio::io_context& context, const io::Address& server)
    : server_(server), resolver_(context), socket_(context) {}

void DialedConnection::begin(const ClientTls& tls, std::span<const unsigned char> protocols) {
  if (server_.tls) {
    auto context = make_client_context(tls);
    if (!context) {
      is_misconfigured_ = true;
      return lose(context.error().message);
    }
    context_ = std::move(*context);
    if (!protocols.empty()) {
      SSL_CTX_set_alpn_protos(context_->native_handle(), protocols.data(),
                              static_cast<unsigned>(protocols.size()));
    }
    secured_.emplace(socket_, *context_);
  }
  error_code error;
  const auto literal = asio::ip::make_address(server_.host, error);
  if (!error) return connect({tcp::endpoint(literal, server_.port)});
  resolver_.async_resolve(server_.host, std::to_string(server_.port),
                          [self = shared_from_this()](const error_code& failed, const auto& found) {
                            if (failed) return self->lose(failed.message());
                            std::vector<tcp::endpoint> endpoints;
                            for (const auto& each : found) endpoints.push_back(each.endpoint());
                            self->connect(std::move(endpoints));
                          });
}

void DialedConnection::connect(std::vector<tcp::endpoint> endpoints) {
  endpoints_ = std::move(endpoints);
  asio::async_connect(socket_, endpoints_,
                      [self = shared_from_this()](const error_code& failed, const auto&) {
                        if (failed) return self->lose(failed.message());
                        if (self->down_) return;
                        error_code ignored;
                        self->socket_.set_option(tcp::no_delay(true), ignored);
                        self->secured_ ? self->shake_hands() : self->open();
                      });
}

void DialedConnection::shake_hands() {
  io::expect_host(*secured_->native_handle(), server_.host);
  secured_->async_handshake(
      ssl::stream_base::client, [self = shared_from_this()](const error_code& failed) {
        if (failed) {
          return self->lose(handshake_failure(failed.message(), *self->secured_->native_handle()));
        }
        if (!self->down_) self->open();
      });
}

void DialedConnection::open() {
  up_ = true;
  flush();
  read();
}

void DialedConnection::flush() {
  if (!up_ || writing_) return;
  output_ = output();
  if (output_.empty()) return;
  writing_ = true;
  with_stream([&](auto& stream) {
    asio::async_write(stream, asio::buffer(output_),
                      [self = shared_from_this()](const error_code& failed, std::size_t) {
                        self->writing_ = false;
                        if (failed) return self->lose(failed.message());
                        self->flush();
                      });
  });
}

void DialedConnection::read() {
  with_stream([&](auto& stream) {
    stream.async_read_some(asio::buffer(input_), [self = shared_from_this()](
                                                     const error_code& failed, std::size_t size) {
      if (failed) return self->lose(failed == asio::error::eof ? "closed" : failed.message());
      if (self->down_) return;
      self->received(BytesView(self->input_.data(), size));
      if (!self->down_) self->read();
    });
  });
}

void DialedConnection::lose(const std::string& why) {
  if (down_) return;
  down_ = true;
  up_ = false;
  why_ = why;
  lost(why);
  error_code ignored;
  resolver_.cancel();
  socket_.close(ignored);
}

}  // namespace conclave::server
