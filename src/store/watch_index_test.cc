// Which ranges contain a key, against a list of all ranges.

#include "store/watch_index.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace conclave::store {
namespace {

std::vector<const WatchIndex::Range*> containing(const WatchIndex& index, BytesView key) {
  std::vector<const WatchIndex::Range*> found;
  index.visit(key, [&](const WatchIndex::Range& range) { found.push_back(&range); });
  return found;
}

TEST(WatchIndex, FindsSingleKeysAndRanges) {
  WatchIndex index;
  const auto* single = index.take(KeyRange::one("b"));
  const auto* range = index.take(KeyRange::of("a", "c"));
  const auto* rest = index.take(KeyRange::of("b", BytesView("\0", 1)));
  using Found = std::vector<const WatchIndex::Range*>;
  EXPECT_EQ(containing(index, "a"), (Found{range}));
  EXPECT_EQ(containing(index, "b"), (Found{single, range, rest}));
  EXPECT_EQ(containing(index, "bb"), (Found{range, rest}));
  EXPECT_EQ(containing(index, "c"), (Found{rest}));
  EXPECT_EQ(containing(index, ""), (Found{}));
}

TEST(WatchIndex, ARangeIsThereOnceForAllWhoTakeIt) {
  WatchIndex index;
  auto* first = index.take(KeyRange::of("a", "c"));
  EXPECT_EQ(index.take(KeyRange::of("a", "c")), first);
  EXPECT_NE(index.take(KeyRange::of("a", "d")), first);
  EXPECT_NE(index.take(KeyRange::one("a")), first);
  EXPECT_EQ(index.size(), 3u);
  index.release(first);
  EXPECT_EQ(containing(index, "b").size(), 2u);
  index.release(first);
  EXPECT_EQ(containing(index, "b").size(), 1u);
  EXPECT_EQ(index.size(), 2u);
}

TEST(WatchIndex, AgreesWithALookAtAllRanges) {
  Rng rng(7);
  const auto any_key = [&] { return fmt::format("{:03}", rng.below(300)); };
  struct Taken {
    WatchIndex::Range* range;
    Bytes key;
    Bytes end;
  };
  WatchIndex index;
  std::vector<Taken> taken;
  for (int round = 0; round < 4'000; ++round) {
    if (!taken.empty() && rng.below(100) < 45) {
      const std::size_t i = rng.below(taken.size());
      index.release(taken[i].range);
      taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      Taken next{nullptr, any_key(), any_key()};
      if (next.end < next.key) std::swap(next.key, next.end);
      if (next.end == next.key) next.end.clear();
      if (rng.one_in(10)) next.end = Bytes(1, '\0');
      next.range = index.take(KeyRange::of(next.key, next.end));
      taken.push_back(std::move(next));
    }
    const Bytes key = any_key();
    std::vector<const WatchIndex::Range*> expected;
    for (const Taken& each : taken) {
      const KeyRange range = KeyRange::of(each.key, each.end);
      const bool inside =
          range.single ? key == each.key : key >= each.key && !range.ends_before(key);
      EXPECT_EQ(WatchIndex::contains(*each.range, key), inside);
      if (inside) expected.push_back(each.range);
    }
    auto found = containing(index, key);
    std::ranges::sort(expected);
    std::ranges::sort(found);
    expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
    ASSERT_EQ(found, expected) << key;
  }
}

}  // namespace
}  // namespace conclave::store
