#pragma once
// What the engines and the log agree on: entries of a replicated log, and messages between
// replicas.

#include <cstdint>

#include "base/bytes.h"
#include "base/ids.h"

namespace conclave::consensus {

// Stored on disk and sent between members: values never change meaning.
enum class EntryKind : std::uint8_t {
  kCommand = 0,     // a batch of the store's commands
  kNoop = 1,        // an engine's own filler (Raft: the start of a term; Paxos: a gap)
  kMembership = 2,  // an encoded Membership (membership.h)
  kWitnessed = 3,   // a command as a witness keeps it: what EngineConfig::witnessed leaves of it
};

struct Entry {
  LogIndex index;
  Epoch epoch;
  EntryKind kind = EntryKind::kCommand;
  Bytes data;

  bool operator==(const Entry&) const = default;
};

// The kind that a full member has in place of a witness's.
constexpr EntryKind full_kind(EntryKind kind) {
  return kind == EntryKind::kWitnessed ? EntryKind::kCommand : kind;
}

// The same entry, or one is what a witness keeps of the other. (A place, an epoch and a kind name
// one entry: an epoch has one leader, which proposes one command in a place.)
inline bool is_same_entry(const Entry& a, const Entry& b) {
  if (a.index != b.index || a.epoch != b.epoch || full_kind(a.kind) != full_kind(b.kind)) {
    return false;
  }
  const bool witnessed = a.kind == EntryKind::kWitnessed || b.kind == EntryKind::kWitnessed;
  return witnessed || a.data == b.data;
}

// A message between two replicas of a group. `message` is the engine's own encoding; only the
// engine reads it.
struct Envelope {
  GroupId group;
  NodeId from;
  NodeId to;
  Bytes message;
};

// The place at which a proposal may end up. A place, not a promise: only an entry that comes back
// in Output::committed with the same epoch has happened.
struct Position {
  LogIndex index;
  Epoch epoch;

  auto operator<=>(const Position&) const = default;
};

}  // namespace conclave::consensus
