#pragma once
// The client's side of gRPC over HTTP/2: many calls on one connection. Bytes in, bytes out, like
// the server; whoever owns the socket carries them.
//
// Memory: what has come of a call and was not taken stays below the stream's window and one
// message, since the window only opens as messages are taken.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "wire/grpc.h"

namespace conclave::wire {

class GrpcClient {
 public:
  using CallId = std::int32_t;
  using Metadata = std::vector<std::pair<std::string, std::string>>;
  struct Options {
    std::string authority;  // host:port
    std::uint32_t stream_window = 4U << 20;
    std::uint32_t connection_window = 64U << 20;
    std::size_t max_message_bytes = std::size_t{64} << 20;  // a larger answer ends its call
  };

  explicit GrpcClient(Options options);
  ~GrpcClient();
  GrpcClient(const GrpcClient&) = delete;
  GrpcClient& operator=(const GrpcClient&) = delete;

  // Starts a call of "/package.Service/Method" with its first message, which is the only one unless
  // `more`. It is remembered until it is forgotten.
  CallId call(BytesView method, BytesView message, const Metadata& metadata, bool more = false);
  // One message more. REQUIRES: the call was started with `more`.
  void send(CallId call, BytesView message);
  bool has_message(CallId call) const;
  // The next message of the answer, if all of it has come.
  std::optional<Bytes> take(CallId call);
  // How the call ended; nullopt before, and as long as there are messages to take.
  std::optional<GrpcStatus> status(CallId call) const;
  // Ends the call if it has not ended.
  void forget(CallId call);

  // What is to be sent to the server.
  Bytes take_output();
  // False: the session is over, since the server has ended it or does not speak HTTP/2. Every call
  // that has not ended is then as lost as if the connection had been closed.
  bool receive(BytesView bytes);
  // The connection is gone, for this reason: ends every call with kUnavailable.
  void lose(std::string_view why);
  // The server wants no new calls on this connection.
  bool is_closing() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace conclave::wire
