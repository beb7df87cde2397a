// Where each kind of request has to go.

#include "api/request.h"

#include <gtest/gtest.h>

namespace conclave::api {
namespace {

Route route(Body body) { return route_of({.body = std::move(body), .id = {}, .timeout_ms = {}}); }

RangeRequest range(bool serializable = false) {
  RangeRequest request;
  request.key = "a";
  request.serializable = serializable;
  return request;
}

// A transaction with one operation in one branch.
TxnRequest txn_of(auto operation, bool in_success = true) {
  TxnRequest txn;
  (in_success ? txn.success : txn.failure).push_back({std::move(operation)});
  return txn;
}

TEST(Route, Maintenance) {
  EXPECT_EQ(route(AlarmRequest{}), Route::kLinearizableRead);
  EXPECT_EQ(route(AlarmRequest{AlarmRequest::Action::kDeactivate, NodeId{1}, AlarmType::kCorrupt}),
            Route::kWrite);
  EXPECT_EQ(route(SnapshotRequest{}), Route::kLinearizableRead);
  EXPECT_EQ(route(SnapshotRequest{.serializable = true}), Route::kLocalRead);
  EXPECT_EQ(route(SnapshotPieceRequest{}), Route::kMaintenance);
  EXPECT_EQ(route(MoveLeaderRequest{}), Route::kMaintenance);
}

TEST(MayGrow, WhatPutsOrGrants) {
  EXPECT_TRUE(may_grow(PutRequest{}));
  EXPECT_TRUE(may_grow(LeaseGrantRequest{}));
  EXPECT_FALSE(may_grow(DeleteRangeRequest{}));
  EXPECT_FALSE(may_grow(AlarmRequest{}));
  EXPECT_TRUE(may_grow(txn_of(PutRequest{}, false)));
  EXPECT_FALSE(may_grow(txn_of(DeleteRangeRequest{})));
  EXPECT_TRUE(may_grow(txn_of(std::make_unique<TxnRequest>(txn_of(PutRequest{})))));
  EXPECT_FALSE(may_grow(txn_of(std::make_unique<TxnRequest>(txn_of(range())))));
}

TEST(Route, WritesGoThroughTheLog) {
  EXPECT_EQ(route(PutRequest{}), Route::kWrite);
  EXPECT_EQ(route(DeleteRangeRequest{}), Route::kWrite);
  EXPECT_EQ(route(CompactRequest{}), Route::kWrite);
}

TEST(Route, RangesAreLinearizableUnlessTheyNeedNotBe) {
  EXPECT_EQ(route(range()), Route::kLinearizableRead);
  EXPECT_EQ(route(range(true)), Route::kLocalRead);
}

TEST(Route, ATransactionIsAWriteIfEitherBranchMayWrite) {
  EXPECT_EQ(route(txn_of(PutRequest{})), Route::kWrite);
  EXPECT_EQ(route(txn_of(DeleteRangeRequest{}, false)), Route::kWrite);
  EXPECT_EQ(route(txn_of(std::make_unique<TxnRequest>(txn_of(PutRequest{}, false)))),
            Route::kWrite);
  EXPECT_EQ(route(txn_of(std::make_unique<TxnRequest>(txn_of(range())))), Route::kLinearizableRead);
}

TEST(Route, ATransactionIsLocalOnlyIfEachOfItsRangesIs) {
  EXPECT_EQ(route(txn_of(range())), Route::kLinearizableRead);
  EXPECT_EQ(route(txn_of(range(true))), Route::kLocalRead);
  EXPECT_EQ(route(TxnRequest{}), Route::kLinearizableRead);
  TxnRequest mixed = txn_of(range(true));
  mixed.failure.push_back({range()});
  EXPECT_EQ(route(std::move(mixed)), Route::kLinearizableRead);
}

TEST(Route, AnOperationWithoutContentGoesWhereItIsRefused) {
  EXPECT_EQ(route(txn_of(std::unique_ptr<TxnRequest>())), Route::kWrite);
}

TEST(Route, WhatIsAboutTheMemberStaysThere) {
  EXPECT_EQ(route(MemberListRequest{}), Route::kMember);
  EXPECT_EQ(route(StatusRequest{}), Route::kMember);
  EXPECT_EQ(route(MetricsRequest{}), Route::kMember);
  EXPECT_EQ(route(HealthRequest{.serializable = true}), Route::kMember);
  EXPECT_EQ(route(HealthRequest{}), Route::kLinearizableRead);
}

}  // namespace
}  // namespace conclave::api
