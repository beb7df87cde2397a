#include "frontends/etcd/codec.h"

#include <google/protobuf/io/coded_stream.h>

#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "etcd.pb.h"
#include "etcd_election.pb.h"
#include "etcd_health.pb.h"
#include "etcd_lock.pb.h"
#include "frontends/etcd/auth_codec.h"
#include "frontends/etcd/errors.h"
#include "frontends/etcd/message_codec.h"
#include "frontends/etcd/translate.h"
#include "wire/json.h"

namespace conclave::etcd {
namespace {

using wire::GrpcCode;
using wire::GrpcStatus;
using Decoded = std::expected<api::Body, GrpcStatus>;

// A kept message gives its memory back once it has carried more than this.
constexpr std::size_t kKeptMessageBytes = 16 * limits::kKiB;

// Transactions nest; each level takes two of protobuf's, whose default of 100 is less than etcd
// takes.
constexpr int kMaxMessageDepth = 2 * static_cast<int>(limits::kMaxTxnOps) + 10;

bool parse_protobuf(google::protobuf::Message& message, BytesView bytes) {
  const auto size = static_cast<int>(bytes.size());
  if (message.GetDescriptor() != pb::TxnRequest::descriptor()) {
    return message.ParseFromArray(bytes.data(), size);
  }
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                                size);
  stream.SetRecursionLimit(kMaxMessageDepth);
  return message.ParseFromCodedStream(&stream) && stream.ConsumedEntireMessage();
}

template <class Message>
Decoded decode_as(Message& message, Format format, BytesView bytes) {
  if (auto parsed = parse_message(message, format, bytes); !parsed)
    return std::unexpected(parsed.error());
  auto translated = to_api(message);
  if (!translated) return std::unexpected(status_of(translated.error()));
  return api::Body(std::move(*translated));
}

template <class Message>
Decoded decode_as(Format format, BytesView bytes) {
  Message message;
  return decode_as(message, format, bytes);
}

// For requests of a leader, which etcd refuses without one.
template <class Message>
Decoded decode_of_leader(Format format, BytesView bytes) {
  Message message;
  if (auto parsed = parse_message(message, format, bytes); !parsed)
    return std::unexpected(parsed.error());
  if (!message.has_leader()) {
    return std::unexpected(GrpcStatus{GrpcCode::kUnknown, R"("leader" field must be provided)"});
  }
  return api::Body(*to_api(message));
}

// For requests whose fields do not matter here.
template <class Message>
Decoded decode_empty(Format format, BytesView bytes, api::Body body) {
  Message message;
  if (auto parsed = parse_message(message, format, bytes); !parsed)
    return std::unexpected(parsed.error());
  return body;
}

Decoded decode_health(Format format, BytesView bytes) {
  grpc::health::v1::HealthCheckRequest message;
  if (auto parsed = parse_message(message, format, bytes); !parsed)
    return std::unexpected(parsed.error());
  // The server as a whole is what etcd registers.
  if (!message.service().empty()) {
    return std::unexpected(GrpcStatus{GrpcCode::kNotFound, "unknown service"});
  }
  return api::HealthRequest{};
}

// The alternative that the method's request asks for.
template <class Expected>
Expected& get(api::Answer& answer) {
  auto* expected = std::get_if<Expected>(&answer);
  CHECK(expected != nullptr, "answer of kind {}", answer.index());
  return *expected;
}

template <class Expected, class Message>
void encode_as(Message& message, Format format, const api::Header& header, api::Answer& answer,
               Bytes& out) {
  to_proto(header, *message.mutable_header());
  to_proto(get<Expected>(answer), message);
  write_message(message, format, out);
}

template <class Message>
void encode_change(Format format, const api::Header& header, api::Answer& answer, Bytes& out) {
  Message message;
  encode_as<api::MemberChangeResponse>(message, format, header, answer, out);
}

template <class Expected, class Message>
void encode_kept(Message& message, Format format, const api::Header& header, api::Answer& answer,
                 Bytes& out) {
  const std::size_t begin = out.size();
  message.Clear();
  encode_as<Expected>(message, format, header, answer, out);
  if (out.size() - begin > kKeptMessageBytes) message = Message();
}

}  // namespace

std::expected<void, GrpcStatus> parse_message(google::protobuf::Message& message, Format format,
                                              BytesView bytes) {
  if (format == Format::kJson) {
    auto parsed = wire::from_json(bytes, message);
    if (parsed) return {};
    return std::unexpected(GrpcStatus{GrpcCode::kInvalidArgument, parsed.error().message});
  }
  if (parse_protobuf(message, bytes)) return {};
  return std::unexpected(
      GrpcStatus{GrpcCode::kInternal, "grpc: error unmarshalling request: unexpected EOF"});
}

void write_message(const google::protobuf::Message& message, Format format, Bytes& out) {
  if (format == Format::kJson) {
    out += wire::to_json(message);
    return;
  }
  const std::size_t begin = out.size();
  const std::size_t size = message.ByteSizeLong();
  out.resize(begin + size);
  message.SerializeWithCachedSizesToArray(reinterpret_cast<std::uint8_t*>(out.data() + begin));
}

struct Codec::Messages {
  pb::PutRequest put_request;
  pb::RangeRequest range_request;
  pb::PutResponse put_response;
  pb::RangeResponse range_response;
};

Codec::Codec() : messages_(std::make_unique<Messages>()) {}
Codec::~Codec() = default;

Decoded Codec::decode(Method method, Format format, BytesView bytes) {
  if (is_of_auth(method)) return decode_auth_request(method, format, bytes);
  switch (method) {
    case Method::kService:
      break;
    case Method::kPut:
      return decode_as(messages_->put_request, format, bytes);
    case Method::kRange:
      return decode_as(messages_->range_request, format, bytes);
    case Method::kTxn:
      return decode_as<pb::TxnRequest>(format, bytes);
    case Method::kDeleteRange:
      return decode_as<pb::DeleteRangeRequest>(format, bytes);
    case Method::kCompact:
      return decode_as<pb::CompactionRequest>(format, bytes);
    case Method::kLeaseGrant:
      return decode_as<pb::LeaseGrantRequest>(format, bytes);
    case Method::kLeaseRevoke:
      return decode_as<pb::LeaseRevokeRequest>(format, bytes);
    case Method::kLeaseKeepAlive:
      return decode_as<pb::LeaseKeepAliveRequest>(format, bytes);
    case Method::kLeaseTimeToLive:
      return decode_as<pb::LeaseTimeToLiveRequest>(format, bytes);
    case Method::kLeaseLeases:
      return decode_empty<pb::LeaseLeasesRequest>(format, bytes, api::LeaseLeasesRequest{});
    case Method::kMemberList:
      return decode_empty<pb::MemberListRequest>(format, bytes, api::MemberListRequest{});
    case Method::kMemberAdd:
      return decode_as<pb::MemberAddRequest>(format, bytes);
    case Method::kMemberRemove:
      return decode_as<pb::MemberRemoveRequest>(format, bytes);
    case Method::kMemberUpdate:
      return decode_as<pb::MemberUpdateRequest>(format, bytes);
    case Method::kMemberPromote:
      return decode_as<pb::MemberPromoteRequest>(format, bytes);
    case Method::kStatus:
      return decode_empty<pb::StatusRequest>(format, bytes, api::StatusRequest{});
    case Method::kAlarm:
      return decode_as<pb::AlarmRequest>(format, bytes);
    case Method::kMoveLeader:
      return decode_as<pb::MoveLeaderRequest>(format, bytes);
    case Method::kHash:
      return decode_empty<pb::HashRequest>(format, bytes, api::HashRequest{});
    case Method::kHashKv:
      return decode_as<pb::HashKVRequest>(format, bytes);
    case Method::kDefragment:
      return decode_empty<pb::DefragmentRequest>(format, bytes, api::DefragmentRequest{});
    case Method::kSnapshot:
      return decode_as<pb::SnapshotRequest>(format, bytes);
    case Method::kDowngrade:
      return std::unexpected(status_of(
          {api::ErrorCode::kUnsupported, "no earlier version has other formats to go back to"}));
    case Method::kHealthCheck:
    case Method::kHealthWatch:
      return decode_health(format, bytes);
    case Method::kLock:
      return decode_as<v3lockpb::LockRequest>(format, bytes);
    case Method::kUnlock:
      return decode_as<v3lockpb::UnlockRequest>(format, bytes);
    case Method::kCampaign:
      return decode_as<v3electionpb::CampaignRequest>(format, bytes);
    case Method::kProclaim:
      return decode_of_leader<v3electionpb::ProclaimRequest>(format, bytes);
    case Method::kLeader:
      return decode_as<v3electionpb::LeaderRequest>(format, bytes);
    case Method::kResign:
      return decode_of_leader<v3electionpb::ResignRequest>(format, bytes);
    case Method::kAuthEnable:
    case Method::kAuthDisable:
    case Method::kAuthStatus:
    case Method::kAuthenticate:
    case Method::kUserAdd:
    case Method::kUserGet:
    case Method::kUserList:
    case Method::kUserDelete:
    case Method::kUserChangePassword:
    case Method::kUserGrantRole:
    case Method::kUserRevokeRole:
    case Method::kRoleAdd:
    case Method::kRoleGet:
    case Method::kRoleList:
    case Method::kRoleDelete:
    case Method::kRoleGrantPermission:
    case Method::kRoleRevokePermission:
    case Method::kWatch:
    case Method::kObserve:
      break;  // auth_codec.h, watch_codec.h
  }
  CHECK(false, "method {} is no call", static_cast<int>(method));
  std::unreachable();
}

void Codec::encode(Method method, Format format, const api::Header& header, api::Answer& answer,
                   Bytes& out) {
  if (is_of_auth(method)) {
    return encode_auth_response(method, format, header, get<api::AuthResponse>(answer), out);
  }
  switch (method) {
    case Method::kService:
      break;
    case Method::kPut:
      return encode_kept<api::PutResponse>(messages_->put_response, format, header, answer, out);
    case Method::kRange:
      return encode_kept<api::RangeResponse>(messages_->range_response, format, header, answer,
                                             out);
    case Method::kTxn: {
      pb::TxnResponse message;
      to_proto(header, *message.mutable_header());
      to_proto(get<api::TxnResponse>(answer), header.revision, message);
      return write_message(message, format, out);
    }
    case Method::kDeleteRange: {
      pb::DeleteRangeResponse message;
      return encode_as<api::DeleteRangeResponse>(message, format, header, answer, out);
    }
    case Method::kCompact: {
      pb::CompactionResponse message;
      get<api::CompactResponse>(answer);
      to_proto(header, *message.mutable_header());
      return write_message(message, format, out);
    }
    case Method::kLeaseGrant: {
      pb::LeaseGrantResponse message;
      return encode_as<api::LeaseGrantResponse>(message, format, header, answer, out);
    }
    case Method::kLeaseRevoke: {
      pb::LeaseRevokeResponse message;
      return encode_as<api::LeaseRevokeResponse>(message, format, header, answer, out);
    }
    case Method::kLeaseKeepAlive: {
      pb::LeaseKeepAliveResponse message;
      return encode_as<api::LeaseKeepAliveResponse>(message, format, header, answer, out);
    }
    case Method::kLeaseTimeToLive: {
      pb::LeaseTimeToLiveResponse message;
      return encode_as<api::LeaseTimeToLiveResponse>(message, format, header, answer, out);
    }
    case Method::kLeaseLeases: {
      pb::LeaseLeasesResponse message;
      return encode_as<api::LeaseLeasesResponse>(message, format, header, answer, out);
    }
    case Method::kMemberList: {
      pb::MemberListResponse message;
      return encode_as<api::MemberListResponse>(message, format, header, answer, out);
    }
    case Method::kMemberAdd:
      return encode_change<pb::MemberAddResponse>(format, header, answer, out);
    case Method::kMemberRemove:
      return encode_change<pb::MemberRemoveResponse>(format, header, answer, out);
    case Method::kMemberUpdate:
      return encode_change<pb::MemberUpdateResponse>(format, header, answer, out);
    case Method::kMemberPromote:
      return encode_change<pb::MemberPromoteResponse>(format, header, answer, out);
    case Method::kStatus: {
      pb::StatusResponse message;
      return encode_as<api::StatusResponse>(message, format, header, answer, out);
    }
    case Method::kAlarm: {  // without a header, as etcd's and the next ones
      pb::AlarmResponse message;
      to_proto(get<api::AlarmResponse>(answer), message);
      return write_message(message, format, out);
    }
    case Method::kMoveLeader: {
      pb::MoveLeaderResponse message;
      get<api::MoveLeaderResponse>(answer);
      return write_message(message, format, out);
    }
    case Method::kHash: {
      pb::HashResponse message;
      return encode_as<api::HashResponse>(message, format, header, answer, out);
    }
    case Method::kHashKv: {
      pb::HashKVResponse message;
      return encode_as<api::HashKvResponse>(message, format, header, answer, out);
    }
    case Method::kDefragment: {
      pb::DefragmentResponse message;
      get<api::DefragmentResponse>(answer);
      return write_message(message, format, out);
    }
    case Method::kHealthCheck:
    case Method::kHealthWatch: {
      using grpc::health::v1::HealthCheckResponse;
      HealthCheckResponse message;
      message.set_status(get<api::HealthResponse>(answer).healthy
                             ? HealthCheckResponse::SERVING
                             : HealthCheckResponse::NOT_SERVING);
      return write_message(message, format, out);
    }
    case Method::kLock: {
      v3lockpb::LockResponse message;
      return encode_as<api::LockResponse>(message, format, header, answer, out);
    }
    case Method::kUnlock: {
      v3lockpb::UnlockResponse message;
      get<api::DeleteRangeResponse>(answer);
      to_proto(header, *message.mutable_header());
      return write_message(message, format, out);
    }
    case Method::kCampaign: {
      v3electionpb::CampaignResponse message;
      return encode_as<api::CampaignResponse>(message, format, header, answer, out);
    }
    case Method::kProclaim: {
      v3electionpb::ProclaimResponse message;
      return encode_as<api::ProclaimResponse>(message, format, header, answer, out);
    }
    case Method::kLeader: {
      v3electionpb::LeaderResponse message;
      return encode_as<api::LeaderResponse>(message, format, header, answer, out);
    }
    case Method::kResign: {
      v3electionpb::ResignResponse message;
      return encode_as<api::ResignResponse>(message, format, header, answer, out);
    }
    case Method::kSnapshot:  // snapshot_stream.h
    case Method::kDowngrade:
    case Method::kWatch:
    case Method::kObserve:
    case Method::kAuthEnable:  // auth_codec.h
    case Method::kAuthDisable:
    case Method::kAuthStatus:
    case Method::kAuthenticate:
    case Method::kUserAdd:
    case Method::kUserGet:
    case Method::kUserList:
    case Method::kUserDelete:
    case Method::kUserChangePassword:
    case Method::kUserGrantRole:
    case Method::kUserRevokeRole:
    case Method::kRoleAdd:
    case Method::kRoleGet:
    case Method::kRoleList:
    case Method::kRoleDelete:
    case Method::kRoleGrantPermission:
    case Method::kRoleRevokePermission:
      break;
  }
  CHECK(false, "method {} is no call", static_cast<int>(method));
  std::unreachable();
}

}  // namespace conclave::etcd
