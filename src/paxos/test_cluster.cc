#include "paxos/test_cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "paxos/describe.h"
#include "paxos/election.h"
#include "paxos/phase_one.h"

namespace conclave::paxos {

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
                         std::uint64_t seed, std::uint64_t window, std::vector<NodeId> witnesses)
    : config_(config),
      initial_(std::move(initial)),
      seed_(seed),
      window_(window),
      witnesses_(std::move(witnesses)),
      hashes_{0},
      witness_hashes_{0},
      memberships_(LogIndex{}, initial_, window) {
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
    if (!member.engine || !member.engine->is_leader()) continue;
    if (!best || member.engine->epoch() > members_.at(*best).engine->epoch()) best = id;
  }
  return best;
}

void TestCluster::act_quietly(NodeId id, const std::function<void(Paxos&)>& action) {
  Member& member = members_.at(id);
  CHECK(member.engine.has_value(), "member {} is down", id.value);
  const Mark before = mark(member.engine->state());
  action(*member.engine);
  check_state(member.engine->state());
  check_step(before, member.engine->state());
  max_commit_ = std::max(max_commit_, member.engine->commit());
  check_leader(id);
}

void TestCluster::act(NodeId id, const std::function<void(Paxos&)>& action) {
  act_quietly(id, action);
  Output out;
  act_quietly(id, [&out](Paxos& paxos) { out = paxos.take_output(); });
  carry_out(id, std::move(out));
  const bool wants = members_.at(id).engine->wants_snapshot();
  if (wants && !members_.at(id).wants_snapshot) {
    note(fmt::format("{} wants to take a snapshot", id.value));
  }
  members_.at(id).wants_snapshot = wants;
}

void TestCluster::read(NodeId id, ReadId read) {
  members_.at(id).reads[read] = max_commit_;
  act(id, [read](Paxos& paxos) { paxos.read_barrier(read); });
}

void TestCluster::check_leader(NodeId id) {
  const Paxos& engine = *members_.at(id).engine;
  if (!engine.is_leader()) return;
  const auto [of_ballot, is_new] = leaders_.emplace(engine.epoch(), id);
  CHECK(of_ballot->second == id, "{} and {} lead in ballot {}", of_ballot->second.value, id.value,
        describe(engine.epoch()));
  CHECK(!is_witness(id), "a witness leads");
  if (is_new) check_phase_one(id);
}

// Whoever leads has heard of everything that is chosen, from one of those who chose it.
void TestCluster::check_phase_one(NodeId id) {
  const State& s = members_.at(id).engine->state();
  const PhaseOne& phase_one = s.leader()->phase_one;
  const auto promised = [&](NodeId who) { return who == id || has_reported(phase_one, who); };
  for (auto at = chosen_.upper_bound(s.commit); at != chosen_.end(); ++at) {
    const auto& [slot, chosen] = *at;
    if (chosen.ballot >= s.promised) continue;
    if (!is_prepared(s, phase_one, s.memberships.at(slot))) continue;  // it may not propose there
    if (memberships_.at(slot).from != s.memberships.at(slot).from) continue;  // nor knows it yet
    CHECK(std::any_of(chosen.by.begin(), chosen.by.end(), promised),
          "the quorums of the two phases do not meet: {} leads without any of those who chose {}",
          id.value, describe(chosen.value));
  }
}

void TestCluster::carry_out(NodeId id, Output out) {
  Member& member = members_.at(id);
  for (Envelope& envelope : out.send_now) {
    if (trace) note(words(envelope));
    check_said(id, envelope);
    network_[{envelope.from, envelope.to}].push_back(std::move(envelope));
  }
  if (out.ticket) {
    if (trace) {
      std::string line = fmt::format("{} writes", id.value);
      if (out.hard_state) {
        const auto hard = decode_hard_state(*out.hard_state);
        line += fmt::format(" promised={} commit={}", describe(hard->promised), hard->commit.value);
      }
      for (const Entry& entry : out.append) line += " [" + describe(*decode_record(entry)) + "]";
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
  release_held(id);
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

void TestCluster::release_held(NodeId id) {
  Member& member = members_.at(id);
  while (!member.held.empty() && member.held.front().until <= member.durable) {
    Envelope& envelope = member.held.front().envelope;
    check_said(id, envelope);
    network_[{envelope.from, envelope.to}].push_back(std::move(envelope));
    member.held.pop_front();
  }
}

// What a message promises must be on disk when it leaves, or a crash would make a liar of the
// member.
void TestCluster::check_said(NodeId id, const Envelope& envelope) {
  Member& member = members_.at(id);
  const auto message = decode(envelope.message);
  const bool promises = std::holds_alternative<Prepare>(message->body) ||
                        std::holds_alternative<Promise>(message->body) ||
                        std::holds_alternative<Accepted>(message->body);
  if (!promises) return;
  CHECK(member.hard_state.has_value(), "{} says {} and has nothing on disk", id.value,
        words(envelope));
  const HardState disk = *decode_hard_state(*member.hard_state);
  CHECK(disk.promised >= message->ballot, "{} says {} and could forget it", id.value,
        words(envelope));
  member.said = std::max(member.said, message->ballot);
  const auto* accepted = std::get_if<Accepted>(&message->body);
  if (!accepted) return;
  for (const Range& range : accepted->slots) {
    for (LogIndex slot = range.first; slot <= range.last; slot = slot.next()) {
      const bool in_snapshot = member.snapshots.rbegin()->first >= slot;
      CHECK(in_snapshot || member.accepted.contains(slot), "{} accepted {} and could forget it",
            id.value, slot.value);
    }
  }
}

void TestCluster::reach_disk(NodeId id, Write write) {
  Member& member = members_.at(id);
  if (write.hard_state) member.hard_state = std::move(write.hard_state);
  for (Entry& record : write.entries) {
    count_record(id, record);
    member.accepted[record.index] = record.epoch;
    member.records.push_back(std::move(record));
  }
}

// The learner that sees all disks.
void TestCluster::count_record(NodeId id, const Entry& record) {
  const Pvalue pvalue = *decode_record(record);
  const LogIndex slot = pvalue.value.index;
  const Position place{slot, pvalue.ballot};
  const auto [proposed, is_first] = proposed_.emplace(place, pvalue.value);
  CHECK(is_first || is_same_entry(proposed->second, pvalue.value),
        "two values in one ballot: {} and {}", describe(proposed->second), describe(pvalue));
  if (proposed->second.kind == consensus::EntryKind::kWitnessed) proposed->second = pvalue.value;
  std::set<NodeId>& by = accepted_[place];
  by.insert(id);
  const Membership& who = memberships_.at(slot).membership;
  if (!who.reached([&by](NodeId voter) { return by.contains(voter); })) return;
  const auto [chosen, is_new] = chosen_.emplace(slot, Chosen{pvalue.ballot, proposed->second, by});
  CHECK(is_new || is_same_entry(chosen->second.value, pvalue.value),
        "a chosen value changes: {}, now {}", describe(chosen->second.value), describe(pvalue));
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
    CHECK(history_.empty() || entry.epoch >= history_.back().epoch, "epochs fall at {}",
          describe(entry));
    history_.push_back(entry);
    if (entry.kind == consensus::EntryKind::kMembership) {
      memberships_.decide(entry.index, *consensus::decode_membership(entry.data));
    }
    CHECK(!is_witness(id), "a witness is the first to know that {} is committed", describe(entry));
    hashes_.push_back(member.hash);
    witness_hashes_.push_back(
        hash_of(witness_hashes_.back(), consensus::witnessed_form(config_, entry)));
  }
  const Entry& first = history_[entry.index.value - 1];
  CHECK(is_same_entry(first, entry), "two histories: {} commits {}, not {}", id.value,
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
  act(link.second, [&](Paxos& paxos) {
    const auto stepped = paxos.step(envelope);
    CHECK(stepped.has_value(), "{}: {} ({})", words(envelope), stepped.error().message,
          describe(paxos.state()));
  });
}

void TestCluster::persist(NodeId id, std::size_t count) {
  Member& member = members_.at(id);
  for (; count > 0 && !member.writes.empty(); --count) {
    Write write = std::move(member.writes.front());
    member.writes.pop_front();
    member.durable = write.ticket;
    reach_disk(id, std::move(write));
  }
  release_held(id);
  act(id, [&member](Paxos& paxos) { paxos.persisted(member.durable); });
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
    return act(id, [&wanted](Paxos& paxos) { paxos.snapshot_unavailable(wanted); });
  }
  const auto index = static_cast<std::size_t>(wanted.index.value);
  const Bytes file = is_witness(wanted.to) ? snapshot_file(wanted.index, witness_hashes_.at(index))
                                           : found->second.file;
  const Bytes data = file.substr(wanted.offset, wanted.max_bytes);
  const bool last = wanted.offset + data.size() == file.size();
  act(id, [&](Paxos& paxos) { paxos.snapshot_chunk(wanted, data, last); });
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
  act(id, [&](Paxos& paxos) { paxos.snapshot_stored(write.meta.index, end, ok); });
}

void TestCluster::store_snapshot(Member& member, const SnapshotMeta& meta, Bytes file) {
  member.snapshots[meta.index] = {meta, std::move(file)};
  if (member.snapshots.size() > 2) member.snapshots.erase(member.snapshots.begin());
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
  const auto& install = member.engine->state().install;
  if (install && install->finishing) return;
  member.writing = {member.engine->snapshot_meta(index), snapshot_file(index, member.hash)};
}

void TestCluster::finish_snapshot(NodeId id, std::uint64_t keep) {
  Member& member = members_.at(id);
  if (!member.writing) return;
  const StoredSnapshot written = *std::exchange(member.writing, std::nullopt);
  store_snapshot(member, written.meta, written.file);
  const LogIndex from = keep_from(written.meta.index, keep);
  act(id, [&](Paxos& paxos) { paxos.snapshot_taken(written.meta, from); });
}

void TestCluster::release(NodeId id, std::uint64_t keep) {
  const LogIndex from = keep_from(members_.at(id).applied, keep);
  act(id, [from](Paxos& paxos) { paxos.release(from); });
}

void TestCluster::crash(NodeId id, std::size_t survive) {
  Member& member = members_.at(id);
  for (; survive > 0 && !member.writes.empty(); --survive) {
    Write write = std::move(member.writes.front());
    member.writes.pop_front();
    reach_disk(id, std::move(write));
  }
  member.engine.reset();
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
  CHECK(!member.engine);
  const StoredSnapshot& newest = member.snapshots.rbegin()->second;
  consensus::Saved saved{member.hard_state, newest.meta, {}};
  for (const Entry& entry : member.records) Paxos::absorb(saved, entry);

  member.handed_out = member.durable = Ticket{};
  member.applied = newest.meta.index;
  member.hash = hashes(id).at(newest.meta.index.value);
  config_.self = id;
  config_.is_witness = is_witness(id);
  const auto run = static_cast<std::uint64_t>(++member.runs);
  member.engine.emplace(config_, std::move(saved), mix(mix(seed_, id.value), run), window_);
  CHECK(member.engine->epoch() >= member.said, "{} forgot a promise", id.value);
  act(id, [](Paxos&) {});
}

void TestCluster::check_logs() const {
  for (const auto& [id, member] : members_) {
    if (!member.engine) continue;
    const State& s = member.engine->state();
    for (const auto& [index, slot] : s.log.slots()) {
      const auto proposed = proposed_.find({index, slot.ballot});
      check_data(id, slot.value);
      CHECK(proposed == proposed_.end() || is_same_entry(proposed->second, slot.value),
            "two values in one ballot: {} has {}", id.value, describe(slot.value));
      const auto chosen = chosen_.find(index);
      if (!slot.chosen) continue;
      CHECK(chosen != chosen_.end(), "{} takes {} for chosen", id.value, describe(slot.value));
      CHECK(is_same_entry(chosen->second.value, slot.value),
            "{} has {} in the place of what is chosen", id.value, describe(slot.value));
    }
  }
}

}  // namespace conclave::paxos
