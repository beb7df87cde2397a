// The hash of the history (etcd's HashKV): equal on whoever has the same history, whatever has been
// reclaimed, however it is computed.

#include "store/history_hash.h"

#include <gtest/gtest.h>

#include "store/replica.h"

namespace conclave::store {
namespace {

std::uint32_t hash_of(Store& store, api::Revision revision, std::size_t slice = SIZE_MAX) {
  const auto hash = store.begin_history_hash(revision);
  CHECK(hash.has_value());
  while (!(*hash)->step(slice)) {
  }
  return (*hash)->result().hash;
}

api::ErrorCode refusal(Store& store, api::Revision revision) {
  const auto hash = store.begin_history_hash(revision);
  CHECK(!hash.has_value());
  return hash.error().code;
}

Replica eventful() {
  Replica replica;
  for (int i = 0; i < 30; ++i) replica.run(fmt::format("put k{} {}", i % 7, i));
  replica.run("del k2 k4");
  replica.run("put k3 again");
  return replica;
}

TEST(HistoryHash, IsTheSameInAnySteps) {
  Replica replica = eventful();
  replica.run("compact 12");
  for (const std::size_t slice : {1u, 2u, 3u, 10u, 1000u}) {
    EXPECT_EQ(hash_of(replica.store, 20, slice), hash_of(replica.store, 20));
  }
}

TEST(HistoryHash, DependsOnTheRevisionAndOnWhatIsCompacted) {
  Replica replica = eventful();
  const std::uint32_t at_20 = hash_of(replica.store, 20);
  EXPECT_NE(at_20, hash_of(replica.store, 21));
  EXPECT_EQ(hash_of(replica.store, 0), hash_of(replica.store, replica.store.revision()));
  replica.run("put later 1");
  EXPECT_EQ(at_20, hash_of(replica.store, 20));
  replica.run("compact 5");
  EXPECT_NE(at_20, hash_of(replica.store, 20));
}

TEST(HistoryHash, DoesNotDependOnWhatHasBeenReclaimed) {
  // Revision 32 is the deletion: its tombstones are of the compacted revision.
  for (const int compacted : {5, 12, 32, 33}) {
    Replica replica = eventful();
    replica.run(fmt::format("compact {}", compacted));
    const std::uint32_t before = hash_of(replica.store, 0);
    while (replica.store.reclaim(1)) EXPECT_EQ(hash_of(replica.store, 0), before);
    EXPECT_EQ(hash_of(replica.store, 0), before);
    auto reloaded = replica.through_snapshot(100, [] {});
    ASSERT_TRUE(reloaded.has_value());
    EXPECT_EQ(hash_of(*reloaded, 0), before);
  }
}

TEST(HistoryHash, HoldsWhatItReadsWhileTheStoreGoesOn) {
  Replica replica = eventful();
  replica.run("compact 10");
  const std::uint32_t expected = hash_of(replica.store, 25);
  const auto hash = replica.store.begin_history_hash(25);
  ASSERT_TRUE(hash.has_value());
  for (int i = 0; !(*hash)->step(1); ++i) {
    replica.run(fmt::format("put k{} new", i % 7));
    if (i == 3) replica.run("compact 33");
    replica.store.reclaim(100);
  }
  EXPECT_EQ((*hash)->result().hash, expected);
  EXPECT_EQ((*hash)->result().compact_revision, 10);
}

TEST(HistoryHash, RefusesWhatEtcdRefuses) {
  Replica replica = eventful();
  replica.run("compact 10");
  EXPECT_EQ(refusal(replica.store, 9), api::ErrorCode::kCompacted);
  EXPECT_EQ(refusal(replica.store, 10), api::ErrorCode::kCompacted);
  EXPECT_EQ(refusal(replica.store, 1000), api::ErrorCode::kFutureRevision);
}

TEST(HistoryHash, OfAStoreThatWasNeverCompacted) {
  Replica replica;
  const auto hash = replica.store.begin_history_hash(0);
  ASSERT_TRUE(hash.has_value());
  EXPECT_TRUE((*hash)->step(1));
  EXPECT_EQ((*hash)->result().compact_revision, -1);
}

// However many versions one key has: the loop has other things to do.
TEST(HistoryHash, AStepPassesFewVersionsOfOneKey) {
  Replica replica;
  replica.run("put a 0");
  replica.run("put b 0");
  replica.run("compact 3");
  for (int i = 1; i <= 1'000; ++i) replica.run(fmt::format("put b {}", i));
  const auto hash = replica.store.begin_history_hash(0);
  std::size_t steps = 1;
  for (; !(*hash)->step(10); ++steps) {
    if (steps == 50) replica.run("put ab new");  // between those two
  }
  EXPECT_GE(steps, 200) << "1,000 to pass, and the same as changes";
  EXPECT_EQ((*hash)->result().hash, hash_of(replica.store, 1'003));
}

TEST(HistoryHash, WithoutACompactionOnlyChangesCount) {
  Replica replica;
  for (int i = 0; i < 1'000; ++i) replica.run(fmt::format("put a {}", i));
  const auto hash = replica.store.begin_history_hash(0);
  std::size_t steps = 1;
  while (!(*hash)->step(10)) ++steps;
  EXPECT_LE(steps, 102);
}

}  // namespace
}  // namespace conclave::store
