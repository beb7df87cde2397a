#include "sim/cluster_check.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

#include "sim/finding.h"

namespace conclave::sim {
namespace {

std::size_t hash_of(const consensus::Entry& entry) {
  return std::hash<std::string_view>{}(entry.data) ^ static_cast<std::size_t>(entry.kind);
}

}  // namespace

ClusterCheck::ClusterCheck(const Cluster& cluster, Trace& trace)
    : cluster_(cluster), trace_(trace) {}

void ClusterCheck::after_step() {
  ++steps_;
  members_.resize(std::max(members_.size(), cluster_.size()));
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (cluster_.running(i)) look_at(i);
  }
}

void ClusterCheck::look_at(std::size_t number) {
  Member& member = members_[number];
  const raft::State& state = cluster_.node(number).group().engine().state();
  if (member.run != cluster_.run(number)) begin_run(number, state);
  const raft::Mark now = raft::mark(state);
  raft::check_step(member.mark, state);
  raft::check_state(state);
  highest_term_ = std::max(highest_term_, state.term.value);
  const bool new_leader = state.leader() && (!member.mark.leads || member.mark.term != state.term);
  member.mark = now;
  check_log(member, state);
  check_commit(member, state);
  if (new_leader) check_leader(number, state);
  check_store(number);
  note_durable(member, state);
}

void ClusterCheck::begin_run(std::size_t number, const raft::State& state) {
  Member& member = members_[number];
  const std::optional<Durable> durable = member.durable;
  member = Member{};
  member.run = cluster_.run(number);
  member.mark = raft::mark(state);
  member.base = state.log.base().index;
  if (!durable) return;
  const raft::HardState& before = durable->hard_state;
  if (state.term < before.term || (state.term == before.term && state.vote != before.vote)) {
    found("durability", fmt::format("{} had stored term {} and a vote for {}, and restarts in term "
                                    "{} with a vote for {}",
                                    Cluster::host(number), before.term.value, before.vote.value,
                                    state.term.value, state.vote.value));
  }
  const bool compacted = durable->last.index < state.log.base().index;
  if (!compacted && state.log.epoch_at(durable->last.index) != durable->last.epoch) {
    found("durability",
          fmt::format("{} had stored its log up to {} (term {}), and restarts with {} to {}",
                      Cluster::host(number), durable->last.index.value, durable->last.epoch.value,
                      state.log.first().value, state.log.last().value));
  }
}

// Compares what is new in the log with what anybody ever had at the same index and term.
void ClusterCheck::check_log(Member& member, const raft::State& state) {
  const raft::Log& log = state.log;
  if (log.base().index > member.base) {
    const std::uint64_t dropped = log.base().index.value - member.base.value;
    const std::size_t gone = std::min<std::size_t>(dropped, member.epochs.size());
    member.epochs.erase(member.epochs.begin(),
                        member.epochs.begin() + static_cast<std::ptrdiff_t>(gone));
    member.base = log.base().index;
  }
  const std::size_t size = log.last().value - member.base.value;
  std::size_t same = std::min(size, member.epochs.size());
  while (same > 0 && member.epochs[same - 1] != log.epoch_at(member.base.plus(same))) --same;
  member.epochs.resize(same);
  for (std::size_t i = same; i < size; ++i) {
    const consensus::Entry& entry = log.at(member.base.plus(i + 1));
    const Known known{hash_of(entry), *log.epoch_at(member.base.plus(i))};
    const auto [first, is_new] = entries_[entry.index].emplace(entry.epoch, known);
    if (first->second.hash != known.hash || first->second.previous != known.previous) {
      found("log matching", fmt::format("two different entries at index {} of term {}",
                                        entry.index.value, entry.epoch.value));
    }
    member.epochs.push_back(entry.epoch);
  }
}

void ClusterCheck::check_commit(Member& member, const raft::State& state) {
  if (state.commit == member.committed) return;
  // What only a snapshot holds was committed by somebody who had the entries.
  if (state.log.base().index.value > committed_.size()) {
    found("state machine safety",
          fmt::format("a snapshot up to {}, but only {} entries were ever committed",
                      state.log.base().index.value, committed_.size()));
  }
  for (LogIndex i = std::max(member.committed, state.log.base().index).next(); i <= state.commit;
       i = i.next()) {
    const consensus::Entry& entry = state.log.at(i);
    const Committed now{entry.epoch, hash_of(entry), state.term};
    if (i.value == committed_.size() + 1) {
      committed_.push_back(now);
      continue;
    }
    const Committed& before = committed_[i.value - 1];
    if (before.epoch != now.epoch || before.hash != now.hash) {
      found("state machine safety",
            fmt::format("entry {} was committed with term {}, and again, as another, with term {}",
                        i.value, before.epoch.value, now.epoch.value));
    }
  }
  member.committed = state.commit;
}

void ClusterCheck::check_leader(std::size_t number, const raft::State& state) {
  trace_.note(Trace::Kind::kMember, Cluster::host(number),
              fmt::format("leads term {}, log up to {}", state.term.value, state.log.last().value));
  const auto [first, is_new] = leaders_.emplace(state.term, number);
  if (first->second != number) {
    found("election safety", fmt::format("{} and {} both lead term {}", Cluster::host(number),
                                         Cluster::host(first->second), state.term.value));
  }
  for (std::uint64_t i = state.log.base().index.value; i < committed_.size(); ++i) {
    const Committed& entry = committed_[i];
    if (entry.seen_in >= state.term) continue;
    if (state.log.epoch_at(LogIndex{i + 1}) == entry.epoch) continue;
    found(
        "leader completeness",
        fmt::format("{} leads term {} without entry {} of term {}, which was committed by term {}",
                    Cluster::host(number), state.term.value, i + 1, entry.epoch.value,
                    entry.seen_in.value));
  }
}

void ClusterCheck::check_store(std::size_t number) {
  Member& member = members_[number];
  const store::Store& store = cluster_.node(number).group().store();
  const LogIndex applied = store.applied_index();
  if (applied == member.applied) return;
  if (applied < member.applied) {
    found("state machine safety",
          fmt::format("{} goes back from index {} to {}", Cluster::host(number),
                      member.applied.value, applied.value));
  }
  member.applied = applied;
  if (!applied) return;
  const auto [first, is_new] = hashes_.emplace(applied, store.hash());
  if (first->second != store.hash()) {
    found("state hash", fmt::format("{} holds another state at index {} than the first who applied "
                                    "it",
                                    Cluster::host(number), applied.value));
  }
}

void ClusterCheck::note_durable(Member& member, const raft::State& state) {
  member.durable = Durable{state.durable_hard_state,
                           Position{state.durable, *state.log.epoch_at(state.durable)}};
}

}  // namespace conclave::sim
