#pragma once
// HTTP/1.1 on one connection: /health, /livez, /readyz, /version, /metrics, and etcd's JSON gateway
// (POST /v3/kv/put and so on).

#include <optional>

#include "api/session.h"
#include "frontends/etcd/codec.h"
#include "frontends/etcd/session.h"
#include "wire/http1_server.h"

namespace conclave::etcd {

class HttpSession final : public api::Session {
 public:
  explicit HttpSession(const SessionOptions& options);

  void on_bytes(BytesView bytes, Effects& effects) override;
  void on_response(api::CallId call, api::Response response, Effects& effects) override;
  void on_tick(Instant now, Effects& effects) override;
  void on_shutdown(Effects& effects) override;
  void on_drained(Effects& effects) override;

  // What a path asks for.
  enum class Page : std::uint8_t { kNone, kGateway, kHealth, kLivez, kReadyz, kVersion, kMetrics };

 private:
  void serve(Effects& effects);
  void serve_request(const wire::Http1Request& request, Effects& effects);
  void call_gateway(const wire::Http1Request& request, Effects& effects);
  void call(Page page, api::Request request, Effects& effects);
  wire::Http1Response page_of(api::Response& response);
  wire::Http1Response gateway_answer(api::Response& response);
  void end_if_finished(Effects& effects);

  SessionOptions options_;
  wire::Http1Server http_;
  Codec codec_;
  api::CallId last_call_ = 0;
  // The one call that waits for its response.
  bool calling_ = false;
  Page page_ = Page::kNone;
  Method method_ = Method::kRange;
};

}  // namespace conclave::etcd
