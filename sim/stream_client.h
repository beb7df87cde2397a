#pragma once
// One gRPC stream of a client in the simulated network (watches, what an election's leader is), to
// one member at a time. It says when the stream breaks; whoever owns it opens the next.
//
// Not thread-safe: one loop.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <google/protobuf/message_lite.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "io/clock.h"
#include "io/network.h"
#include "wire/http2_test_client.h"

namespace conclave::sim {

class StreamClient : io::ConnectionHandler {
 public:
  // A message of the server.
  using Told = std::function<void(BytesView)>;

  // `path` is the method's. `told` may call send(), and nothing else of this; `broken` comes once
  // for each open().
  StreamClient(std::string path, std::uint64_t seed, const std::vector<io::Address>& members,
               io::Clock& clock, io::Network& network, Told told, std::function<void()> broken);
  ~StreamClient() override;

  // A new stream, to any member; an earlier one is gone without a word. `more`: send() may follow.
  void open(const google::protobuf::MessageLite& first, bool more = true);
  void send(const google::protobuf::MessageLite& message);
  void close() { disconnect(); }
  bool is_open() const { return stream_ != 0; }

 private:
  void on_bytes(BytesView bytes) override;
  void on_drained() override {}
  void on_closed(const Error&) override { breaks(); }
  void read();
  void breaks();
  void disconnect();

  std::string path_;
  Rng rng_;
  const std::vector<io::Address>& members_;
  io::Clock& clock_;
  io::Network& network_;
  Told told_;
  std::function<void()> broken_;
  std::unique_ptr<io::Network::Connector> connector_;
  std::unique_ptr<io::Connection> connection_;
  std::unique_ptr<wire::Http2TestClient> http2_;
  std::int32_t stream_ = 0;  // 0: not open
  std::size_t read_ = 0;     // of the answer's body
  io::Clock::TimerId later_ = 0;
};

}  // namespace conclave::sim
