#pragma once
// What is durable, and the output under construction. Writes are asynchronous: an output hands
// entries and hard state out under a growing ticket, persisted(ticket) comes later, and only then
// may this replica count them for itself.

#include "raft/state.h"

namespace conclave::raft {

// Adds an entry at the end of the log; a membership takes effect here.
void append_to_log(State& s, consensus::Entry entry);
// Drops everything at and after `index`, which the next entries overwrite: from now on nothing at
// or after it counts as durable, whatever write of the old entries is reported later. REQUIRES:
// index > commit.
void truncate_log(State& s, LogIndex index);
// Drops everything up to `index`, which a durable snapshot covers.
void compact_log(State& s, LogIndex index);
// The same of what stays on the disk. REQUIRES: index <= durable, index <= delivered.
void release_log(State& s, LogIndex index);
// The log becomes empty after `meta`, a durable snapshot.
void restart_log(State& s, const SnapshotMeta& meta);

// Everything handed out up to `ticket` is durable.
void note_persisted(State& s, Ticket ticket);

// Moves commit to `index`. REQUIRES: commit <= index <= last.
void advance_commit(State& s, LogIndex index);

// Completes the output with what is to be written and what is newly committed, and hands it out.
consensus::Output hand_out(State& s);

}  // namespace conclave::raft
