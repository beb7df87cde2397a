#include "io/posix/network.h"

#include <utility>

#include "base/check.h"
#include "io/posix/sockets.h"

namespace conclave::io {

namespace {

class PosixConnection final : public Connection {
 public:
  explicit PosixConnection(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}
  ~PosixConnection() override { stream_->abandon(); }

  void start(ConnectionHandler* handler) override { stream_->start(handler); }
  void send(Bytes data) override { stream_->send(std::move(data)); }
  std::size_t unsent_bytes() const override { return stream_->unsent_bytes(); }
  void pause_reading(bool paused) override { stream_->pause_reading(paused); }
  void close_after_send() override { stream_->close_after_send(); }
  std::string peer_name() const override { return stream_->peer_name(); }

 private:
  std::shared_ptr<Stream> stream_;
};

}  // namespace

std::unique_ptr<Connection> make_connection(std::shared_ptr<StreamPool> pool,
                                            Stream::Socket socket) {
  return std::make_unique<PosixConnection>(
      std::make_shared<Stream>(std::move(pool), std::move(socket)));
}

PosixNetwork::PosixNetwork(Loop& loop) : pool_(std::make_shared<StreamPool>(loop)) {}

// Streams that wait for a flush hold the pool, which holds them.
PosixNetwork::~PosixNetwork() { pool_->unflushed.clear(); }

Result<std::unique_ptr<Listener>> PosixNetwork::listen(
    const Address& address, std::move_only_function<void(std::unique_ptr<Connection>)> accepted) {
  CHECK(!address.tls);
  return listen_on(pool_, address, std::move(accepted));
}

std::unique_ptr<Network::Connector> PosixNetwork::connect(
    const Address& address,
    std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done) {
  CHECK(!address.tls);
  return connect_to(pool_, address, std::move(done));
}

}  // namespace conclave::io
