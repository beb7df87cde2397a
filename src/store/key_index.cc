#include "store/key_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include "base/check.h"
#include "base/prefetch.h"

namespace conclave::store {
namespace {

constexpr std::size_t kInnerKeys = 32;
constexpr std::int32_t kUnused = INT32_MAX;  // in place of a head
// A node with less than a quarter joins a neighbour if three quarters hold both.
constexpr std::size_t scarce(std::size_t capacity) { return capacity / 4; }
constexpr std::size_t ample(std::size_t capacity) { return capacity * 3 / 4; }

std::size_t common_bytes(BytesView a, BytesView b) {
  const std::size_t shorter = std::min(a.size(), b.size());
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.begin() + shorter, b.begin()).first -
                                  a.begin());
}

static_assert(std::endian::native == std::endian::little);

// The four bytes from `from` on, as a number that is ordered as they are; zeros behind the end. Of
// equal heads the keys have to be compared.
std::int32_t head_of(BytesView key, std::size_t from) {
  std::uint32_t head = 0;
  if (from + sizeof(head) <= key.size()) {
    std::memcpy(&head, key.data() + from, sizeof(head));
    head = std::byteswap(head);
  } else {
    for (std::size_t i = from; i < from + sizeof(head); ++i) {
      head = head << 8 | (i < key.size() ? static_cast<unsigned char>(key[i]) : 0u);
    }
  }
  return static_cast<std::int32_t>(head ^ 0x80000000u);
}

// What is at most `right`, greater than `left`, and short. REQUIRES: left < right.
Bytes separator_of(BytesView left, BytesView right) {
  return Bytes(right.substr(0, common_bytes(left, right) + 1));
}

// How `key` stands to keys that all begin with `common`: before all, behind all, or it does too.
int compare_common(BytesView key, BytesView common) {
  return key.substr(0, common.size()).compare(common);
}

template <class Array, class Value>
void insert_at(Array& array, std::size_t count, std::size_t at, Value value) {
  std::move_backward(array.begin() + at, array.begin() + count, array.begin() + count + 1);
  array[at] = std::move(value);
}

template <class Array>
void erase_at(Array& array, std::size_t count, std::size_t at) {
  std::move(array.begin() + at + 1, array.begin() + count, array.begin() + at);
}

}  // namespace

// All of the heads are looked at, also those that are not used, as that needs no branch.
template <std::size_t n>
KeyIndex::Heads<n>::Match KeyIndex::Heads<n>::match(std::int32_t head, std::size_t count) const {
  std::int32_t less = 0;
  for (const std::int32_t value : values) less += value < head ? 1 : 0;
  const std::size_t low = std::min(static_cast<std::size_t>(less), count);
  std::size_t high = low;
  while (high < count && values[high] == head) ++high;
  return {low, high};
}

// Child i has keys from separators[i - 1] on, before separators[i].
struct KeyIndex::Inner {
  Heads<kInnerKeys> heads;
  std::size_t count = 0;  // of separators
  Bytes common;           // with which all of them begin
  std::array<void*, kInnerKeys + 1> children;
  std::array<Bytes, kInnerKeys> separators;

  std::size_t child_for(BytesView key) const;
  void refresh();
};

std::size_t KeyIndex::Inner::child_for(BytesView key) const {
  const int order = compare_common(key, common);
  if (order < 0) return 0;
  if (order > 0) return count;
  const auto [low, high] = heads.match(head_of(key, common.size()), count);
  const auto same = std::span(separators).subspan(low, high - low);
  const auto beyond = std::upper_bound(same.begin(), same.end(), key);
  return low + static_cast<std::size_t>(beyond - same.begin());
}

void KeyIndex::Inner::refresh() {
  common.clear();
  if (count > 0) {
    const Bytes& first = separators[0];
    common = first.substr(0, common_bytes(first, separators[count - 1]));
  }
  heads.values.fill(kUnused);
  for (std::size_t i = 0; i < count; ++i) {
    heads.values[i] = head_of(separators[i], common.size());
  }
}

void KeyIndex::Leaf::refresh() {
  if (count == 0) return refresh(0);
  refresh(common_bytes(records[0]->key(), records[count - 1]->key()));
}

const Record* KeyIndex::Leaf::near(BytesView key) const {
  const std::size_t low = heads.match(head_of(key, common), count).low;
  return records[std::min<std::size_t>(low, count - 1)];
}

void KeyIndex::Leaf::refresh(std::size_t of_all) {
  common = static_cast<std::uint32_t>(of_all);
  heads.values.fill(kUnused);
  for (std::size_t i = 0; i < count; ++i) heads.values[i] = head_of(records[i]->key(), of_all);
}

KeyIndex::KeyIndex() {
  first_ = new Leaf;
  first_->refresh();
  root_ = first_;
}

KeyIndex::~KeyIndex() { destroy(root_, height_); }

void KeyIndex::destroy(void* node, std::size_t height) {
  if (height == 0) {
    delete static_cast<Leaf*>(node);
    return;
  }
  auto* inner = static_cast<Inner*>(node);
  for (std::size_t i = 0; i <= inner->count; ++i) destroy(inner->children[i], height - 1);
  delete inner;
}

KeyIndex::Leaf* KeyIndex::leaf_for(BytesView key) const {
  void* node = root_;
  for (std::size_t i = 0; i < height_; ++i) {
    const auto* inner = static_cast<const Inner*>(node);
    node = inner->children[inner->child_for(key)];
  }
  return static_cast<Leaf*>(node);
}

KeyIndex::Path KeyIndex::path_to(BytesView key) const {
  Path path;
  void* node = root_;
  for (std::size_t i = 0; i < height_; ++i) {
    auto* inner = static_cast<Inner*>(node);
    path.push_back({inner, inner->child_for(key)});
    node = inner->children[path.back().child];
  }
  return path;
}

KeyIndex::Place KeyIndex::locate(BytesView key) const {
  if (found_.is_known() && found_.position().newest()->key() == key) {
    found_.changes_ = changes_;
    return found_;
  }
  const Place place = place_in(leaf_for(key), key);
  if (place.is_known()) found_ = place;
  return place;
}

KeyIndex::Place KeyIndex::place_in(Leaf* leaf, BytesView key) const {
  Place place;
  place.changes_ = changes_;
  place.leaf_ = leaf;
  if (leaf->count == 0) return place;
  const auto [low, high] = leaf->heads.match(head_of(key, leaf->common), leaf->count);
  // Any of its keys says what all begin with; this one is looked at in any case.
  const BytesView near = leaf->records[std::min<std::size_t>(low, leaf->count - 1)]->key();
  if (const int order = compare_common(key, near.substr(0, leaf->common)); order != 0) {
    place.at_ = order < 0 ? 0 : leaf->count;
    return place;
  }
  const auto same = std::span(leaf->records).subspan(low, high - low);
  const auto found = std::ranges::lower_bound(same, key, {}, &Record::key);
  place.at_ = low + static_cast<std::size_t>(found - same.begin());
  place.is_known_ = found != same.end() && (*found)->key() == key;
  return place;
}

void KeyIndex::locate(std::span<const BytesView> keys, std::span<Place> places) const {
  CHECK(keys.size() <= kTogether);
  std::array<void*, kTogether> nodes;
  nodes.fill(root_);
  for (std::size_t height = height_; height > 0; --height) {
    const auto inner = [&](std::size_t i) { return static_cast<const Inner*>(nodes[i]); };
    for (std::size_t i = 0; i < keys.size(); ++i) prefetch(inner(i)->common.data(), 1);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      nodes[i] = inner(i)->children[inner(i)->child_for(keys[i])];
      prefetch(nodes[i], height > 1 ? offsetof(Inner, separators) : offsetof(Leaf, before));
    }
  }
  const auto leaf = [&](std::size_t i) { return static_cast<Leaf*>(nodes[i]); };
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (leaf(i)->count > 0) prefetch(leaf(i)->near(keys[i]), sizeof(Record) + keys[i].size());
  }
  for (std::size_t i = 0; i < keys.size(); ++i) places[i] = place_in(leaf(i), keys[i]);
}

KeyIndex::Position KeyIndex::begin() const {
  Position position(first_, 0);
  position.settle();
  return position;
}

KeyIndex::Position KeyIndex::find(BytesView key) const {
  const Place place = locate(key);
  return place.is_known() ? place.position() : end();
}

KeyIndex::Position KeyIndex::lower_bound(BytesView key) const {
  const Place place = locate(key);
  Position position(place.leaf_, place.at_);
  position.settle();
  return position;
}

KeyIndex::Position KeyIndex::upper_bound(BytesView key) const {
  const Place place = locate(key);
  Position position(place.leaf_, place.at_ + (place.is_known() ? 1 : 0));
  position.settle();
  return position;
}

void KeyIndex::add(const Place& place, Record* record) {
  const BytesView key = record->key();
  Leaf* leaf = place.leaf_;
  std::size_t at = place.at_;
  CHECK(is_good(place));
  if (leaf == found_.leaf_) found_ = {};
  ++changes_;
  ++size_;
  if (leaf->count == kLeafKeys) {
    Leaf* right = split(leaf, at);
    const std::size_t kept = leaf->count;
    if (at > kept || right->count == 0) {
      leaf = right;
      at -= kept;
    }
    insert_at(leaf->records, leaf->count, at, record);
    ++leaf->count;
    leaf->refresh();
    const Leaf* left = right->before;
    add_child(path_to(left->records[0]->key()),
              separator_of(left->records[left->count - 1]->key(), right->records[0]->key()), right);
    return;
  }
  insert_at(leaf->records, leaf->count, at, record);
  insert_at(leaf->heads.values, leaf->count, at, std::int32_t{0});
  ++leaf->count;
  if (leaf->count == 1) return leaf->refresh();
  const BytesView other = leaf->records[at == 0 ? 1 : 0]->key().substr(0, leaf->common);
  const std::size_t common = common_bytes(key, other);
  if (common < leaf->common) return leaf->refresh(common);
  leaf->heads.values[at] = head_of(key, common);
}

// Makes room in a full leaf for a key at `at`; the new leaf behind it has the upper half. Keys that
// come in their order leave full leaves behind them: then it has none yet.
KeyIndex::Leaf* KeyIndex::split(Leaf* leaf, std::size_t at) {
  auto* right = new Leaf;
  right->before = leaf;
  right->after = leaf->after;
  if (right->after != nullptr) right->after->before = right;
  leaf->after = right;
  const std::size_t kept = at == leaf->count ? at : leaf->count / 2;
  right->count = static_cast<std::uint32_t>(leaf->count - kept);
  std::copy(leaf->records.begin() + kept, leaf->records.begin() + leaf->count,
            right->records.begin());
  leaf->count = static_cast<std::uint32_t>(kept);
  leaf->refresh();
  right->refresh();
  return right;
}

// Puts `child`, whose keys begin at `separator`, behind the child to which `path` leads.
void KeyIndex::add_child(Path path, Bytes separator, void* child) {
  while (!path.empty()) {
    const auto [node, at] = path.back();
    if (node->count < kInnerKeys) {
      insert_at(node->separators, node->count, at, std::move(separator));
      insert_at(node->children, node->count + 1, at + 1, child);
      ++node->count;
      node->refresh();
      return;
    }
    // The one in the middle goes up, unless children come in order: then the last one does.
    auto* right = new Inner;
    const std::size_t middle = at == node->count ? node->count - 1 : node->count / 2;
    Bytes up = std::move(node->separators[middle]);
    right->count = node->count - middle - 1;
    std::move(node->separators.begin() + middle + 1, node->separators.begin() + node->count,
              right->separators.begin());
    std::copy(node->children.begin() + middle + 1, node->children.begin() + node->count + 1,
              right->children.begin());
    node->count = middle;
    Inner* half = at <= middle ? node : right;
    const std::size_t place = at <= middle ? at : at - middle - 1;
    insert_at(half->separators, half->count, place, std::move(separator));
    insert_at(half->children, half->count + 1, place + 1, child);
    ++half->count;
    node->refresh();
    right->refresh();
    separator = std::move(up);
    child = right;
    path.pop_back();
  }
  auto* root = new Inner;
  root->count = 1;
  root->separators[0] = std::move(separator);
  root->children[0] = root_;
  root->children[1] = child;
  root->refresh();
  root_ = root;
  ++height_;
}

void KeyIndex::erase(BytesView key) {
  if (const Place place = locate(key); place.is_known()) erase(place);
}

void KeyIndex::erase(const Place& place) {
  CHECK(is_good(place));
  CHECK(place.is_known());
  Leaf* leaf = place.leaf_;
  ++changes_;
  --size_;
  const bool is_scarce = leaf->count - 1 < scarce(kLeafKeys) && height_ > 0;
  if (leaf == found_.leaf_ || is_scarce) found_ = {};
  Path path = is_scarce ? path_to(leaf->records[place.at_]->key()) : Path();
  erase_at(leaf->records, leaf->count, place.at_);
  erase_at(leaf->heads.values, leaf->count, place.at_);
  --leaf->count;
  leaf->heads.values[leaf->count] = kUnused;
  if (is_scarce) shrink(std::move(path));
}

// The leaf to which `path` leads has few keys, or none.
void KeyIndex::shrink(Path path) {
  const auto [parent, child] = path.back();
  auto* leaf = static_cast<Leaf*>(parent->children[child]);
  if (leaf->count == 0) {
    (leaf->before != nullptr ? leaf->before->after : first_) = leaf->after;
    if (leaf->after != nullptr) leaf->after->before = leaf->before;
    delete leaf;
    remove_child(std::move(path));
    return;
  }
  const auto count_of = [&](std::size_t i) {
    return static_cast<const Leaf*>(parent->children[i])->count;
  };
  if (child < parent->count && leaf->count + count_of(child + 1) <= ample(kLeafKeys)) {
    merge_leaves(path, child);
  } else if (child > 0 && leaf->count + count_of(child - 1) <= ample(kLeafKeys)) {
    merge_leaves(path, child - 1);
  }
}

// The leaf behind the child `left` of the path's last node joins it.
void KeyIndex::merge_leaves(const Path& path, std::size_t left) {
  const Inner* parent = path.back().node;
  auto* into = static_cast<Leaf*>(parent->children[left]);
  auto* from = static_cast<Leaf*>(parent->children[left + 1]);
  std::copy_n(from->records.begin(), from->count, into->records.begin() + into->count);
  into->count += from->count;
  into->after = from->after;
  if (into->after != nullptr) into->after->before = into;
  delete from;
  into->refresh();
  Path to_removed = path;
  to_removed.back().child = left + 1;
  remove_child(std::move(to_removed));
}

// Takes the child to which `path` leads, which is gone, out of its parent.
void KeyIndex::remove_child(Path path) {
  while (!path.empty()) {
    const auto [node, child] = path.back();
    path.pop_back();
    if (node->count == 0) {  // it was the only one
      CHECK(!path.empty(), "the root has no child");
      delete node;
      continue;
    }
    erase_at(node->separators, node->count, child == 0 ? 0 : child - 1);
    erase_at(node->children, node->count + 1, child);
    --node->count;
    node->refresh();
    if (path.empty() || node->count >= scarce(kInnerKeys)) break;
    // Joins a neighbour below the same parent; the separator between them comes down.
    const auto [parent, at] = path.back();
    const auto inner_at = [&](std::size_t i) { return static_cast<Inner*>(parent->children[i]); };
    const auto fits = [&](std::size_t left) {
      return inner_at(left)->count + inner_at(left + 1)->count + 1 <= ample(kInnerKeys);
    };
    std::size_t left = 0;
    if (at < parent->count && fits(at)) {
      left = at;
    } else if (at > 0 && fits(at - 1)) {
      left = at - 1;
    } else {
      break;
    }
    Inner* into = inner_at(left);
    Inner* from = inner_at(left + 1);
    into->separators[into->count++] = std::move(parent->separators[left]);
    std::move(from->separators.begin(), from->separators.begin() + from->count,
              into->separators.begin() + into->count);
    std::copy_n(from->children.begin(), from->count + 1, into->children.begin() + into->count);
    into->count += from->count;
    into->refresh();
    delete from;
    path.back().child = left + 1;
  }
  collapse_root();
}

void KeyIndex::collapse_root() {
  while (height_ > 0) {
    auto* root = static_cast<Inner*>(root_);
    if (root->count > 0) return;
    root_ = root->children[0];
    --height_;
    delete root;
  }
}

std::string KeyIndex::fault() const {
  std::vector<const Leaf*> leaves;
  std::string fault = fault_of(root_, height_, {}, {}, leaves);
  if (!fault.empty()) return fault;
  std::size_t keys = 0;
  const Leaf* before = nullptr;
  const Leaf* linked = first_;
  for (const Leaf* leaf : leaves) {
    if (leaf != linked || leaf->before != before) return "the leaves are not linked in order";
    keys += leaf->count;
    before = leaf;
    linked = leaf->after;
  }
  if (linked != nullptr) return "there are more leaves than the tree has";
  if (keys != size_) return fmt::format("{} keys, not {}", keys, size_);
  return {};
}

// Keys of `node` are from `from` on and before `until`, if that is not empty.
std::string KeyIndex::fault_of(const void* node, std::size_t height, BytesView from,
                               BytesView until, std::vector<const Leaf*>& leaves) const {
  if (height == 0) {
    const auto* leaf = static_cast<const Leaf*>(node);
    leaves.push_back(leaf);
    if (leaf->count == 0 && height_ > 0) return "a leaf is empty";
    for (std::size_t i = 0; i < leaf->count; ++i) {
      const BytesView key = leaf->records[i]->key();
      if (key < from || (!until.empty() && key >= until)) return "a key is in the wrong leaf";
      if (i > 0 && leaf->records[i - 1]->key() >= key) return "keys are not in order";
      if (key.substr(0, leaf->common) != leaf->records[0]->key().substr(0, leaf->common)) {
        return "a key begins differently";
      }
      if (leaf->heads.values[i] != head_of(key, leaf->common)) return "a head is wrong";
    }
    return {};
  }
  const auto* inner = static_cast<const Inner*>(node);
  for (std::size_t i = 0; i <= inner->count; ++i) {
    const BytesView low = i == 0 ? from : BytesView(inner->separators[i - 1]);
    const BytesView high = i == inner->count ? until : BytesView(inner->separators[i]);
    if (i > 0 && inner->heads.values[i - 1] != head_of(low, inner->common.size())) {
      return "the head of a separator is wrong";
    }
    std::string fault = fault_of(inner->children[i], height - 1, low, high, leaves);
    if (!fault.empty()) return fault;
  }
  return {};
}

}  // namespace conclave::store
