#include "store/mvcc.h"

#include <algorithm>

#include "base/check.h"

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
    for (auto slot = keys.begin(); !slot.at_end(); slot.next()) {
      for (Record* record = slot.record(); record != nullptr;) {
        Record* older = record->older;
        free_record(record);
        record = older;
      }
    }
  }
}

Revision Mvcc::reclaimed() const {
  if (history_.empty()) return compacted_;
  return std::min(compacted_, history_.front()->mod - 1);
}

const Record* Mvcc::find(Keyspace keyspace, BytesView key, Revision at) const {
  const KeyIndex::Cursor slot = index(keyspace).find(key);
  return slot.at_end() ? nullptr : version_at(slot.record(), at);
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
bool Mvcc::reclaim(std::size_t max_changes) {
  for (; max_changes > 0 && !history_.empty() && history_.front()->mod <= compacted_;
       --max_changes) {
    Record* change = history_.front();
    history_.pop_front();
    while (Record* hidden = change->older) {
      change->older = hidden->older;
      release(hidden);
    }
    if (change->tombstone) forget_deleted(change);
  }
  return !history_.empty() && history_.front()->mod <= compacted_;
}

void Mvcc::release(Record* record) {
  freed_sum_ += record->hash();
  size_bytes_ -= record->footprint();
  free_record(record);
}

void Mvcc::forget_deleted(Record* tombstone) {
  KeyIndex& keys = index(tombstone->keyspace);
  const KeyIndex::Cursor slot = keys.find(tombstone->key());
  CHECK(!slot.at_end());
  if (slot.record() != tombstone) return;
  keys.erase(tombstone->key());
  release(tombstone);
}

void Mvcc::account_newest(const Record& record, bool is_newest) {
  if (record.tombstone) return;
  if (is_newest) {
    size_in_use_bytes_ += record.footprint();
    ++key_count_;
  } else {
    size_in_use_bytes_ -= record.footprint();
    --key_count_;
  }
}

void Mvcc::supersede(KeyIndex::Cursor slot, Record* record) {
  account_newest(*slot.record(), false);
  record->older = slot.record();
  slot.replace(record);
}

void Mvcc::written(Record* record) {
  account_newest(*record, true);
  size_bytes_ += record->footprint();
  written_sum_ += record->hash();
}

void Mvcc::restore(Record* record, bool into_history) {
  KeyIndex& keys = index(record->keyspace);
  const KeyIndex::Cursor slot = keys.find(record->key());
  if (slot.at_end()) {
    keys.insert(record);
  } else {
    supersede(slot, record);
  }
  written(record);
  if (into_history) history_.push_back(record);
}

void Mvcc::restore_numbers(Revision revision, Revision compacted, std::uint64_t freed_sum) {
  revision_ = revision;
  compacted_ = compacted;
  freed_sum_ = freed_sum;
  written_sum_ += freed_sum;
}

Record Mvcc::Write::head(Keyspace keyspace) {
  mvcc_.revision_ = begin_ + 1;
  Record head;
  head.mod = begin_ + 1;
  head.sub = sub_++;
  head.keyspace = keyspace;
  return head;
}

void Mvcc::Write::put(Keyspace keyspace, BytesView key, BytesView value, LeaseId lease) {
  KeyIndex& keys = mvcc_.index(keyspace);
  const KeyIndex::Cursor slot = keys.find(key);
  const Record* before = slot.at_end() || slot.record()->tombstone ? nullptr : slot.record();

  Record record = head(keyspace);
  record.create = before == nullptr ? record.mod : before->create;
  record.version = before == nullptr ? 1 : before->version + 1;
  record.lease = lease;
  Record* made = make_record(record, key, value);
  if (slot.at_end()) {
    keys.insert(made);
  } else {
    mvcc_.supersede(slot, made);
  }
  mvcc_.written(made);
  mvcc_.history_.push_back(made);
}

void Mvcc::Write::bury(Keyspace keyspace, KeyIndex::Cursor slot) {
  Record record = head(keyspace);
  record.tombstone = true;
  Record* made = make_record(record, slot.record()->key(), {});
  mvcc_.supersede(slot, made);
  mvcc_.written(made);
  mvcc_.history_.push_back(made);
}

std::int64_t Mvcc::Write::erase(Keyspace keyspace, const KeyRange& range) {
  const KeyIndex& keys = mvcc_.index(keyspace);
  std::int64_t erased = 0;
  for (auto slot = range.single ? keys.find(range.key) : keys.lower_bound(range.key);
       !slot.at_end(); slot.next()) {
    if (!range.single && range.ends_before(slot.record()->key())) break;
    if (!slot.record()->tombstone) {
      bury(keyspace, slot);
      ++erased;
    }
    if (range.single) break;
  }
  return erased;
}

}  // namespace conclave::store
