#pragma once
// Phase two from the others' side: accepting what the leader proposes, in any order, and learning
// what is chosen from the leader's commit, or by asking for what was missed.

#include "paxos/state.h"

namespace conclave::paxos {

void handle(State& s, NodeId from, Accept& message);
void handle(State& s, NodeId from, const Heartbeat& message);
void handle(State& s, NodeId from, const CommitNotice& message);
void handle(State& s, NodeId from, Learn& message);

// Sends the follower's newest acknowledgement: one for all accepts of a turn, released with their
// write. It lists everything, so that one that is lost does no harm.
void send_ack(State& s);

// Asks the leader for chosen values that did not arrive.
void ask_for_missing(State& s);

}  // namespace conclave::paxos
