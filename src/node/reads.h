#pragma once
// Reads that wait at this member. Linearizable ones first for a barrier to begin, then for its
// answer, then for the store to reach the index it names; all reads that wait at the same time
// share one barrier. Then they are due: each waits for its connection's turn (node/fair_queue.h),
// and for its client to take earlier answers.
//
// Pure: no clock, no I/O.

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "api/request.h"
#include "base/ids.h"
#include "base/time.h"
#include "node/fair_queue.h"
#include "node/in_flight.h"
#include "node/writes.h"

namespace conclave::node {

// Which answers may be made for a client now, that memory for those not taken stays bounded.
enum class Room : std::uint8_t {
  kGone,   // none: nobody waits
  kNone,   // none, until the client has taken some of the earlier ones
  kSmall,  // one that is small
  kAny,
};

class Reads {
 public:
  struct Read {
    ClientCall client;
    api::Request request;
    Instant deadline;
    bool is_long = false;   // known not to fit into a slice
    std::size_t bytes = 0;  // of the request, about
  };

  // `first`: where this run's barrier ids begin; no two runs of any member may share ids.
  explicit Reads(ReadId first) : next_(first) {}

  void add(Read read);
  std::size_t waiting() const { return in_flight_.requests(); }
  // Whether this client may add another one.
  bool has_room(const ClientCall& client) const { return in_flight_.has_room(sharer_of(client)); }

  // Closes the group of reads that have been added, if there are any, and names the barrier they
  // need. With `kMaxBarriers` under way reads gather until one ends.
  std::optional<ReadId> begin_barrier();
  // The barrier ended: its reads wait for the store to reach `index`; without one, for retry().
  void barrier_done(ReadId id, std::optional<LogIndex> index);
  // Reads of failed barriers may ask again. Called every tick: asking at once would only spin while
  // there is no leader.
  void retry();
  // The reads that the store can answer at `applied` become due.
  void make_due(LogIndex applied);
  // Due at once: one that needs no barrier.
  void add_due(Read read);
  bool has_due() const { return !due_.empty(); }
  std::optional<Read> next_due();
  // What the last one that was taken has cost beside its request.
  void charge(Flow flow, std::uint64_t cost) { due_.charge(flow, cost); }
  void charge_long(Flow flow, std::uint64_t cost) { postponed_.charge(flow, cost); }
  // These come back to due ones: a long one when others are done, one whose connection is full
  // with has_room(). What a barrier promised stays true, as the store only gets newer.
  void postpone(Read read);
  bool has_postponed() const { return !postponed_.empty(); }
  std::optional<Read> next_postponed();
  void hold(Read read);
  void on_room(std::uint64_t connection);
  std::vector<std::uint64_t> full_connections() const;

  struct Expired {
    ClientCall client;
    bool held = false;  // for want of room
  };
  std::vector<Expired> expire(Instant now);

 private:
  static constexpr std::size_t kMaxBarriers = 4;

  using Queue = FairQueue<Read>;

  std::optional<Read> take_first(Queue& from);
  void count(const Read& read) { in_flight_.add(sharer_of(read.client), read.bytes); }
  void discount(const Read& read) { in_flight_.remove(sharer_of(read.client), read.bytes); }
  static void push(Queue& queue, Read read);

  ReadId next_;
  std::vector<Read> new_;
  std::vector<Read> failed_;
  std::map<ReadId, std::vector<Read>> in_barrier_;
  std::multimap<LogIndex, std::vector<Read>> ready_;
  Queue due_{limits::kFairQuantum};
  Queue postponed_{limits::kFairQuantum};
  std::map<std::uint64_t, std::vector<Read>> held_;  // by connection
  InFlight in_flight_{
      {.requests = limits::kMaxInflightReads, .bytes = limits::kMaxInflightReadBytes}};
};

}  // namespace conclave::node
