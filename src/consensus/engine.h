#pragma once
// The one concept that every consensus engine satisfies. An engine is told what happened and says,
// in take_output(), what must be done next. It reads no clock, draws no unseeded random number,
// touches no disk or socket; the same calls in the same order give the same outputs.
//
// Not thread-safe: one loop owns an engine.

#include <concepts>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "consensus/entry.h"
#include "consensus/membership.h"
#include "consensus/output.h"

namespace conclave::consensus {

// Time inside an engine is counted in ticks of tick(); the owner decides how long one lasts.
struct EngineConfig {
  GroupId group;
  NodeId self;
  std::uint32_t heartbeat_ticks = 10;
  std::uint32_t election_ticks =
      100;                           // base; the engine adds a seeded jitter of up to as much again
  std::size_t max_append_bytes = 0;  // limits::kMaxAppendBytes
  std::size_t max_inflight_appends = 0;
  std::uint32_t snapshot_chunk_bytes = 0;
  std::size_t snapshot_window = 0;         // limits::kMaxSnapshotWindow; Paxos: always 1
  std::size_t max_transfer_log_bytes = 0;  // limits::kMaxTransferLogBytes
  // This member keeps no data: it never campaigns. Holds for its whole life, also before its own
  // log names it (Membership::witnesses).
  bool is_witness = false;
  // What a witness keeps of a command; null: nothing.
  Bytes (*witnessed)(BytesView command) = nullptr;
};

// What is sent of `entry` to a witness: everything, but of a command only its metadata.
inline Entry witnessed_form(const EngineConfig& config, const Entry& entry) {
  if (entry.kind != EntryKind::kCommand) return entry;
  return {entry.index, entry.epoch, EntryKind::kWitnessed,
          config.witnessed ? config.witnessed(entry.data) : Bytes{}};
}

enum class Role : std::uint8_t { kFollower, kCandidate, kLeader, kLearner };

enum class PeerState : std::uint8_t { kProbe, kReplicate, kSnapshot };

struct PeerStatus {
  NodeId id;
  LogIndex match;
  PeerState state = PeerState::kProbe;
  bool recently_active = false;
  LogIndex snapshot;  // on its way to the peer: its file must stay; none if 0
};

struct EngineStatus {
  NodeId self;
  Role role = Role::kFollower;
  NodeId leader;  // none if unknown
  Epoch epoch;
  LogIndex commit;
  LogIndex first;  // first index that the engine still has in memory
  LogIndex last;   // of the log; at a leader of all that it has proposed: the next one comes behind
  std::vector<PeerStatus> peers;  // the leader's view; empty elsewhere
};

enum class ProposeError : std::uint8_t {
  kNotLeader,
  kTransferring,  // leadership is being handed over: proposals wait
};

enum class ChangeError : std::uint8_t {
  kNotLeader,
  kInProgress,  // one membership change at a time
  kInvalid,     // no voter left, or no change at all
};

template <class E>
concept Engine = requires(E engine, const E& same, const EngineConfig& config, Saved saved,
                          Entry entry, std::uint64_t seed, const Envelope& envelope, Bytes command,
                          Ticket ticket, ReadId read, NodeId node, LogIndex index,
                          const Membership& membership, const SnapshotMeta& meta,
                          const SnapshotRead& wanted, std::uint64_t offset, bool ok) {
  // Starts from what survived the last run. REQUIRES: `saved` was collected with absorb().
  E(config, std::move(saved), seed);
  // Adds one replayed log record (in the order written) to `saved`.
  { E::absorb(saved, std::move(entry)) } -> std::same_as<void>;

  // A message arrived. kCorrupt if it cannot be decoded (nothing happened then).
  { engine.step(envelope) } -> std::same_as<Result<void>>;
  { engine.tick() } -> std::same_as<void>;
  // Appends `command` if this replica leads.
  { engine.propose(std::move(command)) } -> std::same_as<std::expected<Position, ProposeError>>;
  // Everything in outputs up to `ticket` is durable.
  { engine.persisted(ticket) } -> std::same_as<void>;
  // Asks for a linearizable read point; the answer is a ReadReady with this id. Works on any
  // member.
  { engine.read_barrier(read) } -> std::same_as<void>;
  // Starts a change to `membership` (its voters and learners are the target, not joint).
  { engine.change_membership(membership) } -> std::same_as<std::expected<Position, ChangeError>>;
  // Hands leadership to `node` if this replica leads and the target is a voter; false otherwise.
  { engine.transfer(node) } -> std::same_as<bool>;
  // A hint that `node` is gone (its connection broke). May only speed up what a timeout would do
  // later.
  { engine.peer_lost(node) } -> std::same_as<void>;

  // What came before `keep_from` may leave the memory without there being a snapshot of it: as far
  // as it was handed out to be applied, is on this member's disk, and no peer needs it. The owner
  // keeps some, so that followers slightly behind need no snapshot, and all of it on the disk until
  // there is a snapshot.
  { engine.release(index) } -> std::same_as<void>;
  // A peer needs what has left the memory, and the newest snapshot is too old to be sent instead:
  // one of a state that is applied by now is to be taken, at once.
  { same.wants_snapshot() } -> std::same_as<bool>;

  // The snapshot of `meta`, which snapshot_meta() gave, is durable; the engine drops its log up to
  // `keep_from` (exclusive), which the owner sets lower so that followers slightly behind need no
  // snapshot. keep_from 0: nothing.
  { engine.snapshot_taken(meta, index) } -> std::same_as<void>;
  // What a snapshot of the state at `index` must carry. REQUIRES: first - 1 <= index <= commit.
  { same.snapshot_meta(index) } -> std::same_as<SnapshotMeta>;
  {
    engine.snapshot_chunk(wanted, std::move(command), ok)
    } -> std::same_as<void>;  // data, is it the last
  { engine.snapshot_unavailable(wanted) } -> std::same_as<void>;
  // The chunk of snapshot `index` that ended at `offset` is stored; for the last one, the snapshot
  // is durable and in the store. !ok: it was refused, and the sender has to start over.
  { engine.snapshot_stored(index, offset, ok) } -> std::same_as<void>;

  { engine.take_output() } -> std::same_as<Output>;
  { same.status() } -> std::same_as<EngineStatus>;
  // Whoever is needed now. is_changing() while two memberships are: from when a change is in the
  // log (Raft) or chosen (Paxos), until the new one decides alone.
  { same.membership() } -> std::same_as<const Membership&>;
};

}  // namespace conclave::consensus
