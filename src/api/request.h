#pragma once
// Request and Response: everything a front-end can ask of a member, and what it can hear back.
// Plain values that can cross a queue.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/auth.h"
#include "api/fence.h"
#include "api/kv.h"
#include "api/lease.h"
#include "api/lock.h"
#include "api/maintenance.h"
#include "api/native.h"
#include "api/zookeeper.h"
#include "base/bytes.h"
#include "base/ids.h"

namespace conclave::api {

// --- about the member and the cluster -----------------------------------------------

struct MemberListRequest {};
struct Member {
  NodeId id;
  std::string name;  // empty until the member has started once
  std::vector<std::string> peer_urls;
  std::vector<std::string> client_urls;
  bool is_learner = false;
  bool is_witness = false;  // votes and keeps no data, for its whole life

  bool operator==(const Member&) const = default;
};
struct MemberListResponse {
  std::vector<Member> members;
};

// Changes of the members (etcd's Cluster service). Each is one step of joint consensus, answered
// when the new members alone decide.
struct MemberAddRequest {
  std::vector<std::string> peer_urls;
  bool is_learner = false;
  // This member goes in the same step: how one that lost its disk comes back, as the quorum counts
  // no more members meanwhile than before.
  NodeId replaces;
  NodeId id;  // of the new member; the member that takes the request draws it
};
struct MemberRemoveRequest {
  NodeId id;
};
struct MemberUpdateRequest {
  NodeId id;
  std::vector<std::string> peer_urls;
};
// Makes a learner a voter.
struct MemberPromoteRequest {
  NodeId id;
};
struct MemberChangeResponse {
  std::optional<Member> member;  // the one added
  std::vector<Member> members;   // all, after the change
};

struct StatusRequest {};
struct StatusResponse {
  std::string version;
  std::string role;  // "leader", "follower", "candidate", "learner"
  std::int64_t db_size_bytes = 0;
  std::int64_t db_size_in_use_bytes = 0;
  NodeId leader;
  LogIndex raft_index;  // commit
  LogIndex applied_index;
  Epoch raft_term;
  bool is_learner = false;
  std::uint64_t state_hash = 0;     // at applied_index
  std::vector<std::string> errors;  // raised alarms, as etcd words them
  // The leader's view of the others; empty elsewhere.
  struct Peer {
    NodeId id;
    LogIndex match;
    std::string state;  // "probe", "replicate", "snapshot"
    bool active = false;
  };
  std::vector<Peer> peers;
};

// Is this member able to commit? Answered through a read barrier unless serializable.
struct HealthRequest {
  bool serializable = false;
};
struct HealthResponse {
  bool healthy = false;
  std::string reason;  // empty if healthy
};

// The text of /metrics (Prometheus exposition format).
struct MetricsRequest {};
struct MetricsResponse {
  std::string text;
};

// --- the envelope around them -------------------------------------------------------

// A client's own name for a write: applied once however often it is sent, and answered alike each
// time.
struct RequestId {
  Bytes client;
  std::uint64_t sequence = 0;

  auto operator<=>(const RequestId&) const = default;
};

using Body =
    std::variant<RangeRequest, PutRequest, DeleteRangeRequest, TxnRequest, CompactRequest,
                 MemberListRequest, StatusRequest, HealthRequest, MetricsRequest, MemberAddRequest,
                 MemberRemoveRequest, MemberUpdateRequest, MemberPromoteRequest, LeaseGrantRequest,
                 LeaseRevokeRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest,
                 LeaseLeasesRequest, AlarmRequest, MoveLeaderRequest, HashRequest, HashKvRequest,
                 DefragmentRequest, SnapshotRequest, SnapshotPieceRequest, LockRequest,
                 CampaignRequest, ProclaimRequest, ResignRequest, LeaderRequest, AuthRequest,
                 AcquireRequest, ReleaseRequest, EnterRequest, LeaveRequest, zk::WriteRequest,
                 zk::ReadRequest, zk::PingRequest, zk::ImportRequest, zk::ExportRequest,
                 zk::ReconfigRequest>;

struct Request {
  Body body;
  std::optional<RequestId> id;              // writes only
  std::optional<std::uint64_t> timeout_ms;  // the client's deadline, if it set one
  // Of those that may_be_fenced: refused with kFenced if it does not hold when it is applied.
  std::optional<Fence> fence = std::nullopt;
  std::optional<Bytes> token = {};  // says who asks; the node puts that into `identity`
  Identity identity = {};
};

// Where a request has to go. A transaction without puts and deletes in either branch is a read; but
// with a fence it goes through the log, so that what it reads is of a moment when the fence held.
enum class Route : std::uint8_t {
  kWrite,             // through the log
  kLinearizableRead,  // a read barrier, then this member's store
  kLocalRead,         // this member's store as it is
  kMember,            // about the member itself: the node answers
  kMemberChange,      // through the log, once the leader has agreed
  kMaintenance,       // of this member and its data: answered later, and not from the log
  kLock,              // a procedure of several of these
  kAuth,              // has a password or a secret in it: the node makes one of the others of it
  kPing,              // of a session: many share a command of the log
};
Route route_of(const Request& request);
// Whether a write may make the store larger: puts do, alone or in either branch of a transaction,
// and leases.
bool may_grow(const Body& body);
// What changes keys or leases on behalf of a client. Not the keeping alive of a lease, which comes
// in streams and changes neither; and for requests of kLock the fence is about what they write at
// first, and not about what becomes of them while they wait.
bool may_be_fenced(const Body& body);
// Whether it matters who asks: as in etcd, a bad token is no obstacle to the others.
bool asks_who(const Body& body);

// What went wrong, in terms a client can act on. Front-ends know the codes and texts of their
// protocol for each.
enum class ErrorCode : std::uint8_t {
  kEmptyKey,
  kKeyNotFound,
  kValueProvided,  // ignore_value with a value
  kLeaseProvided,  // ignore_lease with a lease
  kTooManyOps,
  kDuplicateKey,
  kCompacted,
  kFutureRevision,
  kLeaseNotFound,
  kInvalidSortOption,
  kNoSpace,
  kRequestTooLarge,
  kTooManyRequests,
  kNoLeader,
  kTimeout,  // the fate of a write is unknown
  kNotCapable,
  kCorrupt,  // members disagree about the state
  kStopped,
  kLearner,          // a learner serves only local reads
  kWitness,          // a witness has no data to answer from
  kRequestIdTooOld,  // the answer to this request id is no longer kept; nothing was applied now
  kInvalidRequestId,
  kUnsupported,
  kMemberNotFound,
  kMemberExists,
  kPeerUrlsExist,
  kMemberBadUrls,
  kMemberNotLearner,
  kLearnerNotReady,  // too far behind the leader to vote
  kTooManyLearners,
  kNotEnoughStarted,  // after the change too few of the voters would ever have been started
  kUnhealthy,         // after the change too few of the voters would be reachable
  kLeaseExists,
  kLeaseTtlTooLarge,
  kInvalidAlarm,  // no such alarm, or nothing that can be done with one
  kNotLeader,
  kBadTransferee,      // it cannot lead
  kTransferTimeout,    // it does not lead yet
  kSnapshotFailed,     // it could not be written
  kSnapshotGone,       // too long ago, or never there
  kLockLost,           // the waiter's key has gone, as it does with its lease
  kNotElectionLeader,  // of an election
  kNoElectionLeader,   // nobody leads it
  kDeadlineExceeded,   // the client's own, while it waited for a lock
  kFenced,             // the write's token is not the highest of its lock; nothing was applied
  kInvalidFence,
  kRootUserNotFound,
  kRootRoleNotGranted,  // to the root user
  kUserExists,
  kUserEmpty,  // no name was given, or nobody said who asks
  kUserNotFound,
  kRoleExists,
  kRoleEmpty,
  kRoleNotFound,
  kAuthFailed,
  kNoPasswordUser,
  kPermissionNotGiven,
  kPermissionDenied,
  kRoleNotGranted,
  kPermissionNotGranted,
  kAuthNotEnabled,
  kInvalidAuthToken,
  kInvalidAuthManagement,
  kAuthOldRevision,  // users or roles changed after it was found out who asks
  kLockConflict,
  kInvalidLock,  // an owner with a slash, a semaphore or a barrier of none
};

struct Error {
  ErrorCode code = ErrorCode::kTimeout;
  std::string detail;  // for people; may be empty

  bool operator==(const Error&) const = default;
};

struct Header {
  ClusterId cluster;
  NodeId member;
  Revision revision = 0;
  Epoch epoch;
};

using Answer =
    std::variant<Error, RangeResponse, PutResponse, DeleteRangeResponse, TxnResponse,
                 CompactResponse, MemberListResponse, StatusResponse, HealthResponse,
                 MetricsResponse, MemberChangeResponse, LeaseGrantResponse, LeaseRevokeResponse,
                 LeaseKeepAliveResponse, LeaseTimeToLiveResponse, LeaseLeasesResponse,
                 AlarmResponse, MoveLeaderResponse, HashResponse, HashKvResponse,
                 DefragmentResponse, SnapshotResponse, SnapshotPieceResponse, LockResponse,
                 CampaignResponse, ProclaimResponse, ResignResponse, LeaderResponse, AuthResponse,
                 AcquireResponse, ReleaseResponse, EnterResponse, LeaveResponse, zk::Reply>;

struct Response {
  Header header;
  Answer answer;
};

}  // namespace conclave::api
