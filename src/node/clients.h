#pragma once
// The member's client port: accepted connections, each with a protocol session. Bytes go into
// sessions, requests come out and go to the node; answers go back the same way. Knows no protocol.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "api/session.h"
#include "base/result.h"
#include "io/clock.h"
#include "io/network.h"
#include "node/writes.h"

namespace conclave::node {

class Clients {
 public:
  using Submit = std::function<void(ClientCall, api::Request)>;

  // Beyond `max_connections` newcomers are turned away.
  Clients(std::size_t max_connections, io::Clock& clock, io::Network& network,
          api::SessionFactory make_session, Submit submit);
  ~Clients();

  // kBusy names a port that is taken.
  Result<void> listen(const io::Address& address);
  // Answers a call; ignored if its connection is gone. Answers of one loop turn leave together.
  void reply(ClientCall call, api::Response response);
  // About once a second: sessions find out clients that dribble.
  void tick();
  // Accepts nobody any more, and tells those connected.
  void shut_down();
  std::size_t connections() const { return connections_.size(); }

 private:
  struct Client;

  void accept(std::unique_ptr<io::Connection> connection);
  void after_session(Client& client);
  void flush();
  void close(std::uint64_t id);

  std::size_t max_connections_;
  io::Clock& clock_;
  io::Network& network_;
  api::SessionFactory make_session_;
  Submit submit_;
  std::vector<std::unique_ptr<io::Listener>> listeners_;
  std::map<std::uint64_t, std::unique_ptr<Client>> connections_;
  std::uint64_t next_id_ = 1;
  std::vector<std::uint64_t> dirty_;  // connections with something to send or to destroy
  bool flush_wanted_ = false;
  std::shared_ptr<char> alive_;
};

}  // namespace conclave::node
