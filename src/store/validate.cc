// Store::validate: what etcd refuses at the door, in etcd's order.
//
// A transaction's puts and deletes must not touch a key twice, since its changes share one
// revision. Operations of one list conflict; of the two branches of a transaction only one runs, so
// these may repeat each other.

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include "base/limits.h"
#include "base/zookeeper_limits.h"
#include "store/lease.h"
#include "store/request_codec.h"
#include "store/store.h"
#include "store/zookeeper_codec.h"

namespace conclave::store {
namespace {

using api::ErrorCode;
using api::Operation;
using MaybeError = std::optional<api::Error>;
using NestedTxn = std::unique_ptr<api::TxnRequest>;

MaybeError refuse(ErrorCode code, std::string detail = {}) {
  return api::Error{code, std::move(detail)};
}

MaybeError check(const api::RangeRequest& range) {
  if (range.key.empty()) return refuse(ErrorCode::kEmptyKey);
  if (range.sort_order > api::SortOrder::kDescend || range.sort_target > api::SortTarget::kValue) {
    return refuse(ErrorCode::kInvalidSortOption);
  }
  return std::nullopt;
}

MaybeError check(const api::PutRequest& put) {
  if (put.key.empty()) return refuse(ErrorCode::kEmptyKey);
  if (put.ignore_value && !put.value.empty()) return refuse(ErrorCode::kValueProvided);
  if (put.ignore_lease && put.lease != 0) return refuse(ErrorCode::kLeaseProvided);
  return std::nullopt;
}

MaybeError check(const api::DeleteRangeRequest& erase) {
  if (erase.key.empty()) return refuse(ErrorCode::kEmptyKey);
  return std::nullopt;
}

MaybeError check(const api::TxnRequest& txn, std::size_t max_ops, std::size_t depth);

MaybeError check(const Operation& operation, std::size_t max_ops, std::size_t depth) {
  if (const auto* nested = std::get_if<NestedTxn>(&operation.op)) {
    // An operation without content: etcd says "key not found".
    if (*nested == nullptr) return refuse(ErrorCode::kKeyNotFound);
    return check(**nested, max_ops, depth + 1);
  }
  if (const auto* range = std::get_if<api::RangeRequest>(&operation.op)) return check(*range);
  if (const auto* put = std::get_if<api::PutRequest>(&operation.op)) return check(*put);
  return check(std::get<api::DeleteRangeRequest>(operation.op));
}

// A nested transaction may have as many operations as its parent left of the allowance.
MaybeError check(const api::TxnRequest& txn, std::size_t max_ops, std::size_t depth) {
  const std::size_t ops = std::max({txn.compare.size(), txn.success.size(), txn.failure.size()});
  if (ops > max_ops) return refuse(ErrorCode::kTooManyOps);
  if (depth > kMaxTxnDepth)
    return refuse(ErrorCode::kTooManyOps, "transactions are nested too deep");
  for (const api::Compare& compare : txn.compare) {
    if (compare.key.empty()) return refuse(ErrorCode::kEmptyKey);
  }
  for (const auto* operations : {&txn.success, &txn.failure}) {
    for (const Operation& operation : *operations) {
      if (auto error = check(operation, max_ops - ops, depth)) return error;
    }
  }
  return std::nullopt;
}

// Keys that are deleted. As in etcd, a range that ends before it begins holds no key here, and "no
// end" is taken as the literal "\0", so such a range never conflicts.
class DeletedKeys {
 public:
  void add(const api::DeleteRangeRequest& erase) {
    if (erase.range_end.empty()) {
      points_.insert(erase.key);
    } else if (erase.key < erase.range_end) {
      add(erase.key, erase.range_end);
    }
  }

  void add(const DeletedKeys& other) {
    points_.insert(other.points_.begin(), other.points_.end());
    for (const auto& [begin, end] : other.ranges_) add(begin, end);
  }

  bool contains(BytesView key) const {
    if (points_.contains(key)) return true;
    auto it = ranges_.upper_bound(key);
    return it != ranges_.begin() && key < (--it)->second;
  }

 private:
  // Joins [begin, end) with the ranges it touches, so that they stay disjoint.
  void add(BytesView begin, BytesView end) {
    auto it = ranges_.upper_bound(begin);
    if (it != ranges_.begin() && std::prev(it)->second >= begin) --it;
    while (it != ranges_.end() && it->first <= end) {
      begin = std::min(begin, it->first);
      end = std::max(end, it->second);
      it = ranges_.erase(it);
    }
    ranges_.emplace(begin, end);
  }

  absl::btree_set<BytesView> points_;
  absl::btree_map<BytesView, BytesView> ranges_;  // begin -> end
};

// What a list of operations may touch.
struct Touched {
  absl::btree_set<BytesView> puts;
  DeletedKeys deletes;
};

// Adds the puts of nested branch `from` to `into`; false on a conflict. A put that `sibling`, the
// other branch of the same transaction, has too is none.
bool add_puts(Touched& into, const Touched& from, const Touched* sibling) {
  for (const BytesView key : from.puts) {
    const bool is_repeated = into.puts.contains(key);
    const bool is_alternative = sibling != nullptr && sibling->puts.contains(key);
    if (is_repeated && !is_alternative) return false;
    if (into.deletes.contains(key)) return false;
    into.puts.insert(key);
  }
  return true;
}

// False if operations of the list, nested ones included, conflict. Deletes of the list itself
// conflict with every put in it; those of a nested transaction with the list's own puts and the
// puts of later nested ones.
bool collect(const std::vector<Operation>& operations, Touched& touched) {
  for (const Operation& operation : operations) {
    if (const auto* erase = std::get_if<api::DeleteRangeRequest>(&operation.op))
      touched.deletes.add(*erase);
  }
  for (const Operation& operation : operations) {
    const auto* nested = std::get_if<NestedTxn>(&operation.op);
    if (nested == nullptr) continue;
    Touched success;
    Touched failure;
    if (!collect((*nested)->success, success) || !collect((*nested)->failure, failure))
      return false;
    if (!add_puts(touched, success, nullptr) || !add_puts(touched, failure, &success)) return false;
    touched.deletes.add(success.deletes);
    touched.deletes.add(failure.deletes);
  }
  for (const Operation& operation : operations) {
    const auto* put = std::get_if<api::PutRequest>(&operation.op);
    if (put == nullptr) continue;
    if (touched.deletes.contains(put->key)) return false;
    if (!touched.puts.insert(put->key).second) return false;
  }
  return true;
}

MaybeError check_conflicts(const api::TxnRequest& txn) {
  for (const auto* operations : {&txn.success, &txn.failure}) {
    Touched touched;
    if (!collect(*operations, touched)) return refuse(ErrorCode::kDuplicateKey);
  }
  return std::nullopt;
}

MaybeError check_id(const std::optional<api::RequestId>& id) {
  if (!id) return std::nullopt;
  if (id->client.empty()) return refuse(ErrorCode::kInvalidRequestId, "the client's name is empty");
  if (id->client.size() > limits::kMaxRequestIdBytes) {
    return refuse(ErrorCode::kInvalidRequestId, "the client's name is too long");
  }
  // With a user's name behind it (BatchApplication::client_of) there is one.
  if (id->client.find('\0') != Bytes::npos) {
    return refuse(ErrorCode::kInvalidRequestId, "the client's name has a NUL");
  }
  return std::nullopt;
}

MaybeError check_fence(const api::Request& request) {
  if (!request.fence) return std::nullopt;
  const auto invalid = [](std::string why) {
    return refuse(ErrorCode::kInvalidFence, std::move(why));
  };
  const api::Fence& fence = *request.fence;
  if (!api::may_be_fenced(request.body)) return invalid("a request of this kind takes none");
  if (fence.key.empty()) return invalid("the key is empty");
  if (fence.key.size() > limits::kMaxFenceKeyBytes) return invalid("the key is too long");
  if (fence.token <= 0) return invalid("the token is not a revision");
  return std::nullopt;
}

struct Validator {
  MaybeError operator()(const api::TxnRequest& txn) const {
    if (auto error = check(txn, limits.max_txn_ops, 1)) return error;
    return check_conflicts(txn);
  }
  MaybeError operator()(const api::RangeRequest& range) const { return check(range); }
  MaybeError operator()(const api::PutRequest& put) const { return check(put); }
  MaybeError operator()(const api::DeleteRangeRequest& erase) const { return check(erase); }
  MaybeError operator()(const api::LeaseGrantRequest& grant) const {
    if (grant.ttl_s > kMaxLeaseTtlSeconds) return refuse(ErrorCode::kLeaseTtlTooLarge);
    return std::nullopt;
  }
  MaybeError operator()(const api::AcquireRequest& acquire) const {
    const bool is_semaphore = acquire.mode == api::LockMode::kSemaphore;
    if (is_semaphore != (acquire.permits > 0)) {
      return refuse(ErrorCode::kInvalidLock, "permits are a semaphore's, and more than none");
    }
    if (acquire.owner.find('/') != Bytes::npos) {
      return refuse(ErrorCode::kInvalidLock, "the owner has a slash");
    }
    return std::nullopt;
  }
  MaybeError operator()(const api::ReleaseRequest& release) const {
    if (release.key.empty()) return refuse(ErrorCode::kEmptyKey);
    return std::nullopt;
  }
  MaybeError operator()(const api::EnterRequest& enter) const {
    if (enter.count == 0) return refuse(ErrorCode::kInvalidLock, "a barrier of none");
    return std::nullopt;
  }
  MaybeError operator()(const api::zk::WriteRequest& write) const {
    if (!is_bounded(write.caller)) return refuse(ErrorCode::kRequestTooLarge, "too many ids");
    const auto* multi = std::get_if<api::zk::Multi>(&write.op);
    if (multi == nullptr) return std::nullopt;
    return check_count(multi->operations.size());
  }
  MaybeError operator()(const api::zk::ReadRequest& read) const {
    if (!is_bounded(read.caller)) return refuse(ErrorCode::kRequestTooLarge, "too many ids");
    const auto* multi = std::get_if<api::zk::MultiRead>(&read.op);
    return multi == nullptr ? std::nullopt : check_count(multi->operations.size());
  }
  MaybeError operator()(const api::zk::ImportRequest& step) const {
    if (step.before == step.after) return refuse(ErrorCode::kInvalidRequestId, "it is no step");
    const auto has_time = [](std::int64_t ms) {
      return ms >= 0 && ms <= conclave::limits::kMaxZnodeTimeMs;
    };
    for (const api::zk::TreeNode& node : step.nodes) {
      if (has_time(node.ctime_ms) && has_time(node.mtime_ms)) continue;
      return refuse(ErrorCode::kInvalidRequestId, "a znode's time is out of range");
    }
    return check_count(step.removed.size() + step.nodes.size());
  }
  MaybeError operator()(const api::zk::ReconfigRequest& request) const {
    if (is_bounded(request)) return std::nullopt;
    return refuse(ErrorCode::kRequestTooLarge, "too many servers");
  }
  template <class Other>
  MaybeError operator()(const Other&) const {
    return std::nullopt;
  }

  static MaybeError check_count(std::size_t operations) {
    if (operations <= conclave::limits::kMaxZnodeOperations) return std::nullopt;
    return refuse(ErrorCode::kRequestTooLarge, "too many operations");
  }

  const Limits& limits;
};

}  // namespace

std::optional<api::Error> Store::validate(const api::Request& request, const Limits& limits) {
  if (auto error = check_id(request.id)) return error;
  if (auto error = check_fence(request)) return error;
  return std::visit(Validator{limits}, request.body);
}

}  // namespace conclave::store
