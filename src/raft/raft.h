#pragma once
// Raft as a pure state machine.
//
// It is told what happened (step, tick, propose, persisted, ...) and says what must be done next
// (take_output). It reads no clock, draws no unseeded random number, touches no disk or socket. The
// same calls in the same order give the same outputs; the simulator relies on it.
//
// The calls are those of consensus::Engine, which says what each must do; here is only what is
// Raft's own. Nothing is sent or written before take_output(): call it after every call, or after
// as many as belong together, since entries and reads of one output share their messages.
//
// Not thread-safe: one loop owns a Raft. Sections refer to Ongaro's thesis; docs/raft.md maps them
// to files.

#include <expected>

#include "consensus/engine.h"
#include "raft/state.h"

namespace conclave::raft {

class Raft {
 public:
  // Starts as a follower from what survived the last run. Sizes of 0 in `config` become the limits
  // of base/limits.h. `seed` must differ between runs of one member: it also names the reads it
  // asks others to confirm. REQUIRES: `saved` was collected with absorb() and is whole: its hard
  // state can be decoded, and its entries follow its snapshot.
  Raft(const consensus::EngineConfig& config, consensus::Saved saved, std::uint64_t seed);

  // The record of an entry replaces everything at and after its index: nothing after it survived
  // being overwritten. Entries that saved.snapshot covers are dropped, so the snapshot must be
  // known first.
  static void absorb(consensus::Saved& saved, consensus::Entry entry);

  // kCorrupt for what cannot be decoded, is addressed to somebody else, or cannot come from a
  // replica that follows the protocol; nothing happened then. A message from somebody who is no
  // member is answered like any other: our own membership may be the older one.
  Result<void> step(const consensus::Envelope& envelope);
  void tick();
  std::expected<consensus::Position, consensus::ProposeError> propose(Bytes command);
  void persisted(Ticket ticket);

  // Any number of barriers of one turn cost one message to the leader, and the leader asks the
  // others once for all that wait. Ends within an election timeout.
  void read_barrier(ReadId id);

  // Joint consensus. The position is that of the first entry; the change is over when a membership
  // that is not joint comes back in Output::committed.
  std::expected<consensus::Position, consensus::ChangeError> change_membership(
      const consensus::Membership& target);
  // Proposals are refused until the target leads, or an election timeout has passed.
  bool transfer(NodeId target);
  // Of the leader: a follower forgets it and soon asks the others whether they have lost it too. Of
  // a follower: the leader finds out anew what it has.
  void peer_lost(NodeId node);

  void release(LogIndex keep_from);
  bool wants_snapshot() const;
  void snapshot_taken(const SnapshotMeta& meta, LogIndex keep_from);
  consensus::SnapshotMeta snapshot_meta(LogIndex index) const;
  void snapshot_chunk(const consensus::SnapshotRead& wanted, Bytes data, bool last);
  void snapshot_unavailable(const consensus::SnapshotRead& wanted);
  void snapshot_stored(LogIndex index, std::uint64_t offset, bool ok);

  consensus::Output take_output();

  consensus::EngineStatus status() const;
  const consensus::Membership& membership() const { return s_.membership(); }

  // Cheap enough for every turn of a loop.
  bool is_leader() const { return s_.leader() != nullptr; }
  NodeId leader() const;  // none if unknown
  Epoch epoch() const { return s_.term; }
  LogIndex commit() const { return s_.commit; }

  // For invariants.h and tests.
  const State& state() const { return s_; }

 private:
  State s_;
};

}  // namespace conclave::raft
