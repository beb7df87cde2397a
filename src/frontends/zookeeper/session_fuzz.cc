// Any bytes into a session, in pieces, with what it asks for answered, events and ticks in between:
// nothing may crash, and what the session says must not grow without bound.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/zookeeper_limits.h"
#include "frontends/zookeeper/messages.h"
#include "frontends/zookeeper/session.h"

namespace {

using namespace conclave;
namespace zk = api::zk;

const zk::Stat kStat{.czxid = 3, .mzxid = 4, .data_length = 5, .pzxid = 6};

struct CannedWrite {
  zk::Reply operator()(const zk::Create& create) const {
    return {zk::Code::kOk, 7, zk::Created{create.path, kStat}};
  }
  zk::Reply operator()(const zk::SetData&) const { return {zk::Code::kOk, 7, zk::Changed{kStat}}; }
  zk::Reply operator()(const zk::SetAcl&) const { return {zk::Code::kOk, 7, zk::Changed{kStat}}; }
  zk::Reply operator()(const zk::Multi& multi) const {
    zk::Results results;
    for (const zk::Operation& operation : multi.operations) {
      zk::Results::One one;
      if (std::holds_alternative<zk::Create>(operation)) one.result = zk::Created{"/c", kStat};
      if (std::holds_alternative<zk::SetData>(operation)) one.result = zk::Changed{kStat};
      if (std::holds_alternative<zk::Check>(operation)) one.code = zk::Code::kBadVersion;
      results.results.push_back(std::move(one));
    }
    return {zk::Code::kOk, 7, std::move(results)};
  }
  zk::Reply operator()(const zk::OpenSession& open) const {
    return {zk::Code::kOk, 7, zk::Session{9, Bytes(zk::kPasswordBytes, 'p'), open.timeout_ms, 1}};
  }
  zk::Reply operator()(const zk::Reconnect& back) const {
    if (back.id % 2 != 0) return {zk::Code::kSessionExpired, 7, {}};
    return {zk::Code::kOk, 7, zk::Session{back.id, back.password, 5'000, 2}};
  }
  template <class Other>
  zk::Reply operator()(const Other&) const {
    return {zk::Code::kNoNode, 7, {}};
  }
};

struct CannedRead {
  zk::Reply operator()(const zk::GetData&) const {
    return {zk::Code::kOk, 7, zk::Data{"data", kStat}};
  }
  zk::Reply operator()(const zk::Exists&) const { return {zk::Code::kOk, 7, zk::Changed{kStat}}; }
  zk::Reply operator()(const zk::GetAcl&) const {
    return {zk::Code::kOk, 7, zk::Acls{{{31, {"world", "anyone"}}}, kStat}};
  }
  zk::Reply operator()(const zk::GetChildren&) const {
    return {zk::Code::kOk, 7, zk::Names{{"a", "b"}, kStat}};
  }
  zk::Reply operator()(const zk::MultiRead& multi) const {
    zk::Results results;
    for (const auto& operation : multi.operations) {
      zk::Results::One one;
      if (std::holds_alternative<zk::GetData>(operation)) one.result = zk::Data{"data", kStat};
      if (std::holds_alternative<zk::GetChildren>(operation)) one.code = zk::Code::kNoAuth;
      results.results.push_back(std::move(one));
    }
    return {zk::Code::kOk, 7, std::move(results)};
  }
  template <class Other>
  zk::Reply operator()(const Other&) const {
    return {zk::Code::kOk, 7, {}};
  }
};

api::Answer answer_to(const api::Body& body) {
  if (const auto* write = std::get_if<zk::WriteRequest>(&body)) {
    return std::visit(CannedWrite{}, write->op);
  }
  if (const auto* read = std::get_if<zk::ReadRequest>(&body)) {
    return std::visit(CannedRead{}, read->op);
  }
  if (const auto* change = std::get_if<zk::ReconfigRequest>(&body)) {
    CHECK(change->joining.size() + change->leaving.size() <= limits::kMaxReconfiguredServers);
    return zk::Reply{zk::Code::kOk, 7, zk::Configured{"version=7", kStat}};
  }
  if (std::holds_alternative<zk::PingRequest>(body)) return zk::Reply{zk::Code::kOk, 7, {}};
  if (std::holds_alternative<api::StatusRequest>(body)) return api::StatusResponse{};
  if (std::holds_alternative<api::MemberListRequest>(body)) return api::MemberListResponse{};
  CHECK(false, "a request that no packet has");
}

}  // namespace

// The first byte says how the rest is fed: whether a session is asked for first, and how long the
// pieces are.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  zookeeper::SessionOptions options;
  options.words.allowed = {"*"};
  options.reconfig = true;
  options.connections = std::make_shared<zookeeper::Connections>();
  const auto session = zookeeper::make_session(options, "10.0.0.1:1234", {});
  api::Session::Effects effects;
  const std::size_t piece = data[0] & 0x3f ? data[0] & 0x3f : size;
  const Bytes connect =
      Bytes("\0\0\0\x2c", 4) + Bytes(24, '\0') + Bytes("\0\0\0\x10", 4) + Bytes(16, '\0');
  if ((data[0] & 0x80) != 0) session->on_bytes(connect, effects);
  BytesView input(reinterpret_cast<const char*>(data) + 1, size - 1);
  int second = 0;
  std::size_t sent = 0;
  while (!input.empty() && !effects.close) {
    session->on_bytes(input.substr(0, piece), effects);
    input.remove_prefix(std::min(piece, input.size()));
    while (!effects.calls.empty() && !effects.close) {
      for (auto& call : std::exchange(effects.calls, {})) {
        const api::Header header{ClusterId{1}, NodeId{2}, 3, Epoch{4}};
        session->on_response(call.id, {header, answer_to(call.request.body)}, effects);
      }
    }
    if ((data[0] & 0x40) != 0) {
      session->on_tick(Instant{} + seconds(++second), effects);
      session->on_zookeeper(zk::Event{zk::EventType::kCreated, "/a", 8}, effects);
    }
    sent += effects.send.size();
    effects.send.clear();
  }
  if (!effects.close) session->on_shutdown(effects);
  // Every answer here is short, so a large sum would mean that few bytes cause many.
  CHECK(sent <= 4096 + 1024 * size);
  return 0;
}
