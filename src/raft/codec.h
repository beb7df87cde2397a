#pragma once
// Messages and hard state as bytes (proto/raft.proto, docs/formats/peer.md).
//
// decode accepts nothing that has no sense whatever the receiver's state: index 0, an epoch that
// falls along the log or exceeds the sender's term, an unknown kind of entry, a membership that is
// none. What depends on the receiver's state is refused by check_plausible (plausible.h).

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "raft/log.h"
#include "raft/message.h"

namespace conclave::raft {

// No index and no term gets near this: one a microsecond takes 100,000 years. Beyond it is damage,
// and arithmetic on what decode let through cannot overflow.
inline constexpr std::uint64_t kMaxOnWire = std::uint64_t{1} << 62;

Bytes encode(const Message& message);
// The same bytes as encode() of an Append with the entries [first, last] of `log`, which are
// written straight from where they are. Empty if last < first. REQUIRES: they follow prev.
Bytes encode_append(Epoch term, consensus::Position prev, LogIndex commit, const Log& log,
                    LogIndex last);
// kCorrupt on anything that is not a sensible message.
Result<Message> decode(BytesView bytes);

// What a replica must not forget (Raft paper, figure 2).
struct HardState {
  Epoch term;
  NodeId vote;      // none in this term, if 0
  LogIndex commit;  // a hint that may lag; what it covers was durable here

  bool operator==(const HardState&) const = default;
};

Bytes encode(const HardState& state);
Result<HardState> decode_hard_state(BytesView bytes);

}  // namespace conclave::raft
