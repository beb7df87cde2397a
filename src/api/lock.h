#pragma once
// Locks and elections, in etcd's form: whoever wants the lock `name` creates the key
// `<name>/<lease in hex>`, attached to the lease. Of these keys the one that was created first
// holds the lock; to be the leader of an election is to hold a lock whose key has a value. The
// others wait, each for the one before it. A key that goes, with its lease or by Unlock, makes the
// next one the holder.
//
// The revision at which the holder's key was created grows from holder to holder: it is the lock's
// fencing token.

#include "api/kv.h"
#include "base/bytes.h"

namespace conclave::api {

// What a request without a lease gets: one that nobody keeps alive.
inline constexpr std::int64_t kLockLeaseTtlS = 60;

// Answered once the lock is held, however long that takes; withdrawn if the client goes before.
struct LockRequest {
  Bytes name;
  LeaseId lease = 0;
};
// Header: when it was found to be held.
struct LockResponse {
  Bytes key;  // to be deleted by whoever unlocks
  Revision token = 0;
};

// A leader, as it is named by itself.
struct LeaderKey {
  Bytes name;  // of the election
  Bytes key;
  Revision revision = 0;  // that created the key
  LeaseId lease = 0;
};

// Answered once elected, like LockRequest.
struct CampaignRequest {
  Bytes name;
  LeaseId lease = 0;
  Bytes value;
};
// Header: when the campaign began.
struct CampaignResponse {
  LeaderKey leader;
};

// The leader has another value now. kNotElectionLeader if it leads no more.
struct ProclaimRequest {
  LeaderKey leader;
  Bytes value;
};
struct ProclaimResponse {};

// No effect if it leads no more.
struct ResignRequest {
  LeaderKey leader;
};
struct ResignResponse {};

// kNoElectionLeader if there is none. To go on watching: api::ObserveElection (api/watch.h).
struct LeaderRequest {
  Bytes name;
};
struct LeaderResponse {
  KeyValue kv;
};

}  // namespace conclave::api
