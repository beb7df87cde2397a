#pragma once
// What acceptors told in phase one, and what follows from it: for each slot the value of the
// highest ballot that was reported ("Paxos Made Simple", section 2.2).
//
// A witness reports commands without their data. The data may come from anybody, also from an
// acceptance in a lower ballot: a value's slot, epoch and kind name it (consensus::is_same_entry).
// Until it has come the witness's report is not counted: a candidate that lacks a value which may
// be chosen must not put another in its place, and cannot propose that one.

#include "paxos/state.h"

namespace conclave::paxos {

// Takes the data of a witnessed `value` from this replica's own log or another report, if it is
// there. True if `value` is whole now.
bool complete(const State& s, const PhaseOne& phase_one, consensus::Entry& value);

// Notes what `from` has accepted. One that lacks its data is kept in the report until that comes.
// REQUIRES: `from` was asked.
void note_reported(PhaseOne& phase_one, NodeId from, Pvalue pvalue);

// Counts reports that were waiting for data which has come, or is not needed any more.
void release_reports(const State& s, PhaseOne& phase_one);

// `id` has told everything it accepted, and nothing of it is waiting for its data.
bool has_reported(const PhaseOne& phase_one, NodeId id);

// What `slot` must get: what was accepted there in the highest ballot, of what is known with its
// data. Null if nothing is.
const consensus::Entry* found_in(const State& s, const PhaseOne& phase_one, LogIndex slot);

}  // namespace conclave::paxos
