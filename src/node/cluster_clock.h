#pragma once
// The cluster's one clock, as the leader runs it: it starts from the last stamp in the log and
// moves with the leader's monotonic clock, so it never goes back, stands still while there is no
// leader, and does not care what time any machine believes it is.
//
// It is never further than `max_ahead` from the newest stamp that was applied. A leader that cannot
// commit (cut off, paused, a disk that hangs) stops the clock by that, and when it goes on, so does
// the clock from there: what was lost is lost for everybody, and nobody's lease runs out in an
// outage. Hence whoever counts on time passing must see to it that stamps are applied meanwhile.

#include <algorithm>

#include "base/ids.h"
#include "base/time.h"

namespace conclave::node {

class ClusterClock {
 public:
  explicit ClusterClock(Duration max_ahead) : max_ahead_(max_ahead) {}

  // The stamp for a batch proposed at `now` in `epoch`. `applied` is the newest stamp in this
  // member's store. Never below one given before in the same epoch.
  Stamp stamp(Epoch epoch, Instant now, Stamp applied) {
    const Stamp farthest{applied.ms + static_cast<std::uint64_t>(max_ahead_.ms())};
    if (epoch != epoch_) {
      // What this member stamped as a leader before may have come to nothing, and time has gone on
      // without it: only the log counts.
      epoch_ = epoch;
      last_ = applied;
      start(now, applied);
    }
    const auto elapsed_ms =
        static_cast<std::uint64_t>(std::max<std::int64_t>((now - since_).ms(), 0));
    const Stamp here{base_.ms + elapsed_ms};
    if (here < applied || here > farthest) start(now, std::clamp(here, applied, farthest));
    last_ = std::max({last_, applied, std::min(here, farthest)});
    return last_;
  }

 private:
  void start(Instant now, Stamp base) {
    since_ = now;
    base_ = base;
  }

  Duration max_ahead_;
  Epoch epoch_;
  Instant since_;
  Stamp base_;
  Stamp last_;
};

}  // namespace conclave::node
