#pragma once
// Which membership decides which slots. A membership that is chosen in slot i decides from slot
// i + window on; until then the one before it does. So who decides slot s is known as soon as
// everything up to s - window is chosen, and a leader keeps at most `window` slots open ("Paxos
// Made Simple", section 3, where the window is called alpha).

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "consensus/membership.h"

namespace conclave::paxos {

struct Config {
  LogIndex from;                     // the first slot it decides
  consensus::Membership membership;  // plain: neither joint nor with a successor
};

class MembershipLog {
 public:
  // `membership` is in force at `index`, where the log starts; its successor, if any, later.
  MembershipLog(LogIndex index, const consensus::Membership& membership, std::uint64_t window);

  std::uint64_t window() const { return window_; }

  // Decides `slot`, as far as is known. REQUIRES: slot is not before the start.
  const Config& at(LogIndex slot) const;
  // The one that decides the slot after `commit`, and those after it: phase one needs all of them.
  std::span<const Config> open(LogIndex commit) const;
  const Config& newest() const { return configs_.back(); }

  // What a snapshot at `index` must carry: the membership in force there, and the successor that
  // was chosen up to there.
  consensus::Membership snapshot_at(LogIndex index) const;

  // Whether one that is chosen in slot `index` counts: not while another waits for its turn.
  bool may_decide(LogIndex index) const { return newest().from <= index; }
  // REQUIRES: may_decide(index).
  void decide(LogIndex index, consensus::Membership membership);
  // The log now starts at `index`.
  void compact_to(LogIndex index);

 private:
  std::vector<Config>::const_iterator find(LogIndex slot) const;

  std::uint64_t window_;
  std::vector<Config> configs_;  // by `from`, never empty
};

}  // namespace conclave::paxos
