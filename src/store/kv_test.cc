// Put, Range and DeleteRange as transcripts (transcript.h). Beyond these, etcd_test.cc compares
// with a real etcd.

#include <gtest/gtest.h>

#include "store/replica.h"

namespace conclave::store {
namespace {

TEST(Kv, AnEmptyStoreIsAtRevisionOne) {
  Replica store;
  EXPECT_EQ(store.run("range a"), "1 range 0");
  EXPECT_EQ(store.store.revision(), 1);
  EXPECT_EQ(store.store.compact_revision(), 0);
  EXPECT_EQ(store.store.reclaimed_revision(), 0);
}

TEST(Kv, EveryPutIsARevisionAndAVersion) {
  Replica store;
  EXPECT_EQ(store.run("put a 1"), "2 put");
  EXPECT_EQ(store.run("put b 1"), "3 put");
  EXPECT_EQ(store.run("put a 2 prev"), "4 put a=1(2,2,1)");
  EXPECT_EQ(store.run("range a"), "4 range 1 a=2(2,4,2)");
}

TEST(Kv, OldRevisionsStayReadable) {
  Replica store;
  store.run("put a 1");
  store.run("put a 2");
  store.run("del a");
  store.run("put a 3");
  EXPECT_EQ(store.run("range a rev=1"), "5 range 0");
  EXPECT_EQ(store.run("range a rev=2"), "5 range 1 a=1(2,2,1)");
  EXPECT_EQ(store.run("range a rev=3"), "5 range 1 a=2(2,3,2)");
  EXPECT_EQ(store.run("range a rev=4"), "5 range 0");
  EXPECT_EQ(store.run("range a rev=5"), "5 range 1 a=3(5,5,1)");
  EXPECT_EQ(store.run("range a rev=6"), "error future_revision");
}

TEST(Kv, ADeleteThatFindsNothingIsNoRevision) {
  Replica store;
  EXPECT_EQ(store.run("del a"), "1 del 0");
  store.run("put a 1");
  EXPECT_EQ(store.run("del a prev"), "3 del 1 a=1(2,2,1)");
  EXPECT_EQ(store.run("del a"), "3 del 0");
}

TEST(Kv, ADeletedRangeIsOneRevision) {
  Replica store;
  for (const char* key : {"a", "b", "c", "d"}) store.run(fmt::format("put {} 1", key));
  EXPECT_EQ(store.run("del b d"), "6 del 2");
  EXPECT_EQ(store.run("range a %00 keys_only"), "6 range 2 a=-(2,2,1) d=-(5,5,1)");
  EXPECT_EQ(store.run("del a %00"), "7 del 2");
  EXPECT_EQ(store.store.key_count(), 0u);
}

TEST(Kv, LimitSaysThatThereIsMoreAndCountsAll) {
  Replica store;
  for (const char* key : {"a", "b", "c"}) store.run(fmt::format("put {} 1", key));
  EXPECT_EQ(store.run("range a %00 limit=2 keys_only"), "4 range 3 more a=-(2,2,1) b=-(3,3,1)");
  EXPECT_EQ(store.run("range a %00 limit=3 count_only"), "4 range 3");
  EXPECT_EQ(store.run("range a %00 limit=1 min_mod=3 max_mod=3"), "4 range 3 b=1(3,3,1)");
}

TEST(Kv, TiesInASortStayInTheOrderOfKeys) {
  Replica store;
  store.run("put a 2");
  store.run("put b 1");
  store.run("put c 2");
  EXPECT_EQ(store.run("range a %00 sort=desc by=value keys_only"),
            "4 range 3 a=-(2,2,1) c=-(4,4,1) b=-(3,3,1)");
}

TEST(Kv, KeysAreOrderedAsUnsignedBytes) {
  Replica store;
  store.run("put %ff 1");
  store.run("put %7f 1");
  store.run("put %00 1");
  EXPECT_EQ(store.run("range %00 %00 keys_only"),
            "4 range 3 %00=-(4,4,1) %7f=-(3,3,1) %ff=-(2,2,1)");
}

TEST(Kv, IgnoredValueIsTheOldOne) {
  Replica store;
  EXPECT_EQ(store.run("put a - ignore_value"), "error key_not_found");
  store.run("put a 1");
  EXPECT_EQ(store.run("put a - ignore_value"), "3 put");
  EXPECT_EQ(store.run("range a"), "3 range 1 a=1(2,3,2)");
  EXPECT_EQ(store.run("put a 1 lease=9"), "error lease_not_found");
}

TEST(Kv, SizesFollowWhatIsKept) {
  Replica store;
  EXPECT_EQ(store.store.size_bytes(), 0u);
  store.run("put a " + std::string(1000, 'x'));
  const auto one = store.store.size_bytes();
  EXPECT_GT(one, 1000u);
  EXPECT_EQ(store.store.size_in_use_bytes(), one);
  store.run("put a " + std::string(1000, 'y'));
  EXPECT_EQ(store.store.size_bytes(), 2 * one);
  EXPECT_EQ(store.store.size_in_use_bytes(), one);
  store.run("del a");
  EXPECT_EQ(store.store.size_in_use_bytes(), 0u);
  store.run("put b 1");
  store.run("compact 5");
  while (store.store.reclaim(1)) {
  }
  EXPECT_EQ(store.store.size_bytes(), store.store.size_in_use_bytes());
  EXPECT_LT(store.store.size_bytes(), one);
}

}  // namespace
}  // namespace conclave::store
