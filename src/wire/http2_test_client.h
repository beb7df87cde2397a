#pragma once
// An HTTP/2 client for tests: nghttp2's client session, so that the server is tested against frames
// it did not make itself. Bytes in, bytes out, like the server.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace conclave::wire {

class Http2TestClient {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;
  // What has arrived on one stream.
  struct Answer {
    std::map<std::string, std::string> headers;
    std::map<std::string, std::string> trailers;
    Bytes body;
    bool ended = false;                        // the server sent END_STREAM
    std::optional<std::uint32_t> reset_error;  // the server (or the client) reset the stream
  };
  struct Options {
    std::optional<std::uint32_t> initial_window;  // the client's stream window
    bool automatic_window_updates = true;
  };

  Http2TestClient();
  explicit Http2TestClient(const Options& options);
  ~Http2TestClient();
  Http2TestClient(const Http2TestClient&) = delete;
  Http2TestClient& operator=(const Http2TestClient&) = delete;

  // Opens a stream with these header fields (pseudo-headers included). The body is all there is,
  // unless `more` follows by send_more.
  std::int32_t request(const Fields& headers, BytesView body, bool more = false);
  void send_more(std::int32_t stream, BytesView body, bool more);
  void reset(std::int32_t stream);
  // Lets the server send `bytes` more on the stream and the connection.
  void grant(std::int32_t stream, std::int32_t bytes);

  // What the client wants to send.
  Bytes take_output();
  // False: the server broke the protocol.
  bool receive(BytesView bytes);

  const Answer& answer(std::int32_t stream);
  // Frees what is kept of a stream that has ended.
  void forget(std::int32_t stream);
  std::optional<std::uint32_t> goaway_error() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The header of a gRPC call, as grpc-go sends it.
Http2TestClient::Fields grpc_headers(BytesView path, const Http2TestClient::Fields& extra = {});
// A message with its prefix.
Bytes grpc_frame(BytesView message);

}  // namespace conclave::wire
