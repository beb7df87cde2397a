#include "frontends/etcd/errors.h"

#include <fmt/format.h>

#include <utility>

#include "base/check.h"

namespace conclave::etcd {
namespace {

using api::ErrorCode;
using wire::GrpcCode;
using Row = std::pair<GrpcCode, BytesView>;

Row row_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kEmptyKey:
      return {GrpcCode::kInvalidArgument, "etcdserver: key is not provided"};
    case ErrorCode::kKeyNotFound:
      return {GrpcCode::kInvalidArgument, "etcdserver: key not found"};
    case ErrorCode::kValueProvided:
      return {GrpcCode::kInvalidArgument, "etcdserver: value is provided"};
    case ErrorCode::kLeaseProvided:
      return {GrpcCode::kInvalidArgument, "etcdserver: lease is provided"};
    case ErrorCode::kTooManyOps:
      return {GrpcCode::kInvalidArgument, "etcdserver: too many operations in txn request"};
    case ErrorCode::kDuplicateKey:
      return {GrpcCode::kInvalidArgument, "etcdserver: duplicate key given in txn request"};
    case ErrorCode::kCompacted:
      return {GrpcCode::kOutOfRange, "etcdserver: mvcc: required revision has been compacted"};
    case ErrorCode::kFutureRevision:
      return {GrpcCode::kOutOfRange, "etcdserver: mvcc: required revision is a future revision"};
    case ErrorCode::kLeaseNotFound:
      return {GrpcCode::kNotFound, "etcdserver: requested lease not found"};
    case ErrorCode::kInvalidSortOption:
      return {GrpcCode::kInvalidArgument, "etcdserver: invalid sort option"};
    case ErrorCode::kNoSpace:
      return {GrpcCode::kResourceExhausted, "etcdserver: mvcc: database space exceeded"};
    case ErrorCode::kRequestTooLarge:
      return {GrpcCode::kInvalidArgument, "etcdserver: request is too large"};
    case ErrorCode::kTooManyRequests:
      return {GrpcCode::kResourceExhausted, "etcdserver: too many requests"};
    case ErrorCode::kNoLeader:
      return {GrpcCode::kUnavailable, "etcdserver: no leader"};
    case ErrorCode::kTimeout:
      return {GrpcCode::kUnavailable, "etcdserver: request timed out"};
    case ErrorCode::kNotCapable:
      return {GrpcCode::kUnavailable, "etcdserver: not capable"};
    case ErrorCode::kCorrupt:
      return {GrpcCode::kDataLoss, "etcdserver: corrupt cluster"};
    case ErrorCode::kStopped:
      return {GrpcCode::kUnavailable, "etcdserver: server stopped"};
    case ErrorCode::kLearner:
      return {GrpcCode::kUnavailable, "etcdserver: rpc not supported for learner"};
    case ErrorCode::kWitness:
      return {GrpcCode::kUnavailable,
              "etcdserver: this member is a witness: it votes and keeps no data"};
    case ErrorCode::kMemberNotFound:
      return {GrpcCode::kNotFound, "etcdserver: member not found"};
    case ErrorCode::kMemberExists:
      return {GrpcCode::kFailedPrecondition, "etcdserver: member ID already exist"};
    case ErrorCode::kPeerUrlsExist:
      return {GrpcCode::kFailedPrecondition, "etcdserver: Peer URLs already exists"};
    case ErrorCode::kMemberBadUrls:
      return {GrpcCode::kInvalidArgument, "etcdserver: given member URLs are invalid"};
    case ErrorCode::kMemberNotLearner:
      return {GrpcCode::kFailedPrecondition, "etcdserver: can only promote a learner member"};
    case ErrorCode::kLearnerNotReady:
      return {GrpcCode::kFailedPrecondition,
              "etcdserver: can only promote a learner member which is in sync with leader"};
    case ErrorCode::kTooManyLearners:
      return {GrpcCode::kFailedPrecondition, "etcdserver: too many learner members in cluster"};
    case ErrorCode::kLeaseExists:
      return {GrpcCode::kFailedPrecondition, "etcdserver: lease already exists"};
    case ErrorCode::kLeaseTtlTooLarge:
      return {GrpcCode::kOutOfRange, "etcdserver: too large lease TTL"};
    case ErrorCode::kNotLeader:
      return {GrpcCode::kFailedPrecondition, "etcdserver: not leader"};
    case ErrorCode::kBadTransferee:
      return {GrpcCode::kFailedPrecondition, "etcdserver: bad leader transferee"};
    case ErrorCode::kTransferTimeout:
      return {GrpcCode::kUnavailable,
              "etcdserver: request timed out, leader transfer took too long"};
    case ErrorCode::kLockLost:
      return {GrpcCode::kUnknown, "mutex: session is expired"};
    case ErrorCode::kNotElectionLeader:
      return {GrpcCode::kUnknown, "election: not leader"};
    case ErrorCode::kNoElectionLeader:
      return {GrpcCode::kUnknown, "election: no leader"};
    case ErrorCode::kDeadlineExceeded:
      return {GrpcCode::kDeadlineExceeded, "context deadline exceeded"};
    // The code is what etcd 3.4 answers; its own table means FailedPrecondition.
    case ErrorCode::kNotEnoughStarted:
      return {GrpcCode::kUnknown,
              "etcdserver: re-configuration failed due to not enough started members"};
    case ErrorCode::kUnhealthy:
      return {GrpcCode::kUnavailable, "etcdserver: unhealthy cluster"};
    case ErrorCode::kRootUserNotFound:
      return {GrpcCode::kFailedPrecondition, "etcdserver: root user does not exist"};
    case ErrorCode::kRootRoleNotGranted:
      return {GrpcCode::kFailedPrecondition, "etcdserver: root user does not have root role"};
    case ErrorCode::kUserExists:
      return {GrpcCode::kFailedPrecondition, "etcdserver: user name already exists"};
    case ErrorCode::kUserEmpty:
      return {GrpcCode::kInvalidArgument, "etcdserver: user name is empty"};
    case ErrorCode::kUserNotFound:
      return {GrpcCode::kFailedPrecondition, "etcdserver: user name not found"};
    case ErrorCode::kRoleExists:
      return {GrpcCode::kFailedPrecondition, "etcdserver: role name already exists"};
    case ErrorCode::kRoleEmpty:
      return {GrpcCode::kInvalidArgument, "etcdserver: role name is empty"};
    case ErrorCode::kRoleNotFound:
      return {GrpcCode::kFailedPrecondition, "etcdserver: role name not found"};
    case ErrorCode::kAuthFailed:
      return {GrpcCode::kInvalidArgument,
              "etcdserver: authentication failed, invalid user ID or password"};
    case ErrorCode::kNoPasswordUser:
      return {GrpcCode::kUnknown,
              "auth: authentication failed, password was given for no password user"};
    case ErrorCode::kPermissionNotGiven:
      return {GrpcCode::kInvalidArgument, "etcdserver: permission not given"};
    case ErrorCode::kPermissionDenied:
      return {GrpcCode::kPermissionDenied, "etcdserver: permission denied"};
    case ErrorCode::kRoleNotGranted:
      return {GrpcCode::kFailedPrecondition, "etcdserver: role is not granted to the user"};
    case ErrorCode::kPermissionNotGranted:
      return {GrpcCode::kFailedPrecondition, "etcdserver: permission is not granted to the role"};
    case ErrorCode::kAuthNotEnabled:
      return {GrpcCode::kFailedPrecondition, "etcdserver: authentication is not enabled"};
    case ErrorCode::kInvalidAuthToken:
      return {GrpcCode::kUnauthenticated, "etcdserver: invalid auth token"};
    case ErrorCode::kInvalidAuthManagement:
      return {GrpcCode::kInvalidArgument, "etcdserver: invalid auth management"};
    case ErrorCode::kAuthOldRevision:
      return {GrpcCode::kInvalidArgument, "etcdserver: revision of auth store is old"};
    // etcd has no such errors; the rest are Conclave's own.
    case ErrorCode::kRequestIdTooOld:
      return {GrpcCode::kFailedPrecondition,
              "conclave: the answer to this request id is no longer kept"};
    case ErrorCode::kInvalidRequestId:
      return {GrpcCode::kInvalidArgument, "conclave: invalid request id"};
    case ErrorCode::kFenced:
      return {GrpcCode::kFailedPrecondition, "conclave: fenced off"};
    case ErrorCode::kInvalidFence:
      return {GrpcCode::kInvalidArgument, "conclave: invalid fence"};
    case ErrorCode::kLockConflict:
      return {GrpcCode::kFailedPrecondition, "conclave: the lock is wanted in another way already"};
    case ErrorCode::kInvalidLock:
      return {GrpcCode::kInvalidArgument, "conclave: invalid lock or barrier"};
    case ErrorCode::kUnsupported:
      return {GrpcCode::kUnimplemented, "conclave: not supported"};
    case ErrorCode::kInvalidAlarm:
      return {GrpcCode::kInvalidArgument, "conclave: unknown alarm or action"};
    case ErrorCode::kSnapshotFailed:
      return {GrpcCode::kUnavailable, "conclave: the snapshot could not be written"};
    case ErrorCode::kSnapshotGone:
      return {GrpcCode::kUnavailable,
              "conclave: the snapshot is gone, as its reader took nothing for too long"};
  }
  CHECK(false, "error code {}", static_cast<int>(code));
  std::unreachable();
}

bool is_own(ErrorCode code) {
  return code == ErrorCode::kRequestIdTooOld || code == ErrorCode::kInvalidRequestId ||
         code == ErrorCode::kFenced || code == ErrorCode::kInvalidFence ||
         code == ErrorCode::kLockConflict || code == ErrorCode::kInvalidLock ||
         code == ErrorCode::kUnsupported || code == ErrorCode::kSnapshotFailed;
}

}  // namespace

wire::GrpcStatus status_of(const api::Error& error) {
  const auto [code, text] = row_of(error.code);
  // Clients compare etcd's texts as a whole, so a detail may only follow our own.
  if (!is_own(error.code) || error.detail.empty()) return {code, Bytes(text)};
  return {code, fmt::format("{}: {}", text, error.detail)};
}

namespace {

bool is_about_who_asks(ErrorCode code) {
  return code == ErrorCode::kUserEmpty || code == ErrorCode::kPermissionDenied ||
         code == ErrorCode::kInvalidAuthToken || code == ErrorCode::kAuthOldRevision;
}

// Of these etcd gives what its auth store said, without a code.
bool passes_raw(Method method) {
  return method == Method::kAlarm || method == Method::kDefragment || method == Method::kHash ||
         method == Method::kHashKv || method == Method::kSnapshot;
}

}  // namespace

wire::GrpcStatus status_of(Method method, const api::Error& error) {
  wire::GrpcStatus status = status_of(error);
  if (passes_raw(method) && is_about_who_asks(error.code)) {
    constexpr BytesView kPrefix = "etcdserver: ";
    return {GrpcCode::kUnknown, "auth: " + status.message.substr(kPrefix.size())};
  }
  const bool keeps_code = is_own(error.code) || error.code == ErrorCode::kStopped ||
                          error.code == ErrorCode::kLearner || error.code == ErrorCode::kWitness ||
                          error.code == ErrorCode::kDeadlineExceeded;
  if (is_of_locks(method) && !keeps_code) status.code = GrpcCode::kUnknown;
  return status;
}

Bytes reason_of(ErrorCode code) {
  const wire::GrpcStatus status = status_of({code, {}});
  const BytesView name = status.code == GrpcCode::kUnauthenticated    ? "Unauthenticated"
                         : status.code == GrpcCode::kPermissionDenied ? "PermissionDenied"
                                                                      : "InvalidArgument";
  return fmt::format("rpc error: code = {} desc = {}", name, status.message);
}

wire::GrpcStatus status_of(const api::Service::Refusal& refusal) {
  return {static_cast<GrpcCode>(refusal.grpc_code), refusal.message};
}

int http_status_of(GrpcCode code) {
  switch (code) {
    case GrpcCode::kOk:
      return 200;
    case GrpcCode::kCancelled:
      return 408;
    case GrpcCode::kInvalidArgument:
      return 400;
    case GrpcCode::kDeadlineExceeded:
      return 504;
    case GrpcCode::kNotFound:
      return 404;
    case GrpcCode::kAlreadyExists:
      return 409;
    case GrpcCode::kPermissionDenied:
      return 403;
    case GrpcCode::kUnauthenticated:
      return 401;
    case GrpcCode::kResourceExhausted:
      return 429;
    case GrpcCode::kFailedPrecondition:
      return 412;
    case GrpcCode::kAborted:
      return 409;
    case GrpcCode::kOutOfRange:
      return 400;
    case GrpcCode::kUnimplemented:
      return 501;
    case GrpcCode::kUnavailable:
      return 503;
    case GrpcCode::kUnknown:
    case GrpcCode::kInternal:
    case GrpcCode::kDataLoss:
      return 500;
  }
  return 500;
}

}  // namespace conclave::etcd
