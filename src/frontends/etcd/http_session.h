#pragma once
// HTTP/1.1 on one connection: /health, /livez, /readyz, /version, /metrics, and etcd's JSON gateway
// (POST /v3/kv/put and so on). One request is answered at a time; those that a client sends ahead
// wait.

#include <optional>
#include <vector>

#include "api/session.h"
#include "frontends/etcd/codec.h"
#include "frontends/etcd/range_answer.h"
#include "frontends/etcd/session.h"
#include "frontends/etcd/snapshot_stream.h"
#include "wire/http1_server.h"

namespace conclave::etcd {

// A call of the gateway whose answer is a stream of lines.
struct GatewayStream {
  api::CallId feed = 0;  // of a watch
  Bytes requests;
  std::size_t read = 0;     // of them
  bool has_begun = false;   // its answer
  bool is_waiting = false;  // for the client to take what it was sent
};

class HttpSession final : public api::Session {
 public:
  explicit HttpSession(const SessionOptions& options);

  void on_bytes(BytesView bytes, Effects& effects) override;
  void on_response(api::CallId call, api::Response response, Effects& effects) override;
  bool on_part(api::CallId call, const api::Header& header, std::vector<api::KeyValue> kvs,
               Effects& effects) override;
  bool on_watch(api::CallId feed, const api::Header& header, const api::WatchNews& news,
                Effects& effects) override;
  std::size_t held_bytes() const override;
  void on_tick(Instant now, Effects& effects) override;
  void on_shutdown(Effects& effects) override;
  void on_drained(Effects& effects) override;

  // What a path asks for.
  enum class Page : std::uint8_t { kNone, kGateway, kHealth, kLivez, kReadyz, kVersion, kMetrics };

 private:
  void serve(Effects& effects);
  void serve_request(const wire::Http1Request& request, Effects& effects);
  void call_gateway(const wire::Http1Request& request, Effects& effects);
  bool find_method(BytesView path);
  std::expected<api::Request, wire::GrpcStatus> decode(BytesView message);
  wire::Http1Response service_answer(const api::Response& response);
  void call(Page page, api::Request request, Effects& effects);
  wire::Http1Response page_of(api::Response& response);
  wire::Http1Response gateway_answer(api::Response& response);
  void finish_range(api::Response& response, wire::Http1Response& page);
  void send_body(Effects& effects);
  void answer_snapshot(api::Response& response, Effects& effects);
  void go_on_with_snapshot(Effects& effects);
  void end_if_finished(Effects& effects);

  // Calls of the gateway that are streams (gateway_streams.cc).
  void begin_stream(Effects& effects);
  void resume_stream(Effects& effects);
  BytesView next_request();
  void read_watches(Effects& effects);
  void observe(Effects& effects);
  void keep_alive_next(Effects& effects);
  void kept_alive(api::Response& response, Effects& effects);
  void write_line(BytesView line, Effects& effects);
  void end_stream(Effects& effects);
  void fail_stream(const wire::GrpcStatus& status, Effects& effects);

  SessionOptions options_;
  wire::Http1Server http_;
  Codec codec_;
  api::CallId last_call_ = 0;
  // The one call that waits for its response.
  bool calling_ = false;
  Page page_ = Page::kNone;
  Method method_ = Method::kRange;
  api::Service::Method service_method_ = 0;  // of kService
  std::optional<GatewayStream> stream_;      // the call, if it is one
  std::optional<RangeAnswer> range_;         // its answer, if some parts of it have come
  // The rest of the body of the last response; the next request waits until it has left.
  std::vector<Bytes> body_;
  Bytes granted_header_;  // of an answer that grants a lock
  std::size_t body_taken_ = 0;
  std::size_t body_bytes_ = 0;
  // A body that is made as it is taken. Its length was announced: if it cannot be made, the
  // connection ends.
  std::optional<SnapshotStream> snapshot_;
  bool cut_short_ = false;
};

}  // namespace conclave::etcd
