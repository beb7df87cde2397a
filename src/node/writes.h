#pragma once
// Writes of clients that wait at this member, from their arrival until their outcome is known.
//
// Each gets a call number, growing by one. A write is *unsent*, or sent in some epoch: proposed
// here, or forwarded to the leader of that epoch. It ends by being applied, by being refused before
// it reached the log, or at its deadline. A write sent in an epoch below the highest one applied
// has certainly not happened and never will (store::Store's epoch fence), so it is sent again: a
// change of leader costs waiting clients time and not their answer.
//
// Pure: no clock, no I/O.

#include <compare>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "api/session.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"

namespace conclave::node {

// Connections that no client has: the procedures of locks and elections ask as clients do, and are
// answered within the group. (~0 is the connection of calls by Node::ask().)
inline constexpr std::uint64_t kLocksConnection = ~std::uint64_t{1};
inline constexpr std::uint64_t kObserversConnection = ~std::uint64_t{2};
inline constexpr std::uint64_t kNativeConnection = ~std::uint64_t{3};
inline bool is_of_a_procedure(std::uint64_t connection) { return connection >= kNativeConnection; }

// A client's call at this member. Connection 0 is the member itself: nobody hears the answer.
struct ClientCall {
  std::uint64_t connection = 0;
  api::CallId call = 0;

  auto operator<=>(const ClientCall&) const = default;
};

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

  // The number that the next add() will use: it is part of the command.
  std::uint64_t next_call() const { return first_ + slots_.size(); }
  // `idempotent`: the command carries a request id, so sending it again is harmless.
  void add(ClientCall client, Bytes command, bool idempotent, Instant deadline);

  std::size_t waiting() const { return waiting_; }
  std::size_t waiting_bytes() const { return waiting_bytes_; }
  bool has_unsent() const { return !unsent_.empty(); }

  // Unsent writes in order of arrival, up to about `max_bytes` of commands (at least one); now sent
  // in `epoch`.
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
    Epoch sent;  // none: unsent
    bool idempotent = false;
    bool ended = false;
  };

  Slot* find(std::uint64_t call);
  void end(Slot& slot);
  void drop_ended();
  void sort_unsent();

  std::uint64_t first_ = 1;  // call number of slots_.front()
  std::deque<Slot> slots_;   // in order of arrival; ended ones go once they reach the front
  std::deque<std::uint64_t> unsent_;
  std::size_t waiting_ = 0;
  std::size_t waiting_bytes_ = 0;  // of their commands
};

}  // namespace conclave::node
