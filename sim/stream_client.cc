#include "sim/stream_client.h"

#include <utility>

#include "wire/grpc.h"

namespace conclave::sim {
namespace {

constexpr Duration kReconnectAfter = milliseconds(20);
constexpr std::size_t kMaxMessageBytes = 64 << 20;

}  // namespace

StreamClient::StreamClient(std::string path, std::uint64_t seed,
                           const std::vector<io::Address>& members, io::Clock& clock,
                           io::Network& network, Told told, std::function<void()> broken)
    : path_(std::move(path)),
      rng_(seed),
      members_(members),
      clock_(clock),
      network_(network),
      told_(std::move(told)),
      broken_(std::move(broken)) {}

StreamClient::~StreamClient() { clock_.cancel(later_); }

void StreamClient::open(const google::protobuf::MessageLite& first, bool more) {
  disconnect();
  const io::Address& member = members_.at(rng_.below(members_.size()));
  connector_ =
      network_.connect(member, [this, more, frame = wire::grpc_frame(first.SerializeAsString())](
                                   Result<std::unique_ptr<io::Connection>> result) {
        connector_.reset();
        if (!result) return breaks();
        connection_ = std::move(*result);
        http2_ = std::make_unique<wire::Http2TestClient>();
        connection_->start(this);
        read_ = 0;
        stream_ = http2_->request(wire::grpc_headers(path_), frame, more);
        connection_->send(http2_->take_output());
      });
}

void StreamClient::send(const google::protobuf::MessageLite& message) {
  if (!is_open()) return;
  http2_->send_more(stream_, wire::grpc_frame(message.SerializeAsString()), true);
  connection_->send(http2_->take_output());
}

void StreamClient::on_bytes(BytesView bytes) {
  const bool sound = http2_->receive(bytes);
  Bytes out = http2_->take_output();
  if (!out.empty()) connection_->send(std::move(out));
  read();
  const auto& answer = http2_->answer(stream_);
  if (!sound || http2_->goaway_error() || answer.ended || answer.reset_error) breaks();
}

void StreamClient::read() {
  for (;;) {
    const BytesView rest = BytesView(http2_->answer(stream_).body).substr(read_);
    const wire::GrpcMessage message = wire::front_message(rest, kMaxMessageBytes);
    if (message.state != wire::GrpcMessage::State::kComplete) return;
    read_ += message.wire_bytes;
    told_(message.payload);
  }
}

// The owner hears of it a little later, when nothing of this is on the stack.
void StreamClient::breaks() {
  disconnect();
  later_ = clock_.after(kReconnectAfter, [this] { broken_(); });
}

void StreamClient::disconnect() {
  clock_.cancel(later_);
  later_ = 0;
  stream_ = 0;
  connector_.reset();
  connection_.reset();
  http2_.reset();
}

}  // namespace conclave::sim
