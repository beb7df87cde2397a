#pragma once
// Linearizable reads that wait at this member: first for a barrier to begin, then for its answer,
// then for the store to reach the index it names. All reads that wait at the same time share one
// barrier.
//
// Pure: no clock, no I/O.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "api/request.h"
#include "base/ids.h"
#include "base/time.h"
#include "node/writes.h"

namespace conclave::node {

class Reads {
 public:
  struct Read {
    ClientCall client;
    api::Request request;
    Instant deadline;
  };

  // `first`: where this run's barrier ids begin; no two runs of any member may share ids.
  explicit Reads(ReadId first) : next_(first) {}

  void add(Read read);
  std::size_t waiting() const { return waiting_; }

  // Closes the group of reads that have been added, if there are any, and names the barrier they
  // need. With `kMaxBarriers` under way reads gather until one ends.
  std::optional<ReadId> begin_barrier();
  // The barrier ended: its reads wait for the store to reach `index`; without one, for retry().
  void barrier_done(ReadId id, std::optional<LogIndex> index);
  // Reads of failed barriers may ask again. Called every tick: asking at once would only spin while
  // there is no leader.
  void retry();
  // The reads that the store can answer at `applied`.
  std::vector<Read> take_ready(LogIndex applied);
  std::vector<ClientCall> expire(Instant now);

 private:
  static constexpr std::size_t kMaxBarriers = 4;

  ReadId next_;
  std::vector<Read> new_;
  std::vector<Read> failed_;
  std::map<ReadId, std::vector<Read>> in_barrier_;
  std::multimap<LogIndex, std::vector<Read>> ready_;
  std::size_t waiting_ = 0;
};

}  // namespace conclave::node
