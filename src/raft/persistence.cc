#include "raft/persistence.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::raft {

using consensus::Entry;
using consensus::EntryKind;
using consensus::Output;

void send_now(State& s, NodeId to, Body body) {
  CHECK(to != s.self());
  s.out.send_now.push_back(
      {s.config.group, s.self(), to, encode(Message{s.term, std::move(body)})});
}

void send_after_persist(State& s, NodeId to, Body body) {
  CHECK(to != s.self());
  s.out.send_after_persist.push_back(
      {s.config.group, s.self(), to, encode(Message{s.term, std::move(body)})});
}

void append_to_log(State& s, Entry entry) {
  CHECK(entry.epoch <= s.term);
  if (entry.kind == EntryKind::kMembership) {
    auto membership = consensus::decode_membership(entry.data);
    CHECK(membership.has_value(), "the membership at {} cannot be read", entry.index.value);
    s.memberships.append(entry.index, std::move(*membership));
  }
  s.log.append(std::move(entry));
}

void truncate_log(State& s, LogIndex index) {
  CHECK(index > s.commit, "truncating {} although {} is committed", index.value, s.commit.value);
  CHECK(index > s.delivered);
  s.log.truncate_from(index);
  s.memberships.truncate_from(index);
  s.appended = std::min(s.appended, index.prev());
  s.durable = std::min(s.durable, index.prev());
  for (PendingWrite& write : s.writes) write.last = std::min(write.last, index.prev());
}

void compact_log(State& s, LogIndex index) {
  CHECK(index <= s.commit, "compacting {} beyond the commit {}", index.value, s.commit.value);
  s.log.compact_to(index);
  s.memberships.compact_to(index);
  s.appended = std::max(s.appended, index);
  s.durable = std::max(s.durable, index);
}

void release_log(State& s, LogIndex index) {
  CHECK(index <= s.durable, "{} is not on the disk yet", index.value);
  CHECK(index <= s.delivered, "{} was never handed out", index.value);
  compact_log(s, index);
}

void restart_log(State& s, const SnapshotMeta& meta) {
  s.log.restart_at({meta.index, meta.epoch});
  s.memberships = MembershipLog(meta.index, meta.membership);
  s.appended = meta.index;
  s.durable = meta.index;
  for (PendingWrite& write : s.writes) write.last = LogIndex{};
}

void note_persisted(State& s, Ticket ticket) {
  CHECK(ticket <= s.last_ticket, "ticket {} was never handed out", ticket.value);
  while (!s.writes.empty() && s.writes.front().ticket <= ticket) {
    const PendingWrite& write = s.writes.front();
    s.durable = std::max(s.durable, write.last);
    if (write.hard_state) s.durable_hard_state = *write.hard_state;
    s.writes.pop_front();
  }
  CHECK(s.durable <= s.appended);
}

void advance_commit(State& s, LogIndex index) {
  CHECK(index >= s.commit, "commit falls from {} to {}", s.commit.value, index.value);
  CHECK(index <= s.log.last(), "commit {} beyond the log's end {}", index.value,
        s.log.last().value);
  s.commit = index;
}

namespace {

// What has to be written: all of it in one step, under one ticket.
void hand_out_writes(State& s) {
  Output& out = s.out;
  out.append = s.log.slice(s.appended.next(), s.log.last());

  // The commit hint is only worth a write when there is one anyway. It never names more than is
  // durable, so that it holds whatever part of later writes survives.
  HardState now{s.term, s.vote, s.hard_state.commit};
  const bool term_or_vote = now != s.hard_state;
  if (term_or_vote || !out.append.empty()) {
    now.commit = std::max(now.commit, std::min(s.commit, s.durable));
  }
  if (now != s.hard_state) {
    out.hard_state = encode(now);
    s.hard_state = now;
  }
  if (out.append.empty() && !out.hard_state) return;

  s.last_ticket = s.last_ticket.next();
  out.ticket = s.last_ticket;
  s.appended = s.log.last();
  PendingWrite write{s.last_ticket, out.append.empty() ? LogIndex{} : s.appended, std::nullopt};
  if (out.hard_state) write.hard_state = now;
  s.writes.push_back(std::move(write));
}

// While a snapshot replaces the store nothing is applied: it would be lost, or be applied twice.
void hand_out_committed(State& s) {
  if (s.install && s.install->finishing) return;
  s.out.committed = s.log.slice(s.delivered.next(), s.commit);
  s.delivered = s.commit;
}

}  // namespace

Output hand_out(State& s) {
  hand_out_writes(s);
  hand_out_committed(s);
  return std::exchange(s.out, Output{});
}

}  // namespace conclave::raft
