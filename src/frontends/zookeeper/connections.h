#pragma once
// The ZooKeeper connections of one member, and what they have counted: what the four-letter words
// tell.
//
// Not thread-safe: all sessions of a member belong to one thread.

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "api/zookeeper.h"
#include "base/time.h"

namespace conclave::zookeeper {

// From a request's arrival to its answer.
struct Latencies {
  std::uint64_t count = 0;
  Duration sum, least, most;

  void add(Duration latency) {
    least = count == 0 ? latency : std::min(least, latency);
    most = std::max(most, latency);
    sum = sum + latency;
    ++count;
  }
  double mean_ms() const {
    return count == 0 ? 0 : sum.seconds() * 1'000 / static_cast<double>(count);
  }
};

// Packets; events are among those sent.
struct Traffic {
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  Latencies latencies;
};

// What is known of one connection.
struct ConnectionFacts {
  std::string peer;
  api::zk::SessionId session = 0;  // 0: none yet
  std::int64_t timeout_ms = 0;
  std::size_t unanswered = 0;
  std::int32_t last_opcode = 0;
  std::int32_t last_xid = 0;
  api::zk::Zxid last_zxid = 0;
  Traffic traffic;
};

class Connections {
 public:
  using Id = std::uint64_t;

  // One that has been accepted. The facts stay where they are until remove().
  ConnectionFacts& add(Id& id, std::string peer) {
    id = next_++;
    ConnectionFacts& facts = all_[id];
    facts.peer = std::move(peer);
    return facts;
  }
  void remove(Id id) { all_.erase(id); }

  // A place among the connections of one address, of which there are `most` (0: any number). False:
  // all are taken.
  bool take_place(const std::string& address, std::size_t most) {
    std::size_t& taken = places_[address];
    if (most != 0 && taken >= most) return false;
    ++taken;
    return true;
  }
  // REQUIRES: it was taken.
  void leave_place(const std::string& address) {
    const auto found = places_.find(address);
    if (--found->second == 0) places_.erase(found);
  }

  // By age.
  const std::map<Id, ConnectionFacts>& all() const { return all_; }
  std::size_t unanswered() const {
    std::size_t sum = 0;
    for (const auto& [id, facts] : all_) sum += facts.unanswered;
    return sum;
  }
  void reset_connections() {
    for (auto& [id, facts] : all_) facts.traffic = {};
  }

  Traffic total;  // also of those that have gone

 private:
  std::map<Id, ConnectionFacts> all_;
  std::map<std::string, std::size_t> places_;  // taken, by address
  Id next_ = 1;
};

}  // namespace conclave::zookeeper
