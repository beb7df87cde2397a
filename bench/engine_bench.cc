// Micro-benchmarks of the engines (Google Benchmark): what an entry costs three members together,
// from propose() on the leader to Output::committed on all of them, beside disk, network and store.
//
//   engine_bench --benchmark_filter=raft      items are entries of 300 bytes; barriers are reads
//
// Disk and network are there and take no time: what is to be written is durable at once, messages
// arrive in the order sent. `proposed` is how many commands the leader is given in one turn.

#include <benchmark/benchmark.h>

#include <deque>
#include <vector>

#include "base/check.h"
#include "paxos/paxos.h"
#include "raft/raft.h"

namespace conclave::consensus {
namespace {

constexpr GroupId kGroup{1};
constexpr std::size_t kMembers = 3;
constexpr std::size_t kLeader = 0;
constexpr std::uint64_t kCutEvery = 4096;  // entries between two snapshots
const Bytes kCommand(300, 'c');

template <Engine E>
class Trio {
 public:
  Trio() {
    const std::vector<NodeId> ids{NodeId{1}, NodeId{2}, NodeId{3}};
    for (const NodeId id : ids) {
      Saved saved;
      saved.snapshot.membership = Membership::of_majority(ids);
      members_.emplace_back(EngineConfig{.group = kGroup,
                                         .self = id,
                                         .max_append_bytes = 0,
                                         .is_witness = false,
                                         .witnessed = nullptr},
                            std::move(saved), id.value);
    }
    while (!leader().is_leader()) {
      leader().tick();
      settle();
    }
  }

  void propose(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) CHECK(leader().propose(kCommand).has_value());
    proposed_ += count;
  }

  // What `count` clients of one turn wait for, at a follower.
  void read(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) members_[1].read_barrier(ReadId{++reads_asked_});
  }

  // Until nothing is left to be done before the next tick.
  void settle() {
    while (work()) {
    }
    for (std::size_t i = 0; i < kMembers; ++i) cut(i);
  }

  bool is_all_committed() const {
    for (const std::uint64_t commands : committed_) {
      if (commands != proposed_) return false;
    }
    return true;
  }
  std::uint64_t reads_answered() const { return reads_answered_; }
  std::uint64_t reads_asked() const { return reads_asked_; }
  void tick() {
    for (E& member : members_) member.tick();
  }

 private:
  E& leader() { return members_[kLeader]; }

  bool work() {
    bool worked = false;
    for (std::size_t i = 0; i < kMembers; ++i) worked = take(i) || worked;
    for (; !network_.empty(); network_.pop_front()) {
      const Envelope& message = network_.front();
      CHECK(members_[message.to.value - 1].step(message).has_value());
      worked = true;
    }
    return worked;
  }

  bool take(std::size_t i) {
    Output output = members_[i].take_output();
    if (output.empty()) return false;
    for (Envelope& each : output.send_now) network_.push_back(std::move(each));
    if (output.ticket) members_[i].persisted(output.ticket);
    for (Envelope& each : output.send_after_persist) network_.push_back(std::move(each));
    for (const Entry& entry : output.committed) {
      committed_[i] += entry.kind == EntryKind::kCommand ? 1 : 0;
      applied_[i] = entry.index;
    }
    for (const ReadReady& read : output.reads_ready) {
      CHECK(read.index.has_value());
      ++reads_answered_;
    }
    return true;
  }

  void cut(std::size_t i) {
    if (applied_[i].value < cut_[i].value + kCutEvery) return;
    cut_[i] = applied_[i];
    members_[i].snapshot_taken(members_[i].snapshot_meta(cut_[i]), cut_[i]);
  }

  std::deque<E> members_;
  std::deque<Envelope> network_;
  std::uint64_t proposed_ = 0;
  std::uint64_t committed_[kMembers] = {};
  LogIndex applied_[kMembers];
  LogIndex cut_[kMembers];
  std::uint64_t reads_asked_ = 0;
  std::uint64_t reads_answered_ = 0;
};

template <Engine E>
void entries(benchmark::State& state) {
  Trio<E> trio;
  const auto count = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    trio.propose(count);
    trio.settle();
    // A follower may hear of the commit with the next heartbeat only.
    while (!trio.is_all_committed()) {
      trio.tick();
      trio.settle();
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}

template <Engine E>
void barriers(benchmark::State& state) {
  Trio<E> trio;
  const auto count = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    trio.read(count);
    trio.settle();
    CHECK(trio.reads_answered() == trio.reads_asked());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}

BENCHMARK(entries<raft::Raft>)
    ->Name("raft_entries")
    ->ArgName("proposed")
    ->Arg(1)
    ->Arg(16)
    ->Arg(256);
BENCHMARK(entries<paxos::Paxos>)
    ->Name("paxos_entries")
    ->ArgName("proposed")
    ->Arg(1)
    ->Arg(16)
    ->Arg(256);
BENCHMARK(barriers<raft::Raft>)->Name("raft_barriers")->ArgName("asked")->Arg(1)->Arg(256);
BENCHMARK(barriers<paxos::Paxos>)->Name("paxos_barriers")->ArgName("asked")->Arg(1)->Arg(256);

}  // namespace
}  // namespace conclave::consensus

BENCHMARK_MAIN();
