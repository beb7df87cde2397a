// Transactions: choose the branches, check them, run them (operations.h).

#include <algorithm>
#include <optional>
#include <vector>

#include "base/check.h"
#include "store/operations.h"
#include "store/range.h"

namespace conclave::store {
namespace {

using api::ErrorCode;
using api::Operation;
using api::TxnRequest;
using NestedTxn = std::unique_ptr<TxnRequest>;

// Which branch each transaction takes, nested ones in the order in which they run.
class Path {
 public:
  Path(const Mvcc& mvcc, const TxnRequest& txn) { choose(mvcc, txn); }

  // Walks the path: each call is about the next transaction in it.
  class Walk {
   public:
    explicit Walk(const Path& path) : path_(path) {}
    bool succeeded() { return path_.succeeded_[next_++]; }

   private:
    const Path& path_;
    std::size_t next_ = 0;
  };

 private:
  void choose(const Mvcc& mvcc, const TxnRequest& txn) {
    const bool succeeded = all_hold(mvcc, txn.compare);
    succeeded_.push_back(succeeded);
    for (const Operation& operation : succeeded ? txn.success : txn.failure) {
      if (const auto* nested = std::get_if<NestedTxn>(&operation.op)) choose(mvcc, **nested);
    }
  }

  std::vector<bool> succeeded_;
};

// The first error that `check` has about an operation that will run.
template <class Check>
std::optional<ErrorCode> first_error(const TxnRequest& txn, Path::Walk& walk, const Check& check) {
  for (const Operation& operation : walk.succeeded() ? txn.success : txn.failure) {
    const auto* nested = std::get_if<NestedTxn>(&operation.op);
    const std::optional<ErrorCode> error =
        nested != nullptr ? first_error(**nested, walk, check) : check(operation);
    if (error) return error;
  }
  return std::nullopt;
}

std::optional<ErrorCode> check_put(const Mvcc& mvcc, const Operation& operation) {
  const auto* put = std::get_if<api::PutRequest>(&operation.op);
  if (put == nullptr) return std::nullopt;
  const bool takes_from_previous = put->ignore_value || put->ignore_lease;
  if (takes_from_previous && mvcc.find(Keyspace::kEtcd, put->key, mvcc.revision()) == nullptr) {
    return ErrorCode::kKeyNotFound;
  }
  if (!may_attach(mvcc, put->lease)) return ErrorCode::kLeaseNotFound;
  return std::nullopt;
}

std::optional<ErrorCode> check_range(const Mvcc& mvcc, const Operation& operation) {
  const auto* range = std::get_if<api::RangeRequest>(&operation.op);
  if (range == nullptr || range->revision == 0) return std::nullopt;
  if (range->revision > mvcc.revision()) return ErrorCode::kFutureRevision;
  if (range->revision < mvcc.compacted()) return ErrorCode::kCompacted;
  return std::nullopt;
}

std::optional<ErrorCode> check_path(const Mvcc& mvcc, const TxnRequest& txn, const Path& path) {
  Path::Walk puts(path);
  const auto put_error = [&](const Operation& operation) { return check_put(mvcc, operation); };
  if (const auto error = first_error(txn, puts, put_error)) return error;
  Path::Walk ranges(path);
  const auto range_error = [&](const Operation& operation) { return check_range(mvcc, operation); };
  return first_error(txn, ranges, range_error);
}

// Runs the operations of one path; each sees what those before it did.
class Runner {
 public:
  // `write` is nullptr where nothing may be written.
  Runner(const Mvcc& mvcc, Mvcc::Write* write, const Path& path, bool wants_answer)
      : mvcc_(mvcc), write_(write), walk_(path), wants_answer_(wants_answer) {}

  api::TxnResponse run(const TxnRequest& txn) {
    api::TxnResponse response;
    response.succeeded = walk_.succeeded();
    const auto& operations = response.succeeded ? txn.success : txn.failure;
    if (wants_answer_) response.results.reserve(operations.size());
    for (const Operation& operation : operations) {
      api::OperationResult result =
          std::visit([&](const auto& op) { return one(op); }, operation.op);
      if (wants_answer_) response.results.push_back(std::move(result));
    }
    return response;
  }

 private:
  api::OperationResult one(const api::RangeRequest& op) {
    if (!wants_answer_) return {};
    auto response = range(mvcc_, op, mvcc_.revision());
    CHECK(response.has_value(), "a range that was checked fails");
    return {*std::move(response)};
  }
  api::OperationResult one(const api::PutRequest& op) {
    CHECK(write_ != nullptr, "a put in a read-only transaction");
    return {put(mvcc_, *write_, PutOp::of(op), wants_answer_)};
  }
  api::OperationResult one(const api::DeleteRangeRequest& op) {
    CHECK(write_ != nullptr, "a delete in a read-only transaction");
    return {erase(mvcc_, *write_, op, wants_answer_)};
  }
  api::OperationResult one(const NestedTxn& op) {
    return {std::make_unique<api::TxnResponse>(run(*op))};
  }

  const Mvcc& mvcc_;
  Mvcc::Write* write_;
  Path::Walk walk_;
  bool wants_answer_;
};

}  // namespace

api::Answer txn(Mvcc& mvcc, const TxnRequest& op, bool wants_answer) {
  const Path path(mvcc, op);
  if (const auto error = check_path(mvcc, op, path)) return api::Error{*error, {}};
  Mvcc::Write write(mvcc);
  return Runner(mvcc, &write, path, wants_answer).run(op);
}

api::Answer read_txn(const Mvcc& mvcc, const TxnRequest& op) {
  const Path path(mvcc, op);
  if (const auto error = check_path(mvcc, op, path)) return api::Error{*error, {}};
  return Runner(mvcc, nullptr, path, true).run(op);
}

}  // namespace conclave::store
