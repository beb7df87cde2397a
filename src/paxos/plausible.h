#pragma once
// The second gate for messages, after the codec's: could a replica that follows the protocol have
// sent this to one in our state? A message that could not is refused before it has any effect. That
// is no defence against a liar, but damage, a reused member id or a lost data directory is stopped
// here with a message and not by a CHECK later.

#include "base/result.h"
#include "paxos/state.h"

namespace conclave::paxos {

// kCorrupt, saying what cannot be, or success.
Result<void> check_plausible(const State& s, NodeId from, const Message& message);

}  // namespace conclave::paxos
