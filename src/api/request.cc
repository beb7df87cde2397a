#include "api/request.h"

#include <algorithm>

namespace conclave::api {

namespace zk {

bool may_grow(const WriteRequest& write) {
  const auto grows = [](const auto& op) {
    using Op = std::decay_t<decltype(op)>;
    return std::is_same_v<Op, Create> || std::is_same_v<Op, SetData> || std::is_same_v<Op, SetAcl>;
  };
  if (const auto* multi = std::get_if<Multi>(&write.op)) {
    return std::ranges::any_of(multi->operations,
                               [&](const Operation& each) { return std::visit(grows, each); });
  }
  return std::visit(grows, write.op);
}

}  // namespace zk

namespace {

bool writes(const TxnRequest& txn);

bool writes(const Operation& operation) {
  if (std::holds_alternative<RangeRequest>(operation.op)) return false;
  if (const auto* nested = std::get_if<std::unique_ptr<TxnRequest>>(&operation.op)) {
    // An operation without content is refused where writes are checked.
    return *nested == nullptr || writes(**nested);
  }
  return true;
}

bool writes(const TxnRequest& txn) {
  const auto any = [](const Operation& operation) { return writes(operation); };
  return std::ranges::any_of(txn.success, any) || std::ranges::any_of(txn.failure, any);
}

bool puts(const TxnRequest& txn);

bool puts(const Operation& operation) {
  const auto* nested = std::get_if<std::unique_ptr<TxnRequest>>(&operation.op);
  if (nested != nullptr) return *nested != nullptr && puts(**nested);
  return std::holds_alternative<PutRequest>(operation.op);
}

bool puts(const TxnRequest& txn) {
  const auto any = [](const Operation& operation) { return puts(operation); };
  return std::ranges::any_of(txn.success, any) || std::ranges::any_of(txn.failure, any);
}

// A transaction may be answered locally only if each Range in it may.
bool serializable(const TxnRequest& txn) {
  const auto local = [](const Operation& operation) {
    if (const auto* range = std::get_if<RangeRequest>(&operation.op)) return range->serializable;
    const auto* nested = std::get_if<std::unique_ptr<TxnRequest>>(&operation.op);
    return nested != nullptr && serializable(**nested);
  };
  return std::ranges::all_of(txn.success, local) && std::ranges::all_of(txn.failure, local);
}

struct AuthRouter {
  Route operator()(const AuthStatus&) const { return Route::kLinearizableRead; }
  Route operator()(const UserGet&) const { return Route::kLinearizableRead; }
  Route operator()(const UserList&) const { return Route::kLinearizableRead; }
  Route operator()(const RoleGet&) const { return Route::kLinearizableRead; }
  Route operator()(const RoleList&) const { return Route::kLinearizableRead; }
  Route operator()(const AuthEnable&) const { return Route::kAuth; }
  Route operator()(const Authenticate&) const { return Route::kAuth; }
  Route operator()(const UserAdd&) const { return Route::kAuth; }
  Route operator()(const UserChangePassword&) const { return Route::kAuth; }
  template <class Change>
  Route operator()(const Change&) const {
    return Route::kWrite;
  }
};

struct Router {
  Route operator()(const RangeRequest& range) const {
    return range.serializable ? Route::kLocalRead : Route::kLinearizableRead;
  }
  Route operator()(const PutRequest&) const { return Route::kWrite; }
  Route operator()(const DeleteRangeRequest&) const { return Route::kWrite; }
  Route operator()(const TxnRequest& txn) const {
    if (writes(txn)) return Route::kWrite;
    const bool has_operations = !txn.success.empty() || !txn.failure.empty();
    return has_operations && serializable(txn) ? Route::kLocalRead : Route::kLinearizableRead;
  }
  Route operator()(const CompactRequest&) const { return Route::kWrite; }
  Route operator()(const MemberListRequest&) const { return Route::kMember; }
  Route operator()(const StatusRequest&) const { return Route::kMember; }
  Route operator()(const HealthRequest& health) const {
    return health.serializable ? Route::kMember : Route::kLinearizableRead;
  }
  Route operator()(const MetricsRequest&) const { return Route::kMember; }
  Route operator()(const MemberAddRequest&) const { return Route::kMemberChange; }
  Route operator()(const MemberRemoveRequest&) const { return Route::kMemberChange; }
  Route operator()(const MemberUpdateRequest&) const { return Route::kMemberChange; }
  Route operator()(const MemberPromoteRequest&) const { return Route::kMemberChange; }
  Route operator()(const LeaseGrantRequest&) const { return Route::kWrite; }
  Route operator()(const LeaseRevokeRequest&) const { return Route::kWrite; }
  Route operator()(const LeaseKeepAliveRequest&) const { return Route::kWrite; }
  Route operator()(const LeaseTimeToLiveRequest&) const { return Route::kLinearizableRead; }
  Route operator()(const LeaseLeasesRequest&) const { return Route::kLinearizableRead; }
  Route operator()(const AlarmRequest& alarm) const {
    return alarm.action == AlarmRequest::Action::kGet ? Route::kLinearizableRead : Route::kWrite;
  }
  Route operator()(const MoveLeaderRequest&) const { return Route::kMaintenance; }
  Route operator()(const HashRequest&) const { return Route::kMaintenance; }
  Route operator()(const HashKvRequest&) const { return Route::kMaintenance; }
  Route operator()(const DefragmentRequest&) const { return Route::kMaintenance; }
  Route operator()(const SnapshotRequest& request) const {
    return request.serializable ? Route::kLocalRead : Route::kLinearizableRead;
  }
  Route operator()(const SnapshotPieceRequest&) const { return Route::kMaintenance; }
  Route operator()(const LockRequest&) const { return Route::kLock; }
  Route operator()(const CampaignRequest&) const { return Route::kLock; }
  Route operator()(const ProclaimRequest&) const { return Route::kLock; }
  Route operator()(const ResignRequest&) const { return Route::kLock; }
  Route operator()(const LeaderRequest&) const { return Route::kLock; }
  Route operator()(const AuthRequest& auth) const { return std::visit(AuthRouter{}, auth.op); }
  Route operator()(const AcquireRequest& acquire) const {
    return lock_or_write(acquire.wait == LockWait::kUntilHeld);
  }
  Route operator()(const ReleaseRequest&) const { return Route::kWrite; }
  Route operator()(const EnterRequest& enter) const { return lock_or_write(enter.wait); }
  Route operator()(const LeaveRequest& leave) const { return lock_or_write(leave.wait); }
  Route operator()(const zk::WriteRequest&) const { return Route::kWrite; }
  Route operator()(const zk::ReadRequest& read) const {
    return read.local ? Route::kLocalRead : Route::kLinearizableRead;
  }
  Route operator()(const zk::PingRequest&) const { return Route::kPing; }
  Route operator()(const zk::ImportRequest&) const { return Route::kWrite; }
  Route operator()(const zk::ReconfigRequest&) const { return Route::kMemberChange; }
  Route operator()(const zk::ExportRequest&) const { return Route::kLinearizableRead; }

  static Route lock_or_write(bool wait) { return wait ? Route::kLock : Route::kWrite; }
};

}  // namespace

bool may_grow(const Body& body) {
  if (const auto* write = std::get_if<zk::WriteRequest>(&body)) return zk::may_grow(*write);
  if (const auto* txn = std::get_if<TxnRequest>(&body)) return puts(*txn);
  if (const auto* step = std::get_if<zk::ImportRequest>(&body)) return !step->nodes.empty();
  return std::holds_alternative<PutRequest>(body) ||
         std::holds_alternative<LeaseGrantRequest>(body) ||
         std::holds_alternative<AcquireRequest>(body) || std::holds_alternative<EnterRequest>(body);
}

bool may_be_fenced(const Body& body) {
  return std::holds_alternative<PutRequest>(body) ||
         std::holds_alternative<DeleteRangeRequest>(body) ||
         std::holds_alternative<TxnRequest>(body) || std::holds_alternative<CompactRequest>(body) ||
         std::holds_alternative<LeaseGrantRequest>(body) ||
         std::holds_alternative<LeaseRevokeRequest>(body) ||
         std::holds_alternative<LockRequest>(body) ||
         std::holds_alternative<CampaignRequest>(body) ||
         std::holds_alternative<ProclaimRequest>(body) ||
         std::holds_alternative<ResignRequest>(body) ||
         std::holds_alternative<AcquireRequest>(body) ||
         std::holds_alternative<ReleaseRequest>(body) ||
         std::holds_alternative<EnterRequest>(body) || std::holds_alternative<LeaveRequest>(body);
}

bool asks_who(const Body& body) {
  if (const auto* lease = std::get_if<LeaseTimeToLiveRequest>(&body)) return lease->keys;
  const bool is_open = std::holds_alternative<LeaseLeasesRequest>(body) ||
                       std::holds_alternative<LeaseKeepAliveRequest>(body) ||
                       std::holds_alternative<MemberListRequest>(body) ||
                       std::holds_alternative<StatusRequest>(body) ||
                       std::holds_alternative<HealthRequest>(body) ||
                       std::holds_alternative<MetricsRequest>(body) ||
                       std::holds_alternative<MoveLeaderRequest>(body) ||
                       std::holds_alternative<SnapshotPieceRequest>(body) ||
                       std::holds_alternative<zk::WriteRequest>(body) ||
                       std::holds_alternative<zk::ReadRequest>(body) ||
                       std::holds_alternative<zk::PingRequest>(body) ||
                       std::holds_alternative<zk::ReconfigRequest>(body);
  return !is_open;
}

Route route_of(const Request& request) {
  if (request.fence && std::holds_alternative<TxnRequest>(request.body)) return Route::kWrite;
  return std::visit(Router{}, request.body);
}

}  // namespace conclave::api
