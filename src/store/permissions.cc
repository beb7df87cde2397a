#include "store/permissions.h"

#include "store/fences.h"
#include "store/locks.h"
#include "store/operations.h"

namespace conclave::store {
namespace {

using MaybeError = std::optional<api::ErrorCode>;
using NestedTxn = std::unique_ptr<api::TxnRequest>;

class Judge {
 public:
  Judge(const StoreState& state, const api::Identity& who) : state_(state), who_(who) {}

  MaybeError operator()(const PutOp& put) const {
    if (auto denied = write(put.key)) return denied;
    if (auto denied = all_of_lease(put.lease, Access::kWrite)) return denied;
    return put.prev_kv ? read(put.key) : std::nullopt;
  }
  MaybeError operator()(const api::PutRequest& put) const { return (*this)(PutOp::of(put)); }
  MaybeError operator()(const api::RangeRequest& range) const {
    return read(range.key, range.range_end);
  }
  MaybeError operator()(const api::DeleteRangeRequest& erase) const {
    if (auto denied = write(erase.key, erase.range_end)) return denied;
    return erase.prev_kv ? read(erase.key, erase.range_end) : std::nullopt;
  }
  // Both branches, whichever would be taken.
  MaybeError operator()(const api::TxnRequest& txn) const {
    for (const api::Compare& compare : txn.compare) {
      if (auto denied = read(compare.key, compare.range_end)) return denied;
    }
    for (const auto* operations : {&txn.success, &txn.failure}) {
      for (const api::Operation& operation : *operations) {
        if (auto denied = std::visit(*this, operation.op)) return denied;
      }
    }
    return std::nullopt;
  }
  MaybeError operator()(const NestedTxn& txn) const {
    return txn == nullptr ? std::nullopt : (*this)(*txn);
  }
  // As who puts, deletes and lists the keys of the lock or barrier himself.
  MaybeError operator()(const api::AcquireRequest& acquire) const {
    return keys_of(acquire.name, acquire.lease);
  }
  MaybeError operator()(const api::ReleaseRequest& release) const { return write(release.key); }
  MaybeError operator()(const api::EnterRequest& enter) const {
    return keys_of(enter.name, enter.lease);
  }
  MaybeError operator()(const api::LeaveRequest& leave) const { return keys_of(leave.name, 0); }
  // Deletes its keys.
  MaybeError operator()(const api::LeaseRevokeRequest& revoke) const {
    return all_of_lease(revoke.id, Access::kWrite);
  }
  MaybeError operator()(const api::LeaseTimeToLiveRequest& ask) const {
    if (!ask.keys) return std::nullopt;
    if (who_.user.empty()) return api::ErrorCode::kUserEmpty;
    return all_of_lease(ask.id, Access::kRead);
  }
  MaybeError operator()(const api::AuthRequest& auth) const {
    // Who asks for a token cannot have one.
    if (std::holds_alternative<api::Authenticate>(auth.op)) return std::nullopt;
    return state_.auth.check(who_, auth);
  }
  MaybeError operator()(const api::MemberAddRequest&) const { return admin(); }
  MaybeError operator()(const api::MemberRemoveRequest&) const { return admin(); }
  MaybeError operator()(const api::MemberUpdateRequest&) const { return admin(); }
  MaybeError operator()(const api::MemberPromoteRequest&) const { return admin(); }
  MaybeError operator()(const api::HashRequest&) const { return admin(); }
  MaybeError operator()(const api::HashKvRequest&) const { return admin(); }
  MaybeError operator()(const api::DefragmentRequest&) const { return admin(); }
  MaybeError operator()(const api::SnapshotRequest&) const { return admin(); }
  MaybeError operator()(const api::zk::ImportRequest&) const { return admin(); }
  MaybeError operator()(const api::zk::ExportRequest&) const { return admin(); }
  // It may name a lock, or a key that holds one.
  MaybeError fence(BytesView key) const {
    if (auto denied = read_lock(key)) return denied;
    const auto lock = lock_of(key);
    const bool is_key = lock && state_.mvcc.find(Keyspace::kEtcd, key, state_.mvcc.revision());
    return is_key ? read_lock(*lock) : std::nullopt;
  }
  // As in etcd 3.4, everybody may compact, grant leases and keep them alive, and ask for members,
  // leases, alarms and the status; and what members want of each other is no client's.
  template <class Other>
  MaybeError operator()(const Other&) const {
    return std::nullopt;
  }

 private:
  MaybeError read(BytesView key, BytesView range_end = {}) const {
    return state_.auth.check(who_, key, range_end, Access::kRead);
  }
  MaybeError write(BytesView key, BytesView range_end = {}) const {
    return state_.auth.check(who_, key, range_end, Access::kWrite);
  }
  MaybeError read_lock(BytesView name) const {
    const api::RangeRequest keys = lock_keys(name);
    return read(keys.key, keys.range_end);
  }
  MaybeError keys_of(BytesView name, LeaseId lease) const {
    if (auto denied = read_lock(name)) return denied;
    const api::RangeRequest keys = lock_keys(name);
    if (auto denied = write(keys.key, keys.range_end)) return denied;
    return all_of_lease(lease, Access::kWrite);
  }
  MaybeError admin() const { return state_.auth.check_admin(who_); }
  // A lease that ends takes its keys with it: who may not write these may not have it end, nor add
  // a key that another could then delete.
  MaybeError all_of_lease(LeaseId lease, Access access) const {
    if (!is_lease(state_.mvcc, lease)) return std::nullopt;
    for (const LeaseTable::Key& key : state_.leases.keys_of(lease)) {
      if (auto denied = state_.auth.check(who_, key.key, {}, access)) return denied;
    }
    return std::nullopt;
  }

  const StoreState& state_;
  const api::Identity& who_;
};

}  // namespace

MaybeError denial(const StoreState& state, const Command& command) {
  if (!state.auth.is_enabled()) return std::nullopt;
  // The answers that are kept for ids are somebody's.
  if (command.id && command.identity.user.empty()) return api::ErrorCode::kUserEmpty;
  const Judge judge(state, command.identity);
  if (command.fence) {
    if (auto denied = judge.fence(command.fence->key)) return denied;
  }
  return std::visit(judge, command.body);
}

MaybeError denial(const StoreState& state, const api::Request& request) {
  if (!state.auth.is_enabled()) return std::nullopt;
  const Judge judge(state, request.identity);
  if (request.fence) {
    if (auto denied = judge.fence(request.fence->key)) return denied;
  }
  return std::visit(judge, request.body);
}

}  // namespace conclave::store
