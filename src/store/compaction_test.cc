// Compaction: what it hides at once, and how its space comes back in steps.

#include <gtest/gtest.h>

#include "store/replica.h"

namespace conclave::store {
namespace {

TEST(Compaction, TheCompactedRevisionItselfStaysReadable) {
  Replica store;
  store.run("put a 1");
  store.run("put a 2");
  store.run("put a 3");
  EXPECT_EQ(store.run("compact 3"), "4 compact");
  EXPECT_EQ(store.run("range a rev=2"), "error compacted");
  EXPECT_EQ(store.run("range a rev=3"), "4 range 1 a=2(2,3,2)");
  EXPECT_EQ(store.run("txn [ ] [ put b 1 ; range a rev=2 ] [ ]"), "error compacted");
}

TEST(Compaction, GoesForwardAndNotBeyondTheNewestRevision) {
  Replica store;
  EXPECT_EQ(store.run("compact 2"), "error future_revision");
  store.run("put a 1");
  EXPECT_EQ(store.run("compact 2"), "2 compact");
  EXPECT_EQ(store.run("compact 2"), "error compacted");
  EXPECT_EQ(store.run("compact 1"), "error compacted");
}

// etcd has compacted nothing before the first time, not even revision 0.
TEST(Compaction, OfRevisionZeroWorksOnce) {
  Replica store;
  EXPECT_EQ(store.run("compact 0"), "1 compact");
  EXPECT_EQ(store.run("compact 0"), "error compacted");
  EXPECT_EQ(store.store.compact_revision(), 0);
}

TEST(Compaction, IsReclaimedInSteps) {
  Replica store;
  for (int i = 0; i < 5; ++i) store.run("put a 1");
  store.run("compact 6");
  EXPECT_EQ(store.store.reclaimed_revision(), 1);
  EXPECT_TRUE(store.store.reclaim(2));
  EXPECT_EQ(store.store.reclaimed_revision(), 3);
  EXPECT_FALSE(store.store.reclaim(3));
  EXPECT_EQ(store.store.reclaimed_revision(), 6);
  EXPECT_EQ(store.store.size_bytes(), store.store.size_in_use_bytes());
  EXPECT_EQ(store.run("range a"), "6 range 1 a=1(2,6,5)");
}

TEST(Compaction, TakesDeletedKeysAway) {
  Replica store;
  store.run("put a 1");
  store.run("del a");
  store.run("compact 3");
  EXPECT_FALSE(store.store.reclaim(10));
  EXPECT_EQ(store.store.size_bytes(), 0u);
  store.run("put a 2");
  EXPECT_EQ(store.run("range a"), "4 range 1 a=2(4,4,1)");
}

TEST(Compaction, ADeletedKeyThatLivesAgainKeepsItsNewVersions) {
  Replica store;
  store.run("put a 1");
  store.run("del a");
  store.run("put a 2");
  const auto in_use = store.store.size_in_use_bytes();
  store.run("compact 3");
  EXPECT_FALSE(store.store.reclaim(10));
  EXPECT_EQ(store.run("range a rev=3"), "4 range 0");
  EXPECT_EQ(store.run("range a"), "4 range 1 a=2(4,4,1)");
  store.run("compact 4");
  EXPECT_FALSE(store.store.reclaim(10));
  EXPECT_EQ(store.store.size_bytes(), in_use);
}

TEST(Compaction, ProgressOfReclaimingDoesNotShowInTheHash) {
  Replica lazy;
  Replica eager;
  for (const char* line :
       {"put a 1", "put a 2", "del a", "put b 1", "compact 4", "put a 3", "compact 6"}) {
    lazy.run(line);
    eager.run(line);
    while (eager.store.reclaim(1)) {
    }
    EXPECT_EQ(lazy.store.hash(), eager.store.hash()) << line;
  }
  EXPECT_LT(eager.store.size_bytes(), lazy.store.size_bytes());
}

}  // namespace
}  // namespace conclave::store
