// Any bytes into a session, in pieces, with calls answered, cancelled and ticked in between:
// nothing may crash, and what the session says must not grow without bound.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "frontends/etcd/session.h"
#include "wire/http2_frames.h"

namespace {

using namespace conclave;

constexpr std::uint64_t kSnapshotBytes = 3000;

struct Canned {
  api::Answer operator()(const api::RangeRequest& range) const {
    return api::RangeResponse{{{range.key, "value", 2, 3, 1, 0}}, true, 2};
  }
  api::Answer operator()(const api::PutRequest& put) const {
    if (put.key.empty()) return api::Error{api::ErrorCode::kEmptyKey, ""};
    return api::PutResponse{};
  }
  api::Answer operator()(const api::DeleteRangeRequest&) const {
    return api::DeleteRangeResponse{1, {{"k", "v", 1, 2, 3, 4}}};
  }
  api::Answer operator()(const api::TxnRequest&) const {
    api::TxnResponse txn;
    txn.results.push_back({api::PutResponse{}});
    return txn;
  }
  api::Answer operator()(const api::CompactRequest&) const { return api::CompactResponse{}; }
  api::Answer operator()(const api::MemberListRequest&) const {
    return api::MemberListResponse{{{NodeId{1}, "m", {"p"}, {"c"}, true}}};
  }
  api::Answer operator()(const api::MemberAddRequest&) const {
    const api::Member added{NodeId{1}, "m", {"p"}, {"c"}, true};
    return api::MemberChangeResponse{added, {added}};
  }
  api::Answer operator()(const api::MemberRemoveRequest&) const {
    return api::MemberChangeResponse{};
  }
  api::Answer operator()(const api::MemberUpdateRequest&) const {
    return api::MemberChangeResponse{};
  }
  api::Answer operator()(const api::MemberPromoteRequest&) const {
    return api::Error{api::ErrorCode::kLearnerNotReady, ""};
  }
  api::Answer operator()(const api::LeaseGrantRequest& grant) const {
    return api::LeaseGrantResponse{grant.id, grant.ttl_s};
  }
  api::Answer operator()(const api::LeaseRevokeRequest&) const {
    return api::Error{api::ErrorCode::kLeaseNotFound, ""};
  }
  api::Answer operator()(const api::LeaseKeepAliveRequest& keep) const {
    if (keep.id == 0) return api::Error{api::ErrorCode::kTimeout, ""};
    return api::LeaseKeepAliveResponse{keep.id, 5};
  }
  api::Answer operator()(const api::LeaseTimeToLiveRequest& ask) const {
    return api::LeaseTimeToLiveResponse{ask.id, 5, 6, {"k"}};
  }
  api::Answer operator()(const api::LeaseLeasesRequest&) const {
    return api::LeaseLeasesResponse{{1, 2}};
  }
  api::Answer operator()(const api::AlarmRequest& alarm) const {
    return api::AlarmResponse{{{alarm.member, alarm.type}}};
  }
  api::Answer operator()(const api::MoveLeaderRequest&) const {
    return api::Error{api::ErrorCode::kNotLeader, ""};
  }
  api::Answer operator()(const api::HashRequest&) const { return api::HashResponse{7}; }
  api::Answer operator()(const api::HashKvRequest&) const { return api::HashKvResponse{7, -1}; }
  api::Answer operator()(const api::DefragmentRequest&) const { return api::DefragmentResponse{}; }
  api::Answer operator()(const api::SnapshotRequest&) const {
    return api::SnapshotResponse{LogIndex{9}, kSnapshotBytes};
  }
  api::Answer operator()(const api::SnapshotPieceRequest& piece) const {
    const std::uint64_t left = kSnapshotBytes - std::min(kSnapshotBytes, piece.offset);
    return api::SnapshotPieceResponse{Bytes(std::min<std::uint64_t>(left, piece.max_bytes), 's')};
  }
  api::Answer operator()(const api::LockRequest& lock) const {
    return api::LockResponse{lock.name + "/1", 3};
  }
  api::Answer operator()(const api::CampaignRequest& campaign) const {
    return api::CampaignResponse{{campaign.name, "k", 3, campaign.lease}};
  }
  api::Answer operator()(const api::ProclaimRequest&) const { return api::ProclaimResponse{}; }
  api::Answer operator()(const api::ResignRequest&) const { return api::ResignResponse{}; }
  api::Answer operator()(const api::LeaderRequest&) const { return api::LeaderResponse{}; }
  api::Answer operator()(const api::AuthRequest& auth) const {
    if (std::holds_alternative<api::UserDelete>(auth.op)) {
      return api::Error{api::ErrorCode::kPermissionDenied, ""};
    }
    return api::AuthResponse{"token", {"root"}, {{2, "a", "b"}}, true, 7};
  }
  api::Answer operator()(const api::StatusRequest&) const { return api::StatusResponse{}; }
  // Another front-end's: without a service no session asks for them.
  template <class Native>
  api::Answer operator()(const Native&) const {
    CHECK(false, "a request that no method has");
  }
  api::Answer operator()(const api::HealthRequest&) const { return api::HealthResponse{}; }
  api::Answer operator()(const api::MetricsRequest&) const { return api::MetricsResponse{"m"}; }
};

}  // namespace

// The first byte says how the rest is fed: whether the HTTP/2 preface comes first, and how long the
// pieces are.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto session = etcd::make_session({}, "fuzz");
  api::Session::Effects effects;
  const std::size_t piece = data[0] & 0x3f ? data[0] & 0x3f : size;
  if ((data[0] & 0x80) != 0) session->on_bytes(wire::kHttp2Preface, effects);
  BytesView input(reinterpret_cast<const char*>(data) + 1, size - 1);
  int second = 0;
  std::size_t sent = 0;
  while (!input.empty() && !effects.close) {
    session->on_bytes(input.substr(0, piece), effects);
    input.remove_prefix(std::min(piece, input.size()));
    for (const auto& call : std::exchange(effects.calls, {})) {
      const api::Header header{ClusterId{1}, NodeId{2}, 3, Epoch{4}};
      session->on_response(call.id, {header, std::visit(Canned{}, call.request.body)}, effects);
    }
    if ((data[0] & 0x40) != 0) session->on_tick(Instant{} + seconds(++second), effects);
    sent += effects.send.size();
    effects.send.clear();
  }
  if (!effects.close) session->on_shutdown(effects);
  // Every answer here is short, so a large sum would mean that few bytes cause many.
  CHECK(sent <= 4096 + 1024 * size);
  return 0;
}
