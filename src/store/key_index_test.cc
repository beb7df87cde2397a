// The ordered index against std::map, under keys that share prefixes, end early, and come and go.

#include "store/key_index.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "base/rng.h"

namespace conclave::store {
namespace {

struct Freed {
  void operator()(Record* record) const { free_record(record); }
};

// An index, and a map with the same content.
class Pair {
 public:
  void insert(const Bytes& key) {
    Record* record = make_record(Record{}, key, {});
    const bool is_new = map_.emplace(key, std::unique_ptr<Record, Freed>(record)).second;
    if (is_new) index_.insert(record);
  }

  void erase(const Bytes& key) {
    const bool was_there = map_.contains(key);
    EXPECT_EQ(index_.erase(key), was_there);
    map_.erase(key);
  }

  // Looks `key` up in each way.
  void look(const Bytes& key) const {
    expect_at(index_.lower_bound(key), map_.lower_bound(key));
    expect_at(index_.upper_bound(key), map_.upper_bound(key));
    expect_at(index_.find(key), map_.find(key));
  }

  void walk() const {
    index_.check();
    ASSERT_EQ(index_.size(), map_.size());
    auto expected = map_.begin();
    for (auto cursor = index_.begin(); !cursor.at_end(); cursor.next(), ++expected) {
      ASSERT_EQ(cursor.record(), expected->second.get());
    }
    EXPECT_EQ(expected, map_.end());
  }

  const KeyIndex& index() const { return index_; }

 private:
  using Map = std::map<Bytes, std::unique_ptr<Record, Freed>>;

  void expect_at(KeyIndex::Cursor cursor, Map::const_iterator expected) const {
    ASSERT_EQ(cursor.at_end(), expected == map_.end());
    if (cursor.at_end()) return;
    ASSERT_EQ(cursor.record(), expected->second.get());
  }

  KeyIndex index_;
  Map map_;
};

TEST(KeyIndex, IsEmptyAtFirst) {
  Pair pair;
  pair.walk();
  pair.look("a");
  pair.erase("a");
}

TEST(KeyIndex, KeysThatComeInOrder) {
  Pair pair;
  for (int i = 0; i < 20'000; ++i) pair.insert(fmt::format("/registry/{:08}", i));
  pair.walk();
  for (int i = 0; i < 20'000; i += 7) pair.erase(fmt::format("/registry/{:08}", i));
  pair.walk();
  for (int i = 19'999; i >= 0; --i) pair.erase(fmt::format("/registry/{:08}", i));
  pair.walk();
  EXPECT_EQ(pair.index().size(), 0u);
}

TEST(KeyIndex, KeysThatDifferWhereOneEnds) {
  Pair pair;
  const Bytes zero(1, '\0');
  for (int length = 0; length < 300; ++length) {
    Bytes key = "a";
    for (int i = 0; i < length; ++i) key += zero;
    pair.insert(key);
    pair.look(key + zero);
  }
  pair.insert("");
  pair.insert("\xff");
  pair.walk();
  for (const char* key : {"", "a", "b", "\xff", "\x7f"}) pair.look(key);
}

// Random keys over a small alphabet, of which `chains` start alike.
Bytes random_key(Rng& rng) {
  Bytes key = rng.one_in(2) ? "" : rng.one_in(2) ? "common/prefix/" : "common/other/and/longer/";
  for (std::uint64_t i = rng.below(7); i > 0; --i)
    key.push_back(
        "\0\x01"
        "ab\xff"[rng.below(5)]);
  return key;
}

TEST(KeyIndex, RandomKeysComeAndGo) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    Rng rng(seed);
    Pair pair;
    for (int round = 0; round < 8; ++round) {
      const bool grows = round % 2 == 0;
      for (int i = 0; i < 6'000; ++i) {
        const Bytes key = random_key(rng);
        if (rng.one_in(grows ? 10 : 2) || (!grows && !rng.one_in(10))) {
          pair.erase(key);
        } else {
          pair.insert(key);
        }
        pair.look(random_key(rng));
      }
      pair.walk();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// Many keys are inserted in one order and erased in another, so that every kind of join happens.
TEST(KeyIndex, GrowsAndShrinksThroughSeveralLevels) {
  Pair pair;
  constexpr std::uint64_t kCount = 1u << 16;
  const auto key = [](std::uint64_t i) { return fmt::format("key/{:x}", i * 0x9e3779b1 % kCount); };
  for (std::uint64_t i = 0; i < kCount; ++i) pair.insert(key(i));
  pair.walk();
  for (std::uint64_t i = 0; i < kCount / 2; ++i)
    pair.erase(fmt::format("key/{:x}", i + kCount / 4));
  pair.walk();
  for (std::uint64_t i = 0; i < kCount; ++i) {
    pair.erase(key(i * 31));
    if (i % 4096 == 0) pair.walk();
  }
  pair.walk();
  EXPECT_EQ(pair.index().size(), 0u);
}

}  // namespace
}  // namespace conclave::store
