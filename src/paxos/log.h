#pragma once
// The slots that a replica keeps in memory: at most one accepted value in each, with holes where
// nothing was accepted yet, and the position before them. What is older is in a snapshot, or on the
// disk until there is one.
//
// Invariants: every slot is after base; up to the commit (which the log does not know) there are no
// holes.

#include <map>

#include "base/ids.h"
#include "consensus/entry.h"

namespace conclave::paxos {

struct Slot {
  Epoch ballot;            // in which the value was accepted, or higher than the one that chose it
  consensus::Entry value;  // value.epoch: in which it was first proposed
  bool durable = false;    // this very record
  bool chosen = false;     // known to be
  // Once committed: the highest epoch of any value up to here, which is what the owner is told.
  Epoch settled;
  bool is_void = false;  // committed, and without effect (docs/paxos.md, "Epochs never fall")
};

class Log {
 public:
  // Empty, following `base`; {0, 0} is the beginning.
  explicit Log(consensus::Position base = {}) : base_(base) {}

  consensus::Position base() const { return base_; }
  LogIndex first() const { return base_.index.next(); }
  // The highest slot that has a value; base if none has.
  LogIndex last() const { return slots_.empty() ? base_.index : slots_.rbegin()->first; }
  const std::map<LogIndex, Slot>& slots() const { return slots_; }

  // Null if the slot is empty, or compacted.
  Slot* find(LogIndex index);
  const Slot* find(LogIndex index) const;
  // REQUIRES: the slot has a value.
  Slot& at(LogIndex index);
  const Slot& at(LogIndex index) const;

  // What the slot held before is replaced. REQUIRES: value.index is after base.
  Slot& put(Epoch ballot, consensus::Entry value);
  // Drops all slots up to base.index, which becomes the base.
  void compact_to(consensus::Position base);

 private:
  consensus::Position base_;
  std::map<LogIndex, Slot> slots_;
};

}  // namespace conclave::paxos
