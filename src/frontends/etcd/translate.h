#pragma once
// etcd's messages to the api's words and back. Requests are emptied and answers moved from: keys
// and values are never copied. Nothing is validated here; unknown numbers of enums mean what they
// come to in etcd.

#include <expected>

#include "api/request.h"
#include "etcd.pb.h"
#include "etcd_election.pb.h"
#include "etcd_lock.pb.h"

namespace conclave::etcd {

namespace pb = ::etcdserverpb;

template <class T>
using Translated = std::expected<T, api::Error>;

Translated<api::RangeRequest> to_api(pb::RangeRequest& from);
Translated<api::PutRequest> to_api(pb::PutRequest& from);
Translated<api::DeleteRangeRequest> to_api(pb::DeleteRangeRequest& from);
Translated<api::TxnRequest> to_api(pb::TxnRequest& from);
Translated<api::CompactRequest> to_api(pb::CompactionRequest& from);
Translated<api::LeaseGrantRequest> to_api(pb::LeaseGrantRequest& from);
Translated<api::LeaseRevokeRequest> to_api(pb::LeaseRevokeRequest& from);
Translated<api::LeaseKeepAliveRequest> to_api(pb::LeaseKeepAliveRequest& from);
Translated<api::LeaseTimeToLiveRequest> to_api(pb::LeaseTimeToLiveRequest& from);
Translated<api::LockRequest> to_api(v3lockpb::LockRequest& from);
Translated<api::DeleteRangeRequest> to_api(v3lockpb::UnlockRequest& from);
Translated<api::CampaignRequest> to_api(v3electionpb::CampaignRequest& from);
Translated<api::ProclaimRequest> to_api(v3electionpb::ProclaimRequest& from);
Translated<api::LeaderRequest> to_api(v3electionpb::LeaderRequest& from);
Translated<api::ResignRequest> to_api(v3electionpb::ResignRequest& from);
Translated<api::MemberAddRequest> to_api(pb::MemberAddRequest& from);
Translated<api::MemberRemoveRequest> to_api(pb::MemberRemoveRequest& from);
Translated<api::MemberUpdateRequest> to_api(pb::MemberUpdateRequest& from);
Translated<api::MemberPromoteRequest> to_api(pb::MemberPromoteRequest& from);
Translated<api::AlarmRequest> to_api(pb::AlarmRequest& from);
Translated<api::MoveLeaderRequest> to_api(pb::MoveLeaderRequest& from);
Translated<api::HashKvRequest> to_api(pb::HashKVRequest& from);
Translated<api::SnapshotRequest> to_api(pb::SnapshotRequest& from);

// These fill everything but the header.
void to_proto(api::RangeResponse& from, pb::RangeResponse& to);
void to_proto(api::PutResponse& from, pb::PutResponse& to);
void to_proto(api::DeleteRangeResponse& from, pb::DeleteRangeResponse& to);
// `revision`: after the transaction. Each result within it carries a header with nothing but a
// revision, as etcd's do.
void to_proto(api::TxnResponse& from, api::Revision revision, pb::TxnResponse& to);
void to_proto(const api::LeaseGrantResponse& from, pb::LeaseGrantResponse& to);
void to_proto(const api::LeaseRevokeResponse& from, pb::LeaseRevokeResponse& to);
void to_proto(const api::LeaseKeepAliveResponse& from, pb::LeaseKeepAliveResponse& to);
void to_proto(api::LeaseTimeToLiveResponse& from, pb::LeaseTimeToLiveResponse& to);
void to_proto(const api::LeaseLeasesResponse& from, pb::LeaseLeasesResponse& to);
void to_proto(api::LockResponse& from, v3lockpb::LockResponse& to);
void to_proto(api::CampaignResponse& from, v3electionpb::CampaignResponse& to);
void to_proto(const api::ProclaimResponse& from, v3electionpb::ProclaimResponse& to);
void to_proto(api::LeaderResponse& from, v3electionpb::LeaderResponse& to);
void to_proto(const api::ResignResponse& from, v3electionpb::ResignResponse& to);
void to_proto(api::MemberListResponse& from, pb::MemberListResponse& to);
void to_proto(api::MemberChangeResponse& from, pb::MemberAddResponse& to);
void to_proto(api::MemberChangeResponse& from, pb::MemberRemoveResponse& to);
void to_proto(api::MemberChangeResponse& from, pb::MemberUpdateResponse& to);
void to_proto(api::MemberChangeResponse& from, pb::MemberPromoteResponse& to);
void to_proto(api::StatusResponse& from, pb::StatusResponse& to);
void to_proto(const api::AlarmResponse& from, pb::AlarmResponse& to);
void to_proto(const api::HashResponse& from, pb::HashResponse& to);
void to_proto(const api::HashKvResponse& from, pb::HashKVResponse& to);

void to_proto(const api::Header& from, pb::ResponseHeader& to);

}  // namespace conclave::etcd
