#pragma once
// The keys in order, each with its newest record: a B+tree whose nodes are searched without looking
// at the keys.
//
// With a million keys a lookup is paid for in cache misses. A tree of pointers to keys misses at
// every comparison. Here each node keeps, beside its keys, the length of the prefix that they all
// share and the four bytes that follow it in each ("heads"): these nearly always decide. So a
// lookup touches one short array per level and the record it finds.
//
// A key is not stored here but in its record; inner nodes have copies of as much as tells their
// children apart. Not thread-safe. A Cursor is valid until the next insert or erase.

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "store/record.h"

namespace conclave::store {

class KeyIndex {
 private:
  struct Leaf;

 public:
  // A place in the order, or the end.
  class Cursor {
   public:
    bool at_end() const { return leaf_ == nullptr; }
    // REQUIRES of the rest: !at_end().
    Record* record() const;
    // REQUIRES: the same key.
    void replace(Record* record);
    void next();

   private:
    friend class KeyIndex;
    Cursor(Leaf* leaf, std::size_t place) : leaf_(leaf), place_(place) {}

    Leaf* leaf_;
    std::size_t place_;
  };

  KeyIndex();
  ~KeyIndex();
  KeyIndex(const KeyIndex&) = delete;
  KeyIndex& operator=(const KeyIndex&) = delete;

  Cursor begin() const;
  // The key itself, or the end.
  Cursor find(BytesView key) const;
  // The first key not before, and the first after, `key`.
  Cursor lower_bound(BytesView key) const;
  Cursor upper_bound(BytesView key) const;

  // REQUIRES: the key is not there.
  void insert(Record* record);
  // False if the key is not there.
  bool erase(BytesView key);

  std::size_t size() const { return size_; }
  // CHECKs that the tree is in order; for tests.
  void check() const;

 private:
  struct Inner;
  // Which child was taken in an inner node, from the root down.
  struct Step {
    Inner* inner;
    std::size_t child;
  };
  using Path = std::vector<Step>;

  // The leaf in which `key` belongs; the way to it if a path is given.
  Leaf* descend(BytesView key, Path* path) const;
  static Cursor at(Leaf* leaf, std::size_t place);
  void add_child(void* left, Bytes separator, void* right);
  void join_leaf();
  void drop_child();
  bool join_inner();
  static void free_node(void* node, std::size_t height);

  void* root_;              // a Leaf if height_ is 0, else an Inner
  std::size_t height_ = 0;  // inner nodes above each leaf
  std::size_t size_ = 0;
  Path path_;  // of the insert or erase that is going on
};

}  // namespace conclave::store
