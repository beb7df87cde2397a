#include "server/etcd_client.h"

#include <fmt/core.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "etcd.pb.h"
#include "io/tls/certificates.h"
#include "server/client_tls.h"

namespace conclave::server {

namespace {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;
using wire::GrpcCode;
using wire::GrpcStatus;

constexpr Duration kConnectLimit = seconds(5);
constexpr Duration kFirstAnswerLimit = seconds(10);  // from what may be no etcd at all
constexpr Duration kAnswerLimit = seconds(30);
constexpr Duration kPause = milliseconds(200);  // before the next endpoint is tried
constexpr std::size_t kReadBytes = 256 * 1024;
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

// A socket and the HTTP/2 session on it. Handlers that are under way keep it.
class EtcdConnection : public std::enable_shared_from_this<EtcdConnection> {
 public:
  EtcdConnection(asio::io_context& context, const io::Address& server)
      : server_(server),
        resolver_(context),
        socket_(context),
        client_({.authority = server.to_string()}) {}

  void begin(const ClientTls& tls) {
    if (server_.tls) {
      auto context = make_client_context(tls);
      if (!context) return lose(context.error().message);
      context_ = std::move(*context);
      SSL_CTX_set_alpn_protos(context_->native_handle(), kProtocols.data(), kProtocols.size());
      secured_.emplace(socket_, *context_);
    }
    error_code error;
    const auto literal = asio::ip::make_address(server_.host, error);
    if (!error) return connect({tcp::endpoint(literal, server_.port)});
    resolver_.async_resolve(
        server_.host, std::to_string(server_.port),
        [self = shared_from_this()](const error_code& failed, const auto& found) {
          if (failed) return self->lose(failed.message());
          std::vector<tcp::endpoint> endpoints;
          for (const auto& each : found) endpoints.push_back(each.endpoint());
          self->connect(std::move(endpoints));
        });
  }

  bool is_up() const { return up_; }
  bool is_down() const { return down_; }
  const std::string& why_down() const { return why_; }
  wire::GrpcClient& client() { return client_; }

  void lose(const std::string& why) {
    if (down_) return;
    down_ = true;
    up_ = false;
    why_ = why;
    client_.lose(server_.to_string() + ": " + why);
    error_code ignored;
    resolver_.cancel();
    socket_.close(ignored);
  }

  void flush() {
    if (!up_ || writing_) return;
    output_ = client_.take_output();
    if (output_.empty()) return;
    writing_ = true;
    with_stream([&](auto& stream) {
      asio::async_write(stream, asio::buffer(output_),
                        [self = shared_from_this()](const error_code& failed, std::size_t) {
                          self->writing_ = false;
                          if (failed) return self->lose(failed.message());
                          self->flush();
                        });
    });
  }

 private:
  template <class Use>
  void with_stream(Use&& use) {
    if (secured_) return use(*secured_);
    use(socket_);
  }

  void connect(std::vector<tcp::endpoint> endpoints) {
    endpoints_ = std::move(endpoints);
    asio::async_connect(socket_, endpoints_,
                        [self = shared_from_this()](const error_code& failed, const auto&) {
                          if (failed) return self->lose(failed.message());
                          if (self->down_) return;
                          error_code ignored;
                          self->socket_.set_option(tcp::no_delay(true), ignored);
                          self->secured_ ? self->shake_hands() : self->open();
                        });
  }

  void shake_hands() {
    io::expect_host(*secured_->native_handle(), server_.host);
    secured_->async_handshake(ssl::stream_base::client, [self = shared_from_this()](
                                                            const error_code& failed) {
      if (failed) {
        return self->lose(handshake_failure(failed.message(), *self->secured_->native_handle()));
      }
      if (!self->down_) self->open();
    });
  }

  void open() {
    up_ = true;
    flush();
    read();
  }

  void read() {
    with_stream([&](auto& stream) {
      stream.async_read_some(asio::buffer(input_), [self = shared_from_this()](
                                                       const error_code& failed, std::size_t size) {
        if (failed) return self->lose(failed == asio::error::eof ? "closed" : failed.message());
        self->take(size);
      });
    });
  }

  void take(std::size_t size) {
    if (!client_.receive(BytesView(input_.data(), size))) {
      return lose("it ended the connection, or speaks no gRPC");
    }
    flush();
    if (!down_) read();
  }

  io::Address server_;
  tcp::resolver resolver_;
  tcp::socket socket_;
  std::unique_ptr<ssl::context> context_;
  std::optional<ssl::stream<tcp::socket&>> secured_;  // around the socket, with TLS
  std::vector<tcp::endpoint> endpoints_;
  wire::GrpcClient client_;
  std::array<char, kReadBytes> input_{};
  Bytes output_;
  bool writing_ = false;
  bool up_ = false;
  bool down_ = false;
  std::string why_;
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
  connection_->begin(cluster_.tls);
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
