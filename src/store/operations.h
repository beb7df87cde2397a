#pragma once
// etcd's write operations as procedures over the store's keys. Each either is refused and changes
// nothing, or is done as a whole at one revision.
//
// `wants_answer`: whether somebody will read the answer. Without it the answer's bulk (ranges,
// previous values) is not put together; the effect and any error are the same.

#include "api/request.h"
#include "store/mvcc.h"

namespace conclave::store {

// A Put that borrows its bytes, from a request or straight from a log entry.
struct PutOp {
  static PutOp of(const api::PutRequest& put);

  BytesView key;
  BytesView value;
  LeaseId lease = 0;
  bool prev_kv = false;
  bool ignore_value = false;
  bool ignore_lease = false;
};

// Whether there is such a lease to etcd's clients, who have no business with ZooKeeper's sessions.
bool is_lease(const Mvcc& mvcc, LeaseId id);
// Whether a put may name `lease`; 0 is none.
bool may_attach(const Mvcc& mvcc, LeaseId lease);

// kLeaseNotFound; kKeyNotFound (ignore_value or ignore_lease without a key to take it from).
api::Answer put(Mvcc& mvcc, const PutOp& op, bool wants_answer);
api::Answer erase(Mvcc& mvcc, const api::DeleteRangeRequest& op, bool wants_answer);
// Compares, of nested transactions too, see the state before the whole transaction. Then, before
// anything is done, the branches taken are checked: first all puts, then all ranges. Errors as
// those of put and range.
api::Answer txn(Mvcc& mvcc, const api::TxnRequest& op, bool wants_answer);
// kCompacted, kFutureRevision.
api::Answer compact(Mvcc& mvcc, const api::CompactRequest& op);

// The same inside a transaction, where the errors have been ruled out. If an earlier operation of
// it deleted the key whose value or lease is to be kept, the value is empty and the lease none.
api::PutResponse put(const Mvcc& mvcc, Mvcc::Write& write, const PutOp& op, bool wants_answer);
api::DeleteRangeResponse erase(const Mvcc& mvcc, Mvcc::Write& write,
                               const api::DeleteRangeRequest& op, bool wants_answer);

// A transaction that only reads, against a store that stays as it is. REQUIRES: no put or delete in
// any branch.
api::Answer read_txn(const Mvcc& mvcc, const api::TxnRequest& op);

}  // namespace conclave::store
