#pragma once
// Everything one replica knows, as plain data. The free functions by topic (election.h,
// replication.h, reads.h, snapshot.h, membership_change.h, persistence.h) work on it; invariants.h
// says what always holds between its parts.
//
// What only one role needs lives in that role: a follower has no match table to get wrong.

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/rng.h"
#include "consensus/engine.h"
#include "consensus/pace.h"
#include "raft/codec.h"
#include "raft/log.h"
#include "raft/membership_log.h"
#include "raft/message.h"

namespace conclave::raft {

using consensus::Membership;
using consensus::Position;
using consensus::SnapshotMeta;

// A point in ticks since the start.
using Tick = std::uint64_t;

// --- reads ---------------------------------------------------------------------------------------

// Reads of this member's own that one answer ends.
struct ReadBatch {
  std::vector<ReadId> ids;
  Tick deadline = 0;
};

// What a leader has to confirm: its own reads (origin == self) or one batch of a follower's.
struct WaitingRead {
  NodeId origin;
  std::uint64_t batch = 0;  // the origin's number, for another's
  ReadId id;                // for its own
  Tick deadline = 0;
};

// Reads that share one round of heartbeats (thesis, section 6.4).
struct ReadRound {
  std::uint64_t round = 0;
  LogIndex index;  // commit when the round began
  std::vector<WaitingRead> reads;
};

// --- a leader's view of one peer -----------------------------------------------------------------

// Where the logs meet is unknown: one append at a time.
struct Probe {
  bool waiting = false;  // for the answer, or a heartbeat's
};

// Appends are sent without waiting; `inflight` holds the last index of each one not yet
// acknowledged.
struct Replicate {
  std::deque<LogIndex> inflight;
  Tick moved_at = 0;   // when something was last acknowledged, or asked about
  bool nudge = false;  // nothing moved for a heartbeat: ask whether the end arrived
};

// The peer needs entries that are not in memory any more: it gets a snapshot, chunk by chunk, a few
// of them ahead of what it has stored. One that ends before the log begins is not sent: it waits
// for the next to be taken.
struct SendSnapshot {
  SnapshotMeta meta;
  std::uint64_t offset = 0;  // stored by the peer up to here
  std::uint64_t next = 0;    // sent up to here
  bool ended = false;        // the last chunk was sent
  bool reading = false;      // the owner was asked for the chunk at `next` and has not answered
  bool pausing = false;      // until resend_at: the file is gone, or was refused
  Tick resend_at = 0;        // if the peer has stored nothing more until then: from `offset` again
  Tick patience = 0;         // from one time to the next; grows, as the link may just be slow
};

struct Progress {
  explicit Progress(Tick now) : pace(now) {}

  LogIndex match;           // durable there, and equal to our log
  LogIndex next;            // to be sent next
  LogIndex commit_sent;     // the highest commit told
  std::uint64_t round = 0;  // newest heartbeat round it answered
  bool recently_active = false;
  consensus::Pace pace;  // of a full voter, for the sake of witnesses
  std::variant<Probe, Replicate, SendSnapshot> mode;
};

// --- roles ---------------------------------------------------------------------------------------

struct Follower {
  NodeId leader;      // none if unknown
  Tick heard_at = 0;  // from the leader; meaningful if there is one
  // Sent with the next output.
  std::optional<LogIndex> ack;  // highest match to acknowledge
  std::vector<ReadId> reads_to_forward;
  // Forwarded, by our own batch number.
  std::map<std::uint64_t, ReadBatch> forwarded;
};

struct Candidate {
  bool pre = false;  // asking whether it may campaign; its term has not begun
  Tick began_at = 0;
  std::map<NodeId, bool> votes;
};

struct Transfer {
  NodeId target;
  Tick deadline = 0;
  bool told = false;  // TimeoutNow was sent; said again with each heartbeat, as it may be lost
};

struct Leader {
  explicit Leader(Tick now) : own_pace(now) {}

  LogIndex term_start;               // the no-op: nothing is known to be committed before it is
  std::map<NodeId, Progress> peers;  // everybody but itself
  Tick heartbeat_at = 0;
  Tick check_quorum_at = 0;
  std::uint64_t round = 0;              // of the newest heartbeat
  std::vector<WaitingRead> waiting;     // for the next round
  std::optional<ReadRound> confirming;  // one round at a time
  std::optional<Transfer> transfer;
  consensus::Pace own_pace;  // of its own disk
  LogIndex own_durable;      // at the last tick
  LogIndex beat_commit;      // the commit at the last heartbeat
};

// --- the rest ------------------------------------------------------------------------------------

// A snapshot on its way in. Kept beside the role: its last chunk may be on its way into the store
// while roles change.
struct Install {
  NodeId from;
  SnapshotMeta meta;
  std::uint64_t stored = 0;                 // the owner has it up to here
  std::optional<std::uint64_t> writing_to;  // end of the chunk the owner is storing
  std::deque<SnapshotChunk> ahead;          // what follows it without a gap
  bool finishing = false;                   // that chunk is the last: the store is being replaced
};

// Part of an output that was handed out with a ticket and is not durable yet.
struct PendingWrite {
  Ticket ticket;
  LogIndex last;  // entries up to here; moved back when they are overwritten
  std::optional<HardState> hard_state;
};

struct State {
  consensus::EngineConfig config;
  Rng rng;
  Tick now = 0;
  Tick election_at = 0;  // no leader heard until then: campaign

  Epoch term;
  NodeId vote;
  LogIndex commit;
  Log log;
  MembershipLog memberships;
  SnapshotMeta snapshot;  // the newest durable one; index 0 if none; may end before the log begins
  std::variant<Follower, Candidate, Leader> role;
  std::optional<Install> install;
  std::map<NodeId, Tick> heard_at;  // when each was heard last, unless its connection broke since

  // Handed out: entries up to `appended` for writing, entries up to `delivered` as committed.
  LogIndex appended;
  LogIndex delivered;
  HardState hard_state;  // as handed out last

  // Durable: what this replica may count for itself.
  LogIndex durable;
  HardState durable_hard_state;
  Ticket last_ticket;
  std::deque<PendingWrite> writes;

  std::uint64_t next_batch =
      0;  // starts at random: an answer to an earlier run's question fits none of ours
  consensus::Output out;  // being filled

  Follower* follower() { return std::get_if<Follower>(&role); }
  const Follower* follower() const { return std::get_if<Follower>(&role); }
  Candidate* candidate() { return std::get_if<Candidate>(&role); }
  const Candidate* candidate() const { return std::get_if<Candidate>(&role); }
  Leader* leader() { return std::get_if<Leader>(&role); }
  const Leader* leader() const { return std::get_if<Leader>(&role); }

  NodeId self() const { return config.self; }
  const Membership& membership() const { return memberships.current(); }
  bool is_voter() const { return membership().is_voter(config.self); }
  // Also one that is being removed: it may be the only one that has what commits its removal
  // (thesis, section 4.2.2). Never a witness: it has no data.
  bool is_electable() const {
    return !config.is_witness && memberships.may_be_voter(config.self, commit);
  }
};

// Queues `body` for `to`, to leave at once: it promises nothing that is not durable already.
void send_now(State& s, NodeId to, Body body);
// Queues `body` for `to`, to leave once everything handed out up to and including this output is
// durable.
void send_after_persist(State& s, NodeId to, Body body);

}  // namespace conclave::raft
