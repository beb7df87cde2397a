#pragma once
// The gRPC methods that are served, by their paths.

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "wire/grpc.h"

namespace conclave::etcd {

enum class Method : std::uint8_t {
  kService,  // of another front-end (SessionOptions::service)
  kRange,
  kPut,
  kDeleteRange,
  kTxn,
  kCompact,
  kMemberList,
  kMemberAdd,
  kMemberRemove,
  kMemberUpdate,
  kMemberPromote,
  kStatus,
  kHealthCheck,
  kHealthWatch,
  kWatch,
  kLeaseGrant,
  kLeaseRevoke,
  kLeaseKeepAlive,
  kLeaseTimeToLive,
  kLeaseLeases,
  kAlarm,
  kMoveLeader,
  kHash,
  kHashKv,
  kDefragment,
  kSnapshot,
  kDowngrade,
  kAuthEnable,
  kAuthDisable,
  kAuthStatus,
  kAuthenticate,
  kUserAdd,
  kUserGet,
  kUserList,
  kUserDelete,
  kUserChangePassword,
  kUserGrantRole,
  kUserRevokeRole,
  kRoleAdd,
  kRoleGet,
  kRoleList,
  kRoleDelete,
  kRoleGrantPermission,
  kRoleRevokePermission,
  // The Lock and Election services, last: see is_of_locks().
  kLock,
  kUnlock,
  kCampaign,
  kProclaim,
  kLeader,
  kObserve,
  kResign,
};

// Whether it is of the Lock or the Election service.
inline bool is_of_locks(Method method) { return method >= Method::kLock; }
inline bool is_of_auth(Method method) {
  return method >= Method::kAuthEnable && method <= Method::kRoleRevokePermission;
}

// Whether a call takes, or gives, any number of messages.
inline bool is_stream_of_requests(Method method) {
  return method == Method::kWatch || method == Method::kLeaseKeepAlive;
}
inline bool is_stream_of_answers(Method method) {
  return is_stream_of_requests(method) || method == Method::kSnapshot ||
         method == Method::kObserve || method == Method::kHealthWatch;
}

// All of them but kService, with their paths.
std::span<const std::pair<BytesView, Method>> all_methods();

// "/etcdserverpb.KV/Put" -> kPut.
std::optional<Method> find_method(BytesView path);

// What a client is told about a path that is none of them, in grpc-go's words.
wire::GrpcStatus unknown_method(BytesView path);

}  // namespace conclave::etcd
