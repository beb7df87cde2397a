#pragma once
// Which engine drives the groups of this build. The node knows nothing of it but the concept.

#include "consensus/engine.h"
#include "raft/raft.h"

namespace conclave::node {

using Engine = raft::Raft;
static_assert(consensus::Engine<Engine>);

}  // namespace conclave::node
