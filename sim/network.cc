#include "sim/network.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace conclave::sim {

// One side of a connection. Shared between its Connection, the other side and pieces under way.
struct Fabric::Stream : std::enable_shared_from_this<Fabric::Stream> {
  std::string host;
  std::weak_ptr<Stream> other;
  io::ConnectionHandler* handler = nullptr;  // none before start() and after the Connection is gone
  bool open = true;
  bool paused = false;
  std::size_t unsent = 0;
  Instant last_arrival;       // keeps pieces in order
  std::deque<Bytes> waiting;  // arrived before start() or while paused
  bool closed_by_other = false;

  void arrive(Bytes piece) {
    if (!open) return;
    if (handler == nullptr || paused) {
      waiting.push_back(std::move(piece));
      return;
    }
    const auto self = shared_from_this();
    handler->on_bytes(piece);
  }
  void catch_up() {
    const auto self = shared_from_this();
    while (open && handler != nullptr && !paused && !waiting.empty()) {
      const Bytes piece = std::move(waiting.front());
      waiting.pop_front();
      handler->on_bytes(piece);
    }
    if (closed_by_other && waiting.empty()) shut("closed by the other side");
  }
  void shut(const std::string& why) {
    if (!open) return;
    if (handler == nullptr) {
      closed_by_other = true;  // told at start()
      return;
    }
    open = false;
    const auto self = shared_from_this();
    handler->on_closed(Error{ErrorCode::kIo, why});
  }
};

class SimConnection final : public io::Connection {
 public:
  SimConnection(Fabric& fabric, std::shared_ptr<Fabric::Stream> stream, std::string peer)
      : fabric_(fabric), stream_(std::move(stream)), peer_(std::move(peer)) {}
  ~SimConnection() override {
    stream_->handler = nullptr;
    close();
  }

  void start(io::ConnectionHandler* handler) override {
    stream_->handler = handler;
    fabric_.clock_.post([stream = stream_] { stream->catch_up(); });
  }
  void send(Bytes data) override {
    if (stream_->open && !data.empty()) fabric_.deliver(stream_, std::move(data));
  }
  std::size_t unsent_bytes() const override { return stream_->unsent; }
  void pause_reading(bool paused) override {
    stream_->paused = paused;
    if (!paused) fabric_.clock_.post([stream = stream_] { stream->catch_up(); });
  }
  void close_after_send() override {
    fabric_.clock_.after(fabric_.faults_.longest * 2, [stream = stream_, other = stream_->other] {
      if (const auto there = other.lock()) there->shut("closed by the other side");
      stream->shut("closed");
    });
  }
  std::string peer_name() const override { return peer_; }

 private:
  void close() {
    stream_->open = false;
    fabric_.clock_.after(fabric_.faults_.longest, [other = stream_->other] {
      if (const auto there = other.lock()) there->shut("closed by the other side");
    });
  }

  Fabric& fabric_;
  std::shared_ptr<Fabric::Stream> stream_;
  std::string peer_;
};

class Fabric::Host final : public io::Network {
 public:
  using Accepted = std::move_only_function<void(std::unique_ptr<io::Connection>)>;
  struct Listening {
    Accepted accepted;
  };

  Host(Fabric& fabric, std::string name) : fabric_(fabric), name_(std::move(name)) {}

  class SimListener final : public io::Listener {
   public:
    SimListener(io::Address address, std::shared_ptr<Listening> listening)
        : address_(std::move(address)), listening_(std::move(listening)) {}
    io::Address address() const override { return address_; }

   private:
    io::Address address_;
    std::shared_ptr<Listening> listening_;
  };

  Result<std::unique_ptr<io::Listener>> listen(const io::Address& address,
                                               Accepted accepted) override {
    std::weak_ptr<Listening>& slot = ports_[address.port];
    if (!slot.expired()) {
      return fail(ErrorCode::kBusy, "port in use: " + address.to_string());
    }
    auto listening = std::make_shared<Listening>(std::move(accepted));
    slot = listening;
    return std::make_unique<SimListener>(address, std::move(listening));
  }

  class SimConnector final : public Connector {
   public:
    std::shared_ptr<char> alive = std::make_shared<char>();
  };

  std::unique_ptr<Connector> connect(
      const io::Address& address,
      std::move_only_function<void(Result<std::unique_ptr<io::Connection>>)> done) override {
    auto connector = std::make_unique<SimConnector>();
    fabric_.clock_.after(fabric_.faults_.longest * 2,
                         [this, address, alive = std::weak_ptr<char>(connector->alive),
                          done = std::move(done)]() mutable {
                           if (!alive.expired()) done(try_connect(address));
                         });
    return connector;
  }

 private:
  Result<std::unique_ptr<io::Connection>> try_connect(const io::Address& address) {
    Host& there = static_cast<Host&>(fabric_.host(address.host));
    const std::shared_ptr<Listening> listening = there.ports_[address.port].lock();
    const bool reachable =
        !fabric_.is_cut(name_, there.name_) && !fabric_.is_cut(there.name_, name_);
    if (listening == nullptr || !reachable) {
      return fail(ErrorCode::kIo, "cannot connect to " + address.to_string());
    }
    auto ours = std::make_shared<Stream>();
    auto theirs = std::make_shared<Stream>();
    ours->host = name_;
    theirs->host = there.name_;
    ours->other = theirs;
    theirs->other = ours;
    fabric_.streams_.push_back(ours);
    fabric_.streams_.push_back(theirs);
    listening->accepted(std::make_unique<SimConnection>(fabric_, theirs, name_));
    return std::make_unique<SimConnection>(fabric_, ours, there.name_);
  }

  Fabric& fabric_;
  std::string name_;
  std::map<std::uint16_t, std::weak_ptr<Listening>> ports_;
};

Fabric::Fabric(io::Clock& clock, std::uint64_t seed) : clock_(clock), rng_(seed) {}
Fabric::~Fabric() = default;

io::Network& Fabric::host(const std::string& name) {
  std::unique_ptr<Host>& host = hosts_[name];
  if (host == nullptr) host = std::make_unique<Host>(*this, name);
  return *host;
}

void Fabric::set_faults(const LinkFaults& faults, std::set<std::string> lossy_hosts) {
  faults_ = faults;
  lossy_ = std::move(lossy_hosts);
}

void Fabric::cut(const std::string& from, const std::string& to) { cut_.emplace(from, to); }
void Fabric::heal() { cut_.clear(); }
void Fabric::heal(const std::string& from, const std::string& to) { cut_.erase({from, to}); }

void Fabric::reset(const std::string& host) {
  std::erase_if(streams_, [](const auto& stream) { return stream.expired(); });
  for (const auto& weak : std::vector(streams_)) {
    const std::shared_ptr<Stream> stream = weak.lock();
    if (stream == nullptr) continue;
    const std::shared_ptr<Stream> other = stream->other.lock();
    const bool concerned = stream->host == host || (other != nullptr && other->host == host);
    if (concerned) stream->shut("connection reset");
  }
}

bool Fabric::is_cut(const std::string& from, const std::string& to) const {
  return cut_.contains({from, to});
}

bool Fabric::is_lossy(const Stream& stream) const {
  const auto other = stream.other.lock();
  return other != nullptr && lossy_.contains(stream.host) && lossy_.contains(other->host);
}

void Fabric::deliver(std::shared_ptr<Stream> from, Bytes piece) {
  const std::shared_ptr<Stream> to = from->other.lock();
  if (to == nullptr) return;
  if (tap) tap(from->host, to->host, piece);
  if (is_cut(from->host, to->host)) return;
  const bool lossy = is_lossy(*from);
  if (lossy && rng_.below(1000) < faults_.lost) return;
  const auto draw = [&] {
    return Duration{
        static_cast<std::int64_t>(rng_.between(static_cast<std::uint64_t>(faults_.shortest.ns),
                                               static_cast<std::uint64_t>(faults_.longest.ns)))};
  };
  if (lossy && rng_.below(1000) < faults_.repeated) schedule(to, piece, draw() * 5);
  if (lossy && rng_.below(1000) < faults_.late) {
    return schedule(to, std::move(piece), draw() * static_cast<std::int64_t>(rng_.below(50)));
  }
  // In order, and counted as unsent until it has arrived.
  const Instant arrival = std::max(clock_.now() + draw(), to->last_arrival + nanoseconds(1));
  to->last_arrival = arrival;
  from->unsent += piece.size();
  clock_.after(arrival - clock_.now(),
               [from = std::weak_ptr<Stream>(from), to, piece = std::move(piece)]() mutable {
                 const std::size_t size = piece.size();
                 to->arrive(std::move(piece));
                 const std::shared_ptr<Stream> sender = from.lock();
                 if (sender == nullptr) return;
                 sender->unsent -= size;
                 if (sender->unsent == 0 && sender->open && sender->handler != nullptr) {
                   sender->handler->on_drained();
                 }
               });
}

void Fabric::schedule(const std::shared_ptr<Stream>& to, Bytes piece, Duration delay) {
  clock_.after(delay, [to, piece = std::move(piece)]() mutable { to->arrive(std::move(piece)); });
}

}  // namespace conclave::sim
