#include "sim/zookeeper_client.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sim/cluster.h"
#include "sim/finding.h"
#include "sim/workload.h"

namespace conclave::sim {
namespace {

constexpr Duration kReconnectAfter = milliseconds(20);
constexpr std::int32_t kEventXid = -1;
constexpr std::int32_t kPingXid = -2;
constexpr std::int32_t kAuthXid = -4;
constexpr std::int64_t kLeastTimeoutMs = 4'000;
constexpr std::int64_t kMostTimeoutMs = 40'000;

template <class... Values>
[[noreturn]] void wrong(fmt::format_string<Values...> format, Values&&... values) {
  found("zookeeper session", fmt::format(format, std::forward<Values>(values)...));
}

}  // namespace

struct ZooKeeperClient::Line : io::ConnectionHandler {
  Line(ZooKeeperClient& its_owner, std::unique_ptr<io::Connection> its_connection)
      : owner(&its_owner), connection(std::move(its_connection)) {}

  void on_bytes(BytesView bytes) override {
    if (owner != nullptr) owner->received(bytes);
  }
  void on_drained() override {}
  void on_closed(const Error&) override {
    if (owner != nullptr) owner->closed();
  }

  ZooKeeperClient* owner;  // null: nobody reads any more
  std::unique_ptr<io::Connection> connection;
};

std::int64_t ZooKeeperClient::Session::safe_until_ns() const {
  const double timeout_ns = static_cast<double>(timeout_ms) * 1e6;
  return kept_alive_ns + static_cast<std::int64_t>(timeout_ns / kFastestClock);
}

ZooKeeperClient::ZooKeeperClient(Options options, io::Clock& clock, io::Network& network, Told told)
    : options_(std::move(options)),
      clock_(clock),
      network_(network),
      rng_(options_.seed),
      told_(std::move(told)) {}

ZooKeeperClient::~ZooKeeperClient() {
  clock_.cancel(reconnect_);
  clock_.cancel(attend_);
}

Duration ZooKeeperClient::patience() const {
  const std::int64_t timeout_ms =
      session_.timeout_ms != 0 ? session_.timeout_ms : options_.timeout_ms;
  return milliseconds(std::max<std::int64_t>(timeout_ms / 3, 1));
}

// --- connections --------------------------------------------------------------------

void ZooKeeperClient::begin() {
  CHECK(session_.id == 0);
  connect();
}

void ZooKeeperClient::connect_later(Duration delay) {
  clock_.cancel(reconnect_);
  reconnect_ = clock_.after(delay, [this] { connect(); });
}

void ZooKeeperClient::connect() {
  drop();
  io::Address member = options_.members->at(rng_.below(options_.members->size()));
  member.port = Cluster::kZooKeeperPort;
  connector_ = network_.connect(member, [this](Result<std::unique_ptr<io::Connection>> result) {
    connector_.reset();
    if (!result) return connect_later(kReconnectAfter);
    line_ = std::make_unique<Line>(*this, std::move(*result));
    ++lines_;
    line_->connection->start(line_.get());
    say_hello();
  });
  // Of connecting and of the answer that makes the session.
  connect_later(patience());
}

void ZooKeeperClient::say_hello() {
  JuteWriter hello;
  hello.number(0).large(session_.last_zxid).number(options_.timeout_ms).large(session_.id);
  hello.bytes(session_.id != 0 ? session_.password : Bytes(16, '\0')).flag(false);
  hello_ns_ = now_ns();
  line_->connection->send(hello.packet());
}

// Calls are told when nothing of the connection is left.
void ZooKeeperClient::drop() {
  clock_.cancel(reconnect_);
  clock_.cancel(attend_);
  connector_.reset();
  line_.reset();
  input_.clear();
  is_connected_ = false;
  ping_ns_.reset();
  const std::deque<Call> unanswered = std::exchange(calls_, {});
  for (const Call& call : unanswered) {
    call.done({.is_answered = false, .code = 0, .zxid = 0, .body = {}});
  }
}

void ZooKeeperClient::disconnect(Duration away) {
  drop();
  connect_later(away);
}

void ZooKeeperClient::closed() { disconnect(kReconnectAfter); }

void ZooKeeperClient::move(Duration away, bool hangs) {
  if (hangs && line_ != nullptr) {
    hanging_ = std::move(line_);
    hanging_->owner = nullptr;
    hanging_->connection->pause_reading(true);
  }
  disconnect(away);
}

void ZooKeeperClient::vanish() {
  calls_.clear();
  drop();
  hanging_.reset();
  session_ = {};
}

// --- the session --------------------------------------------------------------------

void ZooKeeperClient::welcome(std::string_view packet) {
  JuteReader reader(packet);
  reader.number();
  const std::int32_t timeout_ms = reader.number();
  const std::int64_t id = reader.large();
  Bytes password = reader.bytes();
  reader.flag();
  reader.end();
  if (timeout_ms <= 0) return expire();
  const bool is_new = session_.id == 0;
  const bool is_same = session_.id == id && session_.password == password;
  if (!is_new && !is_same) wrong("session {:#x} goes on as {:#x}", session_.id, id);
  if (is_new &&
      timeout_ms != std::clamp<std::int64_t>(options_.timeout_ms, kLeastTimeoutMs, kMostTimeoutMs))
    wrong("a timeout of {} ms was asked for, and {} given", options_.timeout_ms, timeout_ms);
  session_.id = id;
  session_.password = std::move(password);
  session_.timeout_ms = timeout_ms;
  session_.kept_alive_ns = std::max(session_.kept_alive_ns, hello_ns_);
  session_.is_closing = false;  // what its older connections have asked for is refused from here on
  clock_.cancel(reconnect_);
  is_connected_ = true;
  ++answered_;
  look_after();
  say_who_it_is();
  told_.kept_alive();
  told_.connected(is_new);
}

void ZooKeeperClient::say_who_it_is() {
  if (options_.credentials.empty()) return;
  JuteWriter auth;
  auth.number(kAuthXid).number(ZkOp::kAuth).raw(zk_auth("digest", options_.credentials));
  line_->connection->send(auth.packet());
}

void ZooKeeperClient::expire() {
  if (session_.id == 0) wrong("a new session has expired");
  if (!session_.is_closing && now_ns() < session_.safe_until_ns())
    wrong("session {:#x} of {} ms has expired {:.3f} s after what kept it alive was asked for",
          session_.id, session_.timeout_ms,
          static_cast<double>(now_ns() - session_.kept_alive_ns) / 1e9);
  const Session ended = session_;
  drop();
  hanging_.reset();
  session_ = {};
  ++answered_;
  told_.expired(ended);
}

// Pings three times in the session's timeout, and gives up what is silent for two thirds of it.
void ZooKeeperClient::look_after() {
  attend_ = clock_.after(patience(), [this] {
    if (now_ns() - heard_ns_ >= 2 * patience().ns) return disconnect(kReconnectAfter);
    if (!ping_ns_) {
      ping_ns_ = now_ns();
      line_->connection->send(JuteWriter().number(kPingXid).number(ZkOp::kPing).packet());
    }
    look_after();
  });
}

// --- requests -----------------------------------------------------------------------

void ZooKeeperClient::ask(std::int32_t opcode, Bytes body, Done done) {
  CHECK(is_connected_);
  calls_.push_back({++xid_, std::move(done)});
  line_->connection->send(JuteWriter().number(xid_).number(opcode).raw(body).packet());
}

void ZooKeeperClient::close(Done done) {
  session_.is_closing = true;
  ask(ZkOp::kClose, {}, std::move(done));
}

void ZooKeeperClient::received(BytesView bytes) {
  constexpr std::size_t kLength = 4;
  input_ += bytes;
  heard_ns_ = now_ns();
  const std::uint64_t line = lines_;
  while (line_ != nullptr && line == lines_ && input_.size() >= kLength) {
    const std::int32_t size = JuteReader(input_).number();
    if (size < 0) wrong("a packet of {} bytes", size);
    const std::size_t end = kLength + static_cast<std::size_t>(size);
    if (input_.size() < end) return;
    const Bytes packet = input_.substr(kLength, end - kLength);
    input_.erase(0, end);
    take_packet(packet);
  }
}

void ZooKeeperClient::take_packet(std::string_view packet) {
  if (!is_connected_) return welcome(packet);
  JuteReader reader(packet);
  const std::int32_t xid = reader.number();
  if (xid == kEventXid) {
    reader.large();
    reader.number();
    ZkEvent event;
    event.type = zk_event_type(reader.number());
    reader.number();
    event.path = reader.bytes();
    reader.end();
    return told_.event(event);
  }
  if (xid == kAuthXid) {
    reader.large();
    const std::int32_t code = reader.number();
    if (code != ZkCode::kOk) wrong("who it is is answered {}", code);
    return;
  }
  if (xid != kPingXid) return answer(reader, xid, packet);
  const std::int64_t zxid = reader.large();
  if (zxid < session_.last_zxid)
    wrong("a ping is answered as of zxid {}, after {}", zxid, session_.last_zxid);
  if (!ping_ns_) wrong("a ping is answered that was not asked for");
  session_.kept_alive_ns = std::max(session_.kept_alive_ns, *std::exchange(ping_ns_, {}));
  told_.kept_alive();
}

void ZooKeeperClient::note_zxid(std::int64_t zxid) {
  if (zxid < session_.last_zxid)
    wrong("session {:#x} is answered as of zxid {}, after {}", session_.id, zxid,
          session_.last_zxid);
  session_.last_zxid = zxid;
}

void ZooKeeperClient::answer(JuteReader& reader, std::int32_t xid, std::string_view packet) {
  constexpr std::size_t kHeader = 16;
  if (calls_.empty() || calls_.front().xid != xid)
    wrong("request {} is answered out of its order", xid);
  const Call call = std::move(calls_.front());
  calls_.pop_front();
  Reply reply{.is_answered = true, .code = 0, .zxid = reader.large(), .body = {}};
  reply.code = reader.number();
  reply.body = packet.substr(kHeader);
  if (reply.code != ZkCode::kQuotaExceeded) note_zxid(reply.zxid);
  ++answered_;
  call.done(reply);
}

}  // namespace conclave::sim
