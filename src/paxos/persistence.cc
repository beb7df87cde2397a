#include "paxos/persistence.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "paxos/witnesses.h"

namespace conclave::paxos {

using consensus::Entry;
using consensus::EntryKind;
using consensus::Output;

void send_now(State& s, NodeId to, Body body) {
  CHECK(to != s.self());
  s.out.send_now.push_back(
      {s.config.group, s.self(), to, encode(Message{s.promised, std::move(body)})});
}

void send_after_persist(State& s, NodeId to, Body body) {
  CHECK(to != s.self());
  s.out.send_after_persist.push_back(
      {s.config.group, s.self(), to, encode(Message{s.promised, std::move(body)})});
}

bool State::is_electable() const {
  if (config.is_witness) return false;
  if (memberships.at(std::max(commit, log.base().index)).membership.is_voter(self())) return true;
  const auto open = memberships.open(commit);
  return std::any_of(open.begin(), open.end(),
                     [this](const Config& c) { return c.membership.is_voter(self()); });
}

// --- accepting and learning ----------------------------------------------------------------------

Slot& accept(State& s, Epoch ballot, Entry value) {
  const LogIndex index = value.index;
  CHECK(index > s.commit, "slot {} is committed", index.value);
  CHECK(ballot <= s.promised);
  const Slot* before = s.log.find(index);
  CHECK(!before || before->ballot <= ballot, "slot {} goes back to a lower ballot", index.value);
  const bool chosen = before && before->chosen;
  if (chosen)
    CHECK(is_same_entry(before->value, value), "what was chosen in {} is replaced", index.value);
  Slot& slot = s.log.put(ballot, std::move(value));
  slot.chosen = chosen;
  s.to_write.insert(index);
  return slot;
}

bool learn(State& s, Pvalue pvalue) {
  const LogIndex index = pvalue.value.index;
  if (index <= s.commit) return false;
  Slot* slot = s.log.find(index);
  if (!slot || slot->ballot < pvalue.ballot) {
    slot = &accept(s, pvalue.ballot, std::move(pvalue.value));
  } else {
    CHECK(is_same_entry(slot->value, pvalue.value), "another value was chosen in {}", index.value);
  }
  return !std::exchange(slot->chosen, true);
}

namespace {

// What a committed value means depends on what was committed before it, so on the same chosen
// values everywhere.
void settle(State& s, Slot& slot) {
  const Epoch before = settled_epoch(s, s.commit);
  const LogIndex index = slot.value.index;
  slot.settled = std::max(before, slot.value.epoch);
  slot.is_void = slot.value.epoch < before;
  if (slot.is_void || slot.value.kind != EntryKind::kMembership) return;
  slot.is_void = !s.memberships.may_decide(index);
  if (slot.is_void) return;
  auto membership = consensus::decode_membership(slot.value.data);
  CHECK(membership.has_value(), "the membership at {} cannot be read", index.value);
  s.memberships.decide(index, std::move(*membership));
}

// The one that decided the last slot: its voters are needed until the first slot of the next one is
// chosen (may_take_over).
void announce(State& s) { s.announced = s.memberships.snapshot_at(s.commit); }

// Writes complete in order, but slots may be written in any.
void advance_durable(State& s) {
  while (s.durable < s.commit && s.log.at(s.durable.next()).durable) s.durable = s.durable.next();
}

}  // namespace

void advance_commit(State& s) {
  const LogIndex old_config = s.memberships.at(s.commit).from;
  const LogIndex old_newest = s.memberships.newest().from;
  for (Slot* slot; (slot = s.log.find(s.commit.next())) != nullptr && slot->chosen;) {
    settle(s, *slot);
    s.commit = s.commit.next();
  }
  advance_durable(s);
  const bool same =
      s.memberships.at(s.commit).from == old_config && s.memberships.newest().from == old_newest;
  if (!same) announce(s);
}

Epoch settled_epoch(const State& s, LogIndex index) {
  if (index == s.log.base().index) return s.log.base().epoch;
  return s.log.at(index).settled;
}

// --- compaction ----------------------------------------------------------------------------------

namespace {

// Slots up to `base` exist no more.
void drop_slots(State& s, Position base) {
  s.log.compact_to(base);
  s.to_write.erase(s.to_write.begin(), s.to_write.upper_bound(base.index));
  s.durable = std::max(s.durable, base.index);
}

}  // namespace

void compact_log(State& s, LogIndex index) {
  CHECK(index <= s.commit, "compacting {} beyond the commit {}", index.value, s.commit.value);
  drop_slots(s, {index, settled_epoch(s, index)});
  s.memberships.compact_to(index);
  advance_durable(s);
}

void release_log(State& s, LogIndex index) {
  CHECK(index <= s.durable, "{} is not on the disk yet", index.value);
  CHECK(index <= s.delivered, "{} was never handed out", index.value);
  compact_log(s, index);
}

void restart_log(State& s, const SnapshotMeta& meta) {
  CHECK(meta.index > s.commit);
  drop_slots(s, {meta.index, meta.epoch});
  s.memberships = MembershipLog(meta.index, meta.membership, s.memberships.window());
  s.commit = meta.index;
  announce(s);
  advance_commit(s);
}

// --- outputs -------------------------------------------------------------------------------------

std::vector<LogIndex> note_persisted(State& s, Ticket ticket) {
  CHECK(ticket <= s.last_ticket, "ticket {} was never handed out", ticket.value);
  std::vector<LogIndex> now_durable;
  while (!s.writes.empty() && s.writes.front().ticket <= ticket) {
    const PendingWrite& write = s.writes.front();
    for (const Position& record : write.records) {
      Slot* slot = s.log.find(record.index);
      // Compacted, or accepted in a higher ballot since: this report is of another record.
      if (!slot || slot->ballot != record.epoch) continue;
      slot->durable = true;
      if (slot->ballot == s.promised) now_durable.push_back(record.index);
    }
    if (write.hard_state) s.durable_hard_state = *write.hard_state;
    s.writes.pop_front();
  }
  advance_durable(s);
  return now_durable;
}

namespace {

// Whether after a restart this replica would still know that the membership in force is: its
// predecessors may have left by then.
bool knows_its_voters(const State& s) {
  return std::max(s.hard_state.commit, s.snapshot.index).next() >= s.in_force().from;
}

// What has to be written: all of it in one step, under one ticket.
void hand_out_writes(State& s) {
  Output& out = s.out;
  PendingWrite write;
  for (const LogIndex index : std::exchange(s.to_write, {})) {
    const Slot& slot = s.log.at(index);
    out.append.push_back(encode_record(slot));
    write.records.push_back({index, slot.ballot});
  }

  // The commit hint is mostly not worth a write of its own. It may name what this very write holds:
  // writes become durable in their order, each as a whole.
  HardState now{s.promised, s.owner, s.hard_state.commit};
  const bool is_asked = std::exchange(s.write_commit, false) && has_witnesses(s);
  const bool must_write =
      now != s.hard_state || !out.append.empty() || !knows_its_voters(s) || is_asked;
  if (must_write) now.commit = s.commit;
  if (now != s.hard_state) {
    out.hard_state = encode(now);
    s.hard_state = now;
    write.hard_state = now;
  }
  if (out.append.empty() && !out.hard_state) return;

  s.last_ticket = s.last_ticket.next();
  out.ticket = s.last_ticket;
  write.ticket = s.last_ticket;
  s.writes.push_back(std::move(write));
}

Entry delivered_form(const Slot& slot) {
  if (slot.is_void) return {slot.value.index, slot.settled, EntryKind::kNoop, {}};
  return slot.value;
}

// While a snapshot replaces the store nothing is applied: it would be lost, or be applied twice.
void hand_out_committed(State& s) {
  if (s.install && s.install->finishing) return;
  while (s.delivered < s.commit) {
    s.delivered = s.delivered.next();
    s.out.committed.push_back(delivered_form(s.log.at(s.delivered)));
  }
}

}  // namespace

Output hand_out(State& s) {
  hand_out_writes(s);
  hand_out_committed(s);
  return std::exchange(s.out, Output{});
}

}  // namespace conclave::paxos
