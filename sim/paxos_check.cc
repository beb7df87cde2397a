#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "node/group.h"
#include "paxos/describe.h"
#include "paxos/election.h"
#include "paxos/invariants.h"
#include "paxos/paxos.h"
#include "paxos/phase_one.h"
#include "sim/engine_check.h"
#include "sim/finding.h"

namespace conclave::sim {
namespace {

using consensus::Entry;
using consensus::Position;

// A value, whichever ballot it is accepted in.
struct Value {
  Epoch epoch;
  consensus::EntryKind kind = consensus::EntryKind::kNoop;  // kCommand of a witness's too
  std::optional<std::size_t> data;                          // its hash; none: a witness has it
};

Value value_of(const Entry& entry) {
  Value value{.epoch = entry.epoch, .kind = consensus::full_kind(entry.kind), .data = {}};
  if (value.kind == entry.kind) value.data = std::hash<std::string_view>{}(entry.data);
  return value;
}

bool is_same(const Value& a, const Value& b) {
  const bool differ = a.data && b.data && *a.data != *b.data;
  return a.epoch == b.epoch && a.kind == b.kind && !differ;
}

// The same, and what one of them lacks is `known` from now on.
bool learn_same(Value& known, const Value& other) {
  if (!is_same(known, other)) return false;
  if (!known.data) known.data = other.data;
  return true;
}

// It learns like a learner that sees all disks: a value that a write quorum has on disk in one
// ballot is chosen, whether or not anybody knows it yet.
class PaxosCheck final : public EngineCheck {
 public:
  PaxosCheck(const Cluster& cluster, Trace& trace) : cluster_(cluster), trace_(trace) {}

  void look_at(std::size_t number) override;
  void on_message(std::size_t from, std::size_t to, BytesView message) override;
  std::size_t largest_promise() const override { return ~std::size_t{0}; }
  void forgive(std::size_t number) override { member(number).forgiven = true; }
  std::uint64_t committed() const override { return committed_.size(); }
  std::uint64_t elections() const override { return leaders_.size(); }

 private:
  // A write on its way to a disk.
  struct Write {
    Ticket ticket;
    std::vector<std::pair<Position, Value>> records;  // slot and ballot
    std::optional<paxos::HardState> hard_state;
  };
  // What the others were told.
  struct Promises {
    Epoch ballot;                 // the highest promised
    Epoch accepted_in;            // the highest in which anything was acknowledged
    LogIndex commit;              // everything up to here, and
    std::set<LogIndex> accepted;  // these slots, in that ballot
  };
  struct Member {
    std::uint64_t run = 0;  // of which the rest is; 0: never seen
    NodeId id;              // whom the host is a member as
    paxos::Mark mark;
    LogIndex committed;
    Epoch settled;    // of the last committed entry
    Ticket seen;      // writes up to here have been noted
    LogIndex opened;  // if it leads: where the membership of the last open slot begins
    std::deque<Write> writes;
    // These survive runs.
    Epoch promised;                      // on disk
    std::map<LogIndex, Epoch> accepted;  // on disk: the ballot in each slot
    Promises promises;
    bool forgiven = false;
  };
  struct Chosen {
    Epoch ballot;
    Value value;
    std::set<NodeId> by;
  };
  struct Committed {
    Value value;
    Epoch settled;
  };

  Member& member(std::size_t number) {
    members_.resize(std::max(members_.size(), number + 1));
    return members_[number];
  }
  void begin_run(std::size_t number, const paxos::State& state);
  void check_durability(std::size_t number, const paxos::State& state) const;
  void check_promises(std::size_t number, const paxos::State& state) const;
  void note_writes(Member& member, const paxos::State& state);
  static void check_data(const paxos::State& state, const Entry& value);
  void note_proposed(Position place, const Value& value);
  void note_record(NodeId id, Position place, const Value& value);
  void check_leader(std::size_t number, const paxos::State& state);
  void check_opened(std::size_t number, const paxos::State& state);
  void check_phase_one(std::size_t number, const paxos::State& state) const;
  void check_commit(Member& member, const paxos::State& state);
  void commit_first(const paxos::Slot& slot);

  const Cluster& cluster_;
  Trace& trace_;
  std::vector<Member> members_;
  std::map<Epoch, NodeId> leaders_;
  std::optional<paxos::MembershipLog> memberships_;  // that decide, as all members' logs say
  std::map<Position, Value> proposed_;               // by slot and ballot
  std::map<Position, std::set<NodeId>> accepted_;    // on disk, by slot and ballot
  std::map<LogIndex, Chosen> chosen_;
  std::vector<Committed> committed_;  // slot i at i - 1
};

void PaxosCheck::look_at(std::size_t number) {
  const paxos::State& state = cluster_.node(number).group().engine().paxos()->state();
  Member& member = this->member(number);
  if (member.run != cluster_.run(number)) begin_run(number, state);
  const paxos::Mark now = paxos::mark(state);
  paxos::check_step(member.mark, state);
  paxos::check_state(state);
  if (state.promised != member.mark.promised) {
    trace_.note(Trace::Kind::kMember, Cluster::host(number), paxos::describe(state));
  }
  const bool new_leader =
      state.leader() && (!member.mark.leads || member.mark.promised != state.promised);
  member.mark = now;
  note_writes(member, state);
  if (new_leader) check_leader(number, state);
  if (state.leader()) check_opened(number, state);
  check_commit(member, state);
}

// --- restarts --------------------------------------------------------------------------------

void PaxosCheck::begin_run(std::size_t number, const paxos::State& state) {
  if (!memberships_) memberships_ = state.memberships;
  CHECK(state.writes.empty(), "what a run writes first would be missed");
  Member& before = members_[number];
  if (before.id != state.self()) before = Member{};  // an earlier one's promises were its own
  if (!before.forgiven) {
    check_durability(number, state);
    check_promises(number, state);
  }
  Member fresh;
  fresh.run = cluster_.run(number);
  fresh.id = state.self();
  fresh.mark = paxos::mark(state);
  fresh.committed = state.log.base().index;
  fresh.settled = state.log.base().epoch;
  fresh.seen = state.last_ticket;
  fresh.promised = state.durable_hard_state.promised;
  fresh.promises = std::move(before.promises);
  fresh.forgiven = before.forgiven;
  // Some of it may have reached the disk in the moment of the crash.
  for (const auto& [index, slot] : state.log.slots()) {
    fresh.accepted[index] = slot.ballot;
    note_record(fresh.id, {index, slot.ballot}, value_of(slot.value));
  }
  members_[number] = std::move(fresh);
}

void PaxosCheck::check_durability(std::size_t number, const paxos::State& state) const {
  const Member& member = members_[number];
  if (state.promised < member.promised) {
    found("durability",
          fmt::format("{} had stored a promise of {}, and restarts with {}", Cluster::host(number),
                      paxos::describe(member.promised), paxos::describe(state.promised)));
  }
  for (const auto& [index, ballot] : member.accepted) {
    if (index <= state.log.base().index) continue;
    const paxos::Slot* slot = state.log.find(index);
    if (slot != nullptr && slot->ballot >= ballot) continue;
    found("durability",
          fmt::format("{} had stored what it accepted in slot {} in {}, and restarts without",
                      Cluster::host(number), index.value, paxos::describe(ballot)));
  }
}

void PaxosCheck::check_promises(std::size_t number, const paxos::State& state) const {
  const Promises& promises = members_[number].promises;
  if (state.promised < promises.ballot) {
    found("promises",
          fmt::format("{} promised {}, and restarts with {}", Cluster::host(number),
                      paxos::describe(promises.ballot), paxos::describe(state.promised)));
  }
  const auto has = [&](LogIndex index, Epoch ballot) {
    if (index <= state.log.base().index) return true;
    const paxos::Slot* slot = state.log.find(index);
    if (slot == nullptr || slot->ballot >= ballot) return slot != nullptr;
    // What it knew to be chosen it need not accept again.
    const auto chosen = chosen_.find(index);
    return chosen != chosen_.end() && is_same(chosen->second.value, value_of(slot->value));
  };
  for (const LogIndex index : promises.accepted) {
    if (has(index, promises.accepted_in)) continue;
    found("promises",
          fmt::format("{} accepted slot {} in {}, and restarts without", Cluster::host(number),
                      index.value, paxos::describe(promises.accepted_in)));
  }
  for (LogIndex i = state.log.first(); i <= promises.commit; i = i.next()) {
    const paxos::Slot* slot = state.log.find(i);
    const auto chosen = chosen_.find(i);
    const bool knows = chosen != chosen_.end();
    const bool has_it =
        slot != nullptr && (!knows || is_same(chosen->second.value, value_of(slot->value)));
    if (has_it) continue;
    found("promises", fmt::format("{} had everything up to {}, and restarts without slot {}",
                                  Cluster::host(number), promises.commit.value, i.value));
  }
}

void PaxosCheck::on_message(std::size_t from, std::size_t to, BytesView bytes) {
  const Result<paxos::Message> message = paxos::decode(bytes);
  if (!message) return;
  if (trace_.wants(Trace::Kind::kMessage)) {
    trace_.note(Trace::Kind::kMessage, Cluster::host(from),
                "to " + Cluster::host(to) + ": " + paxos::describe(*message));
  }
  Promises& promises = member(from).promises;
  const auto* accepted = std::get_if<paxos::Accepted>(&message->body);
  const bool promises_ballot = accepted != nullptr ||
                               std::holds_alternative<paxos::Prepare>(message->body) ||
                               std::holds_alternative<paxos::Promise>(message->body);
  if (promises_ballot) promises.ballot = std::max(promises.ballot, message->ballot);
  if (accepted == nullptr || message->ballot < promises.accepted_in) return;
  if (message->ballot > promises.accepted_in) promises.accepted.clear();
  promises.accepted_in = message->ballot;
  promises.commit = std::max(promises.commit, accepted->commit);
  for (const paxos::Range& range : accepted->slots) {
    for (LogIndex i = range.first; i <= range.last; i = i.next()) promises.accepted.insert(i);
  }
  promises.accepted.erase(promises.accepted.begin(),
                          promises.accepted.upper_bound(promises.commit));
}

// --- disks -----------------------------------------------------------------------------------

// Follows what is handed out for writing, and what has become durable since.
void PaxosCheck::note_writes(Member& member, const paxos::State& state) {
  for (const paxos::PendingWrite& write : state.writes) {
    if (write.ticket <= member.seen) continue;
    Write noted{.ticket = write.ticket, .records = {}, .hard_state = write.hard_state};
    for (const Position& record : write.records) {
      const paxos::Slot* slot = state.log.find(record.index);
      if (slot == nullptr || slot->ballot != record.epoch) continue;  // overtaken in the same turn
      check_data(state, slot->value);
      noted.records.emplace_back(record, value_of(slot->value));
      note_proposed(record, noted.records.back().second);
    }
    member.writes.push_back(std::move(noted));
    member.seen = write.ticket;
  }
  while (!member.writes.empty() &&
         (state.writes.empty() || member.writes.front().ticket < state.writes.front().ticket)) {
    const Write write = std::move(member.writes.front());
    member.writes.pop_front();
    if (write.hard_state) member.promised = write.hard_state->promised;
    for (const auto& [place, value] : write.records) {
      member.accepted[place.index] = place.epoch;
      note_record(member.id, place, value);
    }
  }
  // The others stay on the disk, though they may have left the memory.
  member.accepted.erase(
      member.accepted.begin(),
      member.accepted.upper_bound(std::min(state.log.base().index, state.snapshot.index)));
}

// A witness has no data, and nobody else lacks any.
void PaxosCheck::check_data(const paxos::State& state, const Entry& value) {
  if (state.config.is_witness) CHECK(value.kind != consensus::EntryKind::kCommand);
  if (!state.config.is_witness) CHECK(value.kind != consensus::EntryKind::kWitnessed);
}

void PaxosCheck::note_proposed(Position place, const Value& value) {
  const auto [first, is_new] = proposed_.emplace(place, value);
  if (learn_same(first->second, value)) return;
  found("one value", fmt::format("slot {} has two values in ballot {}", place.index.value,
                                 paxos::describe(place.epoch)));
}

void PaxosCheck::note_record(NodeId id, Position place, const Value& value) {
  note_proposed(place, value);
  std::set<NodeId>& by = accepted_[place];
  if (!by.insert(id).second || place.index <= LogIndex{}) return;
  const consensus::Membership& who = memberships_->at(place.index).membership;
  if (!who.reached([&by](NodeId voter) { return by.contains(voter); })) return;
  const auto [first, is_new] = chosen_.emplace(
      place.index, Chosen{.ballot = place.epoch, .value = proposed_.at(place), .by = by});
  if (learn_same(first->second.value, value)) return;
  found("one value",
        fmt::format("slot {}: what was chosen in ballot {} is another in {}", place.index.value,
                    paxos::describe(first->second.ballot), paxos::describe(place.epoch)));
}

// --- leaders and commits ---------------------------------------------------------------------

void PaxosCheck::check_leader(std::size_t number, const paxos::State& state) {
  trace_.note(Trace::Kind::kMember, Cluster::host(number),
              fmt::format("leads ballot {}, commit {}", paxos::describe(state.promised),
                          state.commit.value));
  const auto [first, is_new] = leaders_.emplace(state.promised, state.self());
  if (!is_new) {  // not even the same member: it could have forgotten what it proposed
    found("election safety",
          fmt::format("member {} leads ballot {}, which member {} has led", state.self().value,
                      paxos::describe(state.promised), first->second.value));
  }
  check_phase_one(number, state);
}

// The voters of a membership that comes later are asked for promises later.
void PaxosCheck::check_opened(std::size_t number, const paxos::State& state) {
  const LogIndex from = state.memberships.at(std::max(state.leader()->opened, state.commit)).from;
  if (std::exchange(members_[number].opened, from) != from) check_phase_one(number, state);
}

// Whoever leads has heard of everything that is chosen, from one of those who chose it.
void PaxosCheck::check_phase_one(std::size_t number, const paxos::State& state) const {
  const paxos::PhaseOne& phase_one = state.leader()->phase_one;
  const auto promised = [&](NodeId who) {
    return who == state.self() || paxos::has_reported(phase_one, who);
  };
  for (auto at = chosen_.upper_bound(state.commit); at != chosen_.end(); ++at) {
    const auto& [slot, chosen] = *at;
    if (chosen.ballot >= state.promised) continue;
    const paxos::Config& config = state.memberships.at(slot);
    if (!paxos::is_prepared(state, phase_one, config)) continue;  // it may not propose there
    if (memberships_->at(slot).from != config.from) continue;     // nor knows it yet
    if (std::ranges::any_of(chosen.by, promised)) continue;
    found("quorums meet",
          fmt::format("{} leads ballot {} without any of those who chose slot {} in {}",
                      Cluster::host(number), paxos::describe(state.promised), slot.value,
                      paxos::describe(chosen.ballot)));
  }
}

void PaxosCheck::check_commit(Member& member, const paxos::State& state) {
  if (state.log.base().index > member.committed) {  // a snapshot came
    CHECK(state.log.base().index <= state.snapshot.index,
          "slots have left the memory before they were looked at");
    member.committed = state.log.base().index;
    member.settled = state.log.base().epoch;
  }
  if (member.committed.value > committed_.size()) {
    found("state machine safety",
          fmt::format("a snapshot up to {}, but only {} slots were ever committed",
                      member.committed.value, committed_.size()));
  }
  for (; member.committed < state.commit; member.committed = member.committed.next()) {
    const paxos::Slot& slot = state.log.at(member.committed.next());
    const LogIndex index = slot.value.index;
    const bool falls = slot.value.epoch < member.settled;
    if (slot.settled < member.settled || (falls && !slot.is_void)) {
      found(
          "epochs never fall",
          fmt::format("slot {} takes effect with an older epoch than an earlier one", index.value));
    }
    member.settled = slot.settled;
    if (index.value == committed_.size() + 1) commit_first(slot);
    Committed& first = committed_[index.value - 1];
    if (!learn_same(first.value, value_of(slot.value)) || first.settled != slot.settled) {
      found("state machine safety",
            fmt::format("slot {} was committed, and again as another", index.value));
    }
  }
}

void PaxosCheck::commit_first(const paxos::Slot& slot) {
  const LogIndex index = slot.value.index;
  const auto chosen = chosen_.find(index);
  if (chosen == chosen_.end() || !is_same(chosen->second.value, value_of(slot.value))) {
    found("quorum on disk",
          fmt::format("slot {} is called committed before a quorum has it on disk", index.value));
  }
  committed_.push_back({.value = value_of(slot.value), .settled = slot.settled});
  if (slot.is_void || slot.value.kind != consensus::EntryKind::kMembership) return;
  memberships_->decide(index, *consensus::decode_membership(slot.value.data));
}

}  // namespace

std::unique_ptr<EngineCheck> make_paxos_check(const Cluster& cluster, Trace& trace) {
  return std::make_unique<PaxosCheck>(cluster, trace);
}

}  // namespace conclave::sim
