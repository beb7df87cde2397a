#include "store/history_hash.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "store/hash.h"
#include "store/state.h"

namespace conclave::store {

HistoryHash::HistoryHash(StoreState& state, api::Revision at)
    : state_(state),
      at_(at),
      compacted_(state.mvcc.compacted()),
      store_revision_(state.mvcc.revision()),
      last_mod_(compacted_),
      last_sub_(UINT32_MAX) {
  state_.read_revisions.insert(compacted_);
}

HistoryHash::~HistoryHash() { state_.read_revisions.erase(state_.read_revisions.find(compacted_)); }

bool HistoryHash::step(std::size_t max_work) {
  while (max_work > 0 && keyspace_ < kKeyspaces) add_keys(max_work);
  if (max_work > 0 && !at_end_) add_changes(max_work);
  return at_end_;
}

// A tombstone of the compacted revision may be gone already, and is never counted.
void HistoryHash::add_keys(std::size_t& work) {
  if (compacted_ <= 1) {  // there were none
    keyspace_ = kKeyspaces;
    return;
  }
  const KeyIndex& keys = std::as_const(state_.mvcc).index(static_cast<Keyspace>(keyspace_));
  auto it = last_key_ ? keys.upper_bound(BytesView(*last_key_)) : keys.begin();
  for (; it != keys.end() && work > 0; ++it) {
    if (!add_key(it.newest(), work)) return;
    last_key_ = it.newest()->key();
  }
  if (it != keys.end()) return;
  last_key_.reset();
  do {
    ++keyspace_;
  } while (keyspace_ < kKeyspaces && !has_history(static_cast<Keyspace>(keyspace_)));
}

// Adds the version of the compacted revision. A key may have many since, which stay as long as
// this: false, if it goes on among them. A key that is new may come in between.
bool HistoryHash::add_key(const Record* newest, std::size_t& work) {
  const bool goes_on = next_version_ != nullptr && next_version_->key() == newest->key();
  const Record* record = goes_on ? std::exchange(next_version_, nullptr) : newest;
  for (; record != nullptr && record->mod > compacted_; record = record->older) {
    if (--work > 0) continue;
    next_version_ = record->older;
    return next_version_ == nullptr;
  }
  if (record != nullptr && !record->tombstone) sum_ += record->hash();
  --work;
  return true;
}

void HistoryHash::add_changes(std::size_t& work) {
  const Mvcc::History& history = state_.mvcc.history();
  const auto next = std::ranges::upper_bound(
      history, std::tuple(last_mod_, last_sub_), {},
      [](const Record* record) { return std::tuple(record->mod, record->sub); });
  auto it = next;
  for (; it != history.end() && (*it)->mod <= at_ && work > 0; ++it, --work) {
    sum_ += (*it)->hash();
    last_mod_ = (*it)->mod;
    last_sub_ = (*it)->sub;
  }
  at_end_ = it == history.end() || (*it)->mod > at_;
}

api::HashKvResponse HistoryHash::result() const {
  CHECK(at_end_);
  const std::uint64_t words[] = {sum_, static_cast<std::uint64_t>(at_),
                                 static_cast<std::uint64_t>(compacted_)};
  const std::uint64_t hash = hash_words(words);
  return {.hash = static_cast<std::uint32_t>(hash ^ hash >> 32), .compact_revision = compacted_};
}

}  // namespace conclave::store
