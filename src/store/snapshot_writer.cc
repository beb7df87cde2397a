// SnapshotWriter (snapshot.h). What it must find unchanged later stays so without a copy: records
// are never changed, and freed only by reclaim(), which rests while a writer is open; the history
// only grows; RequestIds and LeaseTable keep what clients and leases were before they change.

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "store/snapshot.h"
#include "store/snapshot_format.h"
#include "store/state.h"

namespace conclave::store {
namespace {

// What passing over one record counts against the size of a piece, so that a step stays short where
// there is little to write.
constexpr std::size_t kVisitCost = 64;
constexpr std::size_t kPieceBytes = 4096;

SnapshotHead head_of(const StoreState& store) {
  return {.index = store.applied_index,
          .epoch = store.applied_epoch,
          .stamp = store.stamp,
          .revision = store.mvcc.revision(),
          .compacted = store.mvcc.compacted(),
          .hash = store.hash,
          .request_id_uses = store.request_ids.uses(),
          .facts = store.facts,
          .leases = store.leases.count(),
          .has_lease_users = store.leases.has_users(),
          .has_current = store.mvcc.has_current(),
          .has_quotas = store.mvcc.sizes(Keyspace::kZnodeQuota).keys != 0,
          .auth = store.auth};
}

}  // namespace

struct SnapshotWriter::State {
  explicit State(StoreState& from)
      : store(from),
        head(head_of(from)),
        next_change(from.mvcc.first_change_after(head.compacted)),
        end_of_changes(from.mvcc.history().size()) {
    end.dead_sum = from.mvcc.freed_sum();
  }

  enum class Stage : std::uint8_t { kHead, kClients, kLeases, kBases, kChanges, kEnd, kDone };

  template <class... Body>
  void frame(FrameKind kind, const Body&... body) {
    scratch.clear();
    Encoder content(scratch);
    content.u8(static_cast<std::uint8_t>(kind));
    if constexpr (sizeof...(body) > 0) encode(content, body...);
    Encoder(piece).bytes(scratch);
  }

  bool is_full() const { return piece.size() + visited * kVisitCost >= max_bytes; }

  // Each writes until the piece is full or its stage is over, and says which stage is next.
  Stage write_clients() {
    for (; !is_full(); ++visited) {
      const auto* client = store.request_ids.next_in_snapshot(last_client);
      if (client == nullptr) return Stage::kLeases;
      if (!next_answer) frame(FrameKind::kClient, client->first, client->second);
      const auto& answers = client->second.answers;
      std::size_t answer = next_answer.value_or(0);
      for (; answer < answers.size() && !is_full(); ++answer)
        frame(FrameKind::kAnswer, answers[answer]);
      next_answer = answer;
      if (answer < answers.size()) break;
      last_client = client->first;
      next_answer.reset();
      ++end.clients;
    }
    return Stage::kClients;
  }

  Stage write_leases() {
    for (; !is_full(); ++visited) {
      const auto lease = store.leases.next_in_snapshot(last_lease);
      if (!lease) return Stage::kBases;
      frame(FrameKind::kLease, *lease);
      last_lease = lease->id;
    }
    return Stage::kLeases;
  }

  Stage write_bases() {
    if (head.compacted <= 1 && has_history(keyspace())) return next_keyspace_or_changes();
    const KeyIndex& keys = std::as_const(store.mvcc).index(keyspace());
    auto it = last_key ? keys.upper_bound(BytesView(*last_key)) : keys.begin();
    for (pass_hidden(); it != keys.end() && !is_full(); ++it) {
      if (!write_base(it.newest())) break;
      last_key = it.newest()->key();
      pass_hidden();
    }
    if (hidden != nullptr || it != keys.end()) return Stage::kBases;
    last_key.reset();
    return next_keyspace_or_changes();
  }

  Stage next_keyspace_or_changes() {
    return ++next_keyspace == kKeyspaces ? Stage::kChanges : Stage::kBases;
  }

  // The version of a key that is current at the compacted revision is written. It hides those
  // before it: they are dead, reclaimed or not, and so is itself if it is an older deletion. False:
  // the key has so many newer ones that it goes on among them. (A new key may come in between.)
  bool write_base(const Record* newest) {
    if (!has_history(newest->keyspace)) {
      ++visited;
      const Record* record = version_at(newest, head.revision);
      if (record == nullptr) return true;
      frame(FrameKind::kBase, *record);
      ++end.bases;
      return true;
    }
    const bool goes_on = newer != nullptr && newer->key() == newest->key();
    const Record* record = goes_on ? std::exchange(newer, nullptr) : newest;
    for (; record != nullptr && record->mod > head.compacted; record = record->older, ++visited) {
      if (!is_full()) continue;
      newer = record;
      return false;
    }
    if (record == nullptr) return true;
    hidden = record;
    if (record->tombstone && record->mod < head.compacted) return true;
    frame(FrameKind::kBase, *record);
    ++end.bases;
    hidden = record->older;
    return true;
  }

  void pass_hidden() {
    for (; hidden != nullptr && !is_full(); hidden = hidden->older, ++visited) {
      end.dead_sum += hidden->hash();
    }
  }

  Stage write_changes() {
    for (; next_change != end_of_changes && !is_full(); ++next_change) {
      frame(FrameKind::kChange, *store.mvcc.history()[next_change]);
      ++end.changes;
    }
    return next_change == end_of_changes ? Stage::kEnd : Stage::kChanges;
  }

  void step() {
    switch (stage) {
      case Stage::kHead:
        frame(FrameKind::kHead, head);
        stage = Stage::kClients;
        return;
      case Stage::kClients:
        stage = write_clients();
        return;
      case Stage::kLeases:
        stage = write_leases();
        return;
      case Stage::kBases:
        stage = write_bases();
        return;
      case Stage::kChanges:
        stage = write_changes();
        return;
      case Stage::kEnd:
        frame(FrameKind::kEnd, end);
        stage = Stage::kDone;
        return;
      case Stage::kDone:
        return;
    }
  }

  Keyspace keyspace() const { return static_cast<Keyspace>(next_keyspace); }

  StoreState& store;
  const SnapshotHead head;
  SnapshotEnd end;
  Stage stage = Stage::kHead;
  std::optional<Bytes> last_client;        // written as a whole
  std::optional<std::size_t> next_answer;  // of the client after it, once begun
  std::optional<LeaseId> last_lease;
  std::size_t next_keyspace = 0;
  std::optional<Bytes> last_key;
  const Record* hidden = nullptr;  // the next of its versions that are dead
  const Record* newer = nullptr;   // of the key after it, where passing over new versions goes on
  std::size_t next_change;
  std::size_t end_of_changes;
  // Of the piece being made.
  Bytes piece;
  Bytes scratch;
  std::size_t max_bytes = 0;
  std::size_t visited = 0;
};

SnapshotWriter::SnapshotWriter(Store& store) {
  StoreState& from = *store.state_;
  CHECK(!from.is_snapshot_open, "a snapshot is being written already");
  state_ = std::make_unique<State>(from);
  from.is_snapshot_open = true;
  from.request_ids.begin_snapshot();
  from.leases.begin_snapshot();
  from.mvcc.keep_current();
}

SnapshotWriter::~SnapshotWriter() {
  state_->store.request_ids.end_snapshot();
  state_->store.leases.end_snapshot();
  state_->store.mvcc.forget_current();
  state_->store.is_snapshot_open = false;
}

Result<Bytes> SnapshotWriter::witnessed(BytesView begin) {
  Decoder in(begin);
  Decoder frame(in.bytes());
  const bool is_head = static_cast<FrameKind>(frame.u8()) == FrameKind::kHead;
  const SnapshotHead head = decode_head(frame);
  if (!in.ok() || !is_head || !frame.finished()) {
    return fail(ErrorCode::kCorrupt, "the snapshot does not begin with a head");
  }
  Store witness{Limits{}};
  StoreState& state = *witness.state_;
  state.applied_epoch = head.epoch;
  state.stamp = head.stamp;
  state.facts = head.facts;
  state.facts.alarms.clear();
  state.facts.update_digest();
  state.advance(head.index);
  SnapshotWriter writer(witness);
  Bytes all;
  for (Bytes piece = writer.next(kPieceBytes); !piece.empty(); piece = writer.next(kPieceBytes)) {
    all += piece;
  }
  return all;
}

LogIndex SnapshotWriter::index() const { return state_->head.index; }

Bytes SnapshotWriter::next(std::size_t max_bytes) {
  State& state = *state_;
  if (state.stage == State::Stage::kDone) return {};
  state.piece.clear();
  state.piece.reserve(max_bytes + max_bytes / 8);
  state.max_bytes = std::max<std::size_t>(max_bytes, 1);
  state.visited = 0;
  while (!state.is_full() && state.stage != State::Stage::kDone) state.step();
  if (state.piece.empty()) state.frame(FrameKind::kNothing);
  return std::exchange(state.piece, {});
}

}  // namespace conclave::store
