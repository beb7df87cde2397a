#include "sim/watch_client.h"

#include <utility>

#include "wire/grpc.h"

namespace conclave::sim {
namespace {

constexpr Duration kReconnectAfter = milliseconds(20);
constexpr std::size_t kMaxMessageBytes = 64 << 20;

}  // namespace

WatchClient::WatchClient(std::uint64_t seed, const std::vector<io::Address>& members,
                         io::Clock& clock, io::Network& network, Told told,
                         std::function<void()> broken)
    : rng_(seed),
      members_(members),
      clock_(clock),
      network_(network),
      told_(std::move(told)),
      broken_(std::move(broken)) {}

WatchClient::~WatchClient() { clock_.cancel(later_); }

void WatchClient::open(const etcdserverpb::WatchRequest& first) {
  disconnect();
  const io::Address& member = members_.at(rng_.below(members_.size()));
  connector_ = network_.connect(member, [this, frame = wire::grpc_frame(first.SerializeAsString())](
                                            Result<std::unique_ptr<io::Connection>> result) {
    connector_.reset();
    if (!result) return breaks();
    connection_ = std::move(*result);
    http2_ = std::make_unique<wire::Http2TestClient>();
    connection_->start(this);
    read_ = 0;
    stream_ = http2_->request(wire::grpc_headers("/etcdserverpb.Watch/Watch"), frame, true);
    connection_->send(http2_->take_output());
  });
}

void WatchClient::send(const etcdserverpb::WatchRequest& request) {
  if (!is_open()) return;
  http2_->send_more(stream_, wire::grpc_frame(request.SerializeAsString()), true);
  connection_->send(http2_->take_output());
}

void WatchClient::on_bytes(BytesView bytes) {
  const bool sound = http2_->receive(bytes);
  Bytes out = http2_->take_output();
  if (!out.empty()) connection_->send(std::move(out));
  read();
  const auto& answer = http2_->answer(stream_);
  if (!sound || http2_->goaway_error() || answer.ended || answer.reset_error) breaks();
}

void WatchClient::read() {
  for (;;) {
    const BytesView rest = BytesView(http2_->answer(stream_).body).substr(read_);
    const wire::GrpcMessage message = wire::front_message(rest, kMaxMessageBytes);
    if (message.state != wire::GrpcMessage::State::kComplete) return;
    etcdserverpb::WatchResponse response;
    response.ParseFromArray(message.payload.data(), static_cast<int>(message.payload.size()));
    read_ += message.wire_bytes;
    told_(response);
  }
}

// The owner hears of it a little later, when nothing of this is on the stack.
void WatchClient::breaks() {
  disconnect();
  later_ = clock_.after(kReconnectAfter, [this] { broken_(); });
}

void WatchClient::disconnect() {
  clock_.cancel(later_);
  later_ = 0;
  stream_ = 0;
  connector_.reset();
  connection_.reset();
  http2_.reset();
}

}  // namespace conclave::sim
