#pragma once
// etcd's Range and Compare over one revision of the store.

#include <expected>

#include "api/kv.h"
#include "api/request.h"
#include "store/mvcc.h"

namespace conclave::store {

// Answers `request` in a state whose newest revision is `now`. kFutureRevision, kCompacted.
std::expected<api::RangeResponse, api::ErrorCode> range(const Mvcc& mvcc,
                                                        const api::RangeRequest& request,
                                                        Revision now);

// Whether all of `compares` hold at the newest revision. A compare over keys of which none exists
// is made with a key of all zeros, except that a value compare is false then.
bool all_hold(const Mvcc& mvcc, const std::vector<api::Compare>& compares);

}  // namespace conclave::store
