#include "sim/etcd_client.h"

#include <charconv>
#include <utility>

#include "base/check.h"

namespace conclave::sim {
namespace {

constexpr Duration kReconnectAfter = milliseconds(20);

// Errors with which a member says that the request was not carried out and never will be.
bool is_refusal(wire::GrpcCode code) {
  using enum wire::GrpcCode;
  switch (code) {
    case kInvalidArgument:
    case kNotFound:
    case kAlreadyExists:
    case kPermissionDenied:
    case kResourceExhausted:
    case kFailedPrecondition:
    case kOutOfRange:
    case kUnimplemented:
    case kUnauthenticated:
      return true;
    default:
      return false;
  }
}

// It has not even tried, and another member may.
bool is_from_witness(const EtcdClient::Reply& reply) {
  return reply.error.find("is a witness") != std::string::npos;
}

}  // namespace

EtcdClient::EtcdClient(Options options, io::Clock& clock, io::Network& network)
    : options_(options), clock_(clock), network_(network), rng_(options.seed) {}

EtcdClient::~EtcdClient() {
  clock_.cancel(deadline_);
  clock_.cancel(reconnect_);
}

void EtcdClient::call(std::string_view method, const google::protobuf::MessageLite& request,
                      Done done, Metadata metadata) {
  CHECK(!busy());
  done_ = std::move(done);
  const bool has_package = method.find('.') != std::string_view::npos;
  path_ = (has_package ? "/" : "/etcdserverpb.") + std::string(method);
  frame_ = wire::grpc_frame(request.SerializeAsString());
  metadata_ = std::move(metadata);
  stream_ = 0;
  deadline_ = clock_.after(options_.timeout, [this] {
    const bool sent = stream_ != 0;
    give_up();
    finish({.fate = sent ? Reply::Fate::kUnknown : Reply::Fate::kRefused,
            .code = wire::GrpcCode::kDeadlineExceeded,
            .error = "the client's own deadline",
            .message = {}});
  });
  if (rng_.one_in(64)) disconnect();
  if (connection_ == nullptr) {
    connect();
  } else {
    send_request();
  }
}

void EtcdClient::disconnect() {
  clock_.cancel(reconnect_);
  connector_.reset();
  connection_.reset();
  http2_.reset();
}

void EtcdClient::give_up() {
  if (!options_.resets || stream_ == 0) return disconnect();
  http2_->reset(stream_);
  connection_->send(http2_->take_output());
  http2_->forget(stream_);
}

void EtcdClient::connect() {
  const io::Address& member = options_.members->at(rng_.below(options_.members->size()));
  connector_ = network_.connect(member, [this](Result<std::unique_ptr<io::Connection>> result) {
    connector_.reset();
    if (!result) {
      reconnect_ = clock_.after(kReconnectAfter, [this] { connect(); });
      return;
    }
    connection_ = std::move(*result);
    http2_ = std::make_unique<wire::Http2TestClient>();
    connection_->start(this);
    send_request();
  });
}

void EtcdClient::send_request() {
  stream_ = http2_->request(wire::grpc_headers(path_, metadata_), frame_);
  connection_->send(http2_->take_output());
}

void EtcdClient::on_bytes(BytesView bytes) {
  const bool sound = http2_->receive(bytes);
  Bytes out = http2_->take_output();
  if (!out.empty()) connection_->send(std::move(out));
  if (!sound || http2_->goaway_error()) return on_closed({});
  if (stream_ == 0) return;
  const wire::Http2TestClient::Answer& answer = http2_->answer(stream_);
  if (!answer.ended && !answer.reset_error) return;
  Reply reply = reply_of(answer);
  http2_->forget(stream_);
  if (reply.unknown() || is_from_witness(reply)) disconnect();
  finish(std::move(reply));
}

EtcdClient::Reply EtcdClient::reply_of(const wire::Http2TestClient::Answer& answer) const {
  const auto field = [&](const char* name) {
    if (const auto it = answer.trailers.find(name); it != answer.trailers.end()) return it->second;
    if (const auto it = answer.headers.find(name); it != answer.headers.end()) return it->second;
    return std::string();
  };
  Reply reply;
  const std::string status = field("grpc-status");
  int code = static_cast<int>(wire::GrpcCode::kUnknown);
  std::from_chars(status.data(), status.data() + status.size(), code);
  reply.code = static_cast<wire::GrpcCode>(code);
  reply.error = field("grpc-message");
  if (reply.code != wire::GrpcCode::kOk) {
    const bool refused = is_refusal(reply.code) || is_from_witness(reply);
    reply.fate = refused ? Reply::Fate::kRefused : Reply::Fate::kUnknown;
    return reply;
  }
  const wire::GrpcMessage front = wire::front_message(answer.body, answer.body.size());
  if (front.state != wire::GrpcMessage::State::kComplete) return reply;
  reply.fate = Reply::Fate::kAnswered;
  reply.message = Bytes(front.payload);
  return reply;
}

void EtcdClient::on_closed(const Error&) {
  disconnect();
  if (!busy()) return;
  if (stream_ == 0) {
    reconnect_ = clock_.after(kReconnectAfter, [this] { connect(); });
    return;
  }
  finish({.fate = Reply::Fate::kUnknown,
          .code = wire::GrpcCode::kUnavailable,
          .error = "the connection broke",
          .message = {}});
}

void EtcdClient::finish(Reply reply) {
  clock_.cancel(deadline_);
  stream_ = 0;
  const Done done = std::exchange(done_, nullptr);
  done(reply);
}

}  // namespace conclave::sim
