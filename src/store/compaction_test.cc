// Compaction: what it hides at once, and how its space comes back in steps.

#include <gtest/gtest.h>

#include "store/range_reader.h"
#include "store/replica.h"
#include "store/transcript.h"

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

// But for those that the compacted revision itself deletes: a watch may begin there.
TEST(Compaction, TakesDeletedKeysAway) {
  Replica store;
  store.run("put a 1");
  store.run("del a");
  store.run("compact 3");
  EXPECT_FALSE(store.store.reclaim(10));
  EXPECT_GT(store.store.size_bytes(), 0u);
  store.run("put b 1");
  store.run("compact 4");
  EXPECT_FALSE(store.store.reclaim(10));
  EXPECT_EQ(store.store.size_bytes(), store.store.size_in_use_bytes());
  store.run("put a 2");
  EXPECT_EQ(store.run("range a"), "5 range 1 a=2(5,5,1)");
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

// A Range in slices of three keys, with writes, a compaction and its reclaiming in between, is what
// it would have been at once.
TEST(RangeReader, ReadsItsRevisionWhileTheStoreGoesOn) {
  for (const std::string options :
       {"", " limit=5", " sort=desc by=value", " limit=7 sort=asc by=value",
        " limit=4 sort=desc by=key", " sort=asc by=mod", " count_only",
        " limit=5 sort=none by=value"}) {
    SCOPED_TRACE(options);
    Replica store;
    for (int i = 0; i < 40; ++i) {
      store.run("put k" + std::to_string(10 + i * 7 % 40) + " " + std::to_string(i * 13 % 10));
    }
    store.run("del k12 k17");
    const std::string wanted = store.run("range k z" + options);
    auto reader = store.store.begin_range(
        std::get<api::RangeRequest>(parse_request("range k z" + options).body));
    ASSERT_TRUE(reader.has_value());
    api::Response response;
    response.header.revision = (*reader)->store_revision();
    api::RangeResponse range;
    for (int step = 0;; ++step) {
      RangeReader::Budget budget{.keys = 3, .bytes = 10'000};
      const std::size_t before = range.kvs.size();
      if ((*reader)->step(budget, range)) break;
      EXPECT_LE(range.kvs.size(), before + 3);
      store.run("put k" + std::to_string(10 + step) + " new");
      store.run("del k" + std::to_string(30 + step % 20));
      store.run("put k0" + std::to_string(step) + " new");
      store.run("compact " + std::to_string(store.store.revision()));
      store.store.reclaim(1'000);
    }
    response.answer = std::move(range);
    EXPECT_EQ(to_text(response), wanted);
    EXPECT_LE(store.store.reclaimed_revision(), response.header.revision);
    reader->reset();
    EXPECT_FALSE(store.store.reclaim(1'000));
    EXPECT_EQ(store.store.reclaimed_revision(), store.store.compact_revision());
  }
}

}  // namespace
}  // namespace conclave::store
