#pragma once
// Which watched ranges contain a key? Single keys are found by a hash, the others in an interval
// tree (a treap by where they begin, each node with the latest end below it). A range that is
// watched by many is here once, and heads a list of its watchers for each of a few purposes.
//
// The same calls in the same order give the same answers in the same order: nothing iterates the
// hash table, and the treap's priorities are drawn from a fixed seed.

#include <absl/container/flat_hash_set.h>

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/rng.h"
#include "store/mvcc.h"

namespace conclave::store {

class WatchIndex {
 public:
  static constexpr std::size_t kLists = 5;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct Range;
  WatchIndex();
  ~WatchIndex();

  // The entry of `range`, made if it is not there; each take needs one release. Good until the
  // last of these.
  Range* take(const KeyRange& range);
  void release(Range* range);

  // Calls visit(const Range&) for each that contains `key`: the key itself first, then the others
  // by where they begin.
  template <class Visit>
  void visit(BytesView key, Visit&& visit) const;

  static bool contains(const Range& range, BytesView key);

  std::size_t size() const { return singles_.size() + intervals_; }

 private:
  struct Interval;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(BytesView key) const { return absl::Hash<BytesView>{}(key); }
    std::size_t operator()(const std::unique_ptr<Range>& range) const;
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const std::unique_ptr<Range>& a, const std::unique_ptr<Range>& b) const;
    bool operator()(const std::unique_ptr<Range>& a, BytesView b) const;
  };

  template <class Visit>
  static void visit_below(const Interval* node, BytesView key, Visit& visit);
  Interval* find(const KeyRange& range) const;
  static void insert(std::unique_ptr<Interval>& at, std::unique_ptr<Interval> node);
  static std::unique_ptr<Interval> erase(std::unique_ptr<Interval>& at, const Interval& node);

  absl::flat_hash_set<std::unique_ptr<Range>, Hash, Equal> singles_;
  std::unique_ptr<Interval> root_;
  std::size_t intervals_ = 0;
  Rng priorities_;
};

struct WatchIndex::Range {
  Range() { first.fill(kNone); }

  Bytes key;
  std::array<std::uint32_t, kLists> first;  // for the owner: the head of each list
  std::uint32_t users = 0;
  Interval* interval = nullptr;  // what it is part of, if it is not a single key
};

struct WatchIndex::Interval {
  bool ends_before(BytesView candidate) const { return !unbounded && candidate >= end; }
  // Whether `other` ends later than this.
  bool ends_earlier_than(const Interval& other) const {
    return !unbounded && (other.unbounded || end < other.end);
  }
  void update();

  Range range;
  Bytes end;
  bool unbounded = false;
  std::uint64_t priority = 0;
  const Interval* latest = nullptr;  // of this and all below, the one that ends last
  std::unique_ptr<Interval> left;
  std::unique_ptr<Interval> right;
};

inline bool WatchIndex::contains(const Range& range, BytesView key) {
  if (range.interval == nullptr) return range.key == key;
  return range.key <= key && !range.interval->ends_before(key);
}

template <class Visit>
void WatchIndex::visit(BytesView key, Visit&& visit) const {
  if (const auto single = singles_.find(key); single != singles_.end()) visit(**single);
  visit_below(root_.get(), key, visit);
}

template <class Visit>
void WatchIndex::visit_below(const Interval* node, BytesView key, Visit& visit) {
  if (node == nullptr || node->latest->ends_before(key)) return;
  visit_below(node->left.get(), key, visit);
  if (node->range.key > key) return;
  if (!node->ends_before(key)) visit(node->range);
  visit_below(node->right.get(), key, visit);
}

}  // namespace conclave::store
