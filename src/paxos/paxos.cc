#include "paxos/paxos.h"

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "paxos/ballot.h"
#include "paxos/election.h"
#include "paxos/learning.h"
#include "paxos/membership_change.h"
#include "paxos/persistence.h"
#include "paxos/plausible.h"
#include "paxos/proposing.h"
#include "paxos/reads.h"
#include "paxos/snapshot.h"
#include "paxos/witnesses.h"

namespace conclave::paxos {

static_assert(consensus::Engine<Paxos>);

using consensus::EngineConfig;
using consensus::Entry;
using consensus::EntryKind;
using consensus::Saved;

namespace {

EngineConfig with_defaults(EngineConfig config) {
  if (config.max_append_bytes == 0) config.max_append_bytes = limits::kMaxAppendBytes;
  if (config.max_inflight_appends == 0) config.max_inflight_appends = limits::kMaxInflightAppends;
  if (config.snapshot_chunk_bytes == 0) config.snapshot_chunk_bytes = limits::kSnapshotChunkBytes;
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

State initial_state(const EngineConfig& config, const Saved& saved, std::uint64_t seed,
                    std::uint64_t window) {
  const HardState hard = saved_hard_state(saved);
  const consensus::SnapshotMeta& snapshot = saved.snapshot;
  CHECK(seats_are_distinct(snapshot.membership), "two members of one seat: change one's id");
  Rng rng(seed);
  const std::uint64_t first_batch = rng.next();
  return State{.config = config,
               .rng = rng,
               .promised = hard.promised,
               .owner = hard.owner,
               .highest = hard.promised,
               .log = Log({snapshot.index, snapshot.epoch}),
               .commit = snapshot.index,
               .memberships = MembershipLog(snapshot.index, snapshot.membership, window),
               .announced = {},
               .snapshot = snapshot,
               .role = Follower{},
               .install = {},
               .heard_at = {},
               .to_write = {},
               .delivered = snapshot.index,
               .hard_state = hard,
               .durable = snapshot.index,
               .durable_hard_state = hard,
               .last_ticket = {},
               .writes = {},
               .next_batch = first_batch,
               .out = {}};
}

void restore(State& s, Saved& saved) {
  for (Entry& record : saved.entries) {
    Result<Pvalue> pvalue = decode_record(std::move(record));
    CHECK(pvalue.has_value(), "{}", pvalue.error().message);
    CHECK(pvalue->ballot <= s.promised, "slot {} was accepted in a ballot that was not promised",
          pvalue->value.index.value);
    Slot& slot = s.log.put(pvalue->ballot, std::move(pvalue->value));
    slot.durable = true;
    slot.chosen = slot.value.index <= s.hard_state.commit;
  }
  advance_commit(s);
  CHECK(s.commit >= s.hard_state.commit, "slot {} is missing, though {} was committed",
        s.commit.value + 1, s.hard_state.commit.value);
  s.announced = s.memberships.snapshot_at(s.commit);
}

// A message of a lower ballot: its sender is told of ours, if it would otherwise go on in vain.
void answer_stale(State& s, NodeId from, const Body& body) {
  const auto refuse = [&] { send_now(s, from, Refuse{}); };
  std::visit(Overloaded{
                 [&](const Prepare&) { refuse(); },
                 [&](const Accept&) { refuse(); },
                 [&](const Heartbeat&) { refuse(); },
                 [&](const Learn&) { refuse(); },
                 [&](const SnapshotChunk&) { refuse(); },
                 [&](const ReadRequest& read) {
                   send_now(s, from, ReadReply{read.batch, std::nullopt});
                 },
                 [](const PrePrepare&) {},  // answered in any ballot
                 [](const PrePrepareReply&) {},
                 [](const Promise&) {},
                 [](const Refuse&) {},
                 [](const Accepted&) {},
                 [](const HeartbeatReply&) {},
                 [](const CommitNotice&) {},
                 [](const CatchUp&) {},
                 [](const SnapshotProgress&) {},
                 [](const TimeoutNow&) {},
                 [](const ReadReply&) {},
             },
             body);
}

// Whoever hears of a higher ballot promises it: to refuse lower ones is always safe. Two
// exceptions. The question before phase one and its answer speak of no ballot that has begun. A
// Prepare while a leader is heard comes from somebody who has missed something. False: the message
// ends here.
bool settle_ballot(State& s, NodeId from, const Message& message) {
  const bool about_pre_prepare = std::holds_alternative<PrePrepare>(message.body) ||
                                 std::holds_alternative<PrePrepareReply>(message.body);
  if (about_pre_prepare) return true;
  if (message.ballot < s.promised) {
    answer_stale(s, from, message.body);
    return false;
  }
  if (message.ballot == s.promised) return true;
  const auto* prepare = std::get_if<Prepare>(&message.body);
  if (prepare && !prepare->handover && has_lease(s)) return false;
  become_follower(s, message.ballot, NodeId{});
  return true;
}

}  // namespace

Paxos::Paxos(const EngineConfig& config, Saved saved, std::uint64_t seed, std::uint64_t window)
    : s_(initial_state(with_defaults(config), saved, seed, window)) {
  restore(s_, saved);
  become_follower(s_, s_.promised, NodeId{});
  // Alone, there is nobody to wait for.
  const auto is_self = [this](NodeId id) { return id == s_.self(); };
  if (s_.membership().reached(is_self) && s_.membership().elects(is_self)) {
    s_.election_at = s_.now + 1;
  }
}

void Paxos::absorb(Saved& saved, Entry entry) {
  if (entry.index <= saved.snapshot.index) return;
  auto& entries = saved.entries;
  if (entries.empty() || entries.back().index < entry.index) {
    entries.push_back(std::move(entry));
    return;
  }
  const auto at = std::lower_bound(entries.begin(), entries.end(), entry.index,
                                   [](const Entry& e, LogIndex index) { return e.index < index; });
  if (at->index == entry.index) {
    *at = std::move(entry);
  } else {
    entries.insert(at, std::move(entry));
  }
}

Result<void> Paxos::step(const consensus::Envelope& envelope) {
  const NodeId from = envelope.from;
  if (envelope.group != s_.config.group || envelope.to != s_.self()) {
    return fail(ErrorCode::kCorrupt, "paxos message for somebody else");
  }
  if (!from || from == s_.self())
    return fail(ErrorCode::kCorrupt, "paxos message from nobody else");
  Message message = TRY(decode(envelope.message));
  TRY(check_plausible(s_, from, message));
  note_heard(s_, from);
  if (!settle_ballot(s_, from, message)) return {};
  std::visit(Overloaded{[&](PrePrepare& body) { handle(s_, from, message.ballot, body); },
                        [&](PrePrepareReply& body) { handle(s_, from, message.ballot, body); },
                        [&](auto& body) { handle(s_, from, body); }},
             message.body);
  return {};
}

void Paxos::tick() {
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

std::expected<Position, consensus::ProposeError> Paxos::propose(Bytes command) {
  if (!s_.leader()) return std::unexpected(consensus::ProposeError::kNotLeader);
  if (s_.leader()->transfer) return std::unexpected(consensus::ProposeError::kTransferring);
  return append_as_leader(s_, EntryKind::kCommand, std::move(command));
}

void Paxos::persisted(Ticket ticket) {
  const std::vector<LogIndex> now_durable = note_persisted(s_, ticket);
  count_own_promise(s_);
  if (!s_.leader()) return;
  for (const LogIndex slot : now_durable) note_accepted(s_, s_.self(), slot);
  commit_chosen(s_);
}

void Paxos::read_barrier(ReadId id) { begin_read(s_, id); }

std::expected<Position, consensus::ChangeError> Paxos::change_membership(const Membership& target) {
  return start_change(s_, target);
}

bool Paxos::transfer(NodeId target) { return start_transfer(s_, target); }

void Paxos::peer_lost(NodeId node) {
  s_.heard_at.erase(node);
  if (s_.leader()) {
    lose_peer(s_, node);
  } else {
    lose_leader(s_, node);
  }
}

void Paxos::release(LogIndex keep_from) { paxos::release(s_, keep_from); }

bool Paxos::wants_snapshot() const { return paxos::wants_snapshot(s_); }

void Paxos::snapshot_taken(const SnapshotMeta& meta, LogIndex keep_from) {
  paxos::snapshot_taken(s_, meta, keep_from);
}

SnapshotMeta Paxos::snapshot_meta(LogIndex index) const { return paxos::snapshot_meta(s_, index); }

void Paxos::snapshot_chunk(const consensus::SnapshotRead& wanted, Bytes data, bool last) {
  chunk_read(s_, wanted, std::move(data), last);
}

void Paxos::snapshot_unavailable(const consensus::SnapshotRead& wanted) {
  chunk_unavailable(s_, wanted);
}

void Paxos::snapshot_stored(LogIndex index, std::uint64_t offset, bool ok) {
  chunk_stored(s_, index, offset, ok);
}

consensus::Output Paxos::take_output() {
  if (s_.leader()) {
    open_slots(s_);
    advance_reads(s_);
    send_accepts(s_);
    continue_transfer(s_);
  } else if (s_.follower()) {
    ask_for_missing(s_);
    send_ack(s_);
    forward_reads(s_);
  }
  return hand_out(s_);
}

NodeId Paxos::leader() const {
  if (s_.leader()) return s_.self();
  return s_.follower() ? s_.follower()->leader : NodeId{};
}

consensus::EngineStatus Paxos::status() const {
  consensus::EngineStatus status;
  status.self = s_.self();
  status.leader = leader();
  status.epoch = s_.promised;
  status.commit = s_.commit;
  status.first = s_.log.first();
  status.last = std::max(s_.log.last(), s_.commit);
  if (const Leader* leading = s_.leader()) {
    status.role = consensus::Role::kLeader;
    status.last = last_proposed(*leading);
    for (const auto& [id, peer] : leading->peers) {
      const auto state =
          peer.snapshot ? consensus::PeerState::kSnapshot : consensus::PeerState::kReplicate;
      const LogIndex sent = peer.snapshot ? peer.snapshot->meta.index : LogIndex{};
      status.peers.push_back({id, peer.commit, state, peer.recently_active, sent});
    }
  } else if (s_.candidate()) {
    status.role = consensus::Role::kCandidate;
  } else if (!s_.is_voter()) {
    status.role = consensus::Role::kLearner;
  }
  return status;
}

}  // namespace conclave::paxos
