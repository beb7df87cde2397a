// The index beside std::map: the same keys in the same order, after each of many random changes.
#include "store/key_index.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "base/rng.h"

namespace conclave::store {
namespace {

struct FreeRecord {
  void operator()(Record* record) const { free_record(record); }
};
using OwnedRecord = std::unique_ptr<Record, FreeRecord>;

OwnedRecord record_of(BytesView key) { return OwnedRecord(make_record(Record{}, key, {})); }

class Both {
 public:
  void put(const Bytes& key) {
    OwnedRecord record = record_of(key);
    const KeyIndex::Place place = index.locate(key);
    ASSERT_EQ(place.is_known(), model.contains(key)) << key;
    if (place.is_known()) {
      index.replace(place.position(), record.get());
    } else {
      index.add(place, record.get());
    }
    model.insert_or_assign(key, std::move(record));
  }

  void erase(const Bytes& key) {
    index.erase(key);
    model.erase(key);
  }

  void check() const {
    ASSERT_EQ(index.fault(), "");
    ASSERT_EQ(index.size(), model.size());
    auto expected = model.begin();
    for (auto it = index.begin(); it != index.end(); ++it, ++expected) {
      ASSERT_NE(expected, model.end());
      ASSERT_EQ(it.newest(), expected->second.get());
    }
    ASSERT_EQ(expected, model.end());
  }

  void check_search(const Bytes& key) const {
    check_place(index.find(key), model.find(key));
    check_place(index.lower_bound(key), model.lower_bound(key));
    check_place(index.upper_bound(key), model.upper_bound(key));
  }

  void check_find(const Bytes& key) const { check_place(index.find(key), model.find(key)); }

  KeyIndex index;
  std::map<Bytes, OwnedRecord> model;

 private:
  template <class Expected>
  void check_place(KeyIndex::Position at, Expected expected) const {
    ASSERT_EQ(at == index.end(), expected == model.end());
    if (expected == model.end()) return;
    ASSERT_EQ(at.newest()->key(), expected->first);
  }
};

// Kinds of keys that trees of this kind stumble over.
Bytes random_key(Rng& rng, std::uint64_t kind) {
  switch (kind) {
    case 0: {
      const std::uint64_t space = rng.below(20);
      return fmt::format("/registry/pods/{:02}/{:04}", space, rng.below(3000));
    }
    case 1:
      return Bytes(rng.below(80), '\0');  // heads that are all alike
    case 2: {
      Bytes key(rng.below(40), '\xff');
      key += static_cast<char>(rng.below(256));
      return key;
    }
    case 3: {  // of any bytes, and of any length
      Bytes key;
      for (std::uint64_t i = rng.below(7); i > 0; --i) key += static_cast<char>(rng.below(256));
      return key;
    }
    case 4:
      return Bytes(300, 'x') + fmt::format("{}", rng.below(2000));
    default:
      return fmt::format("{:016x}", rng.next() % 5000);
  }
}

TEST(KeyIndex, IsLikeAMapThroughRandomChanges) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    Both both;
    Bytes often;  // looked for after each change of the others, and of itself
    for (int phase = 0; phase < 6; ++phase) {
      // Phases in which it grows, and in which it shrinks to next to nothing.
      const std::uint64_t erased_of_10 = phase % 2 == 0 ? 2 : 9;
      for (int i = 0; i < 6000; ++i) {
        // One kind alone in some seeds, all of them in the others.
        Bytes key = random_key(rng, seed % 2 == 0 ? seed : rng.below(6));
        if (rng.below(10) < erased_of_10) {
          // One that is there, as far as there is.
          const auto near = both.model.lower_bound(key);
          if (near != both.model.end()) key = near->first;
          both.erase(key);
        } else {
          both.put(key);
        }
        if (i % 50 == 0) both.check_search(random_key(rng, rng.below(6)));
        if (i % 20 == 0) often = key;
        both.check_find(often);
        if (i % 500 == 0) both.check();
        if (testing::Test::HasFatalFailure()) return;
      }
    }
    while (!both.model.empty()) both.erase(Bytes(both.model.begin()->first));
    both.check();
    both.put("again");
    both.check();
  }
}

// Some that are there, and some that may not be.
std::vector<Bytes> random_keys(Rng& rng, const Both& both) {
  std::vector<Bytes> keys;
  for (std::uint64_t i = rng.between(1, KeyIndex::kTogether); i > 0; --i) {
    Bytes key = random_key(rng, rng.below(6));
    const auto near = both.model.lower_bound(key);
    if (rng.below(3) > 0 && near != both.model.end()) key = near->first;
    keys.push_back(std::move(key));
    if (rng.below(5) == 0) keys.back() = keys.front();
  }
  return keys;
}

TEST(KeyIndex, FindsKeysTogetherAsOneByOne) {
  Rng rng(7);
  for (const int size : {0, 1, 30, 1'000, 30'000}) {
    SCOPED_TRACE(size);
    Both both;
    for (int i = 0; i < size; ++i) both.put(random_key(rng, rng.below(6)));
    for (int round = 0; round < 300; ++round) {
      const std::vector<Bytes> keys = random_keys(rng, both);
      const std::vector<BytesView> views(keys.begin(), keys.end());
      std::array<KeyIndex::Place, KeyIndex::kTogether> places;
      both.index.locate(views, places);
      for (std::size_t i = 0; i < keys.size(); ++i) {
        const auto expected = both.model.find(keys[i]);
        ASSERT_TRUE(both.index.is_good(places[i]));
        ASSERT_EQ(places[i].is_known(), expected != both.model.end()) << keys[i];
        if (!places[i].is_known()) continue;
        ASSERT_EQ(places[i].position(), both.index.find(keys[i])) << keys[i];
        ASSERT_EQ(places[i].position().newest(), expected->second.get());
      }
      // What is done at the places is done where it belongs; the first change of the keys makes all
      // of them bad, and then to recall them has no effect.
      for (std::size_t i = 0; i < keys.size(); ++i) {
        both.index.recall(places[i]);
        both.check_search(keys[rng.below(keys.size())]);
        if (!both.index.is_good(places[i])) continue;
        OwnedRecord record = record_of(keys[i]);
        if (!places[i].is_known()) {
          both.index.add(places[i], record.get());
        } else if (rng.below(10) == 0) {
          both.index.erase(places[i]);
          both.model.erase(keys[i]);
          continue;
        } else {
          both.index.replace(places[i].position(), record.get());
        }
        both.model.insert_or_assign(keys[i], std::move(record));
      }
      for (const Bytes& key : keys) both.check_search(key);
      if (testing::Test::HasFatalFailure()) return;
    }
    both.check();
  }
}

TEST(KeyIndex, KeysInOrderFillTheirLeaves) {
  Both both;
  std::vector<Bytes> keys;
  for (int i = 0; i < 20'000; ++i) keys.push_back(fmt::format("key/{:08}", i));
  for (const Bytes& key : keys) both.put(key);
  both.check();
  // From the last to the first, and from the first on: no node is left behind empty.
  for (int i = 0; i < 10'000; ++i) {
    both.erase(keys[static_cast<std::size_t>(i)]);
    both.erase(keys[keys.size() - 1 - static_cast<std::size_t>(i)]);
    if (i % 1'000 == 0) both.check();
  }
  both.check();
  EXPECT_EQ(both.index.begin(), both.index.end());
}

TEST(KeyIndex, KeysBackwardsAndInterleaved) {
  Both both;
  for (int i = 9'999; i >= 0; --i) both.put(fmt::format("{:05}", i));
  both.check();
  for (int i = 0; i < 10'000; ++i) both.put(fmt::format("{:05}/{}", i, i % 7));
  both.check();
  for (int i = 0; i < 10'000; i += 2) both.check_search(fmt::format("{:05}", i));
}

}  // namespace
}  // namespace conclave::store
