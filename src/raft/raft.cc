#include "raft/raft.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "raft/election.h"
#include "raft/membership_change.h"
#include "raft/persistence.h"
#include "raft/plausible.h"
#include "raft/reads.h"
#include "raft/replication.h"
#include "raft/snapshot.h"

namespace conclave::raft {

static_assert(consensus::Engine<Raft>);

using consensus::EngineConfig;
using consensus::Entry;
using consensus::EntryKind;
using consensus::Saved;

namespace {

EngineConfig with_defaults(EngineConfig config) {
  if (config.max_append_bytes == 0) config.max_append_bytes = limits::kMaxAppendBytes;
  if (config.max_inflight_appends == 0) config.max_inflight_appends = limits::kMaxInflightAppends;
  if (config.snapshot_chunk_bytes == 0) config.snapshot_chunk_bytes = limits::kSnapshotChunkBytes;
  if (config.snapshot_window == 0) config.snapshot_window = limits::kMaxSnapshotWindow;
  if (config.max_transfer_log_bytes == 0) {
    config.max_transfer_log_bytes = limits::kMaxTransferLogBytes;
  }
  CHECK(config.self);
  CHECK(config.heartbeat_ticks > 0);
  CHECK(config.election_ticks > config.heartbeat_ticks, "elections must be slower than heartbeats");
  return config;
}

HardState saved_hard_state(const Saved& saved) {
  if (!saved.hard_state) return {};
  Result<HardState> state = decode_hard_state(*saved.hard_state);
  CHECK(state.has_value(), "{}", state.error().message);
  return *state;
}

// Entries older than the snapshot they would follow never belonged to that history: the log was
// overruled, and the snapshot came in its place. (Log matching: an entry of the snapshot's epoch or
// later has the snapshot's entry before it.)
void drop_overruled(Saved& saved) {
  const auto& entries = saved.entries;
  if (!entries.empty() && entries.front().epoch < saved.snapshot.epoch) saved.entries.clear();
}

State initial_state(const EngineConfig& config, Saved& saved, std::uint64_t seed) {
  const HardState hard = saved_hard_state(saved);
  const consensus::SnapshotMeta& snapshot = saved.snapshot;
  Rng rng(seed);
  const std::uint64_t first_batch = rng.next();
  return State{.config = config,
               .rng = rng,
               .term = hard.term,
               .vote = hard.vote,
               .commit = snapshot.index,
               .log = Log({snapshot.index, snapshot.epoch}),
               .memberships = MembershipLog(snapshot.index, snapshot.membership),
               .snapshot = snapshot,
               .role = Follower{},
               .install = {},
               .heard_at = {},
               .appended = {},
               .delivered = snapshot.index,
               .hard_state = hard,
               .durable = {},
               .durable_hard_state = hard,
               .last_ticket = {},
               .writes = {},
               .next_batch = first_batch,
               .out = {}};
}

// A message of an older term: its sender is told of ours, if it would otherwise go on in vain.
void answer_stale(State& s, NodeId from, const Body& body) {
  const auto tell = [&](Body answer) { send_now(s, from, std::move(answer)); };
  std::visit(Overloaded{
                 [&](const Append&) { tell(HeartbeatReply{}); },
                 [&](const Heartbeat&) { tell(HeartbeatReply{}); },
                 [&](const SnapshotChunk&) { tell(HeartbeatReply{}); },
                 [&](const RequestVote&) { tell(VoteReply{false}); },
                 [&](const ReadRequest& read) {
                   tell(ReadReply{read.batch, std::nullopt});
                 },
                 [](const PreVote&) {},       // answered in any term
                 [](const PreVoteReply&) {},  // names its term itself
                 [](const VoteReply&) {},
                 [](const AppendAck&) {},
                 [](const AppendReject&) {},
                 [](const HeartbeatReply&) {},
                 [](const CommitNotice&) {},
                 [](const SnapshotProgress&) {},
                 [](const TimeoutNow&) {},
                 [](const ReadReply&) {},
             },
             body);
}

// Raft's rule for terms (paper, figure 2, "all servers"), with three exceptions. A PreVote speaks
// of a term that nobody has begun, and its answer may come from a voter whose own term is older: a
// new member has none. A RequestVote while a leader is heard comes from somebody who has missed
// something (section 4.2.3). False: the message ends here.
bool settle_term(State& s, NodeId from, const Message& message) {
  if (std::holds_alternative<PreVote>(message.body)) return true;
  if (message.term < s.term) {
    if (std::holds_alternative<PreVoteReply>(message.body)) return true;
    answer_stale(s, from, message.body);
    return false;
  }
  if (message.term == s.term) return true;
  const auto* request = std::get_if<RequestVote>(&message.body);
  if (request && !request->handover && has_lease(s)) return false;
  become_follower(s, message.term, NodeId{});
  return true;
}

}  // namespace

Raft::Raft(const EngineConfig& config, Saved saved, std::uint64_t seed)
    : s_(initial_state(with_defaults(config), saved, seed)) {
  drop_overruled(saved);
  for (Entry& entry : saved.entries) append_to_log(s_, std::move(entry));
  s_.appended = s_.log.last();
  s_.durable = s_.log.last();
  advance_commit(s_, std::clamp(s_.hard_state.commit, s_.commit, s_.log.last()));
  // A snapshot can become durable before the term of its last entry does. Nothing that this replica
  // said in that term has left it then, and it has not voted.
  become_follower(s_, std::max(s_.term, s_.log.last_position().epoch), NodeId{});
  // Alone, there is nobody to wait for.
  const bool alone = s_.membership().reached([this](NodeId id) { return id == s_.self(); });
  if (alone) s_.election_at = s_.now + 1;
}

void Raft::absorb(Saved& saved, Entry entry) {
  while (!saved.entries.empty() && saved.entries.back().index >= entry.index) {
    saved.entries.pop_back();
  }
  if (entry.index > saved.snapshot.index) saved.entries.push_back(std::move(entry));
}

Result<void> Raft::step(const consensus::Envelope& envelope) {
  const NodeId from = envelope.from;
  if (envelope.group != s_.config.group || envelope.to != s_.self()) {
    return fail(ErrorCode::kCorrupt, "raft message for somebody else");
  }
  if (!from || from == s_.self()) return fail(ErrorCode::kCorrupt, "raft message from nobody else");
  Message message = TRY(decode(envelope.message));
  TRY(check_plausible(s_, from, message));
  if (s_.membership().contains(from)) s_.heard_at[from] = s_.now;
  if (!settle_term(s_, from, message)) return {};
  std::visit(Overloaded{[&](PreVote& body) { handle(s_, from, message.term, body); },
                        [&](auto& body) { handle(s_, from, body); }},
             message.body);
  return {};
}

void Raft::tick() {
  ++s_.now;
  expire_reads(s_);
  if (!s_.leader()) return tick_election(s_);
  tick_quorum_check(s_);
  if (!s_.leader()) return;
  tick_pace(s_);
  tick_heartbeat(s_);
  tick_transfer(s_);
  tick_snapshots(s_);
}

std::expected<Position, consensus::ProposeError> Raft::propose(Bytes command) {
  if (!s_.leader()) return std::unexpected(consensus::ProposeError::kNotLeader);
  if (s_.leader()->transfer) return std::unexpected(consensus::ProposeError::kTransferring);
  return append_as_leader(s_, EntryKind::kCommand, std::move(command));
}

void Raft::persisted(Ticket ticket) {
  note_persisted(s_, ticket);
  count_own_vote(s_);
  if (s_.leader()) commit_by_quorum(s_);
}

void Raft::read_barrier(ReadId id) { begin_read(s_, id); }

std::expected<Position, consensus::ChangeError> Raft::change_membership(const Membership& target) {
  return start_change(s_, target);
}

bool Raft::transfer(NodeId target) { return start_transfer(s_, target); }

void Raft::peer_lost(NodeId node) {
  s_.heard_at.erase(node);
  if (s_.leader()) {
    lose_peer(s_, node);
  } else {
    lose_leader(s_, node);
  }
}

void Raft::release(LogIndex keep_from) { raft::release(s_, keep_from); }

bool Raft::wants_snapshot() const { return raft::wants_snapshot(s_); }

void Raft::snapshot_taken(const SnapshotMeta& meta, LogIndex keep_from) {
  raft::snapshot_taken(s_, meta, keep_from);
}

SnapshotMeta Raft::snapshot_meta(LogIndex index) const { return raft::snapshot_meta(s_, index); }

void Raft::snapshot_chunk(const consensus::SnapshotRead& wanted, Bytes data, bool last) {
  chunk_read(s_, wanted, std::move(data), last);
}

void Raft::snapshot_unavailable(const consensus::SnapshotRead& wanted) {
  chunk_unavailable(s_, wanted);
}

void Raft::snapshot_stored(LogIndex index, std::uint64_t offset, bool ok) {
  chunk_stored(s_, index, offset, ok);
}

consensus::Output Raft::take_output() {
  if (s_.leader()) {
    advance_reads(s_);
    send_appends(s_);
  } else if (s_.follower()) {
    send_ack(s_);
    forward_reads(s_);
  }
  return hand_out(s_);
}

NodeId Raft::leader() const {
  if (s_.leader()) return s_.self();
  return s_.follower() ? s_.follower()->leader : NodeId{};
}

consensus::EngineStatus Raft::status() const {
  consensus::EngineStatus status;
  status.self = s_.self();
  status.leader = leader();
  status.epoch = s_.term;
  status.commit = s_.commit;
  status.first = s_.log.first();
  status.last = s_.log.last();
  if (const Leader* leading = s_.leader()) {
    status.role = consensus::Role::kLeader;
    for (const auto& [id, peer] : leading->peers) {
      // The alternatives of Progress::mode are in PeerState's order.
      status.peers.push_back({id, peer.match, static_cast<consensus::PeerState>(peer.mode.index()),
                              peer.recently_active, snapshot_on_its_way(peer)});
    }
  } else if (s_.candidate()) {
    status.role = consensus::Role::kCandidate;
  } else if (!s_.is_voter()) {
    status.role = consensus::Role::kLearner;
  }
  return status;
}

}  // namespace conclave::raft
