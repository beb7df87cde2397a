#pragma once
// Everything one replica knows, as plain data. The free functions by topic (election.h,
// proposing.h, learning.h, reads.h, snapshot.h, membership_change.h, persistence.h) work on it;
// invariants.h says what always holds between its parts.
//
// What only one role needs lives in that role. Every replica is an acceptor and a learner all the
// time, whatever its role: that is the state outside of the roles.

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
#include "paxos/codec.h"
#include "paxos/log.h"
#include "paxos/membership_log.h"
#include "paxos/message.h"

namespace conclave::paxos {

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

// Reads that share one round of heartbeats.
struct ReadRound {
  std::uint64_t round = 0;
  LogIndex index;   // commit when the round began
  LogIndex config;  // Config::from of the membership that decides the slot after it
  std::vector<WaitingRead> reads;
};

// --- phase one -----------------------------------------------------------------------------------

// How far an acceptor has answered.
struct Report {
  LogIndex next;  // it has told what it accepted below this
  bool done = false;
  Tick asked_at = 0;
  std::vector<Pvalue> withheld;  // a witness's, whose data nobody has told yet: not counted
};

// What an election gathers: a promise covers all slots after the asker's commit.
struct PhaseOne {
  std::map<NodeId, Report> reports;
  // Per open slot: each value that anybody has accepted there, in the highest ballot reported.
  std::map<LogIndex, std::vector<Pvalue>> reported;
};

// --- a leader's view of one peer -----------------------------------------------------------------

// One that ends before the log begins is not sent: it waits for the next to be taken.
struct SnapshotTransfer {
  SnapshotMeta meta;
  std::uint64_t offset = 0;  // stored by the peer up to here
  bool begun = false;        // the owner was asked for a chunk
  bool reading = false;      // for the one at `offset`, and has not answered
  bool wanted = true;        // ask the owner for the chunk at `offset`
  Tick resend_at = 0;
};

// An accept for one slot that is on its way, or its answer is, or one of them is lost.
struct Sent {
  Tick at = 0;
  std::size_t bytes = 0;
  std::uint64_t message = 0;  // in which it went last, by Peer::messages
  std::size_t passed_by = 0;  // later messages that have been acknowledged since
  bool lost = false;          // probably: send again
};

struct Peer {
  explicit Peer(Tick now) : pace(now) {}

  LogIndex commit;       // it has everything up to here, durably
  LogIndex sent;         // accepts for slots up to here have been sent
  LogIndex commit_sent;  // the highest commit told
  std::map<LogIndex, Sent> unacknowledged;
  std::size_t unacknowledged_bytes = 0;
  std::size_t lost = 0;        // of these
  std::uint64_t messages = 0;  // with accepts, sent so far
  std::vector<Range> missing;  // it asked for what was chosen there
  std::uint64_t round = 0;     // newest heartbeat round it answered
  bool recently_active = false;
  consensus::Pace pace;  // of a full voter, for the sake of witnesses
  std::optional<SnapshotTransfer> snapshot;
};

// --- roles ---------------------------------------------------------------------------------------

struct Follower {
  NodeId leader;          // none if unknown
  Tick heard_at = 0;      // from the leader; meaningful if there is one
  LogIndex target;        // the leader's commit: all slots up to it are chosen
  Tick ask_again_at = 0;  // a CatchUp is under way until then
  // Sent with the next output.
  bool ack_due = false;
  std::set<LogIndex> to_acknowledge;  // accepted since the last one
  std::vector<ReadId> reads_to_forward;
  // Forwarded, by our own batch number.
  std::map<std::uint64_t, ReadBatch> forwarded;
};

struct Candidate {
  bool pre = false;  // asking whether it may prepare; its ballot has not begun
  bool handover = false;
  Tick began_at = 0;
  std::uint64_t question = 0;      // while pre
  std::map<NodeId, bool> answers;  // while pre: to the question; then: false for who refused
  PhaseOne phase_one;
};

struct Transfer {
  NodeId target;
  Tick deadline = 0;
  bool told = false;  // TimeoutNow was sent; said again with each heartbeat, as it may be lost
};

struct Leader {
  explicit Leader(Tick now) : own_pace(now) {}

  PhaseOne phase_one;
  // Slots up to `opened` have been proposed in this ballot. Those after it up to `adopted_to` get
  // what phase one found, or a no-op; those after that get what is fresh.
  LogIndex opened;
  LogIndex adopted_to;
  std::deque<consensus::Entry> fresh;
  LogIndex start;   // once this is committed, so is everything any earlier leader had committed
  LogIndex change;  // the last slot that was given a membership
  std::map<LogIndex, std::vector<NodeId>> accepted;  // of each open slot, by whom
  std::map<NodeId, Peer> peers;                      // everybody but itself
  Tick heartbeat_at = 0;
  Tick check_quorum_at = 0;
  std::uint64_t round = 0;              // of the newest heartbeat
  std::vector<WaitingRead> waiting;     // for the next round
  std::optional<ReadRound> confirming;  // one round at a time
  std::optional<Transfer> transfer;
  consensus::Pace own_pace;  // of its own disk
  LogIndex own_durable;      // without a gap, at the last tick
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
  bool finishing = false;                   // that chunk is the last: the store is being replaced
};

// Part of an output that was handed out with a ticket and is not durable yet.
struct PendingWrite {
  Ticket ticket;
  std::vector<Position> records;  // slot and ballot
  std::optional<HardState> hard_state;
};

struct State {
  consensus::EngineConfig config;
  Rng rng;
  Tick now = 0;
  Tick election_at = 0;  // no leader heard until then: campaign

  // The acceptor.
  Epoch promised;
  NodeId owner;   // to whom; none if only the ballot is known
  Epoch highest;  // of all ballots heard of: the next one goes above
  Log log;

  // The learner.
  LogIndex commit;  // everything up to here is chosen, and known
  MembershipLog memberships;
  Membership announced;   // which decided the last committed slot, with its successor
  SnapshotMeta snapshot;  // the newest durable one; index 0 if none; may end before the log begins
  std::variant<Follower, Candidate, Leader> role;
  std::optional<Install> install;
  std::map<NodeId, Tick> heard_at;  // when each was heard last, unless its connection broke since
  int failed_campaigns = 0;         // since a leader was heard

  // Handed out: everything but `to_write` for writing, entries up to `delivered` as committed.
  std::set<LogIndex> to_write;
  bool write_commit = false;  // with the next output, if there are witnesses
  LogIndex delivered;
  HardState hard_state;  // as handed out last

  // Durable: what this replica may count for itself. Slots know about themselves; up to `durable`,
  // which is never beyond the commit, all are.
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
  // Decides the next slot.
  const Config& in_force() const { return memberships.open(commit).front(); }
  const Membership& membership() const { return in_force().membership; }
  bool is_voter() const { return membership().is_voter(config.self); }
  // A voter of the last committed slot or of any after it: those to come may not have the log yet.
  // Never a witness: it has no data.
  bool is_electable() const;
};

// Queues `body` for `to`, to leave at once: it promises nothing that is not durable already.
void send_now(State& s, NodeId to, Body body);
// Queues `body` for `to`, to leave once everything handed out up to and including this output is
// durable.
void send_after_persist(State& s, NodeId to, Body body);

}  // namespace conclave::paxos
