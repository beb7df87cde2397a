#include "node/clients.h"

#include <utility>

#include "base/limits.h"
#include "base/log.h"

namespace conclave::node {

struct Clients::Client : io::ConnectionHandler {
  Client(Clients& clients, std::uint64_t number, std::unique_ptr<io::Connection> accepted)
      : owner(clients),
        id(number),
        connection(std::move(accepted)),
        session(clients.make_session_(connection->peer_name())) {}

  void on_bytes(BytesView bytes) override {
    session->on_bytes(bytes, effects);
    owner.after_session(*this);
  }
  void on_drained() override {
    if (std::exchange(paused, false)) connection->pause_reading(false);
    session->on_drained(effects);
    owner.after_session(*this);
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
  bool dirty = false;
  bool submitting = false;  // a loop that takes calls from `effects` is on the stack
  bool paused = false;
  bool closing = false;
  bool gone = false;  // destroyed at the next flush
};

Clients::Clients(std::size_t max_connections, io::Clock& clock, io::Network& network,
                 api::SessionFactory make_session, Submit submit)
    : max_connections_(max_connections),
      clock_(clock),
      network_(network),
      make_session_(std::move(make_session)),
      submit_(std::move(submit)),
      alive_(std::make_shared<char>()) {}

Clients::~Clients() = default;

Result<void> Clients::listen(const io::Address& address) {
  listeners_.push_back(
      TRY(network_.listen(address, [this](std::unique_ptr<io::Connection> connection) {
        accept(std::move(connection));
      })));
  return {};
}

void Clients::accept(std::unique_ptr<io::Connection> connection) {
  if (connections_.size() >= max_connections_) {
    LOG(kWarn, "client {} refused: {} connections are open", connection->peer_name(),
        connections_.size());
    return;
  }
  const std::uint64_t id = next_id_++;
  auto client = std::make_unique<Client>(*this, id, std::move(connection));
  Client& started = *client;
  connections_.emplace(id, std::move(client));
  started.connection->start(&started);
}

// Moves what a session wants done; sending waits for flush(). A call that is answered at once comes
// back here with the session's next ones: they wait for the loop further up the stack, since a
// client can send any number of them.
void Clients::after_session(Client& client) {
  client.effects.cancelled.clear();  // answers to them are ignored by the session
  const bool something = client.gone || client.effects.close || !client.effects.send.empty();
  if (something && !client.dirty) {
    client.dirty = true;
    dirty_.push_back(client.id);
  }
  if (!client.submitting) {
    client.submitting = true;
    while (!client.effects.calls.empty()) {
      for (api::Session::Effects::Call& call : std::exchange(client.effects.calls, {})) {
        submit_(ClientCall{client.id, call.id}, std::move(call.request));
      }
    }
    client.submitting = false;
  }
  if (dirty_.empty() || flush_wanted_) return;
  flush_wanted_ = true;
  clock_.post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) flush();
  });
}

void Clients::reply(ClientCall call, api::Response response) {
  const auto found = connections_.find(call.connection);
  if (found == connections_.end() || found->second->gone) return;
  found->second->session->on_response(call.call, std::move(response), found->second->effects);
  after_session(*found->second);
}

void Clients::flush() {
  flush_wanted_ = false;
  for (const std::uint64_t id : std::exchange(dirty_, {})) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) continue;
    Client& client = *found->second;
    client.dirty = false;
    if (client.gone) {
      connections_.erase(found);
      continue;
    }
    if (!client.effects.send.empty()) {
      client.connection->send(std::exchange(client.effects.send, {}));
    }
    if (client.effects.close && !std::exchange(client.closing, true)) {
      if (!client.effects.close_reason.empty()) {
        LOG(kWarn, "client {}: {}", client.connection->peer_name(), client.effects.close_reason);
      }
      client.connection->close_after_send();
    }
    if (!client.paused && client.connection->unsent_bytes() > limits::kMaxUnsentBytes) {
      client.paused = true;
      client.connection->pause_reading(true);
    }
  }
}

void Clients::tick() {
  const Instant now = clock_.now();
  for (auto& [id, client] : connections_) {
    if (client->gone) continue;
    client->session->on_tick(now, client->effects);
    after_session(*client);
  }
}

void Clients::shut_down() {
  listeners_.clear();
  for (auto& [id, client] : connections_) {
    if (client->gone) continue;
    client->session->on_shutdown(client->effects);
    after_session(*client);
  }
}

}  // namespace conclave::node
