#pragma once
// Messages, log records and hard state as bytes (proto/paxos.proto, docs/paxos.md).
//
// decode accepts nothing that has no sense whatever the receiver's state: index 0, slots out of
// order, a value first proposed after it was accepted, an unknown kind of entry, a membership that
// is none. What depends on the receiver's state is refused by check_plausible (plausible.h).

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "paxos/log.h"
#include "paxos/message.h"

namespace conclave::paxos {

// No index and no ballot gets near this. Beyond it is damage, and arithmetic on what decode let
// through cannot overflow.
inline constexpr std::uint64_t kMaxOnWire = std::uint64_t{1} << 62;

Bytes encode(const Message& message);
// The same bytes as encode() of an Accept with the values of `slots`, which are written straight
// from where they are. REQUIRES: `log` has them.
Bytes encode_accept(Epoch ballot, LogIndex commit, const Log& log,
                    const std::vector<LogIndex>& slots);
// kCorrupt on anything that is not a sensible message.
Result<Message> decode(BytesView bytes);

// The log record of an accepted value: an Entry whose epoch is the ballot in which it was accepted,
// and whose data says at its end in which it was first proposed. decode: kCorrupt if encode did not
// write it.
consensus::Entry encode_record(const Slot& slot);
Result<Pvalue> decode_record(consensus::Entry record);

// What a replica must not forget ("Paxos Made Simple", section 2.5), besides its records.
struct HardState {
  Epoch promised;
  NodeId owner;     // to whom; whoever the ballot belongs to, if 0
  LogIndex commit;  // may lag; what it covers is durable when this is

  bool operator==(const HardState&) const = default;
};

Bytes encode(const HardState& state);
Result<HardState> decode_hard_state(BytesView bytes);

}  // namespace conclave::paxos
