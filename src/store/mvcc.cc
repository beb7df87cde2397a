#include "store/mvcc.h"

#include <algorithm>

#include "base/check.h"
#include "base/prefetch.h"

namespace conclave::store {
namespace {

constexpr BytesView kNoEnd("\0", 1);

}  // namespace

KeyRange KeyRange::of(BytesView key, BytesView range_end) {
  KeyRange range;
  range.key = key;
  range.end = range_end;
  range.single = range_end.empty();
  range.unbounded = range_end == kNoEnd;
  return range;
}

Mvcc::~Mvcc() {
  for (const KeyIndex& keys : indexes_) {
    for (auto it = keys.begin(); it != keys.end(); ++it) {
      for (Record* record = it.newest(); record != nullptr;) {
        Record* older = record->older;
        free_record(record);
        record = older;
      }
    }
  }
}

Revision Mvcc::reclaimed() const {
  if (cleared_ == history_.size()) return compacted_;
  return std::min(compacted_, history_[cleared_]->mod - 1);
}

const Record* Mvcc::find(Keyspace keyspace, BytesView key, Revision at) const {
  const KeyIndex& keys = index(keyspace);
  const auto it = keys.find(key);
  return it == keys.end() ? nullptr : version_at(it.newest(), at);
}

std::size_t Mvcc::first_change_after(Revision revision) const {
  const auto it = std::ranges::upper_bound(history_, revision, {}, &Record::mod);
  return static_cast<std::size_t>(it - history_.begin());
}

void Mvcc::compact(Revision revision) {
  CHECK(revision > compacted_);
  CHECK(revision <= revision_);
  compacted_ = revision;
}

// A change at or below the compacted revision hides everything before it from every readable
// revision. A deletion hides itself as well; if the key has newer versions its tombstone stays as
// their tail and goes with the next of them.
//
// What is freed is in the history no more: older changes leave it before newer ones are looked at,
// and of one revision's versions of a key none goes before the revision does.
bool Mvcc::reclaim(std::size_t max_changes, Revision newest) {
  const Revision limit = std::min(compacted_, newest);
  const auto can_drop = [&] { return cleared_ > 0 && history_.front()->mod < compacted_; };
  const auto can_clear = [&](Revision up_to) {
    return cleared_ < history_.size() && history_[cleared_]->mod <= up_to;
  };
  for (; max_changes > 0; --max_changes) {
    if (!can_drop()) {
      if (!can_clear(limit)) break;
      fetch_change(cleared_);
      Record* change = history_[cleared_++];
      release_before(change, change->mod);
    }
    if (can_drop()) drop_oldest();
  }
  for (; max_changes > 0 && kept_ == kKeepsNothing && !kept_records_.empty(); --max_changes) {
    free_kept(kept_records_.front());
    kept_records_.pop_front();
  }
  const bool has_kept = kept_ == kKeepsNothing && !kept_records_.empty();
  return can_drop() || can_clear(compacted_) || has_kept;
}

// Frees the versions before `change` that are older than `revision`.
void Mvcc::release_before(Record* change, Revision revision) {
  while (change->older != nullptr && change->older->mod >= revision) change = change->older;
  while (Record* hidden = change->older) {
    change->older = hidden->older;
    release(hidden);
  }
}

// Old versions are in no cache: those that reclaim() comes to soon after the change `at` are
// fetched meanwhile, first the changes and then the versions before them.
void Mvcc::fetch_change(std::size_t at) const {
  constexpr std::size_t kAhead = 8;
  if (at + 2 * kAhead >= history_.size()) return;
  prefetch(history_[at + 2 * kAhead], sizeof(Record));
  const Record* hidden = history_[at + kAhead]->older;
  if (hidden != nullptr) prefetch(hidden, 4 * sizeof(Record));
}

void Mvcc::drop_oldest() {
  Record* change = history_.front();
  history_.pop_front();
  --cleared_;
  dropped_ = change->mod;
  release_before(change, INT64_MAX);
  if (change->tombstone) forget_deleted(change);
}

void Mvcc::release(Record* record) {
  freed_sum_ += record->hash();
  size_bytes_ -= record->footprint();
  free_record(record);
}

void Mvcc::forget_deleted(Record* tombstone) {
  KeyIndex& keys = index(tombstone->keyspace);
  const auto it = keys.find(tombstone->key());
  CHECK(it != keys.end());
  if (it.newest() != tombstone) return;
  keys.erase(tombstone->key());
  release(tombstone);
}

// --- keyspaces without history ------------------------------------------------------

void Mvcc::keep_current() {
  CHECK(kept_ == kKeepsNothing);
  kept_ = revision_;
}

void Mvcc::forget_current() {
  CHECK(kept_ != kKeepsNothing);
  kept_ = kKeepsNothing;
}

// Makes `made` the newest version of its key. The one before it stays behind it only if it is to be
// kept; behind it may be one that was, and waits to be freed.
void Mvcc::replace_current(KeyIndex& keys, KeyIndex::Position at, Record* made) {
  Record* old = at.newest();
  end_newest(*old);
  keys.replace(at, made);
  if (!old->tombstone) current_sum_ -= old->hash();
  // A deletion says that the version behind it is not the one of then.
  const bool says_something = !old->tombstone || old->older != nullptr;
  if (says_something && old->mod <= kept_) {
    made->older = old;
    kept_records_.push_back(old);
    return;
  }
  made->older = old->older;
  free_current(old);
}

void Mvcc::free_current(Record* record) {
  size_bytes_ -= record->footprint();
  free_record(record);
}

// Takes `record` out of the versions of its key, and the key out of the index if that was the last
// one and it is deleted.
void Mvcc::free_kept(Record* record) {
  KeyIndex& keys = index(record->keyspace);
  const KeyIndex::Position at = keys.find(record->key());
  CHECK(at != keys.end());
  Record* newest = at.newest();
  Record* newer = newest;
  while (newer->older != record) {
    newer = newer->older;
    CHECK(newer != nullptr, "a version that was kept is not there");
  }
  newer->older = record->older;
  free_current(record);
  if (!newest->tombstone || newest->older != nullptr) return;
  keys.erase(newest->key());
  free_current(newest);
}

bool Mvcc::Write::erase(Keyspace keyspace, BytesView key, const KeyIndex::Place& known) {
  CHECK(!has_history(keyspace));
  KeyIndex& keys = mvcc_.index(keyspace);
  const KeyIndex::Place place = keys.is_good(known) ? known : keys.locate(key);
  if (current(place) == nullptr) return false;
  Record record = head(keyspace);
  Record* old = place.position().newest();
  if (old->mod > mvcc_.kept_ && old->older == nullptr) {
    mvcc_.end_newest(*old);
    mvcc_.current_sum_ -= old->hash();
    keys.erase(place);
    mvcc_.free_current(old);
    return true;
  }
  record.tombstone = true;
  Record* made = make_record(record, key, {});
  mvcc_.size_bytes_ += made->footprint();
  mvcc_.replace_current(keys, place.position(), made);
  return true;
}

// --- writing ------------------------------------------------------------------------

void Mvcc::begin_newest(const Record& record) {
  if (record.tombstone) return;
  size_in_use_bytes_ += record.footprint();
  ++key_count_;
  Sizes& sizes = sizes_[static_cast<std::size_t>(record.keyspace)];
  ++sizes.keys;
  if (record.lease != 0) ++sizes.leased;
  sizes.bytes += record.key_size + record.value_size;
  leases_.attach(record.lease, record.keyspace, record.key());
}

void Mvcc::end_newest(const Record& record) {
  if (record.tombstone) return;
  size_in_use_bytes_ -= record.footprint();
  --key_count_;
  Sizes& sizes = sizes_[static_cast<std::size_t>(record.keyspace)];
  --sizes.keys;
  if (record.lease != 0) --sizes.leased;
  sizes.bytes -= record.key_size + record.value_size;
  leases_.detach(record.lease, record.keyspace, record.key());
}

void Mvcc::supersede(KeyIndex& keys, KeyIndex::Position at, Record* record) {
  end_newest(*at.newest());
  record->older = at.newest();
  keys.replace(at, record);
}

void Mvcc::restore(Record* record) {
  KeyIndex& keys = index(record->keyspace);
  const KeyIndex::Place place = keys.locate(record->key());
  if (place.is_known()) {
    supersede(keys, place.position(), record);
  } else {
    keys.add(place, record);
  }
  add(record);
}

// What every new version that is no tombstone of a keyspace without history adds to the sums.
void Mvcc::add(Record* made) {
  begin_newest(*made);
  size_bytes_ += made->footprint();
  (has_history(made->keyspace) ? written_sum_ : current_sum_) += made->hash();
}

void Mvcc::restore_numbers(Revision revision, Revision compacted, std::uint64_t freed_sum) {
  revision_ = revision;
  compacted_ = compacted;
  dropped_ = std::max<Revision>(compacted - 1, 0);
  cleared_ = first_change_after(compacted);
  freed_sum_ = freed_sum;
  written_sum_ += freed_sum;
}

Record Mvcc::Write::head(Keyspace keyspace) {
  if (has_history(keyspace)) {
    CHECK(!has_current_, "a change with a history comes after one without");
  } else {
    has_current_ = true;
  }
  mvcc_.revision_ = begin_ + 1;
  Record head;
  head.mod = begin_ + 1;
  head.sub = sub_++;
  head.keyspace = keyspace;
  return head;
}

void Mvcc::Write::put(Keyspace keyspace, BytesView key, Pieces value, LeaseId lease,
                      const KeyIndex::Place& known) {
  KeyIndex& keys = mvcc_.index(keyspace);
  const KeyIndex::Place place = keys.is_good(known) ? known : keys.locate(key);
  const Record* before = current(place);
  Record record = head(keyspace);
  record.create = before == nullptr ? record.mod : before->create;
  record.version = before == nullptr ? 1 : before->version + 1;
  record.lease = lease;
  Record* made = make_record(record, key, value);
  if (!place.is_known()) {
    keys.add(place, made);
  } else if (has_history(keyspace)) {
    mvcc_.supersede(keys, place.position(), made);
  } else {
    mvcc_.replace_current(keys, place.position(), made);
  }
  mvcc_.add(made);
  if (has_history(keyspace)) mvcc_.history_.push_back(made);
}

std::int64_t Mvcc::Write::erase(Keyspace keyspace, const KeyRange& range) {
  if (!has_history(keyspace)) {
    CHECK(range.single);
    return erase(keyspace, range.key, {}) ? 1 : 0;
  }
  KeyIndex& keys = mvcc_.index(keyspace);
  std::int64_t erased = 0;
  const auto bury = [&](KeyIndex::Position at) {
    if (at.newest()->tombstone) return;
    Record record = head(keyspace);
    record.tombstone = true;
    Record* made = make_record(record, at.newest()->key(), {});
    mvcc_.supersede(keys, at, made);
    mvcc_.add(made);
    mvcc_.history_.push_back(made);
    ++erased;
  };
  if (range.single) {
    const auto it = keys.find(range.key);
    if (it != keys.end()) bury(it);
    return erased;
  }
  for (auto it = keys.lower_bound(range.key); it != keys.end(); ++it) {
    if (range.ends_before(it.newest()->key())) break;
    bury(it);
  }
  return erased;
}

}  // namespace conclave::store
