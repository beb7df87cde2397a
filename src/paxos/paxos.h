#pragma once
// Multi-Paxos as a pure state machine.
//
// It is told what happened (step, tick, propose, persisted, ...) and says what must be done next
// (take_output). It reads no clock, draws no unseeded random number, touches no disk or socket. The
// same calls in the same order give the same outputs; the simulator relies on it.
//
// The calls are those of consensus::Engine, which says what each must do; here is only what is
// Paxos's own. Nothing is sent or written before take_output(): call it after every call, or after
// as many as belong together, since entries and reads of one output share their messages.
//
// Not thread-safe: one loop owns a Paxos. docs/paxos.md maps the papers' sections to files; the two
// phases for one decision alone are in single_decree.h.

#include <expected>

#include "consensus/engine.h"
#include "paxos/state.h"

namespace conclave::paxos {

inline constexpr std::uint64_t kWindow = 1024;

class Paxos {
 public:
  // Starts as a follower from what survived the last run. Sizes of 0 in `config` become the limits
  // of base/limits.h. `seed` must differ between runs of one member: it also names the reads it
  // asks others to confirm. REQUIRES: `saved` was collected with absorb() and is whole: its hard
  // state and records can be decoded, and nothing is missing up to the commit it names; and the
  // members of its membership have distinct seats (ballot.h). `window`: how many slots may be open
  // beyond the commit; a constant of the cluster, as memberships take effect so many slots later.
  Paxos(const consensus::EngineConfig& config, consensus::Saved saved, std::uint64_t seed,
        std::uint64_t window = kWindow);

  // The record of an entry replaces that of its index and no other: slots are written in any order,
  // and some may be missing. Entries that saved.snapshot covers are dropped, so the snapshot must
  // be known first.
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

  // The change is decided when its membership comes back in Output::committed, and over when
  // membership() has no successor any more: the first slot that it decides is chosen, at most a
  // window of slots later and one.
  std::expected<consensus::Position, consensus::ChangeError> change_membership(
      const consensus::Membership& target);
  // Proposals are refused until the target leads, or an election timeout has passed.
  bool transfer(NodeId target);
  // Of the leader: a follower forgets it and soon asks the others whether they have lost it too. Of
  // a follower: what was on its way to it is sent again.
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
  const consensus::Membership& membership() const { return s_.announced; }

  // Cheap enough for every turn of a loop.
  bool is_leader() const { return s_.leader() != nullptr; }
  NodeId leader() const;  // none if unknown
  Epoch epoch() const { return s_.promised; }
  LogIndex commit() const { return s_.commit; }

  // For invariants.h and tests.
  const State& state() const { return s_; }

 private:
  State s_;
};

}  // namespace conclave::paxos
