#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>
#include <vector>

#include "io/posix/sockets.h"

namespace conclave::io {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Done = std::move_only_function<void(Result<std::unique_ptr<Connection>>)>;

constexpr std::chrono::seconds kConnectLimit{5};

// One connect in progress. Shared between the Connector and the loop's pending operations.
class Attempt : public std::enable_shared_from_this<Attempt> {
 public:
  Attempt(std::shared_ptr<StreamPool> pool, Address address, Done done)
      : pool_(std::move(pool)),
        address_(std::move(address)),
        done_(std::move(done)),
        resolver_(pool_->loop.context()),
        socket_(pool_->loop.context()),
        limit_(pool_->loop.context()) {}

  void begin() {
    limit_.expires_after(kConnectLimit);
    limit_.async_wait([self = shared_from_this()](const error_code& error) {
      if (!error) self->fail_with("no answer in 5 seconds");
    });
    error_code error;
    const auto literal = asio::ip::make_address(address_.host, error);
    if (error) return resolve();
    endpoints_ = {tcp::endpoint(literal, address_.port)};
    try_next();
  }

  // Stops everything; `done` is not called.
  void abandon() {
    finished_ = true;
    resolver_.cancel();
    limit_.cancel();
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  void resolve() {
    resolver_.async_resolve(
        address_.host, std::to_string(address_.port),
        [self = shared_from_this()](const error_code& error,
                                    const tcp::resolver::results_type& found) {
          if (self->finished_) return;
          if (error) return self->fail_with("cannot resolve the name: " + error.message());
          for (const auto& each : found) self->endpoints_.push_back(each.endpoint());
          self->try_next();
        });
  }

  void try_next() {
    if (next_ == endpoints_.size()) return fail_with(last_error_.message());
    error_code ignored;
    socket_.close(ignored);
    socket_.async_connect(endpoints_[next_++],
                          [self = shared_from_this()](const error_code& error) {
                            if (self->finished_) return;
                            if (!error && !self->met_itself()) return self->succeed();
                            self->last_error_ = error ? error : asio::error::connection_refused;
                            self->try_next();
                          });
  }

  // Connecting to a port of this machine that nobody listens on can, by chance, get that very port
  // as the local one; TCP then connects the socket to itself.
  bool met_itself() const {
    error_code error;
    const auto local = socket_.local_endpoint(error);
    return !error && local == socket_.remote_endpoint(error);
  }

  void succeed() {
    auto connection = make_connection(pool_, std::move(socket_));
    abandon();
    done_(std::move(connection));
  }

  void fail_with(const std::string& why) {
    if (finished_) return;
    abandon();
    done_(fail(ErrorCode::kIo, "cannot connect to " + address_.to_string() + ": " + why));
  }

  std::shared_ptr<StreamPool> pool_;
  Address address_;
  Done done_;
  tcp::resolver resolver_;
  tcp::socket socket_;
  asio::steady_timer limit_;
  std::vector<tcp::endpoint> endpoints_;
  std::size_t next_ = 0;
  error_code last_error_ = asio::error::host_not_found;
  bool finished_ = false;
};

class PosixConnector final : public Network::Connector {
 public:
  explicit PosixConnector(std::shared_ptr<Attempt> attempt) : attempt_(std::move(attempt)) {}
  ~PosixConnector() override { attempt_->abandon(); }

 private:
  std::shared_ptr<Attempt> attempt_;
};

}  // namespace

std::unique_ptr<Network::Connector> connect_to(std::shared_ptr<StreamPool> pool,
                                               const Address& address, Done done) {
  auto attempt = std::make_shared<Attempt>(std::move(pool), address, std::move(done));
  attempt->begin();
  return std::make_unique<PosixConnector>(std::move(attempt));
}

}  // namespace conclave::io
