#pragma once
// The hash of the keys and their history up to a revision (etcd's HashKV), computed in steps while
// the store goes on changing (Store::begin_history_hash). It covers each change after the compacted
// revision up to the wanted one, and each key that existed at the compacted revision as it was
// then; so members with the same compacted revision get the same, whatever they have reclaimed.
// What it reads is not reclaimed before it goes.

#include <optional>

#include "base/bytes.h"
#include "store/store.h"

namespace conclave::store {

struct Record;

class HistoryHash {
 public:
  // Internal: see Store::begin_history_hash.
  HistoryHash(StoreState& state, api::Revision at);
  ~HistoryHash();
  HistoryHash(const HistoryHash&) = delete;
  HistoryHash& operator=(const HistoryHash&) = delete;

  // Looks at the next versions of keys, at most `max_work` of them. True at the end.
  bool step(std::size_t max_work);
  // REQUIRES: step() has returned true.
  api::HashKvResponse result() const;
  // The store's newest revision when it began.
  api::Revision store_revision() const { return store_revision_; }

 private:
  void add_keys(std::size_t& work);
  bool add_key(const Record* newest, std::size_t& work);
  void add_changes(std::size_t& work);

  StoreState& state_;
  const api::Revision at_;
  const api::Revision compacted_;
  const api::Revision store_revision_;
  std::size_t keyspace_ = 0;  // kKeyspaces: all keys have been looked at
  std::optional<Bytes> last_key_;
  const Record* next_version_ = nullptr;  // of the key after that, if some have been passed
  // The last change that was added.
  api::Revision last_mod_;
  std::uint32_t last_sub_;
  bool at_end_ = false;
  std::uint64_t sum_ = 0;
};

}  // namespace conclave::store
