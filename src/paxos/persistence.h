#pragma once
// What is accepted, what is durable, what is committed, and the output under construction. Writes
// are asynchronous: an output hands records and hard state out under a growing ticket,
// persisted(ticket) comes later, and only then may this replica count them for itself.

#include "paxos/state.h"

namespace conclave::paxos {

// Accepts `value` in `ballot`: in place of what the slot held. REQUIRES: value.index > commit, and
// ballot <= promised.
Slot& accept(State& s, Epoch ballot, consensus::Entry value);

// `pvalue` is what was chosen in its slot, in its ballot or a lower one. Slots that are committed
// already are left alone. False: it was known.
bool learn(State& s, Pvalue pvalue);

// Commits what follows the commit without a hole and is known to be chosen. Memberships that come
// to light that way decide from their place on.
void advance_commit(State& s);

// The epoch that the entry at `index` is delivered with: the highest of any value up to there.
// REQUIRES: base <= index <= commit.
Epoch settled_epoch(const State& s, LogIndex index);

// Drops everything up to `index`, which a durable snapshot covers. REQUIRES: index <= commit.
void compact_log(State& s, LogIndex index);
// The same of what stays on the disk. REQUIRES: index <= durable, index <= delivered.
void release_log(State& s, LogIndex index);
// A durable snapshot takes the place of everything up to meta.index; what was accepted after it
// stays. REQUIRES: meta.index > commit.
void restart_log(State& s, const SnapshotMeta& meta);

// Everything handed out up to `ticket` is durable. The slots whose records are, in this replica's
// present ballot.
std::vector<LogIndex> note_persisted(State& s, Ticket ticket);

// Completes the output with what is to be written and what is newly committed, and hands it out.
consensus::Output hand_out(State& s);

}  // namespace conclave::paxos
