#include "server/zookeeper_source.h"

#include <fmt/core.h>

#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "frontends/zookeeper/jute.h"
#include "server/dialed_connection.h"

namespace conclave::server {

namespace {

namespace zk = api::zk;
using zookeeper::Opcode;

constexpr Duration kConnectLimit = seconds(10);
constexpr Duration kAnswerLimit = seconds(30);
constexpr Duration kPause = milliseconds(200);  // before the next host is tried
constexpr Duration kFarewell = seconds(1);
constexpr std::int32_t kSessionTimeoutMs = 30'000;
// Their numbers are positive, and begin anew with each connection.
constexpr std::int32_t kMostQuestions = 1'000'000'000;
constexpr std::size_t kMostPacketBytes = 256 * limits::kMiB;  // names of millions of children

}  // namespace

// The packets on a connection.
class ZooKeeperConnection final : public DialedConnection {
 public:
  ZooKeeperConnection(boost::asio::io_context& context, const io::Address& server,
                      std::function<void(BytesView)> take)
      : DialedConnection(context, server), take_(std::move(take)) {}

  // Also what is sent before the connection is there.
  void send(BytesView bytes) {
    waiting_ += bytes;
    flush();
  }

  // The session is there: the first packet has come.
  bool is_ready = false;

 private:
  Bytes output() override { return std::exchange(waiting_, {}); }

  void received(BytesView bytes) override {
    received_ += bytes;
    std::size_t at = 0;
    // Whoever takes the packets may be gone once it is down.
    while (received_.size() - at >= 4 && !is_down()) {
      const BytesView rest = BytesView(received_).substr(at);
      const std::int32_t length = zookeeper::Reader(rest).int32();
      if (length < 0 || static_cast<std::size_t>(length) > kMostPacketBytes) {
        return lose("it speaks another protocol, or sends more than 256 MiB at once");
      }
      const auto packet_bytes = static_cast<std::size_t>(length);
      if (rest.size() < 4 + packet_bytes) break;
      take_(rest.substr(4, packet_bytes));
      at += 4 + packet_bytes;
    }
    received_.erase(0, at);
  }

  std::function<void(BytesView)> take_;
  Bytes received_;
  Bytes waiting_;
};

ZooKeeperSource::ZooKeeperSource(Pump& pump, ClusterOptions ensemble, std::string auth,
                                 Duration patience)
    : pump_(pump),
      ensemble_(std::move(ensemble)),
      auth_(std::move(auth)),
      patience_(patience),
      tell_([](const std::string&) {}) {
  CHECK(!ensemble_.endpoints.empty());
}

ZooKeeperSource::~ZooKeeperSource() {
  if (connection_) connection_->lose("no longer wanted");
}

bool ZooKeeperSource::is_connected() const {
  return connection_ && connection_->is_ready && !connection_->is_down();
}

void ZooKeeperSource::send(const Asked& asked) {
  Bytes out;
  zookeeper::append_question(++xid_, asked.opcode, asked.path, out);
  connection_->send(out);
}

void ZooKeeperSource::ask(Opcode opcode, std::string path, Take take) {
  asked_.push_back({opcode, std::move(path), std::move(take)});
  if (!is_connected()) return;
  if (xid_ >= kMostQuestions) return connection_->lose("it has answered 1,000,000,000 questions");
  send(asked_.back());
}

void ZooKeeperSource::take_packet(BytesView packet) {
  if (!connection_->is_ready) {
    const auto connected = zookeeper::decode_connected(packet);
    if (!connected) return connection_->lose("it speaks another protocol");
    // One of a session that has ended: there was none.
    if (connected->timeout_ms <= 0) return connection_->lose("it wants no session");
    connection_->is_ready = true;
    return;
  }
  const auto header = zookeeper::decode_answer_header(packet);
  if (!header) return connection_->lose("an answer cannot be read");
  if (header->xid == zookeeper::kAuthXid) {
    if (header->code == zk::Code::kOk) return;
    is_auth_refused_ = true;
    return connection_->lose("it refuses the credentials");
  }
  if (header->xid < 0) return;  // a watch's event, which nobody asked for, or a ping's answer
  if (asked_.empty() || header->xid != answered_xid_ + 1) {
    is_corrupt_ = true;
    return connection_->lose("it answers what was not asked");
  }
  auto answer = zookeeper::decode_answer(asked_.front().opcode, packet);
  if (!answer) {
    is_corrupt_ = true;
    return connection_->lose("an answer cannot be read");
  }
  ++answered_xid_;
  ++answers_;
  if (header->zxid > zxid_) zxid_ = header->zxid;
  const Take take = std::move(asked_.front().take);
  asked_.pop_front();
  take(*std::move(answer));
}

Result<void> ZooKeeperSource::connect() {
  if (connection_) connection_->lose("no longer wanted");
  const auto take = [this](BytesView packet) { take_packet(packet); };
  connection_ =
      std::make_shared<ZooKeeperConnection>(pump_.context(), ensemble_.endpoints[current_], take);
  Bytes out;
  zookeeper::append({.last_zxid_seen = zxid_,
                     .timeout_ms = kSessionTimeoutMs,
                     .session = 0,
                     .password = Bytes(zk::kPasswordBytes, '\0'),
                     .has_read_only = true},
                    out);
  if (const std::size_t colon = auth_.find(':'); colon != std::string::npos) {
    zookeeper::append_auth(auth_.substr(0, colon), auth_.substr(colon + 1), out);
  }
  connection_->send(out);
  connection_->begin(ensemble_.tls);
  pump_.run_until([&] { return connection_->is_ready || connection_->is_down(); }, kConnectLimit);
  if (!connection_->is_ready || connection_->is_down()) {
    connection_->lose(fmt::format("no session within {} ms", kConnectLimit.ms()));
    return fail(connection_->is_misconfigured() ? ErrorCode::kInvalid : ErrorCode::kIo,
                fmt::format("source: {}: {}", host(), connection_->why_down()));
  }
  xid_ = answered_xid_ = 0;
  for (const Asked& asked : asked_) send(asked);
  return {};
}

Result<void> ZooKeeperSource::run_until(const std::function<bool()>& done) {
  Instant heard = now();
  bool troubled = false;
  for (std::size_t tries = 0; !done();) {
    if (pump_.stopped()) return fail(ErrorCode::kIo, "stopped");
    std::string trouble;
    if (is_connected()) {
      const std::uint64_t before = answers_;
      pump_.run_until([&] { return done() || answers_ != before || connection_->is_down(); },
                      kAnswerLimit);
      if (answers_ != before) {
        heard = now();
        tries = 0;
        if (std::exchange(troubled, false)) tell_("");
        continue;
      }
      if (done() || pump_.stopped()) continue;
      if (!connection_->is_down()) connection_->lose("no answer in time");
      trouble = fmt::format("source: {}: {}", host(), connection_->why_down());
    } else {
      const auto connected = connect();
      if (connected) continue;
      if (connected.error().code == ErrorCode::kInvalid) return connected;
      trouble = connected.error().message;
    }
    if (is_auth_refused_) return fail(ErrorCode::kInvalid, trouble);
    if (is_corrupt_) return fail(ErrorCode::kCorrupt, trouble);
    const bool enough =
        answers_ > 0 ? now() - heard > patience_ : ++tries >= ensemble_.endpoints.size();
    if (enough) return fail(ErrorCode::kIo, trouble);
    tell_(trouble + "; trying again");
    troubled = true;
    current_ = (current_ + 1) % ensemble_.endpoints.size();
    pump_.run_for(kPause);
  }
  return {};
}

Result<ZooKeeperSource::Answer> ZooKeeperSource::ask_once(Opcode opcode, std::string path) {
  std::optional<Answer> answer;
  ask(opcode, std::move(path), [&answer](Answer given) { answer = std::move(given); });
  TRY(run_until([&answer] { return answer.has_value(); }));
  return *std::move(answer);
}

void ZooKeeperSource::close() {
  if (!is_connected()) return;
  bool closed = false;
  ask(Opcode::kCloseSession, {}, [&closed](const Answer&) { closed = true; });
  pump_.run_until([&] { return closed || connection_->is_down(); }, kFarewell);
  connection_->lose("no longer wanted");
  asked_.clear();
}

}  // namespace conclave::server
