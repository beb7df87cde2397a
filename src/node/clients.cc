#include "node/clients.h"

#include <algorithm>
#include <utility>

#include "base/fair_limits.h"
#include "base/limits.h"
#include "base/log.h"

namespace conclave::node {

struct Clients::Client : io::ConnectionHandler {
  Client(Clients& clients, std::uint64_t number, std::unique_ptr<io::Connection> accepted,
         api::SessionFactory& make_session)
      : owner(clients),
        id(number),
        connection(std::move(accepted)),
        session(make_session(connection->peer_name(),
                             api::ClientIdentity{connection->peer_common_name()})) {
    effects.gathers = true;
  }

  void on_bytes(BytesView bytes) override { owner.take_input(*this, bytes); }
  void on_drained() override {
    if (std::exchange(is_slow, false)) owner.resume(*this);
    owner.tell(*this, [&] { session->on_drained(effects); });
  }
  void on_closed(const Error&) override {
    gone = true;
    owner.after_session(*this);
  }

  Clients& owner;
  const std::uint64_t id;
  std::unique_ptr<io::Connection> connection;
  std::unique_ptr<api::Session> session;
  api::Session::Effects effects;
  std::size_t held = 0;  // of its answers, in Clients::held_bytes_
  bool full = false;     // somebody waits for has_room_
  bool dirty = false;
  bool submitting = false;  // a loop that takes calls from `effects` is on the stack
  Bytes input;              // that its session has yet to see, from `input_taken` on
  std::size_t input_taken = 0;
  std::uint64_t asked = 0;  // what its requests cost to take in, beside their bytes
  bool is_fed = false;      // it is in Clients::fed_ or fed_first_
  bool is_slow = false;     // it has much to send: not read from, nor its input looked at
  bool is_busy = false;     // its session takes no bytes: the same
  bool paused = false;      // reading
  bool closing = false;
  bool gone = false;  // destroyed at the next flush
};

Clients::Clients(std::size_t max_connections, io::Clock& clock, io::Network& network,
                 api::SessionFactory make_session, Submit submit, Withdraw withdraw,
                 HasRoom has_room, WatchHooks watches)
    : max_connections_(max_connections),
      clock_(clock),
      network_(network),
      make_session_(std::move(make_session)),
      submit_(std::move(submit)),
      withdraw_(std::move(withdraw)),
      has_room_(std::move(has_room)),
      watches_(std::move(watches)),
      alive_(std::make_shared<char>()) {}

Clients::~Clients() = default;

Result<void> Clients::listen(const io::Address& address, api::SessionFactory* make_session) {
  api::SessionFactory& make = make_session == nullptr ? make_session_ : *make_session;
  listeners_.push_back(
      TRY(network_.listen(address, [this, &make](std::unique_ptr<io::Connection> connection) {
        accept(std::move(connection), make);
      })));
  return {};
}

void Clients::accept(std::unique_ptr<io::Connection> connection,
                     api::SessionFactory& make_session) {
  if (connections_.size() >= max_connections_) {
    LOG(kWarn, "client {} refused: {} connections are open", connection->peer_name(),
        connections_.size());
    return;
  }
  const std::uint64_t id = next_id_++;
  auto client = std::make_unique<Client>(*this, id, std::move(connection), make_session);
  Client& started = *client;
  connections_.emplace(id, std::move(client));
  started.connection->start(&started);
}

// Every event reaches a session through here.
template <class Event>
void Clients::tell(Client& client, Event&& event) {
  client.effects.unsent = client.connection->unsent_bytes();
  event();
  after_session(client);
}

// A connection's share of a turn at once; the rest waits for its turns among others that sent as
// much, and until then nothing more is read.
void Clients::take_input(Client& client, BytesView bytes) {
  bytes_received_ += bytes.size();
  const bool is_first = client.input.empty() && input_left_ > 0 && !client.is_busy;
  if (is_first && bytes.size() <= limits::kInputPieceBytes) {
    use_up(show(client, bytes));
    return;
  }
  client.input.append(bytes);
  if (is_first) use_up(feed_share(client));
  resume(client);
}

// Of what those that came first may take in in this turn. The next one begins with feed().
void Clients::use_up(std::uint64_t cost) {
  input_left_ -= std::min(input_left_, cost);
  want_feed();
}

// What it cost.
std::uint64_t Clients::show(Client& client, BytesView piece) {
  const std::uint64_t asked_before = client.asked;
  tell(client, [&] { client.session->on_bytes(piece, client.effects); });
  return piece.size() + client.asked - asked_before;
}

// Shows its session some of its input, piece by piece; what that cost. REQUIRES: there is some.
std::uint64_t Clients::feed_share(Client& client) {
  std::uint64_t cost = 0;
  while (!client.gone && !client.is_busy && !client.input.empty() && cost < limits::kInputShare) {
    const BytesView piece =
        BytesView(client.input).substr(client.input_taken, limits::kInputPieceBytes);
    const std::size_t size = piece.size();
    cost += show(client, piece);
    client.input_taken += size;
    if (client.input_taken < client.input.size()) continue;
    client.input_taken = 0;
    client.input = Bytes();
  }
  return cost;
}

// Lets a connection go on: with its input first, then with reading.
void Clients::resume(Client& client) {
  const bool has_input = !client.input.empty();
  const bool waits = client.is_slow || client.is_busy;
  const bool paused = has_input || waits;
  if (std::exchange(client.paused, paused) != paused) client.connection->pause_reading(paused);
  if (!has_input || waits || std::exchange(client.is_fed, true)) return;
  const bool is_little = client.input.size() - client.input_taken <= limits::kInputPieceBytes;
  (is_little ? fed_first_ : fed_).push_back(client.id);
  want_feed();
}

void Clients::want_feed() {
  if (std::exchange(feed_wanted_, true)) return;
  clock_.post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) feed();
  });
}

// One turn of the loop for those that have sent much.
void Clients::feed() {
  feed_wanted_ = false;
  input_left_ = limits::kInputCostPerTurn;
  std::uint64_t left = limits::kInputCostPerTurn;
  while (left > 0 && !(fed_first_.empty() && fed_.empty())) {
    std::deque<std::uint64_t>& next = fed_first_.empty() ? fed_ : fed_first_;
    const auto found = connections_.find(next.front());
    next.pop_front();
    if (found == connections_.end() || found->second->gone) continue;
    Client& client = *found->second;
    client.is_fed = false;
    if (client.is_slow || client.is_busy) continue;
    left -= std::min(left, feed_share(client));
    if (!client.gone) resume(client);
  }
  if (!fed_first_.empty() || !fed_.empty()) want_feed();
}

void Clients::count_held(Client& client) {
  const std::size_t now = client.gone ? 0
                                      : client.session->held_bytes() + client.effects.send.size() +
                                            client.connection->unsent_bytes();
  held_bytes_ += now - client.held;
  client.held = now;
}

Room Clients::room_of(const Client& client) const {
  if (client.gone) return Room::kGone;
  if (client.held >= limits::kMaxUnsentBytes) return Room::kNone;
  if (held_bytes_ < limits::kMaxAllUnsentBytes) return Room::kAny;
  return client.held == 0 ? Room::kSmall : Room::kNone;
}

Room Clients::room_for(std::uint64_t connection) {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return Room::kGone;
  Client& client = *found->second;
  count_held(client);
  const Room room = room_of(client);
  client.full = room == Room::kNone || room == Room::kSmall;
  return room;
}

// Moves what a session wants done; sending waits for flush(). A call that is answered at once comes
// back here with the session's next ones: they wait for the loop further up the stack, since a
// client can send any number of them.
void Clients::after_session(Client& client) {
  const bool something = client.gone || client.effects.close || client.effects.wants_drained ||
                         !client.effects.send.empty();
  if (something && !client.dirty) {
    client.dirty = true;
    dirty_.push_back(client.id);
  }
  count_held(client);
  if (client.full && room_of(client) != Room::kNone) {
    client.full = false;
    has_room_(client.id);
  }
  client.asked += client.effects.watches.size() * limits::kRequestCost;
  for (api::Session::Effects::Watch& watch : std::exchange(client.effects.watches, {})) {
    watches_.request(ClientCall{client.id, watch.feed}, std::move(watch.request));
  }
  for (const api::CallId feed : std::exchange(client.effects.has_room, {})) {
    watches_.has_room(ClientCall{client.id, feed});
  }
  // Before new calls, which may be for what a cancelled one has; after them, as one that has just
  // been made may be among them.
  for (const api::CallId call : client.effects.cancelled) withdraw_(ClientCall{client.id, call});
  if (!client.submitting) {
    client.submitting = true;
    while (!client.effects.calls.empty()) {
      client.asked += client.effects.calls.size() * limits::kRequestCost;
      const bool was_closing = client.effects.close;
      for (api::Session::Effects::Call& call : std::exchange(client.effects.calls, {})) {
        // One of them has been answered at once, and that is the end: the others never were.
        if (client.effects.close && !was_closing) break;
        submit_(ClientCall{client.id, call.id}, std::move(call.request));
      }
    }
    client.submitting = false;
    for (const api::CallId call : std::exchange(client.effects.cancelled, {})) {
      withdraw_(ClientCall{client.id, call});
    }
  }
  const bool is_busy = !client.gone && !client.session->takes_bytes();
  if (std::exchange(client.is_busy, is_busy) != is_busy) resume(client);
  if (dirty_.empty() || flush_wanted_) return;
  flush_wanted_ = true;
  clock_.post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) flush();
  });
}

void Clients::reply(ClientCall call, api::Response&& response) {
  const auto found = connections_.find(call.connection);
  if (found == connections_.end() || found->second->gone) return;
  Client& client = *found->second;
  tell(client,
       [&] { client.session->on_response(call.call, std::move(response), client.effects); });
}

bool Clients::part(ClientCall call, const api::Header& header, std::vector<api::KeyValue> kvs) {
  const auto found = connections_.find(call.connection);
  if (found == connections_.end() || found->second->gone) return false;
  Client& client = *found->second;
  bool is_wanted = false;
  tell(client, [&] {
    is_wanted = client.session->on_part(call.call, header, std::move(kvs), client.effects);
  });
  return is_wanted;
}

bool Clients::watch_news(ClientCall feed, const api::Header& header, const api::WatchNews& news) {
  const auto found = connections_.find(feed.connection);
  if (found == connections_.end() || found->second->gone) return false;
  Client& client = *found->second;
  if (api::may_wait(news) && !has_room_for_events(client)) {
    starved_.insert(feed);
    return false;
  }
  bool is_taken = false;
  tell(client,
       [&] { is_taken = client.session->on_watch(feed.call, header, news, client.effects); });
  return is_taken;
}

void Clients::zookeeper_news(std::uint64_t connection, api::zk::News news) {
  const auto found = connections_.find(connection);
  if (found == connections_.end() || found->second->gone) return;
  Client& client = *found->second;
  tell(client, [&] { client.session->on_zookeeper(std::move(news), client.effects); });
}

// While all connections together hold too much, only those get more that hold little. The session
// sees to the bounds of its own connection.
bool Clients::has_room_for_events(const Client& client) const {
  return held_bytes_ < limits::kMaxAllUnsentBytes || client.held < limits::kLittleUnsentBytes;
}

void Clients::feed_starved() {
  for (const ClientCall& feed : std::exchange(starved_, {})) watches_.has_room(feed);
}

void Clients::flush() {
  flush_wanted_ = false;
  for (const std::uint64_t id : std::exchange(dirty_, {})) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) continue;
    Client& client = *found->second;
    const bool wants_drained = std::exchange(client.effects.wants_drained, false);
    if (wants_drained && !client.gone) {
      tell(client, [&] { client.session->on_drained(client.effects); });
    }
    client.dirty = false;
    if (client.gone) {
      connections_.erase(found);
      watches_.gone(id);
      continue;
    }
    if (!client.effects.send.empty()) {
      bytes_sent_ += client.effects.send.size();
      client.connection->send(std::exchange(client.effects.send, {}));
    }
    if (client.effects.close && !std::exchange(client.closing, true)) {
      if (!client.effects.close_reason.empty()) {
        LOG(kWarn, "client {}: {}", client.connection->peer_name(), client.effects.close_reason);
      }
      client.connection->close_after_send();
    }
    if (!client.is_slow && client.connection->unsent_bytes() >= limits::kSendAheadBytes) {
      client.is_slow = true;
      resume(client);
    }
    if (client.effects.wants_drained) after_session(client);  // by what was answered meanwhile
  }
}

void Clients::tick() {
  const Instant now = clock_.now();
  for (auto& [id, client] : connections_) {
    if (client->gone) continue;
    tell(*client, [&] { client->session->on_tick(now, client->effects); });
  }
  feed_starved();
}

void Clients::shut_down() {
  listeners_.clear();
  for (auto& [id, client] : connections_) {
    if (client->gone) continue;
    tell(*client, [&] { client->session->on_shutdown(client->effects); });
  }
}

}  // namespace conclave::node
