#include "frontends/native/service.h"

#include <array>

#include "base/check.h"
#include "conclave.pb.h"
#include "frontends/native/refusals.h"
#include "frontends/native/znodes.h"
#include "wire/grpc.h"
#include "wire/json.h"

namespace conclave::native {
namespace {

namespace pb = ::conclave::v1;
using Format = api::Service::Format;
using Refusal = api::Service::Refusal;
using Decoded = std::expected<api::Request, Refusal>;

enum class Call : api::Service::Method {
  kAcquire,
  kRelease,
  kValidate,
  kCampaign,
  kProclaim,
  kResign,
  kLeader,
  kEnter,
  kLeave,
  kImportZnodes,
  kExportZnodes,
};

struct Path {
  BytesView grpc;
  BytesView json;
  Call call;
};
constexpr std::array kPaths = {
    Path{"/conclave.v1.Lock/Acquire", "/v1/lock/acquire", Call::kAcquire},
    Path{"/conclave.v1.Lock/Release", "/v1/lock/release", Call::kRelease},
    Path{"/conclave.v1.Lock/Validate", "/v1/lock/validate", Call::kValidate},
    Path{"/conclave.v1.Election/Campaign", "/v1/election/campaign", Call::kCampaign},
    Path{"/conclave.v1.Election/Proclaim", "/v1/election/proclaim", Call::kProclaim},
    Path{"/conclave.v1.Election/Resign", "/v1/election/resign", Call::kResign},
    Path{"/conclave.v1.Election/Leader", "/v1/election/leader", Call::kLeader},
    Path{"/conclave.v1.Barrier/Enter", "/v1/barrier/enter", Call::kEnter},
    Path{"/conclave.v1.Barrier/Leave", "/v1/barrier/leave", Call::kLeave},
    Path{"/conclave.v1.Znodes/Import", "/v1/znodes/import", Call::kImportZnodes},
    Path{"/conclave.v1.Znodes/Export", "/v1/znodes/export", Call::kExportZnodes},
};

// --- requests -----------------------------------------------------------------------

std::unexpected<Refusal> invalid(Bytes why) {
  return std::unexpected(
      Refusal{static_cast<int>(wire::GrpcCode::kInvalidArgument), std::move(why)});
}

api::LeaderKey to_api(const pb::Term& term) {
  return {term.name(), term.key(), term.token(), term.lease()};
}

Decoded to_api(const pb::AcquireRequest& from) {
  api::AcquireRequest acquire;
  acquire.name = from.name();
  acquire.lease = from.lease();
  acquire.owner = from.owner();
  if (from.mode() < pb::AcquireRequest::EXCLUSIVE || from.mode() > pb::AcquireRequest::SEMAPHORE) {
    return invalid("conclave: invalid lock: unknown mode");
  }
  if (from.wait() < pb::AcquireRequest::UNTIL_HELD || from.wait() > pb::AcquireRequest::IN_QUEUE) {
    return invalid("conclave: invalid lock: unknown way to wait");
  }
  acquire.mode = static_cast<api::LockMode>(from.mode());
  acquire.permits = from.permits();
  acquire.wait = static_cast<api::LockWait>(from.wait());
  return api::Request{std::move(acquire), std::nullopt, std::nullopt};
}
Decoded to_api(const pb::ReleaseRequest& from) {
  api::ReleaseRequest release{from.key(), from.token(), from.altogether(), 0};
  return api::Request{std::move(release), std::nullopt, std::nullopt};
}
// A transaction that does nothing, and not even that unless its fence holds.
Decoded to_api(const pb::ValidateRequest& from) {
  auto fence = api::parse_fence(from.fence());
  if (!fence) return invalid("conclave: invalid fence: " + fence.error());
  return api::Request{api::TxnRequest{}, std::nullopt, std::nullopt, *std::move(fence)};
}
Decoded to_api(const pb::CampaignRequest& from) {
  api::CampaignRequest campaign{from.name(), from.lease(), from.value()};
  return api::Request{std::move(campaign), std::nullopt, std::nullopt};
}
Decoded to_api(const pb::ProclaimRequest& from) {
  api::ProclaimRequest proclaim{to_api(from.term()), from.value()};
  return api::Request{std::move(proclaim), std::nullopt, std::nullopt};
}
Decoded to_api(const pb::ResignRequest& from) {
  return api::Request{api::ResignRequest{to_api(from.term())}, std::nullopt, std::nullopt};
}
Decoded to_api(const pb::LeaderRequest& from) {
  return api::Request{api::LeaderRequest{from.name()}, std::nullopt, std::nullopt};
}
Decoded to_api(const pb::EnterRequest& from) {
  api::EnterRequest enter{from.name(), from.lease(), from.count(), true};
  return api::Request{std::move(enter), std::nullopt, std::nullopt};
}
Decoded to_api(const pb::LeaveRequest& from) {
  api::LeaveRequest leave{from.name(), from.lease(), !from.at_once()};
  return api::Request{std::move(leave), std::nullopt, std::nullopt};
}

Decoded to_api(const pb::ImportRequest& from) {
  return api::Request{znodes_step(from), std::nullopt, std::nullopt};
}
Decoded to_api(const pb::ExportRequest& from) {
  return api::Request{api::zk::ExportRequest{from.from()}, std::nullopt, std::nullopt};
}

template <class Message>
Decoded decode_as(Format format, BytesView bytes) {
  Message message;
  if (format == Format::kJson) {
    if (auto parsed = wire::from_json(bytes, message); !parsed) {
      return invalid(parsed.error().message);
    }
  } else if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return std::unexpected(Refusal{static_cast<int>(wire::GrpcCode::kInternal),
                                   "grpc: error unmarshalling request: unexpected EOF"});
  }
  return to_api(message);
}

// --- answers ------------------------------------------------------------------------

// The alternative that the call asks for.
template <class Expected>
const Expected& get(const api::zk::Reply& reply) {
  const auto* expected = std::get_if<Expected>(&reply.result);
  CHECK(expected != nullptr, "a reply of kind {}", reply.result.index());
  return *expected;
}
template <class Expected>
const Expected& get(const api::Response& response) {
  const auto* expected = std::get_if<Expected>(&response.answer);
  CHECK(expected != nullptr, "answer of kind {}", response.answer.index());
  return *expected;
}

Bytes fence_of(BytesView key, api::Revision token) {
  return api::to_text({Bytes(key.substr(0, key.rfind('/'))), token}).value_or(Bytes());
}

void to_proto(const api::LeaderKey& from, pb::Term& to) {
  to.set_name(from.name);
  to.set_key(from.key);
  to.set_token(from.revision);
  to.set_lease(from.lease);
}

pb::AcquireResponse acquired(const api::AcquireResponse& from) {
  pb::AcquireResponse to;
  to.set_held(from.ahead == 0);
  to.set_key(from.key);
  to.set_token(from.token);
  if (to.held()) to.set_fence(fence_of(from.key, from.token));
  to.set_ahead(from.ahead);
  to.set_times(from.times);
  return to;
}

pb::LeaderResponse leading(const api::KeyValue& from) {
  pb::LeaderResponse to;
  to.mutable_term()->set_name(from.key.substr(0, from.key.rfind('/')));
  to.mutable_term()->set_key(from.key);
  to.mutable_term()->set_token(from.create_revision);
  to.mutable_term()->set_lease(from.lease);
  to.set_value(from.value);
  to.set_fence(fence_of(from.key, from.create_revision));
  return to;
}

template <class Message>
void write(Message message, Format format, const api::Response& response, Bytes& out) {
  message.set_revision(response.header.revision);
  if (format == Format::kJson) {
    out += wire::to_json(message);
  } else {
    out += message.SerializeAsString();
  }
}

// A validation has no error but those of the cluster.
pb::ValidateResponse validated(const api::Response& response) {
  pb::ValidateResponse to;
  const auto* error = std::get_if<api::Error>(&response.answer);
  to.set_valid(error == nullptr);
  if (error != nullptr) to.set_reason(error->detail);
  return to;
}

bool is_fenced_off(const api::Response& response) {
  const auto* error = std::get_if<api::Error>(&response.answer);
  return error != nullptr && error->code == api::ErrorCode::kFenced;
}

}  // namespace

std::optional<api::Service::Method> NativeService::find(Format format, BytesView path) const {
  for (const Path& known : kPaths) {
    const BytesView own = format == Format::kJson ? known.json : known.grpc;
    if (own == path) return static_cast<Method>(known.call);
  }
  return std::nullopt;
}

Decoded NativeService::decode(Method method, Format format, BytesView message) const {
  switch (static_cast<Call>(method)) {
    case Call::kAcquire:
      return decode_as<pb::AcquireRequest>(format, message);
    case Call::kRelease:
      return decode_as<pb::ReleaseRequest>(format, message);
    case Call::kValidate:
      return decode_as<pb::ValidateRequest>(format, message);
    case Call::kCampaign:
      return decode_as<pb::CampaignRequest>(format, message);
    case Call::kProclaim:
      return decode_as<pb::ProclaimRequest>(format, message);
    case Call::kResign:
      return decode_as<pb::ResignRequest>(format, message);
    case Call::kLeader:
      return decode_as<pb::LeaderRequest>(format, message);
    case Call::kEnter:
      return decode_as<pb::EnterRequest>(format, message);
    case Call::kLeave:
      return decode_as<pb::LeaveRequest>(format, message);
    case Call::kImportZnodes:
      return decode_as<pb::ImportRequest>(format, message);
    case Call::kExportZnodes:
      return decode_as<pb::ExportRequest>(format, message);
  }
  CHECK(false, "method {}", method);
}

std::optional<Refusal> NativeService::encode(Method method, Format format,
                                             const api::Response& response, Bytes& out) const {
  const Call call = static_cast<Call>(method);
  if (call == Call::kValidate && is_fenced_off(response)) {
    write(validated(response), format, response, out);
    return std::nullopt;
  }
  if (const auto* error = std::get_if<api::Error>(&response.answer)) return refusal_of(*error);
  switch (call) {
    case Call::kAcquire:
      write(acquired(get<api::AcquireResponse>(response)), format, response, out);
      break;
    case Call::kRelease: {
      const auto& from = get<api::ReleaseResponse>(response);
      pb::ReleaseResponse to;
      to.set_was_there(from.was_there);
      to.set_times(from.times);
      write(std::move(to), format, response, out);
      break;
    }
    case Call::kValidate:
      write(validated(response), format, response, out);
      break;
    case Call::kCampaign: {
      const auto& from = get<api::CampaignResponse>(response);
      pb::CampaignResponse to;
      to_proto(from.leader, *to.mutable_term());
      to.set_fence(fence_of(from.leader.key, from.leader.revision));
      write(std::move(to), format, response, out);
      break;
    }
    case Call::kProclaim:
      write(pb::ProclaimResponse(), format, response, out);
      break;
    case Call::kResign:
      write(pb::ResignResponse(), format, response, out);
      break;
    case Call::kLeader:
      write(leading(get<api::LeaderResponse>(response).kv), format, response, out);
      break;
    case Call::kEnter: {
      pb::EnterResponse to;
      to.set_present(get<api::EnterResponse>(response).present);
      write(std::move(to), format, response, out);
      break;
    }
    case Call::kLeave: {
      pb::LeaveResponse to;
      to.set_present(get<api::LeaveResponse>(response).present);
      write(std::move(to), format, response, out);
      break;
    }
    case Call::kImportZnodes: {
      const auto& reply = get<api::zk::Reply>(response);
      if (reply.code != api::zk::Code::kOk) return refusal_of(reply);
      write(pb::ImportResponse(), format, response, out);
      break;
    }
    case Call::kExportZnodes:
      write(znodes_part(get<api::zk::Tree>(get<api::zk::Reply>(response))), format, response, out);
      break;
  }
  return std::nullopt;
}

}  // namespace conclave::native
