#pragma once
// The ordered index of a keyspace: each key's newest record, in a B+ tree.
//
// A tree that holds pointers alone follows one for each comparison, and with many keys each is a
// cache miss. Here every node has, beside each of its keys, the four bytes behind what the node's
// keys have in common, as a number (the key's head). A search follows one pointer, in the leaf
// where it ends: to see that the key is what its head promised. (Graefe, Larson: B-Tree Indexes and
// CPU Caches, ICDE 2001, section 3; separators are cut short as in Bayer, Unterauer: Prefix
// B-Trees, TODS 1977.)
//
// Memory: 13 to 20 bytes for a key, by the order in which keys came.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "store/record.h"

namespace conclave::store {

class KeyIndex {
 public:
  static constexpr std::size_t kLeafKeys = 40;

 private:
  template <std::size_t n>
  struct Heads {
    // The keys from `low` on, before `high`, have this head.
    struct Match {
      std::size_t low;
      std::size_t high;
    };
    Match match(std::int32_t head, std::size_t count) const;

    std::array<std::int32_t, n> values;
  };
  struct Leaf {
    Heads<kLeafKeys> heads;
    std::uint32_t common = 0;  // bytes with which all its keys begin
    std::uint32_t count = 0;
    std::array<Record*, kLeafKeys> records;
    Leaf* before = nullptr;
    Leaf* after = nullptr;

    // The record at which a search for `key` looks first. REQUIRES: there is one.
    const Record* near(BytesView key) const;
    // After its keys have changed: what they have in common, and their heads.
    void refresh();
    void refresh(std::size_t of_all);
  };
  struct Inner;

 public:
  // A place among the keys. Adding and erasing keys invalidates it, replacing a record does not.
  class Position {
   public:
    Position() = default;
    // The newest record of the key here. REQUIRES: not the end.
    Record* newest() const { return leaf_->records[at_]; }
    Position& operator++() {
      ++at_;
      settle();
      return *this;
    }
    bool operator==(const Position&) const = default;

   private:
    friend class KeyIndex;
    Position(Leaf* leaf, std::size_t at) : leaf_(leaf), at_(at) {}
    // Behind a leaf's last key is the next one's first.
    void settle() {
      if (at_ < leaf_->count) return;
      leaf_ = leaf_->after;
      at_ = 0;
    }

    Leaf* leaf_ = nullptr;
    std::size_t at_ = 0;
  };

  KeyIndex();
  ~KeyIndex();
  KeyIndex(const KeyIndex&) = delete;
  KeyIndex& operator=(const KeyIndex&) = delete;

  std::size_t size() const { return size_; }
  Position begin() const;
  Position end() const { return {}; }
  Position find(BytesView key) const;
  // The first key that is not before `key`.
  Position lower_bound(BytesView key) const;
  // The first key behind `key`.
  Position upper_bound(BytesView key) const;

  // Where `key` is, or has to be added. Good until a key is added or erased.
  class Place {
   public:
    bool is_known() const { return is_known_; }
    // REQUIRES: is_known().
    Position position() const { return {leaf_, at_}; }

   private:
    friend class KeyIndex;
    Leaf* leaf_ = nullptr;
    std::size_t at_ = 0;
    std::uint64_t changes_ = 0;
    bool is_known_ = false;
  };
  Place locate(BytesView key) const;
  // The same for up to kTogether keys, into as many places. What one needs of memory comes while
  // the others are looked for, the record at its place too. (Chen, Ailamaki, Gibbons, Mowry:
  // Improving Hash Join Performance through Prefetching, ICDE 2004, section 4: group prefetching.)
  void locate(std::span<const BytesView> keys, std::span<Place> places) const;
  static constexpr std::size_t kTogether = 16;
  // If a key is known at `place`, and still is there, the next search may be told that it is: one
  // for that key ends at once.
  void recall(const Place& place) const {
    if (place.is_known() && is_good(place)) found_ = place;
  }
  // False of a Place{}, too.
  bool is_good(const Place& place) const { return place.changes_ == changes_; }

  // REQUIRES: `record` is of the key that is there.
  void replace(Position at, Record* record) { at.leaf_->records[at.at_] = record; }
  // REQUIRES: place == locate(record->key()), which is not known.
  void add(const Place& place, Record* record);
  // Without effect if there is none.
  void erase(BytesView key);
  // The key that is known there.
  void erase(const Place& place);

  // For tests: what is wrong with the tree; empty if nothing is.
  std::string fault() const;

 private:
  // The way from the root to a leaf: the inner nodes, and which of their children.
  struct Step {
    Inner* node;
    std::size_t child;
  };
  using Path = std::vector<Step>;

  Leaf* leaf_for(BytesView key) const;
  Place place_in(Leaf* leaf, BytesView key) const;
  Path path_to(BytesView key) const;
  Leaf* split(Leaf* leaf, std::size_t at);
  void add_child(Path path, Bytes separator, void* child);
  void remove_child(Path path);
  void shrink(Path path);
  void merge_leaves(const Path& path, std::size_t left);
  void collapse_root();
  std::string fault_of(const void* node, std::size_t height, BytesView from, BytesView until,
                       std::vector<const Leaf*>& leaves) const;
  static void destroy(void* node, std::size_t height);

  void* root_;              // a Leaf if height_ is 0, else an Inner
  std::size_t height_ = 0;  // inner nodes above each leaf
  Leaf* first_;
  std::size_t size_ = 0;
  std::uint64_t changes_ = 1;  // keys that were added or erased; 0 is no number of theirs
  // The key that was found last: many changes of a batch are about the same few. Whatever moves it
  // forgets it. A search writes it: not even those may be done by two threads at once.
  mutable Place found_;
};

}  // namespace conclave::store
