#include <sys/socket.h>

#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "base/log.h"
#include "io/posix/sockets.h"

namespace conclave::io {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kAcceptsPerTurn = 64;
constexpr std::chrono::milliseconds kPauseWithoutDescriptors{100};

// Whether a failed accept concerns that one connection, which is gone, and not the listener.
bool only_that_connection(int error) {
  return error == ECONNABORTED || error == EPROTO || error == EINTR || error == EPERM;
}

// Shared between the Listener and the loop's pending wait.
class Acceptor : public std::enable_shared_from_this<Acceptor> {
 public:
  Acceptor(std::shared_ptr<StreamPool> pool, tcp::acceptor acceptor, Address address,
           std::move_only_function<void(std::unique_ptr<Connection>)> accepted)
      : pool_(std::move(pool)),
        acceptor_(std::move(acceptor)),
        address_(std::move(address)),
        accepted_(std::move(accepted)),
        pause_(acceptor_.get_executor()) {}

  const Address& address() const { return address_; }

  void wait() {
    acceptor_.async_wait(tcp::acceptor::wait_read,
                         [self = shared_from_this()](const error_code& error) {
                           if (!error) self->accept_all();
                         });
  }

  void close() {
    closed_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }

 private:
  void accept_all() {
    for (int i = 0; i < kAcceptsPerTurn && !closed_; ++i) {
      const int fd =
          ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        out_of_descriptors_ = false;
        hand_over(fd);
      } else if (errno == EAGAIN) {
        break;
      } else if (!only_that_connection(errno)) {
        return pause(errno);
      }
    }
    if (!closed_) wait();
  }

  void hand_over(int fd) {
    tcp::socket socket(acceptor_.get_executor());
    error_code error;
    socket.assign(acceptor_.local_endpoint(error).protocol(), fd, error);
    if (error) {
      ::close(fd);
      return;
    }
    accepted_(make_connection(pool_, std::move(socket)));
  }

  // Out of descriptors or memory: the connection stays in the kernel's queue until some are free
  // again.
  void pause(int error) {
    if (!std::exchange(out_of_descriptors_, true)) {
      LOG(kError, "accept on {}: {}; trying again until it works", address_.to_string(),
          std::generic_category().message(error));
    }
    pause_.expires_after(kPauseWithoutDescriptors);
    pause_.async_wait([self = shared_from_this()](const error_code& cancelled) {
      if (!cancelled && !self->closed_) self->accept_all();
    });
  }

  std::shared_ptr<StreamPool> pool_;
  tcp::acceptor acceptor_;
  Address address_;
  std::move_only_function<void(std::unique_ptr<Connection>)> accepted_;
  asio::steady_timer pause_;
  bool out_of_descriptors_ = false;
  bool closed_ = false;
};

class PosixListener final : public Listener {
 public:
  explicit PosixListener(std::shared_ptr<Acceptor> acceptor) : acceptor_(std::move(acceptor)) {}
  ~PosixListener() override { acceptor_->close(); }
  Address address() const override { return acceptor_->address(); }

 private:
  std::shared_ptr<Acceptor> acceptor_;
};

Failure cannot_listen(const Address& address, const error_code& error) {
  const std::string what = "cannot listen on " + address.to_string() + ": ";
  if (error == asio::error::address_in_use) {
    return fail(ErrorCode::kBusy, what + "the port is in use by another process");
  }
  if (error == std::errc::address_not_available) {
    return fail(ErrorCode::kInvalid, what + "this machine has no such address");
  }
  return fail(ErrorCode::kInvalid, what + error.message());
}

Result<tcp::endpoint> endpoint_to_listen_on(Loop& loop, const Address& address) {
  if (address.host.empty()) return tcp::endpoint(tcp::v6(), address.port);
  error_code error;
  const auto literal = asio::ip::make_address(address.host, error);
  if (!error) return tcp::endpoint(literal, address.port);
  tcp::resolver resolver(loop.context());
  const auto found =
      resolver.resolve(address.host, std::to_string(address.port), tcp::resolver::passive, error);
  if (error || found.empty()) return cannot_listen(address, error);
  for (const auto& each : found) {
    if (each.endpoint().address().is_v4()) return each.endpoint();
  }
  return found.begin()->endpoint();
}

}  // namespace

Result<std::unique_ptr<Listener>> listen_on(
    std::shared_ptr<StreamPool> pool, const Address& address,
    std::move_only_function<void(std::unique_ptr<Connection>)> accepted) {
  const tcp::endpoint endpoint = TRY(endpoint_to_listen_on(pool->loop, address));
  tcp::acceptor acceptor(pool->loop.context());
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && endpoint.protocol() == tcp::v6()) {
    acceptor.set_option(asio::ip::v6_only(!address.host.empty()), error);
  }
  if (!error) acceptor.non_blocking(true, error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return cannot_listen(address, error);

  const Address real{address.host, acceptor.local_endpoint(error).port()};
  auto shared =
      std::make_shared<Acceptor>(std::move(pool), std::move(acceptor), real, std::move(accepted));
  shared->wait();
  return std::make_unique<PosixListener>(std::move(shared));
}

}  // namespace conclave::io
