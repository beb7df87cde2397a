#include "store/operations.h"

#include "store/znodes.h"

namespace conclave::store {

PutOp PutOp::of(const api::PutRequest& put) {
  return {.key = put.key,
          .value = put.value,
          .lease = put.lease,
          .prev_kv = put.prev_kv,
          .ignore_value = put.ignore_value,
          .ignore_lease = put.ignore_lease};
}

bool is_lease(const Mvcc& mvcc, LeaseId id) {
  return mvcc.leases().contains(id) && !is_session(mvcc, id);
}

bool may_attach(const Mvcc& mvcc, LeaseId lease) { return lease == 0 || is_lease(mvcc, lease); }

api::Answer put(Mvcc& mvcc, const PutOp& op, bool wants_answer) {
  if (!may_attach(mvcc, op.lease)) return api::Error{api::ErrorCode::kLeaseNotFound, {}};
  const bool takes_from_previous = op.ignore_value || op.ignore_lease;
  if (takes_from_previous && mvcc.find(Keyspace::kEtcd, op.key, mvcc.revision()) == nullptr) {
    return api::Error{api::ErrorCode::kKeyNotFound, {}};
  }
  Mvcc::Write write(mvcc);
  return put(mvcc, write, op, wants_answer);
}

api::PutResponse put(const Mvcc& mvcc, Mvcc::Write& write, const PutOp& op, bool wants_answer) {
  api::PutResponse response;
  const Record* previous = nullptr;
  if (op.prev_kv || op.ignore_value || op.ignore_lease) {
    previous = mvcc.find(Keyspace::kEtcd, op.key, mvcc.revision());
  }
  if (op.prev_kv && wants_answer && previous != nullptr) response.prev_kv = previous->to_api();
  BytesView value = op.value;
  LeaseId lease = op.lease;
  if (op.ignore_value) value = previous == nullptr ? BytesView{} : previous->value();
  if (op.ignore_lease) lease = previous == nullptr ? 0 : previous->lease;
  write.put(Keyspace::kEtcd, op.key, value, lease);
  return response;
}

api::Answer erase(Mvcc& mvcc, const api::DeleteRangeRequest& op, bool wants_answer) {
  Mvcc::Write write(mvcc);
  return erase(mvcc, write, op, wants_answer);
}

api::DeleteRangeResponse erase(const Mvcc& mvcc, Mvcc::Write& write,
                               const api::DeleteRangeRequest& op, bool wants_answer) {
  api::DeleteRangeResponse response;
  const KeyRange range = KeyRange::of(op.key, op.range_end);
  if (op.prev_kv && wants_answer) {
    mvcc.scan(Keyspace::kEtcd, range, mvcc.revision(), [&](const Record& record) {
      response.prev_kvs.push_back(record.to_api());
      return true;
    });
  }
  response.deleted = write.erase(Keyspace::kEtcd, range);
  return response;
}

api::Answer compact(Mvcc& mvcc, const api::CompactRequest& op) {
  if (op.revision <= mvcc.compacted()) return api::Error{api::ErrorCode::kCompacted, {}};
  if (op.revision > mvcc.revision()) return api::Error{api::ErrorCode::kFutureRevision, {}};
  mvcc.compact(op.revision);
  return api::CompactResponse{};
}

}  // namespace conclave::store
