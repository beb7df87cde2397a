// Transactions as transcripts (transcript.h).

#include <gtest/gtest.h>

#include "store/replica.h"

namespace conclave::store {
namespace {

TEST(Txn, AllItsChangesShareOneRevision) {
  Replica store;
  EXPECT_EQ(store.run("txn [ ] [ put a 1 ; put b 2 ; range a c ] [ ]"),
            "2 txn yes [ put ; put ; range 2 a=1(2,2,1) b=2(2,2,1) ]");
}

TEST(Txn, WithoutAnEffectIsNoRevision) {
  Replica store;
  EXPECT_EQ(store.run("txn [ ] [ del a ; range a ] [ ]"), "1 txn yes [ del 0 ; range 0 ]");
}

TEST(Txn, LaterOperationsSeeEarlierOnes) {
  Replica store;
  store.run("put a 1");
  EXPECT_EQ(store.run("txn [ ] [ range a ; put a 2 prev ; range a ; range a rev=2 ] [ ]"),
            "3 txn yes [ range 1 a=1(2,2,1) ; put a=1(2,2,1) ; range 1 a=2(2,3,2) ; range 1 "
            "a=1(2,2,1) ]");
}

TEST(Txn, NestedComparesSeeTheStateBeforeIt) {
  Replica store;
  EXPECT_EQ(
      store.run("txn [ ] [ put a 1 ; txn [ version a = 0 ] [ put b unseen ] [ put b seen ] ] [ ]"),
      "2 txn yes [ put ; txn yes [ put ] ]");
}

TEST(Txn, CompareOfAMissingKeyIsWithZero) {
  Replica store;
  EXPECT_EQ(store.run("txn [ version a = 0 ; create a = 0 ; mod a < 1 ] [ ] [ ]"), "1 txn yes [ ]");
  EXPECT_EQ(store.run("txn [ value a != x ] [ ] [ ]"), "1 txn no [ ]");
}

TEST(Txn, CompareOfARangeMustHoldForEveryKey) {
  Replica store;
  store.run("put a 1");
  store.run("put b 2");
  EXPECT_EQ(store.run("txn [ value a c > 0 ] [ ] [ ]"), "3 txn yes [ ]");
  EXPECT_EQ(store.run("txn [ value a c > 1 ] [ ] [ ]"), "3 txn no [ ]");
}

TEST(Txn, ThatFailsHasNoEffectAtAll) {
  Replica store;
  store.run("put a 1");
  EXPECT_EQ(store.run("txn [ ] [ put a 2 ; range a rev=9 ] [ ]"), "error future_revision");
  EXPECT_EQ(store.run("txn [ ] [ put a 2 ; put b - ignore_value ] [ ]"), "error key_not_found");
  EXPECT_EQ(store.run("txn [ ] [ put a 2 ; txn [ ] [ put b 1 lease=4 ] [ ] ] [ ]"),
            "error lease_not_found");
  EXPECT_EQ(store.run("range a b"), "2 range 1 a=1(2,2,1)");
}

TEST(Txn, TheBranchNotTakenIsNotChecked) {
  Replica store;
  EXPECT_EQ(store.run("txn [ ] [ put a 1 ] [ range a rev=9 ; put b - ignore_value ]"),
            "2 txn yes [ put ]");
}

TEST(Txn, APutAfterADeleteToTheEndStartsAnew) {
  Replica store;
  store.run("put a 1");
  EXPECT_EQ(store.run("txn [ ] [ del a %00 ; put a 2 ] [ ]"), "3 txn yes [ del 1 ; put ]");
  EXPECT_EQ(store.run("range a"), "3 range 1 a=2(3,3,1)");
  EXPECT_EQ(store.run("txn [ ] [ del a %00 ; put a - ignore_value ] [ ]"),
            "4 txn yes [ del 1 ; put ]");
  EXPECT_EQ(store.run("range a"), "4 range 1 a=-(4,4,1)");
}

TEST(Txn, ThatOnlyReadsIsAnsweredWithoutTheLog) {
  Replica store;
  store.run("put a 1");
  EXPECT_EQ(store.run("txn [ value a = 1 ] [ range a ; txn [ ] [ range b ] [ ] ] [ ]"),
            "2 txn yes [ range 1 a=1(2,2,1) ; txn yes [ range 0 ] ]");
  EXPECT_EQ(store.run("txn [ ] [ range a rev=3 ] [ ]"), "error future_revision");
  EXPECT_EQ(store.log.size(), 1u);
}

TEST(Txn, AFollowerWithoutTheClientHasTheSameState) {
  Replica leader;
  leader.run("put a 1");
  leader.run(
      "txn [ ] [ put a 2 prev ; range a ; del b prev ; txn [ ] [ del a prev ; range a ] [ ] ] [ ]");
  Store follower{Limits{}};
  for (const Bytes& entry : leader.log) {
    const auto result = follower.apply(follower.applied_index().next(), entry, NodeId{8}, 1);
    ASSERT_TRUE(result.has_value());
    EXPECT_TRUE(result->outcomes.empty());
  }
  EXPECT_EQ(follower.hash(), leader.store.hash());
}

}  // namespace
}  // namespace conclave::store
