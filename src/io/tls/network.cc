#include "io/tls/network.h"

#include <fmt/core.h>

#include <array>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/tls/channel.h"

namespace conclave::io {

namespace {

constexpr Duration kConnectLimit = seconds(5);
// What is decrypted at once, and what that may give: no more than came, and what was left of a
// record.
constexpr std::size_t kFeedBytes = 128 * limits::kKiB;
constexpr std::size_t kPlainBytes = kFeedBytes + 32 * limits::kKiB;
constexpr std::size_t kComplaintsPerSecond = 10;
// As Go's servers say to somebody who forgot the s of https.
constexpr std::string_view kPlainHttpAnswer =
    "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

bool looks_like_http(BytesView bytes) {
  for (const std::string_view method : {"GET ", "POST ", "PUT ", "HEAD "}) {
    if (bytes.starts_with(method)) return true;
  }
  return false;
}

}  // namespace

// A connection from its first byte to its last. While it is a handshake, the Core drives and owns
// it; then its bytes go straight to the handler.
class TlsNetwork::TlsConnection final : public Connection, private ConnectionHandler {
 public:
  TlsConnection(Core& core, std::unique_ptr<Connection> raw, TlsChannel channel, std::uint64_t id)
      : core_(core),
        raw_(std::move(raw)),
        channel_(std::move(channel)),
        handshake_(id),
        alive_(std::make_shared<char>()) {}

  void start(ConnectionHandler* handler) override {
    CHECK(handler_ == nullptr);
    handler_ = handler;
  }
  void send(Bytes data) override {
    if (closing_ || channel_.state() != TlsChannel::State::kOpen) return;
    channel_.write(data);
    raw_->send(channel_.take_output());
  }
  std::size_t unsent_bytes() const override { return raw_->unsent_bytes(); }
  void pause_reading(bool paused) override;
  void close_after_send() override { close_because(""); }
  std::string peer_name() const override { return raw_->peer_name(); }
  std::string peer_common_name() const override { return channel_.common_name(); }

  // Begins to listen to the other side; a client says hello.
  void begin();
  // Takes the handshake as far as it goes with what has come.
  TlsChannel::State step();
  // The handshake has failed: what it has to say is sent, then it closes.
  void end_handshake();
  // The handshake is over, and there is a handler: what came behind it is for that.
  void serve();
  const std::string& failure() const { return channel_.failure(); }
  std::weak_ptr<char> alive() const { return alive_; }

 private:
  void on_bytes(BytesView bytes) override;
  void on_drained() override {
    if (handler_ != nullptr) handler_->on_drained();
  }
  void on_closed(const Error& why) override;
  void take(BytesView bytes);
  bool decrypt();
  void send_output();
  void close_because(std::string why);

  Core& core_;
  std::unique_ptr<Connection> raw_;
  TlsChannel channel_;
  const std::uint64_t handshake_;  // its number among the Core's
  ConnectionHandler* handler_ = nullptr;
  Bytes waiting_;  // came and is not decrypted yet
  bool paused_ = false;
  bool closing_ = false;
  std::string close_reason_;
  std::shared_ptr<char> alive_;
};

class TlsNetwork::Core {
 public:
  Core(Clock& clock, Network& network, std::unique_ptr<TlsCredentials> credentials,
       std::size_t max_handshakes)
      : clock_(clock),
        network_(network),
        credentials_(std::move(credentials)),
        max_handshakes_(max_handshakes),
        alive_(std::make_shared<char>()) {}
  ~Core() {
    for (auto& [id, each] : pending_) clock_.cancel(each.limit);
  }

  Network& below() { return network_; }
  std::array<char, kPlainBytes>& plain() { return plain_; }
  std::size_t handshakes() const { return pending_.size(); }
  const std::string& who() const { return credentials_->options().who; }

  void begin(TlsRole role, std::unique_ptr<Connection> raw, const std::string& host, Duration limit,
             const void* owner,
             std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done) {
    if (!pending_.empty() && pending_.size() >= max_handshakes_) {
      fail_handshake(pending_.begin()->first, "too many others connect");
      forget(pending_.begin()->first);
    }
    const std::uint64_t id = next_++;
    auto made = std::make_unique<TlsConnection>(
        *this, std::move(raw), TlsChannel(credentials_->context(role, clock_.now()), role, host),
        id);
    TlsConnection& connection = *made;
    Pending& entry = pending_[id];
    entry.connection = std::move(made);
    entry.owner = owner;
    entry.done = std::move(done);
    entry.limit = clock_.after(limit, [this, id] { time_out(id); });
    connection.begin();
  }

  // Its owner is gone: so is the handshake, unless it only says farewell.
  void abandon(const void* owner) {
    std::vector<std::uint64_t> gone;
    for (auto& [id, each] : pending_) {
      if (each.owner == owner) gone.push_back(id);
    }
    for (const std::uint64_t id : gone) forget(id);
  }

  // Something came for a handshake: its turn will come.
  void due(std::uint64_t id) {
    const auto found = pending_.find(id);
    if (found == pending_.end() || std::exchange(found->second.due, true)) return;
    due_.push_back(id);
    if (due_.size() == 1) post_work();
  }

  // Called from inside that connection.
  void closed(std::uint64_t id, const Error& why) {
    fail_handshake(id, "it went away (" + why.message + ")");
    forget(id);
  }

  void complain(const std::string& what) {
    const Instant now = clock_.now();
    if (!complained_since_ || now - *complained_since_ >= seconds(1)) {
      if (unsaid_ != 0) LOG(kWarn, "{} more TLS handshakes of {}s failed", unsaid_, who());
      complained_since_ = now;
      complaints_ = 0;
      unsaid_ = 0;
    }
    if (++complaints_ > kComplaintsPerSecond) {
      ++unsaid_;
    } else {
      LOG(kWarn, "{}", what);
    }
  }

  void post(std::move_only_function<void()> run) {
    clock_.post([run = std::move(run), alive = std::weak_ptr<char>(alive_)]() mutable {
      if (!alive.expired()) run();
    });
  }

 private:
  struct Pending {
    std::unique_ptr<TlsConnection> connection;
    const void* owner = nullptr;  // a listener or connector; nullptr: nobody waits any more
    std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done;
    Clock::TimerId limit = 0;
    bool due = false;
  };

  void post_work() {
    post([this] { work(); });
  }

  void work() {
    for (std::size_t i = 0; i < limits::kHandshakeStepsPerTurn && !due_.empty(); ++i) {
      const std::uint64_t id = due_.front();
      due_.pop_front();
      step(id);
    }
    if (!due_.empty()) post_work();
  }

  void step(std::uint64_t id) {
    const auto found = pending_.find(id);
    if (found == pending_.end()) return;
    found->second.due = false;
    if (!found->second.done) return;  // it failed; only its last bytes have to leave
    TlsConnection& connection = *found->second.connection;
    switch (connection.step()) {
      case TlsChannel::State::kHandshake:
        return;
      case TlsChannel::State::kOpen:
        return hand_over(id);
      case TlsChannel::State::kEnded:
      case TlsChannel::State::kFailed:
        connection.end_handshake();
        return fail_handshake(id, connection.failure());
    }
  }

  void hand_over(std::uint64_t id) {
    auto node = pending_.extract(id);
    clock_.cancel(node.mapped().limit);
    TlsConnection& connection = *node.mapped().connection;
    const std::weak_ptr<char> alive = connection.alive();
    node.mapped().done(std::move(node.mapped().connection));
    if (!alive.expired()) connection.serve();
  }

  void time_out(std::uint64_t id) {
    fail_handshake(id, "the TLS handshake took too long");
    forget(id);
  }

  // Tells whoever waits. The connection may stay for its last bytes.
  void fail_handshake(std::uint64_t id, const std::string& why) {
    const auto found = pending_.find(id);
    if (found == pending_.end() || !found->second.done) return;
    found->second.owner = nullptr;
    auto done = std::exchange(found->second.done, nullptr);
    done(fail(ErrorCode::kIo, found->second.connection->peer_name() + ": " + why));
  }

  // Destroys it once nothing of it is on the stack.
  void forget(std::uint64_t id) {
    auto node = pending_.extract(id);
    if (node.empty()) return;
    clock_.cancel(node.mapped().limit);
    graves_.push_back(std::move(node.mapped().connection));
    if (graves_.size() == 1) post([this] { graves_.clear(); });
  }

  Clock& clock_;
  Network& network_;
  std::unique_ptr<TlsCredentials> credentials_;
  const std::size_t max_handshakes_;
  std::map<std::uint64_t, Pending> pending_;
  std::uint64_t next_ = 1;
  std::deque<std::uint64_t> due_;
  std::vector<std::unique_ptr<TlsConnection>> graves_;
  std::array<char, kPlainBytes> plain_{};
  std::optional<Instant> complained_since_;
  std::size_t complaints_ = 0;
  std::size_t unsaid_ = 0;
  std::shared_ptr<char> alive_;
};

// --- connections --------------------------------------------------------------------

void TlsNetwork::TlsConnection::begin() {
  raw_->start(this);
  channel_.handshake();
  send_output();
}

void TlsNetwork::TlsConnection::on_bytes(BytesView bytes) {
  if (closing_) return;
  if (handler_ != nullptr && waiting_.empty()) return take(bytes);
  waiting_.append(bytes);
  if (handler_ != nullptr) return;
  raw_->pause_reading(true);  // until its turn has come
  core_.due(handshake_);
}

TlsChannel::State TlsNetwork::TlsConnection::step() {
  channel_.feed(waiting_);
  channel_.handshake();
  send_output();
  if (channel_.state() == TlsChannel::State::kHandshake) {
    waiting_ = Bytes();  // with its memory
    raw_->pause_reading(false);
  } else if (channel_.state() == TlsChannel::State::kFailed && looks_like_http(waiting_)) {
    raw_->send(Bytes(kPlainHttpAnswer));
  }
  return channel_.state();
}

void TlsNetwork::TlsConnection::end_handshake() {
  closing_ = true;
  raw_->pause_reading(false);
  raw_->close_after_send();
}

// The channel still holds what is left of `waiting_`.
void TlsNetwork::TlsConnection::serve() {
  if (handler_ == nullptr || !decrypt()) return;
  waiting_ = Bytes();  // with its memory
  if (!paused_) raw_->pause_reading(false);
}

void TlsNetwork::TlsConnection::take(BytesView bytes) {
  while (!bytes.empty()) {
    if (paused_) return void(waiting_.append(bytes));
    channel_.feed(bytes.substr(0, kFeedBytes));
    bytes.remove_prefix(std::min(bytes.size(), kFeedBytes));
    if (!decrypt()) return;
  }
}

// What was fed goes to the handler, in one piece. False: nothing more is to be done here, and this
// object may be gone.
bool TlsNetwork::TlsConnection::decrypt() {
  const std::span<char> plain(core_.plain());
  std::size_t size = 0;
  while (const std::size_t got = channel_.read(plain.subspan(size))) {
    size += got;
    CHECK(size < plain.size());
  }
  const std::weak_ptr<char> alive = alive_;
  if (size != 0) handler_->on_bytes(BytesView(plain.data(), size));
  if (alive.expired() || closing_) return false;
  send_output();
  if (channel_.state() == TlsChannel::State::kOpen) return true;
  if (channel_.state() == TlsChannel::State::kFailed) {
    core_.complain(fmt::format("{} {}: {}", core_.who(), peer_name(), channel_.failure()));
    close_because(peer_name() + ": " + channel_.failure());
  } else {
    close_because(peer_name() + ": closed by the other side");
  }
  return false;
}

void TlsNetwork::TlsConnection::send_output() {
  if (Bytes output = channel_.take_output(); !output.empty()) raw_->send(std::move(output));
}

void TlsNetwork::TlsConnection::pause_reading(bool paused) {
  paused_ = paused;
  raw_->pause_reading(paused);
  if (paused || waiting_.empty()) return;
  core_.post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired() && !paused_ && !closing_) take(std::exchange(waiting_, {}));
  });
}

void TlsNetwork::TlsConnection::close_because(std::string why) {
  if (std::exchange(closing_, true)) return;
  close_reason_ = std::move(why);
  channel_.close();
  send_output();
  raw_->close_after_send();
}

void TlsNetwork::TlsConnection::on_closed(const Error& why) {
  if (handler_ == nullptr) return core_.closed(handshake_, why);
  const Error reason = close_reason_.empty() ? why : Error{ErrorCode::kIo, close_reason_};
  std::exchange(handler_, nullptr)->on_closed(reason);
}

// --- listening and connecting -------------------------------------------------------

class TlsNetwork::TlsListener final : public Listener {
 public:
  TlsListener(Core& core, std::move_only_function<void(std::unique_ptr<Connection>)> accepted)
      : core_(core), accepted_(std::move(accepted)) {}
  ~TlsListener() override { core_.abandon(this); }

  Result<void> listen(Address address) {
    address.tls = false;
    raw_ = TRY(core_.below().listen(
        address, [this](std::unique_ptr<Connection> raw) { accept(std::move(raw)); }));
    return {};
  }
  Address address() const override {
    Address real = raw_->address();
    real.tls = true;
    return real;
  }

 private:
  void accept(std::unique_ptr<Connection> raw) {
    core_.begin(TlsRole::kServer, std::move(raw), "", milliseconds(limits::kHandshakeMs), this,
                [this](Result<std::unique_ptr<Connection>> made) {
                  if (made) return accepted_(std::move(*made));
                  core_.complain(fmt::format("refused a {} connection in the TLS handshake: {}",
                                             core_.who(), made.error().message));
                });
  }

  Core& core_;
  std::move_only_function<void(std::unique_ptr<Connection>)> accepted_;
  std::unique_ptr<Listener> raw_;
};

class TlsNetwork::TlsConnector final : public Connector {
 public:
  TlsConnector(Core& core, Address address,
               std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done)
      : core_(core), address_(std::move(address)), done_(std::move(done)) {}
  ~TlsConnector() override { core_.abandon(this); }

  void begin() {
    Address below = address_;
    below.tls = false;
    raw_ = core_.below().connect(below, [this](Result<std::unique_ptr<Connection>> connected) {
      auto done = std::exchange(done_, nullptr);
      if (!connected) return done(std::move(connected));
      core_.begin(TlsRole::kClient, std::move(*connected), address_.host, kConnectLimit, this,
                  [done = std::move(done)](Result<std::unique_ptr<Connection>> made) mutable {
                    if (!made) made.error().message = "no TLS with " + made.error().message;
                    done(std::move(made));
                  });
    });
  }

 private:
  Core& core_;
  const Address address_;
  std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done_;
  std::unique_ptr<Connector> raw_;
};

TlsNetwork::TlsNetwork(Clock& clock, Network& network, std::unique_ptr<TlsCredentials> credentials,
                       std::size_t max_handshakes)
    : core_(std::make_unique<Core>(clock, network, std::move(credentials), max_handshakes)) {}

TlsNetwork::~TlsNetwork() = default;

Result<std::unique_ptr<Listener>> TlsNetwork::listen(
    const Address& address, std::move_only_function<void(std::unique_ptr<Connection>)> accepted) {
  if (!address.tls) return core_->below().listen(address, std::move(accepted));
  auto listener = std::make_unique<TlsListener>(*core_, std::move(accepted));
  TRY(listener->listen(address));
  return listener;
}

std::unique_ptr<Network::Connector> TlsNetwork::connect(
    const Address& address,
    std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done) {
  if (!address.tls) return core_->below().connect(address, std::move(done));
  auto connector = std::make_unique<TlsConnector>(*core_, address, std::move(done));
  connector->begin();
  return connector;
}

std::size_t TlsNetwork::handshakes() const { return core_->handshakes(); }

}  // namespace conclave::io
