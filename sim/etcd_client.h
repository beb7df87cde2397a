#pragma once
// A client of the etcd front-end in the simulated network: gRPC over HTTP/2, to one member at a
// time and one call at a time. It connects when it has something to ask, and goes to another member
// after a failure and now and then without one.
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
#include "wire/grpc.h"
#include "wire/http2_test_client.h"

namespace conclave::sim {

class EtcdClient : io::ConnectionHandler {
 public:
  struct Options {
    std::uint64_t seed = 0;
    const std::vector<io::Address>* members = nullptr;  // asked at each connection; outlives us
    Duration timeout = seconds(10);                     // of a call, connecting included
    bool resets = false;  // a call that takes too long, and not its connection
  };

  // How a call ended.
  struct Reply {
    enum class Fate : std::uint8_t {
      kAnswered,  // `message` is the response
      kRefused,   // an error that says that nothing happened, or the call was never sent
      kUnknown,   // it may have happened, may yet happen, or may not
    };
    Fate fate = Fate::kUnknown;
    wire::GrpcCode code = wire::GrpcCode::kUnknown;
    std::string error;  // grpc-message
    Bytes message;

    bool answered() const { return fate == Fate::kAnswered; }
    bool refused() const { return fate == Fate::kRefused; }
    bool unknown() const { return fate == Fate::kUnknown; }
    // The response. REQUIRES: answered. An unparsable one is an empty one.
    template <class Response>
    Response as() const {
      Response response;
      response.ParseFromString(message);
      return response;
    }
  };
  using Done = std::function<void(const Reply&)>;
  using Metadata = std::vector<std::pair<std::string, std::string>>;

  // Clock and network outlive the client.
  EtcdClient(Options options, io::Clock& clock, io::Network& network);
  ~EtcdClient() override;

  // Calls `method` ("KV/Put", or with its package "v3lockpb.Lock/Lock"). `done` comes once, later,
  // and may call again. REQUIRES: !busy().
  void call(std::string_view method, const google::protobuf::MessageLite& request, Done done,
            Metadata metadata = {});
  // Of the calls from now on: see Options.
  void set_patience(Duration timeout, bool resets) {
    options_.timeout = timeout;
    options_.resets = resets;
  }
  bool busy() const { return static_cast<bool>(done_); }
  // The next call goes over a new connection, to any member.
  void disconnect();

 private:
  void on_bytes(BytesView bytes) override;
  void on_drained() override {}
  void on_closed(const Error&) override;

  void connect();
  void send_request();
  void give_up();
  void finish(Reply reply);
  Reply reply_of(const wire::Http2TestClient::Answer& answer) const;

  Options options_;
  io::Clock& clock_;
  io::Network& network_;
  Rng rng_;
  std::unique_ptr<io::Network::Connector> connector_;
  std::unique_ptr<io::Connection> connection_;
  std::unique_ptr<wire::Http2TestClient> http2_;

  // The call under way.
  Done done_;
  std::string path_;
  Bytes frame_;
  Metadata metadata_;
  std::int32_t stream_ = 0;  // 0: not sent
  io::Clock::TimerId deadline_ = 0;
  io::Clock::TimerId reconnect_ = 0;
};

}  // namespace conclave::sim
