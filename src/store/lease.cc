#include "store/lease.h"

#include "base/check.h"
#include "store/operations.h"
#include "store/znodes.h"

namespace conclave::store {
namespace {

// How many keys it had.
std::size_t end_lease(StoreState& state, LeaseId id) {
  const LeaseTable::Keys keys = state.leases.remove(id);
  Mvcc::Write write(state.mvcc);
  for (const LeaseTable::Key& key : keys) {
    if (key.keyspace == Keyspace::kEtcd) write.erase(key.keyspace, KeyRange::one(key.key));
  }
  end_session(state, keys, write, ZnodeSessionChange::Kind::kExpired);
  CHECK(state.leases.orphans() == 0, "a key of lease {} is still there", id);
  ++state.lease_counts.revoked;
  return keys.size();
}

bool is_over(const LeaseTerm& lease, Stamp now) { return lease.deadline <= now; }

// What is left, in whole seconds. The answer is read a little later than it is made, so a lease
// that was granted just now has not all of its time any more: etcd's clients see the same.
std::int64_t seconds_left(const LeaseTerm& lease, Stamp now) {
  if (is_over(lease, now)) return 0;
  return static_cast<std::int64_t>((lease.deadline.ms - now.ms - 1) / 1000);
}

}  // namespace

api::Answer grant(StoreState& state, const api::LeaseGrantRequest& op, BytesView user) {
  if (state.leases.contains(op.id)) return api::Error{api::ErrorCode::kLeaseExists, {}};
  if (!user.empty() && state.leases.count_of(user) >= kMaxUserLeases) {
    return api::Error{api::ErrorCode::kTooManyRequests, {}};
  }
  state.leases.grant(op.id, op.ttl_s, state.stamp, user);
  state.lease_counts.grant(op.ttl_s);
  return api::LeaseGrantResponse{.id = op.id, .ttl_s = op.ttl_s};
}

api::Answer revoke(StoreState& state, const api::LeaseRevokeRequest& op) {
  if (!is_lease(state.mvcc, op.id)) return api::Error{api::ErrorCode::kLeaseNotFound, {}};
  end_lease(state, op.id);
  return api::LeaseRevokeResponse{};
}

api::Answer keep_alive(StoreState& state, const api::LeaseKeepAliveRequest& op) {
  const std::optional<LeaseTerm> lease = state.leases.find(op.id);
  if (!lease || is_over(*lease, state.stamp) || is_session(state.mvcc, op.id)) {
    return api::LeaseKeepAliveResponse{.id = op.id, .ttl_s = 0};
  }
  state.leases.keep_alive(op.id, state.stamp);
  ++state.lease_counts.renewed;
  return api::LeaseKeepAliveResponse{.id = op.id, .ttl_s = lease->ttl_s};
}

void expire(StoreState& state, const ExpireLeases& op) {
  const LeaseTable::Deadlines& deadlines = state.leases.deadlines();
  std::uint64_t work = 0;
  while (!deadlines.empty() && deadlines.begin()->first <= state.stamp) {
    work += 1 + end_lease(state, deadlines.begin()->second);
    ++state.lease_counts.expired;
    if (work >= op.max_work) break;
  }
}

api::Answer time_to_live(const StoreState& state, const api::LeaseTimeToLiveRequest& op) {
  api::LeaseTimeToLiveResponse response{.id = op.id, .keys = {}};
  const std::optional<LeaseTerm> lease = state.leases.find(op.id);
  if (!lease || is_session(state.mvcc, op.id)) return response;
  response.ttl_s = seconds_left(*lease, state.stamp);
  response.granted_ttl_s = lease->ttl_s;
  if (!op.keys) return response;
  for (const LeaseTable::Key& key : state.leases.keys_of(op.id)) response.keys.push_back(key.key);
  return response;
}

api::Answer list_leases(const StoreState& state) {
  api::LeaseLeasesResponse response;
  response.ids.reserve(state.leases.count());
  for (const auto& [deadline, id] : state.leases.deadlines()) {
    if (!is_session(state.mvcc, id)) response.ids.push_back(id);
  }
  return response;
}

}  // namespace conclave::store
