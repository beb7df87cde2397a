#include "server/etcd_client.h"

#include <fmt/core.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <utility>

#include "base/check.h"

namespace conclave::server {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using wire::GrpcCode;
using wire::GrpcStatus;

constexpr Duration kConnectLimit = seconds(5);
constexpr Duration kFirstAnswerLimit = seconds(10);  // from what may be no etcd at all
constexpr Duration kAnswerLimit = seconds(30);
constexpr Duration kPause = milliseconds(200);  // before the next endpoint is tried
constexpr std::size_t kReadBytes = 256 * 1024;

// Another try, maybe elsewhere, can succeed.
bool is_passing(const GrpcStatus& status) {
  if (status.code == GrpcCode::kUnavailable || status.code == GrpcCode::kDeadlineExceeded) {
    return true;
  }
  return status.code == GrpcCode::kResourceExhausted &&
         status.message.find("too many requests") != Bytes::npos;
}

// A text as the field `number` of a message: what Authenticate's request and answer are made of.
void append_field(Bytes& out, int number, std::string_view text) {
  out += static_cast<char>(number << 3 | 2);
  for (std::size_t size = text.size();; size >>= 7) {
    out += static_cast<char>(size < 128 ? size : (size & 127) | 128);
    if (size < 128) break;
  }
  out += text;
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

  void begin() {
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
    asio::async_write(socket_, asio::buffer(output_),
                      [self = shared_from_this()](const error_code& failed, std::size_t) {
                        self->writing_ = false;
                        if (failed) return self->lose(failed.message());
                        self->flush();
                      });
  }

 private:
  void connect(std::vector<tcp::endpoint> endpoints) {
    endpoints_ = std::move(endpoints);
    asio::async_connect(socket_, endpoints_,
                        [self = shared_from_this()](const error_code& failed, const auto&) {
                          if (failed) return self->lose(failed.message());
                          if (self->down_) return;
                          error_code ignored;
                          self->socket_.set_option(tcp::no_delay(true), ignored);
                          self->up_ = true;
                          self->flush();
                          self->read();
                        });
  }

  void read() {
    socket_.async_read_some(asio::buffer(input_), [self = shared_from_this()](
                                                      const error_code& failed, std::size_t size) {
      if (failed) return self->lose(failed == asio::error::eof ? "closed" : failed.message());
      if (!self->client_.receive(BytesView(self->input_.data(), size))) {
        return self->lose("it ended the connection, or speaks no gRPC");
      }
      self->flush();
      if (!self->down_) self->read();
    });
  }

  io::Address server_;
  tcp::resolver resolver_;
  tcp::socket socket_;
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

EtcdClient::EtcdClient(Pump& pump, std::string name, std::vector<io::Address> endpoints,
                       EtcdLogin login, Duration patience)
    : pump_(pump),
      name_(std::move(name)),
      endpoints_(std::move(endpoints)),
      login_(std::move(login)),
      patience_(patience),
      tell_([](const std::string&) {}) {
  CHECK(!endpoints_.empty());
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
  connection_ = std::make_shared<EtcdConnection>(pump_.context(), endpoints_[current_]);
  connection_->begin();
  pump_.run_until([&] { return connection_->is_up() || connection_->is_down(); }, kConnectLimit);
  if (!connection_->is_up()) {
    connection_->lose(fmt::format("no connection within {} ms", kConnectLimit.ms()));
    return GrpcStatus{GrpcCode::kUnavailable, endpoint() + ": " + connection_->why_down()};
  }
  return log_in();
}

std::optional<GrpcStatus> EtcdClient::log_in() {
  metadata_.clear();
  if (login_.user.empty()) return std::nullopt;
  Bytes request;
  append_field(request, 1, login_.user);
  append_field(request, 2, login_.password);
  EtcdCall call(connection_,
                connection_->client().call("/etcdserverpb.Auth/Authenticate", request, {}));
  connection_->flush();
  const auto answer = await(call);
  if (!answer) return answer.error();
  // AuthenticateResponse: header = 1, token = 2; each with a length.
  BytesView rest = *answer;
  while (rest.size() >= 2) {
    const auto number = static_cast<unsigned char>(rest[0]) >> 3;
    std::size_t size = 0;
    std::size_t at = 1;
    for (unsigned shift = 0; at < rest.size() && shift < 28; shift += 7) {
      const auto byte = static_cast<unsigned char>(rest[at++]);
      size |= std::size_t{byte & 127U} << shift;
      if (byte < 128) break;
    }
    const BytesView value = rest.substr(at, size);
    if (number == 2) metadata_ = {{"token", std::string(value)}};
    rest.remove_prefix(std::min(rest.size(), at + size));
  }
  return std::nullopt;
}

void EtcdClient::next_endpoint() { current_ = (current_ + 1) % endpoints_.size(); }

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
    const bool token_ended = failure->code == GrpcCode::kUnauthenticated && !metadata_.empty();
    if (!is_passing(*failure) && !token_ended) return failure;
    if (pump_.stopped()) return GrpcStatus{GrpcCode::kUnavailable, "stopped"};
    if (stale) continue;
    const bool enough = answered_ ? now() - start > patience_ : tries >= endpoints_.size();
    if (enough) return failure;
    tell_(fmt::format("{}: {}; trying again", name_, failure->message));
    troubled = true;
    if (connection_) connection_->lose("no longer wanted");
    next_endpoint();
    pump_.run_for(kPause);
  }
}

}  // namespace conclave::server
