#include "store/watch_index.h"

#include <utility>

#include "base/check.h"

namespace conclave::store {
namespace {

constexpr std::uint64_t kSeed = 0x7761746368657321;

}  // namespace

std::size_t WatchIndex::Hash::operator()(const std::unique_ptr<Range>& range) const {
  return (*this)(BytesView(range->key));
}

bool WatchIndex::Equal::operator()(const std::unique_ptr<Range>& a,
                                   const std::unique_ptr<Range>& b) const {
  return a->key == b->key;
}

bool WatchIndex::Equal::operator()(const std::unique_ptr<Range>& a, BytesView b) const {
  return a->key == b;
}

void WatchIndex::Interval::update() {
  latest = this;
  for (const Interval* child : {left.get(), right.get()}) {
    if (child != nullptr && latest->ends_earlier_than(*child->latest)) latest = child->latest;
  }
}

namespace {

// Order of the treap: by begin, then by end.
template <class Interval>
int compare(BytesView key, BytesView end, bool unbounded, const Interval& node) {
  if (const int by_key = key.compare(node.range.key); by_key != 0) return by_key;
  if (unbounded || node.unbounded)
    return static_cast<int>(unbounded) - static_cast<int>(node.unbounded);
  return end.compare(node.end);
}

template <class Interval>
int compare(const Interval& a, const Interval& b) {
  return compare(a.range.key, a.end, a.unbounded, b);
}

template <class Node>
void rotate_right(Node& at) {
  Node child = std::move(at->left);
  at->left = std::move(child->right);
  at->update();
  child->right = std::move(at);
  at = std::move(child);
}

template <class Node>
void rotate_left(Node& at) {
  Node child = std::move(at->right);
  at->right = std::move(child->left);
  at->update();
  child->left = std::move(at);
  at = std::move(child);
}

}  // namespace

WatchIndex::WatchIndex() : priorities_(kSeed) {}
WatchIndex::~WatchIndex() = default;

WatchIndex::Range* WatchIndex::take(const KeyRange& range) {
  Range* found = nullptr;
  if (range.single) {
    auto single = singles_.find(range.key);
    if (single == singles_.end()) {
      auto made = std::make_unique<Range>();
      made->key = range.key;
      single = singles_.insert(std::move(made)).first;
    }
    found = single->get();
  } else if (Interval* known = find(range); known != nullptr) {
    found = &known->range;
  } else {
    auto made = std::make_unique<Interval>();
    made->range.key = range.key;
    made->range.interval = made.get();
    made->end = range.end;
    made->unbounded = range.unbounded;
    made->priority = priorities_.next();
    made->update();
    found = &made->range;
    insert(root_, std::move(made));
    ++intervals_;
  }
  ++found->users;
  return found;
}

void WatchIndex::release(Range* range) {
  CHECK(range->users > 0);
  if (--range->users > 0) return;
  if (range->interval != nullptr) {
    --intervals_;
    erase(root_, *range->interval);
  } else {
    singles_.erase(singles_.find(BytesView(range->key)));
  }
}

WatchIndex::Interval* WatchIndex::find(const KeyRange& range) const {
  Interval* node = root_.get();
  while (node != nullptr) {
    const int order = compare(range.key, range.end, range.unbounded, *node);
    if (order == 0) return node;
    node = order < 0 ? node->left.get() : node->right.get();
  }
  return nullptr;
}

void WatchIndex::insert(std::unique_ptr<Interval>& at, std::unique_ptr<Interval> node) {
  if (at == nullptr) {
    at = std::move(node);
    return;
  }
  if (compare(*node, *at) < 0) {
    insert(at->left, std::move(node));
    if (at->left->priority > at->priority) rotate_right(at);
  } else {
    insert(at->right, std::move(node));
    if (at->right->priority > at->priority) rotate_left(at);
  }
  at->update();
}

std::unique_ptr<WatchIndex::Interval> WatchIndex::erase(std::unique_ptr<Interval>& at,
                                                        const Interval& node) {
  CHECK(at != nullptr);
  std::unique_ptr<Interval> erased;
  const int order = compare(node, *at);
  if (order < 0) {
    erased = erase(at->left, node);
  } else if (order > 0) {
    erased = erase(at->right, node);
  } else if (at->left == nullptr || at->right == nullptr) {
    erased = std::exchange(at, nullptr);
    at = std::move(erased->left != nullptr ? erased->left : erased->right);
    return erased;
  } else if (at->left->priority > at->right->priority) {
    rotate_right(at);
    erased = erase(at->right, node);
  } else {
    rotate_left(at);
    erased = erase(at->left, node);
  }
  at->update();
  return erased;
}

}  // namespace conclave::store
