#include "frontends/etcd/http_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "frontends/etcd/errors.h"
#include "frontends/etcd/fence.h"
#include "frontends/etcd/gateway_page.h"
#include "frontends/etcd/request_id.h"
#include "wire/json.h"

namespace conclave::etcd {
namespace {

using wire::GrpcStatus;
using wire::Http1Request;
using wire::Http1Response;
using Page = HttpSession::Page;

struct GatewayRoute {
  BytesView path;  // after /v3 or /v3beta
  Method method;
};
constexpr std::array kGateway = {
    GatewayRoute{"/kv/range", Method::kRange},
    GatewayRoute{"/kv/put", Method::kPut},
    GatewayRoute{"/kv/deleterange", Method::kDeleteRange},
    GatewayRoute{"/kv/txn", Method::kTxn},
    GatewayRoute{"/kv/compaction", Method::kCompact},
    GatewayRoute{"/watch", Method::kWatch},
    GatewayRoute{"/lease/grant", Method::kLeaseGrant},
    GatewayRoute{"/lease/revoke", Method::kLeaseRevoke},
    GatewayRoute{"/kv/lease/revoke", Method::kLeaseRevoke},
    GatewayRoute{"/lease/keepalive", Method::kLeaseKeepAlive},
    GatewayRoute{"/lease/timetolive", Method::kLeaseTimeToLive},
    GatewayRoute{"/kv/lease/timetolive", Method::kLeaseTimeToLive},
    GatewayRoute{"/lease/leases", Method::kLeaseLeases},
    GatewayRoute{"/kv/lease/leases", Method::kLeaseLeases},
    GatewayRoute{"/lock/lock", Method::kLock},
    GatewayRoute{"/lock/unlock", Method::kUnlock},
    GatewayRoute{"/election/campaign", Method::kCampaign},
    GatewayRoute{"/election/proclaim", Method::kProclaim},
    GatewayRoute{"/election/leader", Method::kLeader},
    GatewayRoute{"/election/observe", Method::kObserve},
    GatewayRoute{"/election/resign", Method::kResign},
    GatewayRoute{"/maintenance/status", Method::kStatus},
    GatewayRoute{"/maintenance/alarm", Method::kAlarm},
    GatewayRoute{"/maintenance/transfer-leadership", Method::kMoveLeader},
    GatewayRoute{"/maintenance/snapshot", Method::kSnapshot},
    GatewayRoute{"/maintenance/hash", Method::kHash},
    GatewayRoute{"/maintenance/hashkv", Method::kHashKv},  // not etcd's 3.4, which has none
    GatewayRoute{"/maintenance/defragment", Method::kDefragment},
    GatewayRoute{"/maintenance/downgrade", Method::kDowngrade},
    GatewayRoute{"/auth/enable", Method::kAuthEnable},
    GatewayRoute{"/auth/disable", Method::kAuthDisable},
    GatewayRoute{"/auth/status", Method::kAuthStatus},  // not etcd's 3.4, which has none
    GatewayRoute{"/auth/authenticate", Method::kAuthenticate},
    GatewayRoute{"/auth/user/add", Method::kUserAdd},
    GatewayRoute{"/auth/user/get", Method::kUserGet},
    GatewayRoute{"/auth/user/list", Method::kUserList},
    GatewayRoute{"/auth/user/delete", Method::kUserDelete},
    GatewayRoute{"/auth/user/changepw", Method::kUserChangePassword},
    GatewayRoute{"/auth/user/grant", Method::kUserGrantRole},
    GatewayRoute{"/auth/user/revoke", Method::kUserRevokeRole},
    GatewayRoute{"/auth/role/add", Method::kRoleAdd},
    GatewayRoute{"/auth/role/get", Method::kRoleGet},
    GatewayRoute{"/auth/role/list", Method::kRoleList},
    GatewayRoute{"/auth/role/delete", Method::kRoleDelete},
    GatewayRoute{"/auth/role/grant", Method::kRoleGrantPermission},
    GatewayRoute{"/auth/role/revoke", Method::kRoleRevokePermission},
    GatewayRoute{"/cluster/member/list", Method::kMemberList},
    GatewayRoute{"/cluster/member/add", Method::kMemberAdd},
    GatewayRoute{"/cluster/member/remove", Method::kMemberRemove},
    GatewayRoute{"/cluster/member/update", Method::kMemberUpdate},
    GatewayRoute{"/cluster/member/promote", Method::kMemberPromote},
};

// The path below the gateway's prefix; nullopt: not the gateway's. etcd 3.4 serves both.
std::optional<BytesView> gateway_path(BytesView path) {
  for (const BytesView prefix : {BytesView("/v3/"), BytesView("/v3beta/")}) {
    if (path.starts_with(prefix)) return path.substr(prefix.size() - 1);
  }
  return std::nullopt;
}

// Below it are the URLs of SessionOptions::service.
constexpr BytesView kServicePrefix = "/v1/";

Page find_page(BytesView path) {
  if (gateway_path(path) || path.starts_with(kServicePrefix)) return Page::kGateway;
  if (path == "/health") return Page::kHealth;
  if (path == "/livez") return Page::kLivez;
  if (path == "/readyz") return Page::kReadyz;
  if (path == "/version") return Page::kVersion;
  if (path == "/metrics") return Page::kMetrics;
  return Page::kNone;
}

Http1Response not_allowed() {
  return {.status = 405, .body = "Method Not Allowed\n", .extra_header = "Allow: GET"};
}

bool asks_serializable(BytesView query) {
  return query == "serializable=true" || query.starts_with("serializable=true&") ||
         query.find("&serializable=true") != BytesView::npos;
}

Http1Response health_page(const api::HealthResponse& health) {
  if (health.healthy) return {.body = R"({"health":"true"})"};
  return {
      .status = 503,
      .body = fmt::format(R"({{"health":"false","reason":{}}})", wire::json_string(health.reason))};
}

Http1Response probe_page(const api::HealthResponse& health) {
  if (health.healthy) return {.body = "ok\n"};
  return {.status = 503, .body = health.reason + "\n"};
}

wire::Http1Options http1_options(const SessionOptions& options) {
  wire::Http1Options http;
  // Base64 takes four bytes for three.
  http.max_body_bytes = options.max_message_bytes() / 3 * 4;
  http.request_deadline = options.request_deadline;
  http.all_buffers = options.all_buffers;
  return http;
}

// A gRPC header of the gateway, which clients may also give with etcd's prefix for metadata.
std::optional<BytesView> metadata(const Http1Request& request, BytesView name) {
  if (const auto value = request.headers.find(name)) return value;
  return request.headers.find(fmt::format("grpc-metadata-{}", name));
}

}  // namespace

std::optional<Bytes> token_of(const wire::HeaderList& headers) {
  for (const BytesView name : {BytesView("grpc-metadata-token"), BytesView("authorization"),
                               BytesView("grpc-metadata-authorization")}) {
    if (const auto token = headers.find(name)) return Bytes(*token);
  }
  return std::nullopt;
}

Http1Response error_page(const GrpcStatus& status) {
  const Bytes text = wire::json_string(status.message);
  return {.status = http_status_of(status.code),
          .content_type = kJsonType,
          .body = fmt::format(R"({{"error":{},"message":{},"code":{}}})", text, text,
                              static_cast<int>(status.code))};
}

HttpSession::HttpSession(const SessionOptions& options)
    : options_(options), http_(http1_options(options)) {}

void HttpSession::on_bytes(BytesView bytes, Effects& effects) {
  http_.receive(bytes, effects.send);
  serve(effects);
}

void HttpSession::on_response(api::CallId id, api::Response response, Effects& effects) {
  if (!calling_ || id != last_call_) return;
  calling_ = false;
  if (stream_) {
    kept_alive(response, effects);
    return serve(effects);
  }
  if (page_ == Page::kGateway && method_ == Method::kSnapshot) {
    answer_snapshot(response, effects);
    return serve(effects);
  }
  http_.respond(page_of(response), effects.send);
  range_.reset();
  send_body(effects);
  serve(effects);
}

bool HttpSession::on_part(api::CallId id, const api::Header& header, std::vector<api::KeyValue> kvs,
                          Effects& effects) {
  if (!calling_ || id != last_call_) return false;
  if (!range_) range_.emplace(Format::kJson, header);
  range_->add(std::move(kvs));
  if (range_->size_bytes() <= limits::kMaxAnswerBytes) return true;
  on_response(id, {header, api::Error{api::ErrorCode::kTooManyRequests, "the answer is too large"}},
              effects);
  return false;
}

std::size_t HttpSession::held_bytes() const {
  return body_bytes_ + (range_ ? range_->size_bytes() : 0);
}

// As much of a large body as the connection should have at a time.
void HttpSession::send_body(Effects& effects) {
  while (body_bytes_ > 0 && effects.unsent + effects.send.size() < limits::kSendAheadBytes) {
    const Bytes piece = std::move(body_[body_taken_++]);
    body_bytes_ -= piece.size();
    effects.send += piece;
  }
  if (body_bytes_ > 0) return;
  body_.clear();
  body_taken_ = 0;
}

void HttpSession::on_tick(Instant now, Effects& effects) {
  http_.tick(now, effects.send);
  end_if_finished(effects);
}

void HttpSession::on_shutdown(Effects& effects) {
  http_.shutdown();
  if (stream_) {
    fail_stream(status_of({api::ErrorCode::kStopped, {}}), effects);
    calling_ = false;  // what it asked for last may still be answered
  }
  end_if_finished(effects);
}

void HttpSession::on_drained(Effects& effects) {
  if (snapshot_ && !calling_) {
    go_on_with_snapshot(effects);
    return serve(effects);
  }
  if (stream_ && stream_->is_waiting) {
    resume_stream(effects);
    return serve(effects);
  }
  if (body_bytes_ == 0) return;
  send_body(effects);
  serve(effects);
}

// Lines of JSON, as etcd's gateway sends them.
void HttpSession::answer_snapshot(api::Response& response, Effects& effects) {
  if (const auto* error = std::get_if<api::Error>(&response.answer)) {
    if (!snapshot_) return http_.respond(error_page(status_of(method_, *error)), effects.send);
    cut_short_ = true;
  } else if (const auto* begun = std::get_if<api::SnapshotResponse>(&response.answer)) {
    snapshot_.emplace(*begun);
    Http1Response page{.content_type = kJsonType, .body = {}};
    page.extra_header = "Grpc-Metadata-Content-Type: application/grpc";
    page.more_body_bytes = snapshot_->json_bytes();
    http_.respond(page, effects.send);
  } else {
    auto* piece = std::get_if<api::SnapshotPieceResponse>(&response.answer);
    CHECK(piece != nullptr);
    const auto message = snapshot_->take(std::move(*piece));
    if (message) effects.send += SnapshotStream::json_line(*message);
    cut_short_ = !message;
  }
  if (cut_short_) return snapshot_.reset();
  go_on_with_snapshot(effects);
}

// Asks for the next piece, unless the client has to take some first.
void HttpSession::go_on_with_snapshot(Effects& effects) {
  if (effects.unsent + effects.send.size() >= SnapshotStream::kMaxUnsent) return;
  if (auto next = snapshot_->next()) {
    return call(Page::kGateway, {std::move(*next), std::nullopt, std::nullopt}, effects);
  }
  effects.send += SnapshotStream::json_line(snapshot_->checksum());
  snapshot_.reset();
}

// Answers the requests that have arrived until one needs the node.
void HttpSession::serve(Effects& effects) {
  while (!calling_ && !stream_ && !snapshot_ && !cut_short_ && body_bytes_ == 0 &&
         !http_.finished() && http_.request() != nullptr) {
    serve_request(*http_.request(), effects);
  }
  end_if_finished(effects);
}

void HttpSession::serve_request(const Http1Request& request, Effects& effects) {
  const Page page = find_page(request.path);
  if (page == Page::kNone) {
    return http_.respond({.status = 404, .body = "404 page not found\n"}, effects.send);
  }
  if (page == Page::kGateway) return call_gateway(request, effects);
  if (request.method != "GET") return http_.respond(not_allowed(), effects.send);
  if (page == Page::kVersion) {
    Http1Response version;
    version.content_type = kJsonType;
    version.body =
        fmt::format(R"({{"etcdserver":"{}","etcdcluster":"{}","conclave":"{}"}})",
                    options_.etcd_version, options_.cluster_version, options_.conclave_version);
    return http_.respond(version, effects.send);
  }
  if (page == Page::kMetrics) {
    return call(page, {api::MetricsRequest{}, std::nullopt, std::nullopt}, effects);
  }
  // A process is alive if it answers at all; it is ready if it can commit.
  const bool local = page == Page::kLivez || asks_serializable(request.query);
  call(page, {api::HealthRequest{local}, std::nullopt, std::nullopt}, effects);
}

void HttpSession::call_gateway(const Http1Request& request, Effects& effects) {
  if (!find_method(request.path)) {
    return http_.respond({.status = 404, .body = "Not Found\n"}, effects.send);
  }
  if (request.method != "POST") {
    return http_.respond({.status = 405, .body = "Method Not Allowed\n"}, effects.send);
  }
  if (method_ == Method::kLeaseKeepAlive || method_ == Method::kWatch ||
      method_ == Method::kObserve) {
    return begin_stream(effects);
  }
  auto decoded = decode(request.body);
  if (!decoded) return http_.respond(error_page(decoded.error()), effects.send);
  api::Request& wanted = *decoded;
  if (const auto timeout = metadata(request, "grpc-timeout")) {
    wanted.timeout_ms = wire::parse_grpc_timeout_ms(*timeout);
    if (!wanted.timeout_ms) {
      return http_.respond(error_page({wire::GrpcCode::kInvalidArgument,
                                       fmt::format("invalid grpc-timeout: {}", *timeout)}),
                           effects.send);
    }
  }
  if (const auto text = metadata(request, kRequestIdHeader); text && takes_id(wanted)) {
    auto id = parse_request_id(*text);
    if (!id) return http_.respond(error_page(status_of(id.error())), effects.send);
    wanted.id = std::move(*id);
  }
  if (const auto error = take_fence(request.headers, wanted)) {
    return http_.respond(error_page(status_of(*error)), effects.send);
  }
  wanted.token = token_of(request.headers);
  wanted.identity.user = options_.common_name;
  call(Page::kGateway, std::move(wanted), effects);
}

// Notes the method; false if there is none.
bool HttpSession::find_method(BytesView path) {
  if (const auto below = gateway_path(path)) {
    const auto* route = std::ranges::find(kGateway, *below, &GatewayRoute::path);
    if (route == kGateway.end()) return false;
    method_ = route->method;
    return true;
  }
  if (options_.service == nullptr) return false;
  const auto found = options_.service->find(api::Service::Format::kJson, path);
  method_ = Method::kService;
  service_method_ = found.value_or(0);
  return found.has_value();
}

std::expected<api::Request, GrpcStatus> HttpSession::decode(BytesView message) {
  if (method_ == Method::kService) {
    auto request = options_.service->decode(service_method_, api::Service::Format::kJson, message);
    if (!request) return std::unexpected(status_of(request.error()));
    return *std::move(request);
  }
  auto body = codec_.decode(method_, Format::kJson, message);
  if (!body) return std::unexpected(std::move(body.error()));
  return api::Request{std::move(*body), std::nullopt, std::nullopt};
}

void HttpSession::call(Page page, api::Request request, Effects& effects) {
  page_ = page;
  calling_ = true;
  effects.calls.push_back({++last_call_, std::move(request)});
}

Http1Response HttpSession::page_of(api::Response& response) {
  if (page_ == Page::kGateway) return gateway_answer(response);
  const auto* error = std::get_if<api::Error>(&response.answer);
  if (page_ == Page::kMetrics) {
    if (error != nullptr) return {.status = 503, .body = status_of(*error).message + "\n"};
    auto* metrics = std::get_if<api::MetricsResponse>(&response.answer);
    CHECK(metrics != nullptr);
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
            .body = std::move(metrics->text)};
  }
  api::HealthResponse health;
  if (error != nullptr) {
    health.reason = status_of(*error).message;
  } else {
    auto* given = std::get_if<api::HealthResponse>(&response.answer);
    CHECK(given != nullptr);
    health = std::move(*given);
  }
  return page_ == Page::kHealth ? health_page(health) : probe_page(health);
}

Http1Response HttpSession::service_answer(const api::Response& response) {
  Http1Response page{.content_type = kJsonType, .body = {}};
  const auto refusal =
      options_.service->encode(service_method_, api::Service::Format::kJson, response, page.body);
  return refusal ? error_page(status_of(*refusal)) : page;
}

Http1Response HttpSession::gateway_answer(api::Response& response) {
  if (method_ == Method::kService) return service_answer(response);
  if (const auto* error = std::get_if<api::Error>(&response.answer)) {
    return error_page(status_of(method_, *error));
  }
  Http1Response page;
  page.content_type = kJsonType;
  page.extra_header = kGatewayHeader;
  if (const auto fence = granted_fence(response.answer)) {
    granted_header_ = fmt::format("{}\r\nGrpc-Metadata-Conclave-Fence: {}", kGatewayHeader, *fence);
    page.extra_header = granted_header_;
  }
  if (method_ == Method::kRange) {
    finish_range(response, page);
  } else {
    codec_.encode(method_, Format::kJson, response.header, response.answer, page.body);
  }
  return page;
}

void HttpSession::finish_range(api::Response& response, Http1Response& page) {
  auto* last = std::get_if<api::RangeResponse>(&response.answer);
  CHECK(last != nullptr);
  if (!range_) range_.emplace(Format::kJson, response.header);
  range_->finish(std::move(*last));
  body_bytes_ = page.more_body_bytes = range_->size_bytes();
  body_ = range_->take();
}

void HttpSession::end_if_finished(Effects& effects) {
  const bool is_sending = body_bytes_ > 0 || snapshot_;
  if ((!http_.finished() || is_sending) && !cut_short_) return;
  effects.close = true;
  if (!http_.complaint().empty()) effects.close_reason = http_.complaint();
}

}  // namespace conclave::etcd
