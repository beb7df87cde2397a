#include "frontends/etcd/methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace conclave::etcd {
namespace {

// The hot ones first: the table is searched from the front.
constexpr std::array kMethods = {
    std::pair<BytesView, Method>{"/etcdserverpb.KV/Put", Method::kPut},
    std::pair<BytesView, Method>{"/etcdserverpb.KV/Range", Method::kRange},
    std::pair<BytesView, Method>{"/etcdserverpb.KV/Txn", Method::kTxn},
    std::pair<BytesView, Method>{"/etcdserverpb.KV/DeleteRange", Method::kDeleteRange},
    std::pair<BytesView, Method>{"/etcdserverpb.KV/Compact", Method::kCompact},
    std::pair<BytesView, Method>{"/etcdserverpb.Lease/LeaseGrant", Method::kLeaseGrant},
    std::pair<BytesView, Method>{"/etcdserverpb.Lease/LeaseRevoke", Method::kLeaseRevoke},
    std::pair<BytesView, Method>{"/etcdserverpb.Lease/LeaseKeepAlive", Method::kLeaseKeepAlive},
    std::pair<BytesView, Method>{"/etcdserverpb.Lease/LeaseTimeToLive", Method::kLeaseTimeToLive},
    std::pair<BytesView, Method>{"/etcdserverpb.Lease/LeaseLeases", Method::kLeaseLeases},
    std::pair<BytesView, Method>{"/etcdserverpb.Cluster/MemberList", Method::kMemberList},
    std::pair<BytesView, Method>{"/etcdserverpb.Cluster/MemberAdd", Method::kMemberAdd},
    std::pair<BytesView, Method>{"/etcdserverpb.Cluster/MemberRemove", Method::kMemberRemove},
    std::pair<BytesView, Method>{"/etcdserverpb.Cluster/MemberUpdate", Method::kMemberUpdate},
    std::pair<BytesView, Method>{"/etcdserverpb.Cluster/MemberPromote", Method::kMemberPromote},
    std::pair<BytesView, Method>{"/etcdserverpb.Maintenance/Status", Method::kStatus},
    std::pair<BytesView, Method>{"/etcdserverpb.Maintenance/Alarm", Method::kAlarm},
    std::pair<BytesView, Method>{"/etcdserverpb.Maintenance/MoveLeader", Method::kMoveLeader},
    std::pair<BytesView, Method>{"/etcdserverpb.Maintenance/Hash", Method::kHash},
    std::pair<BytesView, Method>{"/etcdserverpb.Maintenance/HashKV", Method::kHashKv},
    std::pair<BytesView, Method>{"/etcdserverpb.Maintenance/Defragment", Method::kDefragment},
    std::pair<BytesView, Method>{"/etcdserverpb.Maintenance/Snapshot", Method::kSnapshot},
    std::pair<BytesView, Method>{"/etcdserverpb.Maintenance/Downgrade", Method::kDowngrade},
    std::pair<BytesView, Method>{"/etcdserverpb.Watch/Watch", Method::kWatch},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/AuthEnable", Method::kAuthEnable},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/AuthDisable", Method::kAuthDisable},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/AuthStatus", Method::kAuthStatus},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/Authenticate", Method::kAuthenticate},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/UserAdd", Method::kUserAdd},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/UserGet", Method::kUserGet},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/UserList", Method::kUserList},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/UserDelete", Method::kUserDelete},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/UserChangePassword",
                                 Method::kUserChangePassword},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/UserGrantRole", Method::kUserGrantRole},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/UserRevokeRole", Method::kUserRevokeRole},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/RoleAdd", Method::kRoleAdd},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/RoleGet", Method::kRoleGet},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/RoleList", Method::kRoleList},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/RoleDelete", Method::kRoleDelete},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/RoleGrantPermission",
                                 Method::kRoleGrantPermission},
    std::pair<BytesView, Method>{"/etcdserverpb.Auth/RoleRevokePermission",
                                 Method::kRoleRevokePermission},
    std::pair<BytesView, Method>{"/v3lockpb.Lock/Lock", Method::kLock},
    std::pair<BytesView, Method>{"/v3lockpb.Lock/Unlock", Method::kUnlock},
    std::pair<BytesView, Method>{"/v3electionpb.Election/Campaign", Method::kCampaign},
    std::pair<BytesView, Method>{"/v3electionpb.Election/Proclaim", Method::kProclaim},
    std::pair<BytesView, Method>{"/v3electionpb.Election/Leader", Method::kLeader},
    std::pair<BytesView, Method>{"/v3electionpb.Election/Observe", Method::kObserve},
    std::pair<BytesView, Method>{"/v3electionpb.Election/Resign", Method::kResign},
    std::pair<BytesView, Method>{"/grpc.health.v1.Health/Check", Method::kHealthCheck},
    std::pair<BytesView, Method>{"/grpc.health.v1.Health/Watch", Method::kHealthWatch},
};

constexpr std::array<BytesView, 9> kServices = {
    "etcdserverpb.KV",      "etcdserverpb.Watch",       "etcdserverpb.Lease",
    "etcdserverpb.Cluster", "etcdserverpb.Maintenance", "etcdserverpb.Auth",
    "v3lockpb.Lock",        "v3electionpb.Election",    "grpc.health.v1.Health"};

}  // namespace

std::span<const std::pair<BytesView, Method>> all_methods() { return kMethods; }

std::optional<Method> find_method(BytesView path) {
  for (const auto& [known, method] : kMethods) {
    if (known == path) return method;
  }
  return std::nullopt;
}

wire::GrpcStatus unknown_method(BytesView path) {
  using wire::GrpcCode;
  const BytesView name = path.starts_with('/') ? path.substr(1) : path;
  const std::size_t slash = name.rfind('/');
  if (slash == BytesView::npos) {
    return {GrpcCode::kUnimplemented, fmt::format("malformed method name: \"{}\"", path)};
  }
  const BytesView service = name.substr(0, slash);
  if (std::ranges::find(kServices, service) == kServices.end()) {
    return {GrpcCode::kUnimplemented, fmt::format("unknown service {}", service)};
  }
  return {GrpcCode::kUnimplemented,
          fmt::format("unknown method {} for service {}", name.substr(slash + 1), service)};
}

}  // namespace conclave::etcd
