#include "sim/network.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <limits>
#include <utility>

namespace conclave::sim {
namespace {

// How long close_after_send() waits for bytes that do not leave.
constexpr Duration kClosePatience = seconds(5);
constexpr std::size_t kAnySize = std::numeric_limits<std::size_t>::max();

}  // namespace

// The way from one host to another.
struct Link {
  struct Queued {
    std::shared_ptr<Stream> from;
    Bytes piece;
  };
  // An end that the other side has not heard of.
  struct Farewell {
    std::weak_ptr<Stream> to;
    Ending ending;
    std::string why;
  };

  bool lossy = false;
  bool cut = false;
  std::size_t largest = kAnySize;
  std::optional<LinkFaults> own;
  LinkFaults faults;
  std::deque<Queued> queue;  // for the bandwidth
  io::Clock::TimerId sending = 0;
  std::vector<Farewell> farewells;  // held back by a cut
};

// --- connections --------------------------------------------------------------------

class SimConnection final : public io::Connection {
 public:
  SimConnection(Fabric& fabric, std::shared_ptr<Stream> stream, std::string peer)
      : fabric_(fabric), stream_(std::move(stream)), peer_(std::move(peer)) {}
  ~SimConnection() override {
    if (stream_->open()) fabric_.tell_ended(stream_, Ending::kClosed, "closed by the other side");
    stream_->abandon();
  }

  void start(io::ConnectionHandler* handler) override {
    stream_->set_handler(handler);
    catch_up_soon();
  }
  void send(Bytes data) override {
    if (stream_->open() && !data.empty()) fabric_.send(stream_, std::move(data));
  }
  std::size_t unsent_bytes() const override { return stream_->unsent(); }
  void pause_reading(bool paused) override {
    stream_->pause_reading(paused);
    if (!paused) catch_up_soon();
  }
  void close_after_send() override {
    const auto finish = [&fabric = fabric_, weak = std::weak_ptr(stream_)] {
      const std::shared_ptr<Stream> stream = weak.lock();
      if (stream == nullptr || !stream->open()) return;
      fabric.tell_ended(stream, Ending::kClosed, "closed by the other side");
      stream->end(Ending::kReset, "closed");
    };
    stream_->when_sent(finish);
    fabric_.clock_.post([stream = stream_] { stream->tell_drained(); });
    fabric_.clock_.after(kClosePatience, finish);
  }
  std::string peer_name() const override { return peer_; }

 private:
  void catch_up_soon() {
    fabric_.clock_.post([stream = stream_] { stream->catch_up(); });
  }

  Fabric& fabric_;
  std::shared_ptr<Stream> stream_;
  std::string peer_;
};

// --- hosts --------------------------------------------------------------------------

class Fabric::Host final : public io::Network {
 public:
  using Accepted = std::move_only_function<void(std::unique_ptr<io::Connection>)>;
  using Connected = std::move_only_function<void(Result<std::unique_ptr<io::Connection>>)>;
  struct Listening {
    Accepted accepted;
  };

  Host(Fabric& fabric, std::string name)
      : fabric_(fabric), state_{.name = std::move(name), .paused = false} {}

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

  std::unique_ptr<Connector> connect(const io::Address& address, Connected done) override {
    auto connector = std::make_unique<SimConnector>();
    const Link& way = fabric_.link(state_.name, address.host);
    fabric_.clock_.after(way.faults.longest * 2,
                         [this, address, alive = std::weak_ptr<char>(connector->alive),
                          done = std::move(done)]() mutable {
                           finish_connect(address, std::move(alive), std::move(done));
                         });
    return connector;
  }

  const HostState& state() const { return state_; }

  void pause() { state_.paused = true; }
  // What was held back follows, in order.
  void resume() {
    state_.paused = false;
    for (auto& run : std::exchange(held_, {})) {
      fabric_.clock_.post([this, run = std::move(run)]() mutable { when_running(std::move(run)); });
    }
  }
  void end_process() {
    state_.paused = false;
    ports_.clear();
    const auto dropped = std::exchange(held_, {});
  }

 private:
  // Now, or once the process goes on.
  void when_running(std::move_only_function<void()> run) {
    if (!state_.paused) return run();
    held_.push_back(std::move(run));
  }

  void finish_connect(const io::Address& address, std::weak_ptr<char> alive, Connected done) {
    when_running([this, address, alive = std::move(alive), done = std::move(done)]() mutable {
      if (!alive.expired()) done(try_connect(address));
    });
  }

  Result<std::unique_ptr<io::Connection>> try_connect(const io::Address& address) {
    Host& there = fabric_.host_named(address.host);
    Link& way = fabric_.link(state_.name, address.host);
    Link& back = fabric_.link(address.host, state_.name);
    const std::weak_ptr<Listening> listening = there.ports_[address.port];
    if (listening.expired() || way.cut || back.cut) {
      return fail(ErrorCode::kIo, "cannot connect to " + address.to_string());
    }
    const auto ours = fabric_.add_stream(state_, way);
    const auto theirs = fabric_.add_stream(there.state_, back);
    Stream::join(ours, theirs);
    there.when_running([&fabric = fabric_, theirs, listening, peer = state_.name] {
      auto connection = std::make_unique<SimConnection>(fabric, theirs, peer);
      if (const auto accepting = listening.lock()) accepting->accepted(std::move(connection));
    });
    return std::make_unique<SimConnection>(fabric_, ours, there.state_.name);
  }

  Fabric& fabric_;
  HostState state_;
  std::map<std::uint16_t, std::weak_ptr<Listening>> ports_;
  std::deque<std::move_only_function<void()>> held_;
};

Fabric::Fabric(io::Clock& clock, std::uint64_t seed) : clock_(clock), rng_(seed) {}
Fabric::~Fabric() = default;

Fabric::Host& Fabric::host_named(const std::string& name) {
  std::unique_ptr<Host>& host = hosts_[name];
  if (host == nullptr) host = std::make_unique<Host>(*this, name);
  return *host;
}

io::Network& Fabric::host(const std::string& name) { return host_named(name); }

std::shared_ptr<Stream> Fabric::add_stream(const HostState& host, Link& link) {
  if (streams_.size() >= prune_at_) prune_at_ = 64 + 2 * live_streams().size();
  auto stream = std::make_shared<Stream>(host, link);
  streams_.push_back(stream);
  return stream;
}

std::vector<std::shared_ptr<Stream>> Fabric::live_streams() {
  std::erase_if(streams_, [](const auto& stream) { return stream.expired(); });
  std::vector<std::shared_ptr<Stream>> live;
  for (const auto& stream : streams_) live.push_back(stream.lock());
  return live;
}

std::vector<std::shared_ptr<Stream>> Fabric::streams_of(const std::string& host) {
  auto streams = live_streams();
  std::erase_if(streams, [&](const auto& stream) { return stream->host().name != host; });
  return streams;
}

void Fabric::pause(const std::string& name, bool paused) {
  Host& host = host_named(name);
  if (host.state().paused == paused) return;
  if (paused) {
    ++counts_.pauses;
    return host.pause();
  }
  host.resume();
  for (const auto& stream : streams_of(name)) {
    const auto longest = static_cast<std::uint64_t>(stream->link().faults.longest.ns);
    const bool at_once = rng_.one_in(2);
    const Duration soon{at_once ? 0 : static_cast<std::int64_t>(rng_.below(longest + 1))};
    clock_.after(soon, [stream] { stream->catch_up(); });
  }
}

void Fabric::reset(const std::string& host) {
  for (const auto& stream : streams_of(host)) {
    if (!stream->open()) continue;
    ++counts_.reset;
    const std::shared_ptr<Stream> other = stream->other();
    stream->end(Ending::kReset, "connection reset");
    if (other != nullptr) other->end(Ending::kReset, "connection reset");
  }
}

void Fabric::end_process(const std::string& host) {
  for (const auto& stream : streams_of(host)) {
    if (stream->open()) tell_ended(stream, Ending::kReset, "connection reset");
    stream->abandon();
  }
  host_named(host).end_process();
}

// --- links --------------------------------------------------------------------------

Link& Fabric::link(const std::string& from, const std::string& to) {
  std::unique_ptr<Link>& link = links_[{from, to}];
  if (link == nullptr) {
    link = std::make_unique<Link>();
    link->lossy = lossy_.contains(from) && lossy_.contains(to);
    update(*link);
  }
  return *link;
}

void Fabric::update(Link& link) {
  link.faults = link.own ? *link.own : link.lossy ? faults_ : client_faults_;
  clock_.cancel(std::exchange(link.sending, 0));
  transmit(link);
}

void Fabric::update_all() {
  for (auto& [hosts, link] : links_) {
    link->lossy = lossy_.contains(hosts.first) && lossy_.contains(hosts.second);
    update(*link);
  }
}

void Fabric::set_faults(const LinkFaults& faults, const std::set<std::string>& lossy_hosts) {
  faults_ = faults;
  client_faults_ = LinkFaults{.shortest = faults.shortest, .longest = faults.longest};
  lossy_.insert(lossy_hosts.begin(), lossy_hosts.end());
  update_all();
}

void Fabric::set_client_faults(const LinkFaults& faults) {
  client_faults_ = faults;
  update_all();
}

void Fabric::set_link_faults(const std::string& from, const std::string& to,
                             const LinkFaults& faults) {
  link(from, to).own = faults;
  update(link(from, to));
}

void Fabric::cut(const std::string& from, const std::string& to) {
  ++counts_.cuts;
  link(from, to).cut = true;
}

void Fabric::cut_large(const std::string& from, const std::string& to, std::size_t max_bytes) {
  ++counts_.cuts;
  link(from, to).largest = max_bytes;
}

void Fabric::heal() {
  for (auto& [hosts, link] : links_) heal(*link);
  release_blocked();
}

void Fabric::heal(const std::string& from, const std::string& to) {
  heal(link(from, to));
  release_blocked();
}

void Fabric::heal(Link& link) {
  link.cut = false;
  link.largest = kAnySize;
  link.own.reset();
  update(link);
  for (auto& farewell : std::exchange(link.farewells, {})) {
    clock_.post([farewell = std::move(farewell)] {
      if (const auto to = farewell.to.lock()) to->end(farewell.ending, farewell.why);
    });
  }
}

void Fabric::release_blocked() {
  for (const auto& stream : live_streams()) {
    const Link& link = stream->link();
    if (link.cut || link.largest != kAnySize) continue;
    for (Bytes& piece : std::exchange(stream->blocked, {})) {
      stream->withdraw_unsent(piece.size());
      queue(stream, std::move(piece));
    }
  }
}

// --- pieces -------------------------------------------------------------------------

void Fabric::send(const std::shared_ptr<Stream>& from, Bytes piece) {
  const std::shared_ptr<Stream> to = from->other();
  if (tap && to != nullptr) tap(from->host().name, to->host().name, piece);
  const Link& link = from->link();
  const bool too_large = piece.size() > link.largest;
  if (!link.cut && !too_large && from->blocked.empty()) return queue(from, std::move(piece));
  if (link.cut) ++counts_.stopped;
  if (!link.cut && too_large) ++counts_.too_large;
  if (link.lossy) return;
  from->add_unsent(piece.size());
  from->blocked.push_back(std::move(piece));
}

void Fabric::queue(const std::shared_ptr<Stream>& from, Bytes piece) {
  Link& link = from->link();
  if (link.faults.bytes_per_second == 0) return launch(from, std::move(piece));
  ++counts_.queued;
  from->add_unsent(piece.size());
  link.queue.push_back({from, std::move(piece)});
  if (link.sending == 0) transmit(link);
}

// One after the other for as long as there is a limit; at once when it has gone.
void Fabric::transmit(Link& link) {
  while (!link.queue.empty()) {
    const Link::Queued& first = link.queue.front();
    const std::uint64_t limit = link.faults.bytes_per_second;
    if (limit != 0 && first.from->open()) {
      const std::uint64_t ns = first.piece.size() * std::uint64_t{1'000'000'000} / limit;
      link.sending = clock_.after(Duration{static_cast<std::int64_t>(ns)}, [this, &link] {
        link.sending = 0;
        leave(link);
        transmit(link);
      });
      return;
    }
    leave(link);
  }
}

void Fabric::leave(Link& link) {
  Link::Queued first = std::move(link.queue.front());
  link.queue.pop_front();
  first.from->withdraw_unsent(first.piece.size());
  launch(first.from, std::move(first.piece));
  if (first.from->unsent() == 0) {
    clock_.post([from = std::move(first.from)] { from->tell_drained(); });
  }
}

void Fabric::launch(const std::shared_ptr<Stream>& from, Bytes piece) {
  const std::shared_ptr<Stream> to = from->other();
  if (to == nullptr || !from->open() || from->doomed) return;
  const LinkFaults& faults = from->link().faults;
  if (of_million(faults.resets)) {
    ++counts_.reset;
    from->doomed = true;
    return break_after(draw_delay(faults), from);
  }
  if (of_million(faults.breaks)) {
    ++counts_.broken;
    from->doomed = true;
    piece.resize(rng_.below(piece.size()));
    if (!piece.empty()) arrive_in_order(to, std::move(piece));
    const Instant last = std::max(clock_.now() + draw_delay(faults), to->last_arrival);
    return break_after(last - clock_.now() + nanoseconds(1), from);
  }
  if (from->link().lossy && disorder(to, piece, faults)) return;
  arrive_in_order(to, std::move(piece));
}

bool Fabric::disorder(const std::shared_ptr<Stream>& to, const Bytes& piece,
                      const LinkFaults& faults) {
  if (of_thousand(faults.lost)) {
    ++counts_.lost;
    return true;
  }
  if (of_thousand(faults.repeated)) {
    ++counts_.repeated;
    arrive_after(draw_delay(faults) * 5, to, piece);
  }
  if (of_thousand(faults.replayed)) {
    ++counts_.replayed;
    const auto within = static_cast<std::uint64_t>(faults.replay_within.ns);
    arrive_after(Duration{static_cast<std::int64_t>(rng_.below(within + 1))}, to, piece);
  }
  const bool late = of_thousand(faults.late);
  if (!late && !of_thousand(faults.reordered)) return false;
  ++(late ? counts_.late : counts_.reordered);
  const Duration delay = draw_delay(faults);
  const std::uint64_t times = late ? rng_.below(50) : rng_.between(1, 4);
  arrive_after(delay * static_cast<std::int64_t>(times), to, piece);
  return true;
}

void Fabric::arrive_after(Duration delay, const std::shared_ptr<Stream>& to, Bytes piece) {
  clock_.after(delay,
               [to, piece = std::move(piece)]() mutable { to->arrive(std::move(piece), false); });
}

// Counted as unsent until it has arrived.
void Fabric::arrive_in_order(const std::shared_ptr<Stream>& to, Bytes piece) {
  const std::shared_ptr<Stream> from = to->other();
  const Duration delay = draw_in_order_delay(from->link().faults);
  const Instant arrival = std::max(clock_.now() + delay, to->last_arrival + nanoseconds(1));
  to->last_arrival = arrival;
  from->add_unsent(piece.size());
  clock_.after(arrival - clock_.now(),
               [to, piece = std::move(piece)]() mutable { to->arrive(std::move(piece), true); });
}

void Fabric::break_after(Duration delay, const std::shared_ptr<Stream>& from) {
  clock_.after(delay, [one = std::weak_ptr(from), two = std::weak_ptr(from->other())] {
    for (const auto& side : {two.lock(), one.lock()}) {
      if (side != nullptr) side->end(Ending::kReset, "connection reset");
    }
  });
}

void Fabric::tell_ended(const std::shared_ptr<Stream>& from, Ending ending,
                        const std::string& why) {
  const std::shared_ptr<Stream> other = from->other();
  if (other == nullptr) return;
  Link& link = from->link();
  const Instant when =
      std::max(clock_.now() + link.faults.longest, other->last_arrival + nanoseconds(1));
  clock_.after(when - clock_.now(), [&link, to = std::weak_ptr(other), ending, why] {
    if (link.cut) return link.farewells.push_back({to, ending, why});
    if (const auto told = to.lock()) told->end(ending, why);
  });
}

Duration Fabric::draw_delay(const LinkFaults& faults) {
  return Duration{
      static_cast<std::int64_t>(rng_.between(static_cast<std::uint64_t>(faults.shortest.ns),
                                             static_cast<std::uint64_t>(faults.longest.ns)))};
}

Duration Fabric::draw_in_order_delay(const LinkFaults& faults) {
  if (!of_thousand(faults.long_tails)) return draw_delay(faults);
  ++counts_.long_tails;
  const Duration most = std::max(faults.tail, faults.longest);
  return Duration{static_cast<std::int64_t>(rng_.between(
      static_cast<std::uint64_t>(faults.longest.ns), static_cast<std::uint64_t>(most.ns)))};
}

}  // namespace conclave::sim
