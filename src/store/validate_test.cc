// Store::validate: what is refused before it reaches the log.

#include <gtest/gtest.h>

#include "base/limits.h"
#include "store/replica.h"
#include "store/request_codec.h"

namespace conclave::store {
namespace {

std::string verdict(const api::Request& request) {
  const auto error = Store::validate(request, Limits{.max_txn_ops = 4});
  return error ? to_text(error->code) : "ok";
}
std::string verdict(std::string_view line) { return verdict(parse_request(line)); }

TEST(Validate, Keys) {
  EXPECT_EQ(verdict("put - 1"), "empty_key");
  EXPECT_EQ(verdict("range - %00"), "empty_key");
  EXPECT_EQ(verdict("del - %00"), "empty_key");
  EXPECT_EQ(verdict("txn [ version - = 0 ] [ ] [ ]"), "empty_key");
  EXPECT_EQ(verdict("txn [ ] [ ] [ txn [ ] [ put - 1 ] [ ] ]"), "empty_key");
  EXPECT_EQ(verdict("put a -"), "ok");
}

TEST(Validate, PutOptions) {
  EXPECT_EQ(verdict("put a 1 ignore_value"), "value_provided");
  EXPECT_EQ(verdict("put a 1 lease=3 ignore_lease"), "lease_provided");
  EXPECT_EQ(verdict("put a - lease=3 ignore_value"), "ok");
}

TEST(Validate, SortOptions) {
  api::Request request = parse_request("range a");
  std::get<api::RangeRequest>(request.body).sort_target = static_cast<api::SortTarget>(9);
  EXPECT_EQ(verdict(request), "invalid_sort_option");
}

TEST(Validate, OperationsAreCountedPerListAndNestedOnesShareTheAllowance) {
  EXPECT_EQ(
      verdict(
          "txn [ ] [ put a 1 ; put b 1 ; put c 1 ; put d 1 ] [ del a ; del b ; del c ; del d ]"),
      "ok");
  EXPECT_EQ(verdict("txn [ ] [ put a 1 ; put b 1 ; put c 1 ; put d 1 ; put e 1 ] [ ]"),
            "too_many_ops");
  EXPECT_EQ(verdict("txn [ mod a = 1 ; mod a = 1 ; mod a = 1 ; mod a = 1 ; mod a = 1 ] [ ] [ ]"),
            "too_many_ops");
  EXPECT_EQ(verdict("txn [ ] [ put a 1 ; txn [ ] [ put b 1 ; put c 1 ] [ ] ] [ ]"), "ok");
  EXPECT_EQ(verdict("txn [ ] [ put a 1 ; txn [ ] [ put b 1 ; put c 1 ; put d 1 ] [ ] ] [ ]"),
            "too_many_ops");
}

TEST(Validate, NestingHasABound) {
  const auto nested = [](std::size_t depth) {
    api::TxnRequest txn;
    for (std::size_t i = 1; i < depth; ++i) {
      api::TxnRequest outer;
      outer.success.push_back({std::make_unique<api::TxnRequest>(std::move(txn))});
      txn = std::move(outer);
    }
    const auto error =
        Store::validate({.body = std::move(txn), .id = {}, .timeout_ms = {}}, Limits{});
    return error ? to_text(error->code) : "ok";
  };
  EXPECT_EQ(nested(kMaxTxnDepth), "ok");
  EXPECT_EQ(nested(kMaxTxnDepth + 1), "too_many_ops");
}

TEST(Validate, AnOperationWithoutContent) {
  api::TxnRequest txn;
  txn.success.push_back({std::unique_ptr<api::TxnRequest>()});
  EXPECT_EQ(verdict({.body = std::move(txn), .id = {}, .timeout_ms = {}}), "key_not_found");
}

// Verdicts as observed from etcd 3.4.
TEST(Validate, AKeyIsChangedOnce) {
  EXPECT_EQ(verdict("txn [ ] [ put a 1 ; put a 2 ] [ ]"), "duplicate_key");
  EXPECT_EQ(verdict("txn [ ] [ put a 1 ] [ put a 2 ]"), "ok");
  EXPECT_EQ(verdict("txn [ ] [ put b 1 ; del a c ] [ ]"), "duplicate_key");
  EXPECT_EQ(verdict("txn [ ] [ put c 1 ; del a c ] [ ]"), "ok");
  EXPECT_EQ(verdict("txn [ ] [ put a 1 ; del a ] [ ]"), "duplicate_key");
  EXPECT_EQ(verdict("txn [ ] [ del a c ; del b d ; put c 1 ] [ ]"), "duplicate_key");
  EXPECT_EQ(verdict("txn [ ] [ del a ; del a b ] [ ]"), "ok");
  EXPECT_EQ(verdict("txn [ ] [ del c a ; put b 1 ] [ ]"), "ok");
  EXPECT_EQ(verdict("txn [ ] [ del a %00 ; put b 1 ] [ ]"), "ok");
}

TEST(Validate, AKeyIsChangedOnceAcrossNestedTransactions) {
  EXPECT_EQ(verdict("txn [ ] [ txn [ ] [ put x 1 ] [ put x 2 ] ] [ ]"), "ok");
  EXPECT_EQ(verdict("txn [ ] [ txn [ ] [ put x 1 ] [ ] ; put x 2 ] [ ]"), "duplicate_key");
  EXPECT_EQ(verdict("txn [ ] [ txn [ ] [ put x 1 ] [ ] ; txn [ ] [ ] [ put x 2 ] ] [ ]"),
            "duplicate_key");
  EXPECT_EQ(verdict("txn [ ] [ put x 1 ; txn [ ] [ ] [ del x ] ] [ ]"), "duplicate_key");
  EXPECT_EQ(verdict("txn [ ] [ txn [ ] [ put x 1 ] [ ] ; del x ] [ ]"), "duplicate_key");
  EXPECT_EQ(verdict("txn [ ] [ txn [ ] [ put x 1 ] [ ] ; txn [ ] [ del x ] [ ] ] [ ]"), "ok");
  EXPECT_EQ(verdict("txn [ ] [ txn [ ] [ del x ] [ ] ; txn [ ] [ put x 1 ] [ ] ] [ ]"),
            "duplicate_key");
}

TEST(Validate, RequestIds) {
  api::Request request = parse_request("put a 1");
  request.id = api::RequestId{"", 1};
  EXPECT_EQ(verdict(request), "invalid_request_id");
  request.id->client = std::string(limits::kMaxRequestIdBytes, 'c');
  EXPECT_EQ(verdict(request), "ok");
  request.id->client += 'c';
  EXPECT_EQ(verdict(request), "invalid_request_id");
}

}  // namespace
}  // namespace conclave::store
