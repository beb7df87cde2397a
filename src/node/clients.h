#pragma once
// The member's client port: accepted connections, each with a protocol session. Bytes go into
// sessions, requests come out and go to the node; answers go back the same way. Knows no protocol.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "api/session.h"
#include "base/fair_limits.h"
#include "base/result.h"
#include "io/clock.h"
#include "io/network.h"
#include "node/reads.h"
#include "node/writes.h"

namespace conclave::node {

class Clients {
 public:
  using Submit = std::function<void(ClientCall, api::Request&&)>;
  // The client wants no answer any more; the call may have been answered.
  using Withdraw = std::function<void(ClientCall)>;
  // Told when a connection that room_for() called full is so no longer.
  using HasRoom = std::function<void(std::uint64_t connection)>;
  // What becomes of watches; a feed is named like a call. None may call back at once.
  struct WatchHooks {
    std::function<void(ClientCall feed, api::WatchRequest)> request;
    std::function<void(ClientCall feed)> has_room;
    std::function<void(std::uint64_t connection)> gone;
  };

  // Beyond `max_connections` newcomers are turned away.
  Clients(std::size_t max_connections, io::Clock& clock, io::Network& network,
          api::SessionFactory make_session, Submit submit, Withdraw withdraw, HasRoom has_room,
          WatchHooks watches);
  ~Clients();

  // kBusy names a port that is taken. `make_session` is for the connections accepted there, and
  // outlives this; null: the one that was given at first.
  Result<void> listen(const io::Address& address, api::SessionFactory* make_session = nullptr);
  // Answers a call; ignored if its connection is gone. Answers of one loop turn leave together.
  void reply(ClientCall call, api::Response&& response);
  // The first keys of a Range's answer (api::Session::on_part). False: nobody waits for it.
  bool part(ClientCall call, const api::Header& header, std::vector<api::KeyValue> kvs);
  // News for a feed (api::Session::on_watch). False: not now; WatchHooks::has_room follows, or
  // gone.
  bool watch_news(ClientCall feed, const api::Header& header, const api::WatchNews& news);
  // For a connection's session (api::Session::on_zookeeper); ignored if it is gone.
  void zookeeper_news(std::uint64_t connection, api::zk::News news);
  // Which answers may be made for a connection, by what it and all of them have not taken yet.
  Room room_for(std::uint64_t connection);
  // About once a second: sessions find out clients that dribble.
  void tick();
  // Accepts nobody any more, and tells those connected.
  void shut_down();
  std::size_t connections() const { return connections_.size(); }
  // Of all connections since the start.
  std::uint64_t bytes_received() const { return bytes_received_; }
  std::uint64_t bytes_sent() const { return bytes_sent_; }

 private:
  struct Client;

  void accept(std::unique_ptr<io::Connection> connection, api::SessionFactory& make_session);
  template <class Event>
  void tell(Client& client, Event&& event);
  void take_input(Client& client, BytesView bytes);
  std::uint64_t feed_share(Client& client);
  std::uint64_t show(Client& client, BytesView piece);
  void use_up(std::uint64_t cost);
  void resume(Client& client);
  void want_feed();
  void feed();
  void after_session(Client& client);
  void count_held(Client& client);
  Room room_of(const Client& client) const;
  void flush();
  void close(std::uint64_t id);
  bool has_room_for_events(const Client& client) const;
  void feed_starved();

  std::size_t max_connections_;
  io::Clock& clock_;
  io::Network& network_;
  api::SessionFactory make_session_;
  Submit submit_;
  Withdraw withdraw_;
  HasRoom has_room_;
  WatchHooks watches_;
  std::set<ClientCall> starved_;  // feeds that were refused since all connections hold so much
  std::vector<std::unique_ptr<io::Listener>> listeners_;
  std::map<std::uint64_t, std::unique_ptr<Client>> connections_;
  std::uint64_t next_id_ = 1;
  std::uint64_t bytes_received_ = 0;
  std::uint64_t bytes_sent_ = 0;
  std::size_t held_bytes_ = 0;        // of all connections
  std::vector<std::uint64_t> dirty_;  // connections with something to send or to destroy
  bool flush_wanted_ = false;
  // Connections with input that waits for its turn; before the others those with little of it.
  std::deque<std::uint64_t> fed_;
  std::deque<std::uint64_t> fed_first_;
  bool feed_wanted_ = false;
  std::uint64_t input_left_ = limits::kInputCostPerTurn;
  std::shared_ptr<char> alive_;
};

}  // namespace conclave::node
