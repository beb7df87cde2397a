#include "store/key_index.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace conclave::store {
namespace {

constexpr std::size_t kLeafKeys = 62;
constexpr std::size_t kChildren = 64;

// The four bytes of `key` behind its first `prefix` ones, as a number that orders like them; zeros
// where it ends.
std::uint32_t head_of(BytesView key, std::size_t prefix) {
  std::uint32_t head = 0;
  for (std::size_t i = prefix; i < prefix + 4; ++i) {
    head = (head << 8) | (i < key.size() ? static_cast<std::uint8_t>(key[i]) : 0u);
  }
  return head;
}

std::size_t common_prefix(BytesView a, BytesView b) {
  const std::size_t limit = std::min(a.size(), b.size());
  std::size_t size = 0;
  while (size < limit && a[size] == b[size]) ++size;
  return size;
}

// The shortest string that is after `left` and not after `right`. REQUIRES: left < right.
Bytes between(BytesView left, BytesView right) {
  return Bytes(right.substr(0, common_prefix(left, right) + 1));
}

// The first of [from, to) that is not before `key`, where key_at(i) ascends.
template <class KeyAt>
std::size_t first_not_before(BytesView key, std::size_t from, std::size_t to, const KeyAt& key_at) {
  while (from < to) {
    const std::size_t middle = (from + to) / 2;
    if (key_at(middle) < key) {
      from = middle + 1;
    } else {
      to = middle;
    }
  }
  return from;
}

// What the keys of a node have in common, and their heads.
template <std::size_t N>
struct Heads {
  // The place of the first key that is not before `key`, provided that `key` has the prefix of the
  // node's keys.
  template <class KeyAt>
  std::size_t place_with_prefix(BytesView key, std::size_t count, const KeyAt& key_at) const {
    const std::uint32_t head = head_of(key, prefix);
    const auto begin = heads.begin();
    const auto end = begin + static_cast<std::ptrdiff_t>(count);
    const auto [low, high] = std::equal_range(begin, end, head);
    return first_not_before(key, static_cast<std::size_t>(low - begin),
                            static_cast<std::size_t>(high - begin), key_at);
  }

  // The same for any key.
  template <class KeyAt>
  std::size_t place(BytesView key, std::size_t count, const KeyAt& key_at) const {
    if (count == 0) return 0;
    const int order = key.substr(0, prefix).compare(key_at(0).substr(0, prefix));
    if (order != 0) return order < 0 ? 0 : count;
    return place_with_prefix(key, count, key_at);
  }

  template <class KeyAt>
  void rebuild(std::size_t count, const KeyAt& key_at) {
    prefix =
        count == 0 ? 0 : static_cast<std::uint32_t>(common_prefix(key_at(0), key_at(count - 1)));
    for (std::size_t i = 0; i < count; ++i) heads[i] = head_of(key_at(i), prefix);
  }

  std::uint32_t prefix = 0;
  std::array<std::uint32_t, N> heads;
};

}  // namespace

struct KeyIndex::Leaf {
  auto key_at() const {
    return [this](std::size_t i) { return records[i]->key(); };
  }
  void rebuild() { heads.rebuild(count, key_at()); }

  // REQUIRES: there is room.
  void insert(std::size_t place, Record* record) {
    const BytesView key = record->key();
    const bool has_prefix =
        count > 0 && key.substr(0, heads.prefix) == records[0]->key().substr(0, heads.prefix);
    std::copy_backward(records.begin() + place, records.begin() + count,
                       records.begin() + count + 1);
    std::copy_backward(heads.heads.begin() + place, heads.heads.begin() + count,
                       heads.heads.begin() + count + 1);
    records[place] = record;
    ++count;
    if (has_prefix) {
      heads.heads[place] = head_of(key, heads.prefix);
    } else {
      rebuild();
    }
  }

  void erase(std::size_t place) {
    std::copy(records.begin() + place + 1, records.begin() + count, records.begin() + place);
    std::copy(heads.heads.begin() + place + 1, heads.heads.begin() + count,
              heads.heads.begin() + place);
    --count;
  }

  // Moves the records from `place` on to a new leaf behind this one.
  Leaf* split(std::size_t place) {
    auto* right = new Leaf;
    right->count = static_cast<std::uint32_t>(count - place);
    std::copy(records.begin() + place, records.begin() + count, right->records.begin());
    count = static_cast<std::uint32_t>(place);
    right->next = next;
    next = right;
    rebuild();
    right->rebuild();
    return right;
  }

  // Takes over the records of the leaf behind this one.
  void absorb(Leaf* right) {
    std::copy(right->records.begin(), right->records.begin() + right->count,
              records.begin() + count);
    count += right->count;
    next = right->next;
    rebuild();
    delete right;
  }

  Leaf* next = nullptr;
  std::uint32_t count = 0;
  Heads<kLeafKeys> heads;
  std::array<Record*, kLeafKeys> records;
};

// Children with a separator between each two: everything in the left one is before it, nothing in
// the right one is.
struct KeyIndex::Inner {
  auto key_at() const {
    return [this](std::size_t i) { return BytesView(separators[i]); };
  }
  void rebuild() { heads.rebuild(separators.size(), key_at()); }

  std::size_t child_of(BytesView key) const {
    const std::size_t place = heads.place(key, separators.size(), key_at());
    return place < separators.size() && separators[place] == key ? place + 1 : place;
  }

  // Puts `right` behind child `child`. The caller rebuilds, or splits first.
  void insert(std::size_t child, Bytes separator, void* right) {
    const auto at = static_cast<std::ptrdiff_t>(child);
    separators.insert(separators.begin() + at, std::move(separator));
    children.insert(children.begin() + at + 1, right);
  }

  // Takes out a child and the separator before it. REQUIRES: child > 0.
  void erase(std::size_t child) {
    const auto at = static_cast<std::ptrdiff_t>(child);
    children.erase(children.begin() + at);
    separators.erase(separators.begin() + at - 1);
    rebuild();
  }

  // Gives the upper half of the children to `right`; the separator of the two.
  Bytes split(Inner* right) {
    const auto middle = static_cast<std::ptrdiff_t>(children.size() / 2);
    right->children.assign(children.begin() + middle, children.end());
    right->separators.assign(std::make_move_iterator(separators.begin() + middle),
                             std::make_move_iterator(separators.end()));
    children.resize(static_cast<std::size_t>(middle));
    separators.resize(static_cast<std::size_t>(middle));
    Bytes separator = std::move(separators.back());
    separators.pop_back();
    rebuild();
    right->rebuild();
    return separator;
  }

  // Appends the children of its right neighbour. The caller rebuilds, or splits first.
  void absorb(Bytes separator, Inner* right) {
    separators.push_back(std::move(separator));
    children.insert(children.end(), right->children.begin(), right->children.end());
    separators.insert(separators.end(), std::make_move_iterator(right->separators.begin()),
                      std::make_move_iterator(right->separators.end()));
  }

  std::vector<Bytes> separators;
  std::vector<void*> children;
  Heads<kChildren> heads;
};

Record* KeyIndex::Cursor::record() const { return leaf_->records[place_]; }
void KeyIndex::Cursor::replace(Record* record) { leaf_->records[place_] = record; }

void KeyIndex::Cursor::next() {
  if (++place_ < leaf_->count) return;
  leaf_ = leaf_->next;
  place_ = 0;
}

KeyIndex::KeyIndex() : root_(new Leaf) {}
KeyIndex::~KeyIndex() { free_node(root_, height_); }

void KeyIndex::free_node(void* node, std::size_t height) {
  if (height == 0) {
    delete static_cast<Leaf*>(node);
    return;
  }
  auto* inner = static_cast<Inner*>(node);
  for (void* child : inner->children) free_node(child, height - 1);
  delete inner;
}

KeyIndex::Leaf* KeyIndex::descend(BytesView key, Path* path) const {
  void* node = root_;
  for (std::size_t height = height_; height > 0; --height) {
    auto* inner = static_cast<Inner*>(node);
    const std::size_t child = inner->child_of(key);
    if (path != nullptr) path->push_back({inner, child});
    node = inner->children[child];
  }
  return static_cast<Leaf*>(node);
}

KeyIndex::Cursor KeyIndex::at(Leaf* leaf, std::size_t place) {
  return place < leaf->count ? Cursor(leaf, place) : Cursor(leaf->next, 0);
}

KeyIndex::Cursor KeyIndex::begin() const { return lower_bound({}); }

// A key that is in the leaf has its prefix; so that need not be compared.
KeyIndex::Cursor KeyIndex::find(BytesView key) const {
  Leaf* leaf = descend(key, nullptr);
  const std::size_t place = leaf->heads.place_with_prefix(key, leaf->count, leaf->key_at());
  const bool is_there = place < leaf->count && leaf->records[place]->key() == key;
  return is_there ? Cursor(leaf, place) : Cursor(nullptr, 0);
}

KeyIndex::Cursor KeyIndex::lower_bound(BytesView key) const {
  Leaf* leaf = descend(key, nullptr);
  const std::size_t place = leaf->heads.place(key, leaf->count, leaf->key_at());
  return at(leaf, place);
}

KeyIndex::Cursor KeyIndex::upper_bound(BytesView key) const {
  Cursor cursor = lower_bound(key);
  if (!cursor.at_end() && cursor.record()->key() == key) cursor.next();
  return cursor;
}

void KeyIndex::insert(Record* record) {
  const BytesView key = record->key();
  path_.clear();
  Leaf* leaf = descend(key, &path_);
  std::size_t place = leaf->heads.place(key, leaf->count, leaf->key_at());
  CHECK(place == leaf->count || leaf->records[place]->key() != key, "the key is there already");
  ++size_;
  if (leaf->count < kLeafKeys) {
    leaf->insert(place, record);
    return;
  }
  // Keys that arrive in order leave full leaves behind.
  const bool is_append = place == leaf->count && leaf->next == nullptr;
  Leaf* right = leaf->split(is_append ? kLeafKeys - 1 : kLeafKeys / 2);
  Leaf* into = leaf;
  if (place > leaf->count) {
    place -= leaf->count;
    into = right;
  }
  into->insert(place, record);
  Bytes separator = between(leaf->records[leaf->count - 1]->key(), right->records[0]->key());
  add_child(leaf, std::move(separator), right);
}

// Puts `right` behind its neighbour `left`, at the end of the path; splits what is full on the way
// up.
void KeyIndex::add_child(void* left, Bytes separator, void* right) {
  for (; !path_.empty(); path_.pop_back()) {
    const auto [inner, child] = path_.back();
    inner->insert(child, std::move(separator), right);
    if (inner->children.size() <= kChildren) {
      inner->rebuild();
      return;
    }
    auto* behind = new Inner;
    separator = inner->split(behind);
    left = inner;
    right = behind;
  }
  auto* root = new Inner;
  root->separators.push_back(std::move(separator));
  root->children = {left, right};
  root->rebuild();
  root_ = root;
  ++height_;
}

bool KeyIndex::erase(BytesView key) {
  path_.clear();
  Leaf* leaf = descend(key, &path_);
  const std::size_t place = leaf->heads.place(key, leaf->count, leaf->key_at());
  if (place == leaf->count || leaf->records[place]->key() != key) return false;
  leaf->erase(place);
  --size_;
  if (leaf->count < kLeafKeys / 4 && !path_.empty()) join_leaf();
  return true;
}

// Joins the small leaf at the end of the path with a neighbour of the same parent, if they fit into
// one. An empty one always does, so that there are none but the root.
void KeyIndex::join_leaf() {
  auto& [inner, child] = path_.back();
  if (child == 0) child = 1;  // the right one of the two
  auto* left = static_cast<Leaf*>(inner->children[child - 1]);
  auto* right = static_cast<Leaf*>(inner->children[child]);
  if (left->count + right->count > kLeafKeys) return;
  left->absorb(right);
  drop_child();
}

// Takes the child at the end of the path, whose content its left neighbour has, out of its parent,
// and joins parents that become small.
void KeyIndex::drop_child() {
  bool drops = true;
  while (drops) {
    const auto [inner, child] = path_.back();
    path_.pop_back();
    inner->erase(child);
    drops = inner->children.size() < kChildren / 4 && !path_.empty() && join_inner();
  }
  auto* root = static_cast<Inner*>(root_);
  if (root->children.size() > 1) return;
  root_ = root->children.front();
  --height_;
  delete root;
}

// Joins the small inner node at the end of the path with a neighbour of the same parent, or shares
// out their children if these are too many for one. True if the right one is to be dropped.
bool KeyIndex::join_inner() {
  auto& [parent, child] = path_.back();
  if (child == 0) child = 1;
  auto* left = static_cast<Inner*>(parent->children[child - 1]);
  auto* right = static_cast<Inner*>(parent->children[child]);
  left->absorb(std::move(parent->separators[child - 1]), right);
  const bool fits = left->children.size() <= kChildren;
  if (fits) {
    left->rebuild();
    delete right;
  } else {
    parent->separators[child - 1] = left->split(right);
    parent->rebuild();
  }
  return fits;
}

void KeyIndex::check() const {
  std::size_t count = 0;
  const Record* before = nullptr;
  for (Cursor cursor = begin(); !cursor.at_end(); cursor.next(), ++count) {
    const Record* record = cursor.record();
    CHECK(before == nullptr || before->key() < record->key());
    const Leaf* leaf = descend(record->key(), nullptr);
    CHECK(leaf == cursor.leaf_, "a key is not where a search for it ends");
    CHECK(leaf->heads.heads[cursor.place_] == head_of(record->key(), leaf->heads.prefix));
    CHECK(leaf->heads.prefix <= common_prefix(record->key(), leaf->records[0]->key()));
    before = record;
  }
  CHECK(count == size_);
}

}  // namespace conclave::store
