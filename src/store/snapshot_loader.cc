// SnapshotLoader (snapshot.h). Every frame must be in its place and fit the ones before it; at the
// end the state is hashed anew and must have the hash of the store that was written.

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "store/snapshot.h"
#include "store/snapshot_format.h"
#include "store/state.h"

namespace conclave::store {
namespace {

Failure corrupt(std::string_view what) {
  return fail(ErrorCode::kCorrupt, fmt::format("the snapshot is damaged: {}", what));
}

}  // namespace

struct SnapshotLoader::State {
  explicit State(Limits limits) : store(std::make_unique<StoreState>(limits)) {}

  Result<void> frame(BytesView bytes) {
    Decoder in(bytes);
    const auto kind = static_cast<FrameKind>(in.u8());
    if (has_end) return corrupt("there are bytes after its end");
    if (has_head == (kind == FrameKind::kHead)) return corrupt("its head is not where it belongs");
    TRY(dispatch(kind, in));
    if (!in.finished())
      return corrupt(fmt::format("a frame of kind {} cannot be decoded", static_cast<int>(kind)));
    return {};
  }

  Result<void> dispatch(FrameKind kind, Decoder& in) {
    switch (kind) {
      case FrameKind::kHead:
        return load_head(in);
      case FrameKind::kClient:
        return load_client(in);
      case FrameKind::kAnswer:
        return load_answer(in);
      case FrameKind::kLease:
        return load_lease(in);
      case FrameKind::kBase:
        return load_base(in);
      case FrameKind::kChange:
        return load_change(in);
      case FrameKind::kEnd:
        return load_end(in);
      case FrameKind::kNothing:
        return {};
    }
    return corrupt(fmt::format("a frame is of the unknown kind {}", static_cast<int>(kind)));
  }

  Result<void> load_head(Decoder& in) {
    head = decode_head(in);
    if (!in.finished())
      return corrupt("its head cannot be decoded; a newer build may have written it");
    if (head.revision < 1 || head.compacted < -1 || head.compacted > head.revision) {
      return corrupt("its revisions contradict each other");
    }
    if (!std::ranges::is_sorted(head.facts.members, {}, &api::Member::id))
      return corrupt("its members are not in order");
    has_head = true;
    store->applied_index = head.index;
    store->applied_epoch = head.epoch;
    store->stamp = head.stamp;
    store->facts = head.facts;
    store->facts.update_digest();
    store->auth = std::move(head.auth);
    store->request_ids.restore_uses(head.request_id_uses);
    last_mod = std::max<Revision>(head.compacted, 1);
    return {};
  }

  Result<void> load_client(Decoder& in) {
    TRY(close_client());
    auto [name, loaded] = decode_client(in);
    if (loaded.last_use > head.request_id_uses) return corrupt("a client was used in the future");
    client_name = std::move(name);
    client = std::move(loaded);
    ++seen.clients;
    return {};
  }

  Result<void> load_answer(Decoder& in) {
    if (!client) return corrupt("an answer is nobody's");
    if (client->answers.size() >= limits::kRequestIdsPerClient)
      return corrupt("a client has too many answers");
    client->answers.push_back(decode_answer(in));
    return {};
  }

  // A client is complete when the next one, or something else, begins.
  Result<void> close_client() {
    if (!client) return {};
    const bool fits = store->request_ids.restore(std::move(client_name), *std::move(client));
    client.reset();
    if (!fits) return corrupt("the answers to request ids contradict each other");
    return {};
  }

  Result<void> load_lease(Decoder& in) {
    TRY(close_client());
    const LeaseTerm lease = decode_lease(in);
    const bool may_have_user = lease.user.empty() || head.has_lease_users;
    if (!in.finished() || !may_have_user) return corrupt("a lease cannot be decoded");
    const bool is_in_order =
        seen.bases == 0 && seen.changes == 0 && (!last_lease || lease.id > *last_lease);
    if (!is_in_order || !store->leases.restore(lease)) return corrupt("a lease cannot be");
    last_lease = lease.id;
    return {};
  }

  Result<void> load_base(Decoder& in) {
    TRY(close_client());
    const RecordView record = decode_record(in);
    if (!in.finished()) return corrupt("a key's record cannot be decoded");
    if (!may_be_base(record.head)) return corrupt("a key's base is none");
    const Keyspace keyspace = record.head.keyspace;
    const bool is_further = keyspace == last_keyspace && (seen.bases == 0 || record.key > last_key);
    if (seen.changes != 0 || (keyspace <= last_keyspace && !is_further)) {
      return corrupt("its keys are out of order");
    }
    last_keyspace = keyspace;
    last_key = record.key;
    ++seen.bases;
    Record* made = make_record(record.head, record.key, Pieces(&record.value, 1));
    store->mvcc.restore(made);
    const bool is_change = has_history(made->keyspace) && made->mod == head.compacted;
    if (is_change) newest_bases.push_back(made);
    return {};
  }

  bool may_be_base(const Record& record) const {
    if (record.keyspace == Keyspace::kZnodeQuota && !head.has_quotas) return false;
    if (!has_history(record.keyspace)) {
      return head.has_current && record.mod <= head.revision && !record.tombstone;
    }
    return record.mod <= head.compacted && (!record.tombstone || record.mod == head.compacted);
  }

  // The changes of the compacted revision came in the order of keys.
  void close_bases() {
    std::ranges::sort(newest_bases, {}, &Record::sub);
    for (Record* record : std::exchange(newest_bases, {})) store->mvcc.restore_history(record);
  }

  Result<void> load_change(Decoder& in) {
    TRY(close_client());
    close_bases();
    const RecordView view = decode_record(in);
    if (!in.finished()) return corrupt("a change's record cannot be decoded");
    // Revisions that changed nothing but what has no history are not there.
    const bool is_next = head.has_current
                             ? view.head.mod > last_mod && view.head.mod <= head.revision
                             : view.head.mod == last_mod + 1;
    if (!has_history(view.head.keyspace)) return corrupt("a change has no place in the history");
    const bool is_first = is_next && view.head.sub == 0;
    const bool is_further =
        seen.changes != 0 && view.head.mod == last_mod && view.head.sub == last_sub + 1;
    if (!is_first && !is_further) return corrupt("its changes have a gap");
    last_mod = view.head.mod;
    last_sub = view.head.sub;
    ++seen.changes;
    Record* record = make_record(view.head, view.key, Pieces(&view.value, 1));
    store->mvcc.restore(record);
    store->mvcc.restore_history(record);
    return follows(*record) ? Result<void>{}
                            : corrupt("a change does not fit the version before it");
  }

  // Whether the numbers of `record` are those that a put or delete after the version before it
  // would give.
  static bool follows(const Record& record) {
    const Record* before =
        record.older != nullptr && !record.older->tombstone ? record.older : nullptr;
    if (record.tombstone) return before != nullptr && record.create == 0 && record.version == 0;
    if (before == nullptr) return record.create == record.mod && record.version == 1;
    return record.create == before->create && record.version == before->version + 1;
  }

  Result<void> load_end(Decoder& in) {
    TRY(close_client());
    close_bases();
    const SnapshotEnd end = decode_end(in);
    if (end.clients != seen.clients || end.bases != seen.bases || end.changes != seen.changes) {
      return corrupt("parts of it are missing");
    }
    if (store->leases.count() != head.leases) return corrupt("its leases are not all there");
    if (store->leases.orphans() != 0) return corrupt("a key names a lease that is not there");
    if (last_mod != head.revision && !head.has_current) {
      return corrupt("its last changes are missing");
    }
    store->mvcc.restore_numbers(head.revision, head.compacted, end.dead_sum);
    has_end = true;
    return {};
  }

  std::unique_ptr<StoreState> store;
  Bytes buffer;  // the begin of a frame whose end has not come
  bool has_failed = false;
  bool has_head = false;
  bool has_end = false;
  SnapshotHead head;
  SnapshotEnd seen;  // counts so far
  Bytes client_name;
  std::optional<RequestIds::Client> client;  // the one whose answers are being read
  std::vector<Record*> newest_bases;         // those of the compacted revision
  std::optional<LeaseId> last_lease;
  Keyspace last_keyspace = Keyspace::kEtcd;
  Bytes last_key;
  Revision last_mod = 0;
  std::uint32_t last_sub = 0;
};

SnapshotLoader::SnapshotLoader(Limits limits) : state_(std::make_unique<State>(limits)) {}
SnapshotLoader::~SnapshotLoader() = default;

Result<void> SnapshotLoader::feed(BytesView bytes) {
  State& state = *state_;
  if (state.has_failed) return corrupt("an earlier part of it was refused");
  state.buffer.append(bytes);
  BytesView rest = state.buffer;
  while (!rest.empty()) {
    Decoder in(rest);
    const std::uint64_t size = in.varint();
    const bool is_cut = !in.ok() && rest.size() < 10;  // inside the length
    if (is_cut) break;
    if (!in.ok() || size > kMaxFrameBytes) {
      state.has_failed = true;
      return corrupt("a frame's length makes no sense");
    }
    const std::size_t prefix = rest.size() - in.remaining();
    if (size > in.remaining()) break;
    if (auto loaded = state.frame(rest.substr(prefix, size)); !loaded) {
      state.has_failed = true;
      return loaded;
    }
    rest.remove_prefix(prefix + size);
  }
  state.buffer.erase(0, state.buffer.size() - rest.size());
  return {};
}

Result<Store> SnapshotLoader::finish() {
  State& state = *state_;
  if (state.has_failed) return corrupt("a part of it was refused");
  if (!state.has_end || !state.buffer.empty()) return corrupt("its end is missing");
  state.store->hash = state.store->compute_hash();
  if (state.store->hash != state.head.hash) {
    return corrupt(fmt::format("the loaded state hashes to {:016x}, the written one to {:016x}",
                               state.store->hash, state.head.hash));
  }
  state.store->hashes.add(state.head.index, state.head.hash);
  Store store(state.store->limits);
  store.state_ = std::move(state.store);
  return store;
}

}  // namespace conclave::store
