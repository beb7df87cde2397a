#pragma once
// The part of the log that a replica keeps in memory: entries [first, last], and the position just
// before them. What is older is in a snapshot, or on the disk until there is one.
//
// Invariants: indices follow each other without a gap; epochs never fall.

#include <deque>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "consensus/entry.h"

namespace conclave::raft {

class Log {
 public:
  // Empty, following `base`; {0, 0} is the beginning.
  explicit Log(consensus::Position base = {}) : base_(base) {}

  // The position before first().
  consensus::Position base() const { return base_; }
  LogIndex first() const { return base_.index.next(); }
  LogIndex last() const { return base_.index.plus(entries_.size()); }
  consensus::Position last_position() const;

  // The epoch of the entry at `index`, also at base().index; nullopt outside of [base, last].
  std::optional<Epoch> epoch_at(LogIndex index) const;
  bool matches(consensus::Position at) const { return epoch_at(at.index) == at.epoch; }
  // REQUIRES: first() <= index <= last().
  const consensus::Entry& at(LogIndex index) const;

  // The highest position at or below `index` whose epoch is at most `epoch`: where two logs may
  // meet (Raft paper, section 5.3, the fast way back). base() if there is none above it.
  consensus::Position meeting_point(LogIndex index, Epoch epoch) const;

  // The last index of the longest run from `from` on whose data is at most `max_bytes` in all, or
  // of `from` alone if that is larger by itself. REQUIRES: first() <= from <= last().
  LogIndex run_within(LogIndex from, std::size_t max_bytes) const;

  // Of the data of [from, to]. REQUIRES: first() <= from; to <= last().
  std::size_t bytes_of(LogIndex from, LogIndex to) const;

  // Copies [from, to]. REQUIRES: first() <= from; to <= last(). Empty if to < from.
  std::vector<consensus::Entry> slice(LogIndex from, LogIndex to) const;

  // REQUIRES: entry.index == last() + 1 and its epoch is at least the last one's.
  void append(consensus::Entry entry);
  // Drops everything at and after `index`. REQUIRES: first() <= index <= last().
  void truncate_from(LogIndex index);
  // Drops everything up to and including `index`, which becomes the base. REQUIRES: base <= index
  // <= last().
  void compact_to(LogIndex index);
  // Drops everything; the log goes on after `base`.
  void restart_at(consensus::Position base);

 private:
  std::size_t slot(LogIndex index) const;

  consensus::Position base_;
  std::deque<consensus::Entry> entries_;
};

}  // namespace conclave::raft
