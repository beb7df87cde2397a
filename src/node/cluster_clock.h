#pragma once
// The cluster's one clock, as the leader runs it: it starts from the last stamp in the log and
// moves with the leader's monotonic clock, so it never goes back, stands still while there is no
// leader, and does not care what time any machine believes it is.

#include <algorithm>

#include "base/ids.h"
#include "base/time.h"

namespace conclave::node {

class ClusterClock {
 public:
  // The stamp for a batch proposed at `now` in `epoch`. `applied` is the newest stamp in this
  // member's store.
  Stamp stamp(Epoch epoch, Instant now, Stamp applied) {
    if (epoch != epoch_) {
      epoch_ = epoch;
      base_ = std::max(applied, last_);
      since_ = now;
    }
    const auto elapsed_ms =
        static_cast<std::uint64_t>(std::max<std::int64_t>((now - since_).ms(), 0));
    last_ = std::max({last_, applied, Stamp{base_.ms + elapsed_ms}});
    return last_;
  }

 private:
  Epoch epoch_;
  Instant since_;
  Stamp base_;
  Stamp last_;
};

}  // namespace conclave::node
