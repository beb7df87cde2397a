#pragma once
// The lease vocabulary. A lease lives for so many seconds of the cluster's own time after it was
// granted or last kept alive; then it is revoked, and the keys attached to it are deleted.

#include <cstdint>
#include <vector>

#include "api/kv.h"
#include "base/bytes.h"

namespace conclave::api {

struct LeaseGrantRequest {
  std::int64_t ttl_s = 0;
  LeaseId id = 0;  // 0: the member that takes the request draws one
};
struct LeaseGrantResponse {
  LeaseId id = 0;
  std::int64_t ttl_s = 0;  // what was granted: at least the cluster's minimum
};

struct LeaseRevokeRequest {
  LeaseId id = 0;
};
struct LeaseRevokeResponse {};

// The lease has all of its time again.
struct LeaseKeepAliveRequest {
  LeaseId id = 0;
};
struct LeaseKeepAliveResponse {
  LeaseId id = 0;
  std::int64_t ttl_s = 0;  // 0: there is no such lease, or its time is over
};

struct LeaseTimeToLiveRequest {
  LeaseId id = 0;
  bool keys = false;  // name the attached ones
};
struct LeaseTimeToLiveResponse {
  LeaseId id = 0;
  std::int64_t ttl_s = -1;  // left, rounded down; -1: there is no such lease
  std::int64_t granted_ttl_s = 0;
  std::vector<Bytes> keys;  // sorted
};

struct LeaseLeasesRequest {};
struct LeaseLeasesResponse {
  std::vector<LeaseId> ids;  // the first to expire first
};

}  // namespace conclave::api
