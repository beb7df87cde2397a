#include "node/engine.h"

#include <algorithm>
#include <utility>

#include "paxos/ballot.h"

namespace conclave::node {
namespace {

static_assert(consensus::Engine<raft::Raft>);
static_assert(consensus::Engine<paxos::Paxos>);

}  // namespace

Result<void> check_first_membership(Consensus which, const consensus::Membership& membership) {
  if (which == Consensus::kRaft && membership.voters.is_flexible()) {
    return fail(ErrorCode::kInvalid,
                "--election-quorum and --write-quorum are for --consensus paxos: with Raft more "
                "than half decides both");
  }
  if (!membership.is_valid()) {
    return fail(ErrorCode::kInvalid,
                "--witnesses: witnesses alone would be enough to decide, and keep no data: there "
                "must be more votes of other members");
  }
  if (which == Consensus::kPaxos && !paxos::seats_are_distinct(membership)) {
    return fail(ErrorCode::kInvalid,
                "two members have the same short id: give one of them another peer URL, or the "
                "cluster another token");
  }
  return {};
}

Engine::Any Engine::make(Consensus which, const consensus::EngineConfig& config,
                         consensus::Saved saved, std::uint64_t seed) {
  if (which == Consensus::kRaft) return raft::Raft(config, std::move(saved), seed);
  return paxos::Paxos(config, std::move(saved), seed);
}

Engine::Engine(Consensus which, const consensus::EngineConfig& config, consensus::Saved saved,
               std::uint64_t seed)
    : engine_(make(which, config, std::move(saved), seed)) {}

void Engine::absorb(Consensus which, consensus::Saved& saved, consensus::Entry entry) {
  if (which == Consensus::kRaft) return raft::Raft::absorb(saved, std::move(entry));
  paxos::Paxos::absorb(saved, std::move(entry));
}

Bytes Engine::command_in(Consensus which, const consensus::Entry& record) {
  if (consensus::full_kind(record.kind) != consensus::EntryKind::kCommand) return {};
  if (which == Consensus::kRaft) return record.data;
  Result<paxos::Pvalue> pvalue = paxos::decode_record(record);
  return pvalue ? std::move(pvalue->value.data) : Bytes{};
}

Result<void> Engine::step(const consensus::Envelope& envelope) {
  return std::visit([&](auto& engine) { return engine.step(envelope); }, engine_);
}

void Engine::tick() {
  std::visit([](auto& engine) { engine.tick(); }, engine_);
}

std::expected<consensus::Position, consensus::ProposeError> Engine::propose(Bytes command) {
  return std::visit([&](auto& engine) { return engine.propose(std::move(command)); }, engine_);
}

void Engine::persisted(Ticket ticket) {
  std::visit([&](auto& engine) { engine.persisted(ticket); }, engine_);
}

void Engine::read_barrier(ReadId id) {
  std::visit([&](auto& engine) { engine.read_barrier(id); }, engine_);
}

std::expected<consensus::Position, consensus::ChangeError> Engine::change_membership(
    const consensus::Membership& target) {
  return std::visit([&](auto& engine) { return engine.change_membership(target); }, engine_);
}

bool Engine::transfer(NodeId target) {
  return std::visit([&](auto& engine) { return engine.transfer(target); }, engine_);
}

void Engine::peer_lost(NodeId node) {
  std::visit([&](auto& engine) { engine.peer_lost(node); }, engine_);
}

void Engine::release(LogIndex keep_from) {
  std::visit([&](auto& engine) { engine.release(keep_from); }, engine_);
}

bool Engine::wants_snapshot() const {
  return std::visit([](const auto& engine) { return engine.wants_snapshot(); }, engine_);
}

void Engine::snapshot_taken(const consensus::SnapshotMeta& meta, LogIndex keep_from) {
  std::visit([&](auto& engine) { engine.snapshot_taken(meta, keep_from); }, engine_);
}

consensus::SnapshotMeta Engine::snapshot_meta(LogIndex index) const {
  return std::visit([&](const auto& engine) { return engine.snapshot_meta(index); }, engine_);
}

void Engine::snapshot_chunk(const consensus::SnapshotRead& wanted, Bytes data, bool last) {
  std::visit([&](auto& engine) { engine.snapshot_chunk(wanted, std::move(data), last); }, engine_);
}

void Engine::snapshot_unavailable(const consensus::SnapshotRead& wanted) {
  std::visit([&](auto& engine) { engine.snapshot_unavailable(wanted); }, engine_);
}

void Engine::snapshot_stored(LogIndex index, std::uint64_t offset, bool ok) {
  std::visit([&](auto& engine) { engine.snapshot_stored(index, offset, ok); }, engine_);
}

consensus::Output Engine::take_output() {
  return std::visit([](auto& engine) { return engine.take_output(); }, engine_);
}

consensus::EngineStatus Engine::status() const {
  return std::visit([](const auto& engine) { return engine.status(); }, engine_);
}

const consensus::Membership& Engine::membership() const {
  return std::visit(
      [](const auto& engine) -> const auto& { return engine.membership(); }, engine_);
}

bool Engine::may_add(const std::vector<NodeId>& ids) const {
  consensus::Membership with = consensus::Membership::of_majority(membership().all());
  for (const NodeId id : ids) {
    if (with.contains(id)) return false;
    with.learners.insert(std::ranges::lower_bound(with.learners, id), id);
  }
  return raft() != nullptr || paxos::seats_are_distinct(with);
}

bool Engine::is_leader() const {
  return std::visit([](const auto& engine) { return engine.is_leader(); }, engine_);
}

NodeId Engine::leader() const {
  return std::visit([](const auto& engine) { return engine.leader(); }, engine_);
}

Epoch Engine::epoch() const {
  return std::visit([](const auto& engine) { return engine.epoch(); }, engine_);
}

}  // namespace conclave::node
