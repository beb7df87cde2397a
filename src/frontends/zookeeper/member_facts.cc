#include "frontends/zookeeper/member_facts.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/zookeeper_limits.h"
#include "frontends/zookeeper/messages.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;

// The tick that ZooKeeper's session times are multiples of.
constexpr std::int64_t kTickMs = limits::kZooKeeperTickMs;

std::int64_t number(std::uint64_t value) { return static_cast<std::int64_t>(value); }

std::int64_t port_number(std::uint16_t port) { return port == 0 ? -1 : port; }

std::string peer_state_of(const std::string& mode) {
  if (mode == "leader") return "leading - broadcast";
  return mode == "observer" ? "observing - broadcast" : "following - broadcast";
}

// The members and, at the leader, how it sees them.
void add_quorum(const Told& told, const std::string& mode, NamedValues& values) {
  if (mode == "standalone") return;
  const std::vector<api::Member> members = members_of(told);
  const auto votes = std::ranges::count(members, false, &api::Member::is_learner);
  values.emplace_back("peer_state", peer_state_of(mode));
  values.emplace_back("quorum_size", votes);
  if (mode != "leader") return;
  const api::StatusResponse status = status_of(told);
  std::int64_t followers = 0;
  std::int64_t observers = 0;
  for (const api::StatusResponse::Peer& peer : status.peers) {
    if (!peer.active || peer.state != "replicate") continue;
    const auto member = std::ranges::find(members, peer.id, &api::Member::id);
    const bool is_learner = member != members.end() && member->is_learner;
    ++(is_learner ? observers : followers);
  }
  values.emplace_back("learners", number(status.peers.size()));
  values.emplace_back("synced_followers", followers);
  values.emplace_back("synced_observers", observers);
}

}  // namespace

std::string version_text(const Told& told) {
  return fmt::format("3.8.0-conclave-{}", told.settings.conclave_version);
}

api::StatusResponse status_of(const Told& told) {
  const auto* status = find<api::StatusResponse>(told);
  return status == nullptr ? api::StatusResponse() : *status;
}

bool is_cut_off(const Told& told) {
  const auto* status = find<api::StatusResponse>(told);
  return status != nullptr && !status->leader;
}

std::vector<api::Member> members_of(const Told& told) {
  const auto* list = find<api::MemberListResponse>(told);
  return list == nullptr ? std::vector<api::Member>() : list->members;
}

zk::Zxid zxid_of(const Told& told) {
  const auto* reply = find<zk::Reply>(told);
  return reply == nullptr ? 0 : reply->zxid;
}

std::uint64_t member_id(const Told& told) {
  return told.answers.empty() ? 0 : told.answers[0].header.member.value;
}

std::string mode_of(const Told& told) {
  const std::string role = status_of(told).role;
  if (role == "leader" && members_of(told).size() <= 1) return "standalone";
  return role == "learner" ? "observer" : role == "candidate" ? "looking" : role;
}

BytesView operation_name(std::int32_t opcode) {
  switch (static_cast<Opcode>(opcode)) {
    case Opcode::kCreate:
    case Opcode::kCreate2:
    case Opcode::kCreateContainer:
    case Opcode::kCreateTtl:
      return "CREA";
    case Opcode::kDelete:
    case Opcode::kDeleteContainer:
      return "DELE";
    case Opcode::kExists:
      return "EXIS";
    case Opcode::kGetData:
      return "GETD";
    case Opcode::kSetData:
      return "SETD";
    case Opcode::kGetAcl:
      return "GETA";
    case Opcode::kSetAcl:
      return "SETA";
    case Opcode::kGetChildren:
    case Opcode::kGetChildren2:
      return "GETC";
    case Opcode::kSync:
      return "SYNC";
    case Opcode::kPing:
      return "PING";
    case Opcode::kCheck:
      return "CHEC";
    case Opcode::kMulti:
      return "MULT";
    case Opcode::kReconfig:
      return "RECO";
    case Opcode::kCheckWatches:
      return "CHKW";
    case Opcode::kRemoveWatches:
      return "REMW";
    case Opcode::kMultiRead:
      return "MLTR";
    case Opcode::kSetWatches:
      return "SETW";
    case Opcode::kSetWatches2:
      return "STW2";
    case Opcode::kAddWatch:
      return "ADDW";
    case Opcode::kWhoAmI:
      return "HOMI";
    case Opcode::kGetEphemerals:
      return "GETE";
    case Opcode::kGetAllChildrenNumber:
      return "GETACN";
    case Opcode::kCloseSession:
      return "CLOS";
    case Opcode::kAuth:
    case Opcode::kSasl:
      break;
  }
  return opcode == 0 ? "SESS" : "NA";
}

NamedValues monitor_values(const Told& told) {
  const Traffic& total = told.connections.total;
  const auto counts = found<zk::Counts>(told);
  const std::string mode = mode_of(told);
  NamedValues values = {
      {"version", version_text(told)},
      {"server_state", mode},
      {"avg_latency", total.latencies.mean_ms()},
      {"min_latency", total.latencies.least.ms()},
      {"max_latency", total.latencies.most.ms()},
      {"packets_received", number(total.received)},
      {"packets_sent", number(total.sent)},
      {"num_alive_connections", number(told.connections.all().size())},
      {"outstanding_requests", number(told.connections.unanswered())},
      {"znode_count", number(counts.nodes)},
      {"watch_count", number(counts.watches)},
      {"ephemerals_count", number(counts.ephemerals)},
      {"approximate_data_size", number(counts.data_bytes)},
      {"global_sessions", number(counts.sessions)},
      {"local_sessions", std::int64_t{0}},
      {"open_file_descriptor_count", number(told.process.open_files)},
      {"max_file_descriptor_count", number(told.process.max_files)},
      {"uptime", number(told.process.uptime_ms)},
  };
  add_quorum(told, mode, values);
  return values;
}

NamedValues configuration_values(const Told& told) {
  return {
      {"clientPort", port_number(told.settings.port)},
      {"secureClientPort", port_number(told.settings.secure_port)},
      {"dataDir", told.settings.data_dir},
      {"tickTime", kTickMs},
      {"maxClientCnxns", std::int64_t(told.settings.max_per_address)},
      {"minSessionTimeout", limits::kZooKeeperMinSessionTicks * kTickMs},
      {"maxSessionTimeout", limits::kZooKeeperMaxSessionTicks * kTickMs},
      {"serverId", member_id(told)},
  };
}

NamedValues environment_values(const Told& told) {
  return {{"zookeeper.version", version_text(told)},
          {"conclave.version", told.settings.conclave_version}};
}

}  // namespace conclave::zookeeper
