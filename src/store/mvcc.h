#pragma once
// Multi-version storage: each keyspace's keys in one ordered index, every key's versions behind it,
// and every change in the order of revisions.
//
//   index     key -> newest record -> older record -> ...
//             (reads; at an old revision: walk back)
//
//   history   all changes after dropped(), by (revision, sub)
//             (reclaim, snapshots, watches)
//
// Revision 1 is the empty store; each transaction that changes something adds one. A deletion is a
// tombstone: a record without a value, after which the key starts anew with version 1. Versions
// stay readable until compact() says that none below a revision will be asked for; reclaim() frees
// them later, in small steps. The difference between compacted and reclaimed is never visible: not
// in an answer and not in the hash.
//
// The changes of the compacted revision itself stay, deletions too: a watch may begin there.
//
// Where there is history, records are freed by reclaim() and the destructor only. Walking back is
// linear in the versions newer than the wanted one, as it is in etcd.
//
// A keyspace without history (store/record.h) has current versions only. A version that is replaced
// is freed at once, or, if the snapshot that is being written needs it (keep_current), after that,
// by reclaim(). Of a key there is then one version, and one for each snapshot whose leavings
// reclaim() has not come to, whatever happens to it.

#include <array>
#include <cstdint>
#include <deque>

#include "api/kv.h"
#include "base/bytes.h"
#include "store/key_index.h"
#include "store/lease_table.h"
#include "store/record.h"

namespace conclave::store {

// A set of keys: one, [key, end), or all from `key` on.
struct KeyRange {
  // By etcd's convention: an empty range_end is the one key, "\0" is no end.
  static KeyRange of(BytesView key, BytesView range_end);
  static KeyRange one(BytesView key) { return of(key, {}); }

  bool ends_before(BytesView candidate) const { return !unbounded && candidate >= end; }

  BytesView key;
  BytesView end;
  bool single = true;
  bool unbounded = false;
};

class Mvcc {
 public:
  using History = std::deque<Record*>;
  static constexpr Revision kKeepsNothing = -1;

  // Tells `leases`, which outlives it, whose keys are whose.
  explicit Mvcc(LeaseTable& leases) : leases_(leases) {}
  ~Mvcc();
  Mvcc(const Mvcc&) = delete;
  Mvcc& operator=(const Mvcc&) = delete;

  const LeaseTable& leases() const { return leases_; }

  Revision revision() const { return revision_; }
  // -1 until the first compaction; revisions below it are gone.
  Revision compacted() const { return compacted_; }
  // Every compacted revision up to this one has been freed; at most compacted().
  Revision reclaimed() const;

  // The version of `key` that is current at revision `at`; nullptr if there is none or it was
  // deleted. REQUIRES: compacted() <= at.
  const Record* find(Keyspace keyspace, BytesView key, Revision at) const;
  // Where the key is, or would be, for a read now and a write soon after.
  KeyIndex::Place locate(Keyspace keyspace, BytesView key) const {
    return index(keyspace).locate(key);
  }
  // What is current at a place that is good; nullptr: nothing.
  static const Record* current(const KeyIndex::Place& place) {
    if (!place.is_known()) return nullptr;
    const Record* newest = place.position().newest();
    return newest->tombstone ? nullptr : newest;
  }
  // Calls visit(const Record&) for each key of `range` that exists at `at`, in order, until it
  // returns false.
  template <class Visit>
  void scan(Keyspace keyspace, const KeyRange& range, Revision at, Visit&& visit) const;
  // The same for at most `max_keys` keys of the index, and visit returns nothing. False: there are
  // more, and `from` is where to go on (range.key in the first call). Writes may happen in between.
  template <class Visit>
  bool scan_some(Keyspace keyspace, const KeyRange& range, Revision at, Bytes& from,
                 std::size_t max_keys, Visit&& visit) const;
  // The changes of revisions above dropped(), by (revision, sub); `first_change_after` is the
  // place in it of the first one above `revision`.
  const History& history() const { return history_; }
  std::size_t first_change_after(Revision revision) const;
  // The newest revision of which changes may be missing in history(); below compacted().
  Revision dropped() const { return dropped_; }
  const KeyIndex& index(Keyspace keyspace) const {
    return indexes_[static_cast<std::size_t>(keyspace)];
  }

  // REQUIRES: compacted() < revision <= revision().
  void compact(Revision revision);
  // In up to `max_changes` steps takes changes of revisions before the compacted one out of the
  // history, none of a revision above `newest`, and frees what they made unreachable. True while
  // there are more. What is current at `newest` or later stays where it is.
  bool reclaim(std::size_t max_changes, Revision newest = INT64_MAX);

  // The sum of the hashes of all records ever written, and of those of them that have been freed.
  // Both only where there is history; elsewhere current_sum() has the current versions' hashes.
  std::uint64_t written_sum() const { return written_sum_; }
  std::uint64_t freed_sum() const { return freed_sum_; }
  std::uint64_t current_sum() const { return current_sum_; }
  // Whether any key is in a keyspace without history.
  bool has_current() const { return key_count_ != sizes(Keyspace::kEtcd).keys; }
  // What is current of a keyspace.
  struct Sizes {
    std::uint64_t keys = 0;
    std::uint64_t leased = 0;  // of these, attached to a lease
    std::uint64_t bytes = 0;   // of keys and values
  };
  const Sizes& sizes(Keyspace keyspace) const { return sizes_[static_cast<std::size_t>(keyspace)]; }

  // From now on the versions that are current now stay readable at revision(), in keyspaces without
  // history too, until forget_current(). REQUIRES: they do not yet; or they do.
  void keep_current();
  void forget_current();

  std::uint64_t size_bytes() const { return size_bytes_; }
  std::uint64_t size_in_use_bytes() const { return size_in_use_bytes_; }
  std::uint64_t key_count() const { return key_count_; }

  // One transaction's changes: all at revision begin + 1, which becomes the store's if there is any
  // change.
  class Write {
   public:
    explicit Write(Mvcc& mvcc) : mvcc_(mvcc), begin_(mvcc.revision_) {}
    Write(const Write&) = delete;
    Write& operator=(const Write&) = delete;

    // REQUIRES of each: what has a history is changed before what has none, as the history's
    // records of a revision are counted from 0.
    void put(Keyspace keyspace, BytesView key, BytesView value, LeaseId lease) {
      put(keyspace, key, Pieces(&value, 1), lease, {});
    }
    // `known`: locate(key) of before, or Place{}; of no account if it is not good any more.
    void put(Keyspace keyspace, BytesView key, Pieces value, LeaseId lease,
             const KeyIndex::Place& known);
    // Deletes what exists in `range`; how many keys that were. REQUIRES: one key, where there is
    // no history.
    std::int64_t erase(Keyspace keyspace, const KeyRange& range);
    // The same for one key, where there is no history. False: there is no such key.
    bool erase(Keyspace keyspace, BytesView key, const KeyIndex::Place& known);
    // That of the changes.
    Revision revision() const { return begin_ + 1; }

   private:
    Record head(Keyspace keyspace);

    Mvcc& mvcc_;
    Revision begin_;
    std::uint32_t sub_ = 0;
    bool has_current_ = false;  // something without history was changed
  };

  // --- rebuilding from a snapshot: records in the order in which it has them ---

  // Takes `record` as the newest version of its key. Changes of the compacted revision (all of
  // them, before any other) and later ones belong into the history, older versions do not: see
  // restore_history.
  void restore(Record* record);
  void restore_history(Record* record) { history_.push_back(record); }
  void restore_numbers(Revision revision, Revision compacted, std::uint64_t freed_sum);

 private:
  KeyIndex& index(Keyspace keyspace) { return indexes_[static_cast<std::size_t>(keyspace)]; }
  void supersede(KeyIndex& keys, KeyIndex::Position at, Record* record);
  void begin_newest(const Record& record);
  void end_newest(const Record& record);
  void release_before(Record* change, Revision revision);
  void fetch_change(std::size_t at) const;
  void drop_oldest();
  void release(Record* record);
  void forget_deleted(Record* tombstone);
  void add(Record* made);
  void replace_current(KeyIndex& keys, KeyIndex::Position at, Record* made);
  void free_current(Record* record);
  void free_kept(Record* record);

  LeaseTable& leases_;
  Revision revision_ = 1;
  Revision compacted_ = -1;
  std::array<KeyIndex, kKeyspaces> indexes_;
  History history_;
  std::size_t cleared_ = 0;  // changes at its front whose predecessors have been freed
  Revision dropped_ = 0;
  std::uint64_t written_sum_ = 0;
  std::uint64_t freed_sum_ = 0;
  std::uint64_t current_sum_ = 0;
  std::array<Sizes, kKeyspaces> sizes_;
  Revision kept_ = kKeepsNothing;     // what was current then is needed
  std::deque<Record*> kept_records_;  // versions that are no more current, to be freed after that
  std::uint64_t size_bytes_ = 0;
  std::uint64_t size_in_use_bytes_ = 0;
  std::uint64_t key_count_ = 0;
};

// The newest of `record` and its older versions that is current at `at`; nullptr if none is, or it
// is a tombstone.
inline const Record* version_at(const Record* record, Revision at) {
  while (record != nullptr && record->mod > at) record = record->older;
  return record == nullptr || record->tombstone ? nullptr : record;
}

template <class Visit>
void Mvcc::scan(Keyspace keyspace, const KeyRange& range, Revision at, Visit&& visit) const {
  if (range.single) {
    if (const Record* record = find(keyspace, range.key, at)) visit(*record);
    return;
  }
  const KeyIndex& keys = index(keyspace);
  for (auto it = keys.lower_bound(range.key); it != keys.end(); ++it) {
    if (range.ends_before(it.newest()->key())) return;
    const Record* record = version_at(it.newest(), at);
    if (record != nullptr && !visit(*record)) return;
  }
}

template <class Visit>
bool Mvcc::scan_some(Keyspace keyspace, const KeyRange& range, Revision at, Bytes& from,
                     std::size_t max_keys, Visit&& visit) const {
  if (range.single) {
    if (const Record* record = find(keyspace, range.key, at)) visit(*record);
    return true;
  }
  const KeyIndex& keys = index(keyspace);
  for (auto it = keys.lower_bound(from); it != keys.end(); ++it) {
    const BytesView key = it.newest()->key();
    if (range.ends_before(key)) return true;
    if (max_keys-- == 0) {
      from = key;
      return false;
    }
    if (const Record* record = version_at(it.newest(), at)) visit(*record);
  }
  return true;
}

}  // namespace conclave::store
