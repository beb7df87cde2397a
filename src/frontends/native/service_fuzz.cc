// Any bytes as a message of any method: what can be read is answered, and with an error too.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "frontends/native/service.h"

namespace {

using namespace conclave;

constexpr std::array<std::pair<const char*, const char*>, 11> kPaths = {{
    {"/conclave.v1.Lock/Acquire", "/v1/lock/acquire"},
    {"/conclave.v1.Lock/Release", "/v1/lock/release"},
    {"/conclave.v1.Lock/Validate", "/v1/lock/validate"},
    {"/conclave.v1.Election/Campaign", "/v1/election/campaign"},
    {"/conclave.v1.Election/Proclaim", "/v1/election/proclaim"},
    {"/conclave.v1.Election/Resign", "/v1/election/resign"},
    {"/conclave.v1.Election/Leader", "/v1/election/leader"},
    {"/conclave.v1.Barrier/Enter", "/v1/barrier/enter"},
    {"/conclave.v1.Barrier/Leave", "/v1/barrier/leave"},
    {"/conclave.v1.Znodes/Import", "/v1/znodes/import"},
    {"/conclave.v1.Znodes/Export", "/v1/znodes/export"},
}};

struct Canned {
  api::Answer operator()(const api::AcquireRequest& acquire) const {
    return api::AcquireResponse{acquire.name + "/1", 3, acquire.permits, 1};
  }
  api::Answer operator()(const api::ReleaseRequest&) const { return api::ReleaseResponse{true, 2}; }
  api::Answer operator()(const api::TxnRequest&) const { return api::TxnResponse{}; }
  api::Answer operator()(const api::CampaignRequest& campaign) const {
    return api::CampaignResponse{{campaign.name, campaign.name + "/1", 3, campaign.lease}};
  }
  api::Answer operator()(const api::ProclaimRequest&) const { return api::ProclaimResponse{}; }
  api::Answer operator()(const api::ResignRequest&) const { return api::ResignResponse{}; }
  api::Answer operator()(const api::LeaderRequest& leader) const {
    return api::LeaderResponse{{leader.name + "/1", "value", 2, 3, 1, 4}};
  }
  api::Answer operator()(const api::EnterRequest& enter) const {
    return api::EnterResponse{true, enter.count};
  }
  api::Answer operator()(const api::LeaveRequest&) const { return api::LeaveResponse{1, 2}; }
  api::Answer operator()(const api::zk::ImportRequest&) const { return api::zk::Reply{}; }
  api::Answer operator()(const api::zk::ExportRequest& request) const {
    const api::zk::TreeNode node{"/a", "x", {{31, {"world", "anyone"}}}, 1, 2, 3, 4, 5, false};
    return api::zk::Reply{{}, 3, api::zk::Tree{"mark", {node}, request.from}};
  }
  template <class Other>
  api::Answer operator()(const Other&) const {
    CHECK(false, "a request that no method has");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using Format = api::Service::Format;
  if (size == 0) return 0;
  const native::NativeService service;
  const bool is_json = (data[0] & 0x80) != 0;
  const Format format = is_json ? Format::kJson : Format::kProtobuf;
  const auto& [grpc, url] = kPaths[data[0] % kPaths.size()];
  const auto method = service.find(format, is_json ? url : grpc);
  CHECK(method.has_value());
  const BytesView message(reinterpret_cast<const char*>(data) + 1, size - 1);
  service.find(format, message);
  const auto request = service.decode(*method, format, message);
  if (!request) return 0;
  const api::Header header{ClusterId{1}, NodeId{2}, 3, Epoch{4}};
  Bytes out;
  CHECK(!service.encode(*method, format, {header, std::visit(Canned{}, request->body)}, out));
  CHECK(out.size() <= 4096 + 8 * size);
  Bytes nothing;
  const api::Error error{api::ErrorCode::kLockConflict, Bytes(message)};
  service.encode(*method, format, {header, error}, nothing);
  return 0;
}
