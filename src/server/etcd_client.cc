#include "server/etcd_client.h"

#include <fmt/core.h>

#include <array>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "etcd.pb.h"
#include "server/dialed_connection.h"

namespace conclave::server {

namespace {

using wire::GrpcCode;
using wire::GrpcStatus;

constexpr Duration kConnectLimit = seconds(5);
constexpr Duration kFirstAnswerLimit = seconds(10);  // from what may be no etcd at all
constexpr Duration kAnswerLimit = seconds(30);
constexpr Duration kPause = milliseconds(200);  // before the next endpoint is tried
constexpr std::array<unsigned char, 3> kProtocols = {2, 'h', '2'};  // as ALPN writes them

// etcd's words.
constexpr BytesView kNotEnabled = "etcdserver: authentication is not enabled";
constexpr BytesView kNobody = ": user name is empty";
constexpr BytesView kOldRevision = "etcdserver: revision of auth store is old";

// Another try, maybe elsewhere, can succeed.
bool is_passing(const GrpcStatus& status) {
  if (status.code == GrpcCode::kUnavailable || status.code == GrpcCode::kDeadlineExceeded) {
    return true;
  }
  return status.code == GrpcCode::kResourceExhausted &&
         status.message.find("too many requests") != Bytes::npos;
}

}  // namespace

Instant now() {
  return {std::chrono::duration_cast<std::chrono::nanoseconds>(
              std::chrono::steady_clock::now().time_since_epoch())
              .count()};
}

bool Pump::run_until(const std::function<bool()>& done, Duration limit) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(limit.ns);
  while (!done()) {
    if (stopped_) return false;
    context_.restart();
    // What ended meanwhile is seen at once; a loop with nothing to do returns at once too.
    const bool ran = context_.run_one_until(deadline) > 0;
    if (!ran && std::chrono::steady_clock::now() >= deadline) return done();
  }
  return true;
}

void Pump::run_for(Duration span) {
  (void)run_until([] { return false; }, span);
}

// The HTTP/2 session on a connection.
class EtcdConnection final : public DialedConnection {
 public:
  EtcdConnection(boost::asio::io_context& context, const io::Address& server)
      : DialedConnection(context, server), client_({.authority = server.to_string()}) {}

  wire::GrpcClient& client() { return client_; }

 private:
  Bytes output() override { return client_.take_output(); }

  void received(BytesView bytes) override {
    if (!client_.receive(bytes)) return lose("it ended the connection, or speaks no gRPC");
    flush();
  }

  void lost(const std::string& why) override { client_.lose(server().to_string() + ": " + why); }

  wire::GrpcClient client_;
};

EtcdCall::EtcdCall(std::shared_ptr<EtcdConnection> connection, wire::GrpcClient::CallId id)
    : connection_(std::move(connection)), id_(id) {}

EtcdCall::EtcdCall(EtcdCall&& other) noexcept
    : connection_(std::move(other.connection_)), id_(other.id_) {}

EtcdCall& EtcdCall::operator=(EtcdCall&& other) noexcept {
  end();
  connection_ = std::move(other.connection_);
  id_ = other.id_;
  return *this;
}

EtcdCall::~EtcdCall() { end(); }

void EtcdCall::end() {
  if (!connection_) return;
  connection_->client().forget(id_);
  connection_->flush();
  connection_.reset();
}

void EtcdCall::send(const google::protobuf::MessageLite& message) {
  connection_->client().send(id_, message.SerializeAsString());
  connection_->flush();
}

bool EtcdCall::is_ready() const {
  return connection_->client().has_message(id_) || connection_->client().status(id_);
}

bool EtcdCall::has_ended() const { return connection_->client().status(id_).has_value(); }

std::optional<Bytes> EtcdCall::take() {
  auto message = connection_->client().take(id_);
  connection_->flush();
  return message;
}

GrpcStatus EtcdCall::status() const {
  return connection_->client().status(id_).value_or(
      GrpcStatus{GrpcCode::kUnavailable, "no answer in time"});
}

void EtcdCall::abandon_connection(std::string_view why) { connection_->lose(std::string(why)); }

EtcdClient::EtcdClient(Pump& pump, std::string name, ClusterOptions cluster, Duration patience)
    : pump_(pump),
      name_(std::move(name)),
      cluster_(std::move(cluster)),
      patience_(patience),
      tell_([](const std::string&) {}) {
  CHECK(!cluster_.endpoints.empty());
}

EtcdClient::~EtcdClient() {
  if (connection_) connection_->lose("no longer wanted");
}

bool EtcdClient::is_connected() const { return connection_ && connection_->is_up(); }

Error EtcdClient::error(const GrpcStatus& status) const {
  return {ErrorCode::kIo, fmt::format("{}: {}", name_, status.message)};
}

std::optional<EtcdCall> EtcdClient::begin(std::string_view method,
                                          const google::protobuf::MessageLite& request, bool more) {
  if (!is_connected() || connection_->client().is_closing()) return std::nullopt;
  const auto id = connection_->client().call(method, request.SerializeAsString(), metadata_, more);
  connection_->flush();
  return EtcdCall(connection_, id);
}

std::expected<Bytes, GrpcStatus> EtcdClient::await(EtcdCall& call) {
  if (!pump_.run_until([&] { return call.is_ready(); },
                       answered_ ? kAnswerLimit : kFirstAnswerLimit)) {
    call.abandon_connection("no answer in time");
  }
  if (auto message = call.take()) return std::move(*message);
  return std::unexpected(call.status());
}

std::optional<GrpcStatus> EtcdClient::connect() {
  if (is_connected() && !connection_->client().is_closing()) return std::nullopt;
  if (connection_) connection_->lose("no longer wanted");
  connection_ = std::make_shared<EtcdConnection>(pump_.context(), cluster_.endpoints[current_]);
  connection_->begin(cluster_.tls, kProtocols);
  pump_.run_until([&] { return connection_->is_up() || connection_->is_down(); }, kConnectLimit);
  if (!connection_->is_up()) {
    connection_->lose(fmt::format("no connection within {} ms", kConnectLimit.ms()));
    return GrpcStatus{GrpcCode::kUnavailable, endpoint() + ": " + connection_->why_down()};
  }
  return log_in();
}

std::optional<GrpcStatus> EtcdClient::log_in() {
  metadata_.clear();
  const Login login = login_of(cluster_.user);
  if (login.name.empty()) return std::nullopt;
  etcdserverpb::AuthenticateRequest request;
  request.set_name(login.name);
  request.set_password(login.password);
  EtcdCall call(connection_, connection_->client().call("/etcdserverpb.Auth/Authenticate",
                                                        request.SerializeAsString(), {}));
  connection_->flush();
  const auto answer = await(call);
  if (!answer && answer.error().message == kNotEnabled) return std::nullopt;
  if (!answer) return answer.error();
  etcdserverpb::AuthenticateResponse response;
  if (!response.ParseFromString(*answer)) {
    return GrpcStatus{GrpcCode::kInternal, endpoint() + ": the answer cannot be read"};
  }
  metadata_ = {{"token", response.token()}};
  return std::nullopt;
}

void EtcdClient::next_endpoint() { current_ = (current_ + 1) % cluster_.endpoints.size(); }

// Its token has ended, or users have changed since (signed tokens), or they were enabled only after
// the connection was made.
bool EtcdClient::wants_login(const GrpcStatus& status) const {
  if (cluster_.user.empty()) return false;
  if (metadata_.empty()) return status.message.ends_with(kNobody);
  return status.code == GrpcCode::kUnauthenticated || status.message == kOldRevision;
}

std::optional<GrpcStatus> EtcdClient::ask_into(std::string_view method,
                                               const google::protobuf::MessageLite& request,
                                               google::protobuf::MessageLite& response,
                                               std::optional<EtcdCall> begun) {
  const Instant start = now();
  bool troubled = false;
  for (std::size_t tries = 1;; ++tries) {
    std::optional<GrpcStatus> failure = begun ? std::nullopt : connect();
    // One of many that ended with an earlier connection says nothing about this one.
    const bool stale = begun && !begun->is_on(connection_);
    if (!failure) {
      if (!begun) begun = begin(method, request);
      auto answer = begun ? await(*begun)
                          : std::unexpected(GrpcStatus{GrpcCode::kUnavailable, "connection lost"});
      begun.reset();
      if (answer) {
        if (troubled) tell_("");
        answered_ = true;
        if (response.ParseFromString(*answer)) return std::nullopt;
        return GrpcStatus{GrpcCode::kInternal, endpoint() + ": the answer cannot be read"};
      }
      failure = std::move(answer.error());
    }
    if (!is_passing(*failure) && !wants_login(*failure)) return failure;
    if (pump_.stopped()) return GrpcStatus{GrpcCode::kUnavailable, "stopped"};
    if (stale) continue;
    const bool enough = answered_ ? now() - start > patience_ : tries >= cluster_.endpoints.size();
    if (enough) return failure;
    tell_(fmt::format("{}: {}; trying again", name_, failure->message));
    troubled = true;
    if (connection_) connection_->lose("no longer wanted");
    next_endpoint();
    pump_.run_for(kPause);
  }
}

}  // namespace conclave::server
