#pragma once
// The operations on leases, as procedures over the store's state: etcd's rules, in the cluster's
// own time. Each either is refused and changes nothing, or is done as a whole at one revision.
//
// A lease whose deadline the stamp has reached cannot be kept alive any more, but is there until a
// command in the log revokes it (expire): so what exists never depends on when somebody looks.

#include "api/request.h"
#include "store/command.h"
#include "store/state.h"

namespace conclave::store {

// etcd's limit: about 285 years.
inline constexpr std::int64_t kMaxLeaseTtlSeconds = 9'000'000'000;

// Of one user, so that one who leaks them does not fill the store for the others. Part of what the
// log means: whoever changes it has members that disagree.
inline constexpr std::uint64_t kMaxUserLeases = 2'000'000;

// kLeaseExists; kTooManyRequests: the user has too many.
api::Answer grant(StoreState& state, const api::LeaseGrantRequest& op, BytesView user);
// Deletes the lease's keys at one revision. kLeaseNotFound.
api::Answer revoke(StoreState& state, const api::LeaseRevokeRequest& op);
// A ttl of 0 says that there is no such lease, or that its time is over.
api::Answer keep_alive(StoreState& state, const api::LeaseKeepAliveRequest& op);
// Revokes leases whose time is over, the oldest deadline first and each at a revision of its own,
// until none is left or leases and keys together reach `op.max_work` (at least one lease).
void expire(StoreState& state, const ExpireLeases& op);

api::Answer time_to_live(const StoreState& state, const api::LeaseTimeToLiveRequest& op);
api::Answer list_leases(const StoreState& state);

}  // namespace conclave::store
