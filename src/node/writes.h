#pragma once
// Writes of clients that wait at this member, from their arrival until their outcome is known.
//
// Each gets a call number, growing by one. A write is *unsent*, or sent in some epoch: proposed
// here, or forwarded to the leader of that epoch. It ends by being applied, by being refused before
// it reached the log, or at its deadline. A write sent in an epoch below the highest one applied
// has certainly not happened and never will (store::Store's epoch fence), so it is sent again: a
// change of leader costs waiting clients time and not their answer.
//
// Only so many are sent and not applied at the same time (a window, by cost). The others wait in a
// fair queue, so that a client waits for what is in the window and for its own requests, and not
// for those of another that floods the member. Writes of one connection are sent in order.
//
// Some are *ordered*: they are to be applied in the order of their connection, too. So nothing new
// is sent in an epoch as long as ordered ones of an earlier epoch are under way, of which it is not
// known yet whether they have to be sent again.
//
// Pure: no clock, no I/O.

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "api/session.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"
#include "node/fair_queue.h"
#include "node/in_flight.h"

namespace conclave::node {

// Connections that no client has: the procedures of locks and elections ask as clients do, and are
// answered within the group. (~0 is the connection of calls by Node::ask().)
inline constexpr std::uint64_t kLocksConnection = ~std::uint64_t{1};
inline constexpr std::uint64_t kObserversConnection = ~std::uint64_t{2};
inline constexpr std::uint64_t kNativeConnection = ~std::uint64_t{3};
inline constexpr std::uint64_t kSessionsConnection = ~std::uint64_t{4};  // keeps them alive
inline bool is_of_a_procedure(std::uint64_t connection) {
  return connection >= kSessionsConnection;
}

// A client's call at this member. Connection 0 is the member itself: nobody hears the answer.
struct ClientCall {
  std::uint64_t connection = 0;
  api::CallId call = 0;
  // For shares and limits, and not part of what names it.
  std::uint64_t on_behalf_of = 0;  // another connection; 0: of nobody else
  Flow user = 0;                   // user_flow(); 0: nobody said

  friend bool operator==(const ClientCall& a, const ClientCall& b) {
    return a.connection == b.connection && a.call == b.call;
  }
  friend std::strong_ordering operator<=>(const ClientCall& a, const ClientCall& b) {
    return std::tie(a.connection, a.call) <=> std::tie(b.connection, b.call);
  }
};

// Whose share a call is part of.
inline Flow flow_of(const ClientCall& client) {
  return client.on_behalf_of == 0 ? client.connection : client.on_behalf_of;
}
inline Sharer sharer_of(const ClientCall& client) { return {flow_of(client), client.user}; }

class Writes {
 public:
  struct Sent {
    std::uint64_t call = 0;
    BytesView command;  // valid until the write ends
  };
  struct Expired {
    ClientCall client;
    bool fate_unknown = false;  // it was sent; otherwise it certainly did not happen
  };

  // What may be sent and not applied, by cost; twice as much for a connection that had nothing
  // waiting.
  void set_window(std::uint64_t cost) { window_ = cost; }

  // The number that the next add() will use: it is part of the command.
  std::uint64_t next_call() const { return first_ + slots_.size(); }
  // `idempotent`: the command carries a request id, so sending it again is harmless. `operations`:
  // how many the command has.
  void add(ClientCall client, Bytes command, bool idempotent, Instant deadline,
           std::size_t operations = 1, bool ordered = false);
  // What one that has ended has cost beside its request.
  void charge(Flow flow, std::uint64_t cost) { unsent_.charge(flow, cost); }
  // Nobody waits any more for those of this connection that were not sent: they are dropped.
  void drop_unsent(std::uint64_t connection);
  // One of this connection's ordered writes was not done, or its fate is unknown: those after it
  // that are in no log are dropped, and those that were sent are not sent again.
  void drop_after_failure(std::uint64_t connection);
  // Whether this client may add another one; `share`: times the limits.
  bool has_room(const ClientCall& client, std::size_t share) const {
    return in_flight_.has_room(sharer_of(client), share);
  }

  std::size_t waiting() const { return in_flight_.requests(); }
  std::size_t waiting_bytes() const { return in_flight_.bytes(); }
  // Of those that wait, the ones that the window keeps back.
  std::size_t queued() const { return unsent_.size(); }
  // The write that was sent last; of all that were sent, what has ended, by cost.
  std::uint64_t last_sent() const { return last_sent_; }
  std::uint64_t done_cost() const { return done_cost_; }
  // There are unsent writes, and they may be sent now, in `epoch`.
  bool may_send(Epoch epoch) const;

  // Unsent writes, in the order of their shares, up to about `max_bytes` of commands (at least
  // one, if may_send()); now sent in `epoch`.
  std::vector<Sent> take_unsent(Epoch epoch, std::size_t max_bytes);
  // These did not reach a log: unsent again.
  void put_back(const std::vector<std::uint64_t>& calls);
  // Everything sent in an epoch below `applied` is unsent again.
  void put_back_before(Epoch applied);

  bool is_waiting(std::uint64_t call) const;
  // The write has ended; who waits for it, if it was still waiting.
  std::optional<ClientCall> finish(std::uint64_t call);
  std::vector<Expired> expire(Instant now);
  // The state jumped over an unknown part of the log: ends every sent write whose repetition could
  // apply it twice, and puts back the others. Returns those ended.
  std::vector<ClientCall> forget_sent();

 private:
  struct Slot {
    ClientCall client;
    Bytes command;
    Instant deadline;
    std::uint64_t cost = 0;
    Epoch sent;  // none: unsent
    bool idempotent = false;
    bool ordered = false;
    bool is_last_try = false;  // not to be sent again
    bool ended = false;
  };

  Slot* find(std::uint64_t call);
  void end(Slot& slot);
  void unsend(std::uint64_t call, Slot& slot);
  void set_sent(Slot& slot, Epoch epoch);
  void drop_ended();
  std::uint64_t next_unsent();
  void pop_unsent();

  std::uint64_t first_ = 1;  // call number of slots_.front()
  std::deque<Slot> slots_;   // in order of arrival; ended ones go once they reach the front
  FairQueue<std::uint64_t> unsent_{limits::kFairQuantum};
  // Sent once, and unsent again: before all others, in order of arrival.
  std::set<std::uint64_t> again_;
  std::map<Epoch, std::size_t> ordered_sent_;  // how many are under way
  std::uint64_t window_ = limits::kAdmittedCost;
  std::uint64_t sent_cost_ = 0;
  std::uint64_t done_cost_ = 0;
  std::uint64_t last_sent_ = 0;
  InFlight in_flight_{
      {.requests = limits::kMaxInflightWrites, .bytes = limits::kMaxInflightWriteBytes}};
};

}  // namespace conclave::node
