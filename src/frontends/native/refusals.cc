#include "frontends/native/refusals.h"

#include <utility>

#include "wire/grpc.h"

namespace conclave::native {
namespace {

using api::ErrorCode;
using wire::GrpcCode;

std::pair<GrpcCode, BytesView> row_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kLeaseNotFound:
      return {GrpcCode::kNotFound, "no such lease"};
    case ErrorCode::kLockLost:
      return {GrpcCode::kFailedPrecondition,
              "its key is gone: the lease has ended, or somebody gave it back"};
    case ErrorCode::kLockConflict:
      return {GrpcCode::kFailedPrecondition, "the lock is wanted in another way already"};
    case ErrorCode::kNotElectionLeader:
      return {GrpcCode::kFailedPrecondition, "not the leader of the election"};
    case ErrorCode::kNoElectionLeader:
      return {GrpcCode::kNotFound, "nobody leads the election"};
    case ErrorCode::kFenced:
      return {GrpcCode::kFailedPrecondition, "fenced off"};
    case ErrorCode::kDeadlineExceeded:
      return {GrpcCode::kDeadlineExceeded, "the call's deadline is over"};
    case ErrorCode::kEmptyKey:
    case ErrorCode::kInvalidLock:
    case ErrorCode::kInvalidFence:
    case ErrorCode::kInvalidRequestId:
      return {GrpcCode::kInvalidArgument, "invalid request"};
    case ErrorCode::kRequestIdTooOld:
      return {GrpcCode::kFailedPrecondition, "the answer to this request id is no longer kept"};
    case ErrorCode::kRequestTooLarge:
      return {GrpcCode::kInvalidArgument, "the request is too large"};
    case ErrorCode::kNoSpace:
      return {GrpcCode::kResourceExhausted, "no space"};
    case ErrorCode::kTooManyRequests:
      return {GrpcCode::kResourceExhausted, "too many requests"};
    case ErrorCode::kNoLeader:
      return {GrpcCode::kUnavailable, "no leader"};
    case ErrorCode::kTimeout:
      return {GrpcCode::kUnavailable, "timed out: it is not known whether it was done"};
    case ErrorCode::kStopped:
      return {GrpcCode::kUnavailable, "the member is stopping"};
    case ErrorCode::kLearner:
    case ErrorCode::kWitness:
      return {GrpcCode::kUnavailable, "this member serves no clients"};
    case ErrorCode::kUserEmpty:
      return {GrpcCode::kUnauthenticated, "nobody said who asks"};
    case ErrorCode::kInvalidAuthToken:
      return {GrpcCode::kUnauthenticated, "invalid token"};
    case ErrorCode::kPermissionDenied:
      return {GrpcCode::kPermissionDenied, "permission denied"};
    case ErrorCode::kAuthOldRevision:
      return {GrpcCode::kUnavailable, "users or roles have changed just now: try again"};
    case ErrorCode::kCorrupt:
      return {GrpcCode::kDataLoss, "the members disagree about the state"};
    default:
      return {GrpcCode::kUnknown, "failed"};
  }
}

}  // namespace

api::Service::Refusal refusal_of(const api::Error& error) {
  const auto [code, text] = row_of(error.code);
  Bytes message = "conclave: ";
  message += text;
  if (!error.detail.empty()) message += ": " + error.detail;
  return {static_cast<int>(code), std::move(message)};
}

}  // namespace conclave::native
