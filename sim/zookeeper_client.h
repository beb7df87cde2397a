#pragma once
// A client of ZooKeeper's protocol in the simulated network, as those of Java and C are: one
// connection at a time to any member, one session that goes on over many connections, pings, and
// requests that are under way together and answered in their order. A connection on which nothing
// is heard for two thirds of the session's timeout is given up.
//
// It judges what any client may rely on: answers in order, zxids that never go back, a session that
// keeps its id, password and timeout, and that does not expire early.
//
// Not thread-safe: one loop.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "base/time.h"
#include "io/clock.h"
#include "io/network.h"
#include "sim/zookeeper_messages.h"

namespace conclave::sim {

class ZooKeeperClient {
 public:
  struct Options {
    std::uint64_t seed = 0;
    const std::vector<io::Address>* members = nullptr;  // any ports; outlives us
    std::int32_t timeout_ms = 4'000;                    // asked for
    // "name:password", told on each connection before anything is asked; empty: none.
    Bytes credentials = {};
  };

  // What it knows of its session.
  struct Session {
    std::int64_t id = 0;
    Bytes password;
    std::int64_t timeout_ms = 0;
    std::int64_t last_zxid = 0;  // of all answers
    // When what keeps it alive was asked for, of all that was answered.
    std::int64_t kept_alive_ns = 0;
    bool is_closing = false;

    // No clock is so fast that it may have ended by then of its own.
    std::int64_t safe_until_ns() const;
  };

  struct Reply {
    bool is_answered = false;  // or nobody knows what became of it
    std::int32_t code = 0;
    std::int64_t zxid = 0;
    Bytes body;
  };
  using Done = std::function<void(const Reply&)>;

  // None of them may destroy the client.
  struct Told {
    std::function<void(bool is_new)> connected;   // its session is a new one
    std::function<void(const Session&)> expired;  // nothing follows until begin()
    std::function<void(const ZkEvent&)> event;
    std::function<void()> kept_alive;  // session() says since when
  };

  ZooKeeperClient(Options options, io::Clock& clock, io::Network& network, Told told);
  ~ZooKeeperClient();
  ZooKeeperClient(const ZooKeeperClient&) = delete;
  ZooKeeperClient& operator=(const ZooKeeperClient&) = delete;

  // Connects to any member until it has a session. REQUIRES: no session.
  void begin();
  bool is_connected() const { return is_connected_; }
  const Session& session() const { return session_; }
  std::uint64_t answered() const { return answered_; }

  // `done` comes once, later. REQUIRES: is_connected().
  void ask(std::int32_t opcode, Bytes body, Done done);
  // Asks that the session be closed; `done` as with ask(). It ends the connection.
  void close(Done done);

  // The session goes on at any member after a while. `hangs`: the old connection is left as it is,
  // and unread.
  void move(Duration away, bool hangs);
  // As if the process had died: the session is left to itself. Nobody is told anything.
  void vanish();

 private:
  struct Line;  // one connection
  struct Call {
    std::int32_t xid = 0;
    Done done;
  };

  void connect();
  void connect_later(Duration delay);
  void say_hello();
  void received(BytesView bytes);
  void take_packet(std::string_view packet);
  void welcome(std::string_view packet);
  void say_who_it_is();
  void expire();
  void answer(JuteReader& header, std::int32_t xid, std::string_view packet);
  void closed();
  // Drops the connection; what was under way will not be heard of.
  void drop();
  void disconnect(Duration away);
  void look_after();
  void note_zxid(std::int64_t zxid);
  std::int64_t now_ns() const { return clock_.now().ns; }
  Duration patience() const;

  Options options_;
  io::Clock& clock_;
  io::Network& network_;
  Rng rng_;
  Told told_;
  std::unique_ptr<io::Network::Connector> connector_;
  std::unique_ptr<Line> line_;
  std::unique_ptr<Line> hanging_;
  std::uint64_t lines_ = 0;  // so far
  Bytes input_;
  Session session_;
  bool is_connected_ = false;
  std::int64_t hello_ns_ = 0;  // when the session was asked for
  std::int64_t heard_ns_ = 0;
  std::optional<std::int64_t> ping_ns_;  // asked for and not answered
  std::int32_t xid_ = 0;
  std::deque<Call> calls_;
  std::uint64_t answered_ = 0;
  io::Clock::TimerId reconnect_ = 0;
  io::Clock::TimerId attend_ = 0;
};

}  // namespace conclave::sim
