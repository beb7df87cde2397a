#pragma once
// Which membership is in force at which place of the log. A membership takes effect when its entry
// is appended, not when it is committed (Raft paper, section 6), so a truncated entry takes its
// membership with it.

#include <vector>

#include "base/ids.h"
#include "consensus/membership.h"

namespace conclave::raft {

class MembershipLog {
 public:
  // `membership` is in force from `index` on, which is where the log starts.
  MembershipLog(LogIndex index, consensus::Membership membership);

  // The newest, and the index of its entry (or the start of the log).
  const consensus::Membership& current() const { return changes_.back().membership; }
  LogIndex current_index() const { return changes_.back().index; }
  // In force at `index`. REQUIRES: index is not before the start.
  const consensus::Membership& at(LogIndex index) const;

  // Whether `id` votes in the one in force at `commit` or in any after it: one of those is the last
  // that is committed, or will be. REQUIRES: commit is not before the start.
  bool may_be_voter(NodeId id, LogIndex commit) const;

  // How many have entries after `index`.
  std::size_t count_after(LogIndex index) const;

  // REQUIRES: index > current_index().
  void append(LogIndex index, consensus::Membership membership);
  // Forgets memberships whose entries are at or after `index`. REQUIRES: index is after the start.
  void truncate_from(LogIndex index);
  // The log now starts at `index`: what is in force there becomes the first.
  void compact_to(LogIndex index);

 private:
  struct Change {
    LogIndex index;
    consensus::Membership membership;
  };

  // The one in force at `index`.
  std::vector<Change>::const_iterator find(LogIndex index) const;

  std::vector<Change> changes_;  // by index, never empty
};

}  // namespace conclave::raft
