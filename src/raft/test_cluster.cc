#include "raft/test_cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "raft/describe.h"

namespace conclave::raft {

namespace {

using consensus::Entry;
using consensus::Envelope;
using consensus::Output;
using consensus::SnapshotRead;
using consensus::SnapshotWrite;

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  return (hash ^ value) * 0x9e3779b97f4a7c15 + (hash >> 29);
}

std::uint64_t hash_of(std::uint64_t before, const Entry& entry) {
  std::uint64_t hash = mix(before, entry.index.value);
  hash = mix(hash, entry.epoch.value);
  for (const char c : entry.data) hash = mix(hash, static_cast<std::uint8_t>(c));
  return hash;
}

// A witness keeps the first byte of a command.
Bytes first_byte(BytesView command) { return Bytes(command.substr(0, 1)); }

// Long enough for several chunks.
Bytes snapshot_file(LogIndex index, std::uint64_t hash) {
  return fmt::format("{:016x} {:016x} and then some more", index.value, hash);
}

std::string words(const Envelope& envelope) {
  const auto message = decode(envelope.message);
  CHECK(message.has_value(), "{}", message.error().message);
  return fmt::format("{}->{} {}", envelope.from.value, envelope.to.value, describe(*message));
}

}  // namespace

TestCluster::TestCluster(std::uint64_t size, Membership initial, consensus::EngineConfig config,
                         std::uint64_t seed, std::vector<NodeId> witnesses)
    : config_(config),
      initial_(std::move(initial)),
      seed_(seed),
      witnesses_(std::move(witnesses)),
      hashes_{0},
      witness_hashes_{0} {
  config_.witnessed = first_byte;
  initial_.merge_witnesses(witnesses_);
  for (std::uint64_t id = 1; id <= size; ++id) {
    members_[NodeId{id}].snapshots[LogIndex{}] = {{LogIndex{}, Epoch{}, initial_}, ""};
    restart(NodeId{id});
  }
}

bool TestCluster::is_witness(NodeId id) const {
  return std::find(witnesses_.begin(), witnesses_.end(), id) != witnesses_.end();
}

const std::vector<std::uint64_t>& TestCluster::hashes(NodeId id) const {
  return is_witness(id) ? witness_hashes_ : hashes_;
}

std::optional<NodeId> TestCluster::leader() const {
  std::optional<NodeId> best;
  for (const auto& [id, member] : members_) {
    if (!member.raft || !member.raft->is_leader()) continue;
    if (!best || member.raft->epoch() > members_.at(*best).raft->epoch()) best = id;
  }
  return best;
}

void TestCluster::act_quietly(NodeId id, const std::function<void(Raft&)>& action) {
  Member& member = members_.at(id);
  CHECK(member.raft.has_value(), "member {} is down", id.value);
  const Mark before = mark(member.raft->state());
  action(*member.raft);
  check_state(member.raft->state());
  check_step(before, member.raft->state());
  max_commit_ = std::max(max_commit_, member.raft->commit());
  check_leader(id);
}

void TestCluster::act(NodeId id, const std::function<void(Raft&)>& action) {
  act_quietly(id, action);
  Output out;
  act_quietly(id, [&out](Raft& raft) { out = raft.take_output(); });
  carry_out(id, std::move(out));
  const bool wants = members_.at(id).raft->wants_snapshot();
  if (wants && !members_.at(id).wants_snapshot) {
    note(fmt::format("{} wants to take a snapshot", id.value));
  }
  members_.at(id).wants_snapshot = wants;
}

void TestCluster::read(NodeId id, ReadId read) {
  members_.at(id).reads[read] = max_commit_;
  act(id, [read](Raft& raft) { raft.read_barrier(read); });
}

void TestCluster::check_leader(NodeId id) {
  const Raft& raft = *members_.at(id).raft;
  if (!raft.is_leader()) return;
  const auto [of_term, is_new] = leaders_.emplace(raft.epoch(), id);
  CHECK(of_term->second == id, "election safety: {} and {} lead in term {}", of_term->second.value,
        id.value, raft.epoch().value);
  if (!is_new) return;
  CHECK(!is_witness(id), "a witness leads");
  const Log& log = raft.state().log;
  for (const Entry& entry : history_) {
    if (entry.index < log.first()) continue;
    CHECK(log.epoch_at(entry.index) == entry.epoch, "leader completeness: {} lacks {}", id.value,
          describe(entry));
  }
}

void TestCluster::carry_out(NodeId id, Output out) {
  Member& member = members_.at(id);
  for (Envelope& envelope : out.send_now) {
    if (trace) note(words(envelope));
    network_[{envelope.from, envelope.to}].push_back(std::move(envelope));
  }
  if (out.ticket) {
    if (trace) {
      std::string line = fmt::format("{} writes", id.value);
      if (out.hard_state) {
        const auto hard = decode_hard_state(*out.hard_state);
        line += fmt::format(" term={} vote={} commit={}", hard->term.value, hard->vote.value,
                            hard->commit.value);
      }
      for (const Entry& entry : out.append) line += " [" + describe(entry) + "]";
      note(line);
    }
    CHECK(out.ticket > member.handed_out);
    member.handed_out = out.ticket;
    member.writes.push_back({out.ticket, std::move(out.hard_state), std::move(out.append)});
  } else {
    CHECK(!out.hard_state);
    CHECK(out.append.empty());
  }
  for (Envelope& envelope : out.send_after_persist) {
    if (trace) note("after persist: " + words(envelope));
    member.held.push_back({member.handed_out, std::move(envelope)});
  }
  release_held(member);
  for (const Entry& entry : out.committed) apply(id, entry);
  for (const consensus::ReadReady& ready : out.reads_ready) {
    note(fmt::format("{} read {} {}", id.value, ready.id.value,
                     ready.index ? fmt::format("index={}", ready.index->value) : "unknown"));
    const auto open = member.reads.find(ready.id);
    CHECK(open != member.reads.end(), "read {} was answered twice", ready.id.value);
    if (ready.index) CHECK(*ready.index >= open->second, "a stale read");
    member.reads.erase(open);
  }
  for (SnapshotRead& wanted : out.snapshot_reads) {
    note(fmt::format("{} wants to send {} snapshot {} from byte {}", id.value, wanted.to.value,
                     wanted.index.value, wanted.offset));
    member.jobs.emplace_back(wanted);
  }
  for (SnapshotWrite& write : out.snapshot_writes) {
    note(fmt::format("{} stores snapshot {} bytes {}..{}", id.value, write.meta.index.value,
                     write.offset, write.offset + write.data.size()));
    member.jobs.emplace_back(std::move(write));
  }
}

void TestCluster::release_held(Member& member) {
  while (!member.held.empty() && member.held.front().until <= member.durable) {
    Envelope& envelope = member.held.front().envelope;
    network_[{envelope.from, envelope.to}].push_back(std::move(envelope));
    member.held.pop_front();
  }
}

void TestCluster::apply(NodeId id, const Entry& entry) {
  Member& member = members_.at(id);
  note(fmt::format("{} commits [{}]", id.value, describe(entry)));
  CHECK(entry.index == member.applied.next(), "applied {} after {}", entry.index.value,
        member.applied.value);
  member.applied = entry.index;
  member.hash = hash_of(member.hash, entry);
  if (entry.index.value > history_.size()) {
    CHECK(entry.index.value == history_.size() + 1);
    CHECK(!is_witness(id), "a witness is the first to know that {} is committed", describe(entry));
    history_.push_back(entry);
    hashes_.push_back(member.hash);
    witness_hashes_.push_back(
        hash_of(witness_hashes_.back(), consensus::witnessed_form(config_, entry)));
  }
  const Entry& first = history_[entry.index.value - 1];
  CHECK(is_same_entry(first, entry), "state machine safety: {} commits {}, not {}", id.value,
        describe(entry), describe(first));
  check_data(id, entry);
  CHECK(hashes(id)[entry.index.value] == member.hash);
}

void TestCluster::check_data(NodeId id, const Entry& entry) const {
  const bool has_data = entry.kind == consensus::EntryKind::kCommand;
  const bool has_metadata = entry.kind == consensus::EntryKind::kWitnessed;
  if (is_witness(id)) CHECK(!has_data, "witness {} keeps data: {}", id.value, describe(entry));
  if (!is_witness(id)) CHECK(!has_metadata, "{} lacks data: {}", id.value, describe(entry));
}

void TestCluster::deliver(Link link, std::size_t position, bool keep) {
  auto& queue = network_.at(link);
  CHECK(position < queue.size());
  const auto at = queue.begin() + static_cast<std::ptrdiff_t>(position);
  Envelope envelope = *at;
  if (!keep) queue.erase(at);
  if (!is_up(link.second)) return;
  act(link.second, [&envelope](Raft& raft) {
    const auto stepped = raft.step(envelope);
    CHECK(stepped.has_value(), "{}: {}", words(envelope), stepped.error().message);
  });
}

void TestCluster::persist(NodeId id, std::size_t count) {
  Member& member = members_.at(id);
  for (; count > 0 && !member.writes.empty(); --count) {
    Write write = std::move(member.writes.front());
    member.writes.pop_front();
    if (write.hard_state) member.hard_state = std::move(write.hard_state);
    for (Entry& entry : write.entries) member.records.push_back(std::move(entry));
    member.durable = write.ticket;
  }
  release_held(member);
  act(id, [&member](Raft& raft) { raft.persisted(member.durable); });
}

void TestCluster::run_job(NodeId id, bool ok) {
  Member& member = members_.at(id);
  CHECK(!member.jobs.empty());
  const Job job = std::move(member.jobs.front());
  member.jobs.pop_front();
  if (const auto* wanted = std::get_if<SnapshotRead>(&job)) return read_snapshot(id, *wanted, ok);
  write_snapshot(id, std::get<SnapshotWrite>(job), ok);
}

void TestCluster::read_snapshot(NodeId id, const SnapshotRead& wanted, bool ok) {
  const Member& member = members_.at(id);
  const auto found = member.snapshots.find(wanted.index);
  if (!ok || found == member.snapshots.end() || wanted.offset > found->second.file.size()) {
    return act(id, [&wanted](Raft& raft) { raft.snapshot_unavailable(wanted); });
  }
  const auto index = static_cast<std::size_t>(wanted.index.value);
  const Bytes file = is_witness(wanted.to) ? snapshot_file(wanted.index, witness_hashes_.at(index))
                                           : found->second.file;
  const Bytes data = file.substr(wanted.offset, wanted.max_bytes);
  const bool last = wanted.offset + data.size() == file.size();
  act(id, [&](Raft& raft) { raft.snapshot_chunk(wanted, data, last); });
}

void TestCluster::write_snapshot(NodeId id, const SnapshotWrite& write, bool ok) {
  Member& member = members_.at(id);
  if (write.offset == 0) member.receiving.clear();
  ok = ok && member.receiving.size() == write.offset;
  if (ok) member.receiving += write.data;
  if (ok && write.last) {
    const std::uint64_t hash = hashes(id).at(write.meta.index.value);
    CHECK(member.receiving == snapshot_file(write.meta.index, hash), "a damaged snapshot");
    CHECK(member.applied < write.meta.index, "the store goes back to a snapshot");
    store_snapshot(member, write.meta, std::exchange(member.receiving, {}));
    member.writing.reset();
    member.applied = write.meta.index;
    member.hash = hash;
  }
  const std::uint64_t end = write.offset + write.data.size();
  act(id, [&](Raft& raft) { raft.snapshot_stored(write.meta.index, end, ok); });
}

void TestCluster::store_snapshot(Member& member, const SnapshotMeta& meta, Bytes file) {
  member.snapshots[meta.index] = {meta, std::move(file)};
  // The newest two stay, and what is on its way to somebody.
  const consensus::EngineStatus status = member.raft->status();
  for (auto it = member.snapshots.begin(); member.snapshots.size() > 2;) {
    if (std::next(it, 2) == member.snapshots.end()) break;
    const bool used = std::ranges::find(status.peers, it->first,
                                        &consensus::PeerStatus::snapshot) != status.peers.end();
    it = used ? std::next(it) : member.snapshots.erase(it);
  }
}

namespace {

LogIndex keep_from(LogIndex index, std::uint64_t keep) {
  return LogIndex{index.value >= keep ? index.value - keep + 1 : 1};
}

}  // namespace

void TestCluster::compact(NodeId id, std::uint64_t keep) {
  members_.at(id).writing.reset();
  begin_snapshot(id);
  finish_snapshot(id, keep);
}

void TestCluster::begin_snapshot(NodeId id) {
  Member& member = members_.at(id);
  const LogIndex index = member.applied;
  if (member.writing || member.snapshots.contains(index)) return;
  // A snapshot on its way into the store has the last word.
  const auto& install = member.raft->state().install;
  if (install && install->finishing) return;
  member.writing = {member.raft->snapshot_meta(index), snapshot_file(index, member.hash)};
}

void TestCluster::finish_snapshot(NodeId id, std::uint64_t keep) {
  Member& member = members_.at(id);
  if (!member.writing) return;
  const StoredSnapshot written = *std::exchange(member.writing, std::nullopt);
  store_snapshot(member, written.meta, written.file);
  const LogIndex from = keep_from(written.meta.index, keep);
  act(id, [&](Raft& raft) { raft.snapshot_taken(written.meta, from); });
}

void TestCluster::release(NodeId id, std::uint64_t keep) {
  const LogIndex from = keep_from(members_.at(id).applied, keep);
  act(id, [from](Raft& raft) { raft.release(from); });
}

void TestCluster::crash(NodeId id, std::size_t survive) {
  Member& member = members_.at(id);
  for (; survive > 0 && !member.writes.empty(); --survive) {
    Write& write = member.writes.front();
    if (write.hard_state) member.hard_state = std::move(write.hard_state);
    for (Entry& entry : write.entries) member.records.push_back(std::move(entry));
    member.writes.pop_front();
  }
  member.raft.reset();
  member.writes.clear();
  member.held.clear();
  member.jobs.clear();
  member.receiving.clear();
  member.writing.reset();
  member.wants_snapshot = false;
  member.reads.clear();
}

void TestCluster::restart(NodeId id) {
  Member& member = members_.at(id);
  CHECK(!member.raft);
  const StoredSnapshot& newest = member.snapshots.rbegin()->second;
  consensus::Saved saved{member.hard_state, newest.meta, {}};
  for (const Entry& entry : member.records) Raft::absorb(saved, entry);

  member.handed_out = member.durable = Ticket{};
  member.applied = newest.meta.index;
  member.hash = hashes(id).at(newest.meta.index.value);
  config_.self = id;
  config_.is_witness = is_witness(id);
  const auto run = static_cast<std::uint64_t>(++member.runs);
  member.raft.emplace(config_, std::move(saved), mix(mix(seed_, id.value), run));
  act(id, [](Raft&) {});
}

void TestCluster::check_log_matching() const {
  for (const auto& [a_id, a] : members_) {
    if (!a.raft) continue;
    const Log& one = a.raft->state().log;
    for (LogIndex i = one.first(); i <= one.last(); i = i.next()) check_data(a_id, one.at(i));
    for (const auto& [b_id, b] : members_) {
      if (b_id <= a_id || !b.raft) continue;
      const Log& two = b.raft->state().log;
      bool same = false;
      const LogIndex lowest = std::max(one.first(), two.first());
      for (LogIndex i = std::min(one.last(), two.last()); i >= lowest; i = i.prev()) {
        if (!same && one.epoch_at(i) != two.epoch_at(i)) continue;
        same = true;
        CHECK(is_same_entry(one.at(i), two.at(i)), "log matching: {} has {}, {} has {}", a_id.value,
              describe(one.at(i)), b_id.value, describe(two.at(i)));
      }
    }
  }
}

}  // namespace conclave::raft
