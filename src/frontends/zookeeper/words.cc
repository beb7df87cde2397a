#include "frontends/zookeeper/words.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "base/zookeeper_limits.h"
#include "frontends/zookeeper/messages.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;

// The tick that ZooKeeper's session times are multiples of.
constexpr std::int64_t kTickMs = limits::kZooKeeperTickMs;

constexpr std::array<BytesView, 18> kWords = {"conf", "cons", "crst", "dirs", "dump", "envi",
                                              "gtmk", "hash", "isro", "mntr", "ruok", "srst",
                                              "srvr", "stat", "stmk", "wchc", "wchp", "wchs"};

// Version 3.8's commands, as its clients know them, and which server it is.
std::string version_text(const Told& told) {
  return fmt::format("3.8.0-conclave-{}", told.settings.conclave_version);
}

template <class T>
const T* find(const Told& told) {
  for (const api::Response& response : told.answers) {
    if (const auto* answer = std::get_if<T>(&response.answer)) return answer;
  }
  return nullptr;
}

// Of what was asked with a ReadRequest; empty if it could not be answered.
template <class T>
T found(const Told& told) {
  const auto* reply = find<zk::Reply>(told);
  const auto* result = reply == nullptr ? nullptr : std::get_if<T>(&reply->result);
  return result == nullptr ? T() : *result;
}

api::StatusResponse status_of(const Told& told) {
  const auto* status = find<api::StatusResponse>(told);
  return status == nullptr ? api::StatusResponse() : *status;
}

// As ZooKeeper answers while it has no quorum.
bool is_cut_off(const Told& told) {
  const auto* status = find<api::StatusResponse>(told);
  return status != nullptr && !status->leader;
}
constexpr BytesView kNotServing = "This ZooKeeper instance is not currently serving requests\n";

std::vector<api::Member> members_of(const Told& told) {
  const auto* list = find<api::MemberListResponse>(told);
  return list == nullptr ? std::vector<api::Member>() : list->members;
}

zk::Zxid zxid_of(const Told& told) {
  const auto* reply = find<zk::Reply>(told);
  return reply == nullptr ? 0 : reply->zxid;
}

// As ZooKeeper calls it.
std::string mode_of(const Told& told) {
  const std::string role = status_of(told).role;
  if (role == "leader" && members_of(told).size() <= 1) return "standalone";
  return role == "learner" ? "observer" : role == "candidate" ? "looking" : role;
}

std::string session_text(zk::SessionId session) {
  return fmt::format("{:#x}", static_cast<std::uint64_t>(session));
}

std::string connection_text(const ConnectionFacts& facts, bool is_long) {
  std::string text =
      fmt::format(" /{}[{}](queued={},recved={},sent={}", facts.peer, facts.session == 0 ? 0 : 1,
                  facts.unanswered, facts.traffic.received, facts.traffic.sent);
  if (is_long && facts.session != 0) {
    const Latencies& latencies = facts.traffic.latencies;
    text += fmt::format(",sid={},lop={},to={},lcxid={:#x},lzxid={:#x}", session_text(facts.session),
                        facts.last_opcode, facts.timeout_ms,
                        static_cast<std::uint32_t>(facts.last_xid), facts.last_zxid);
    text += fmt::format(",minlat={},avglat={:.0f},maxlat={}", latencies.least.ms(),
                        latencies.mean_ms(), latencies.most.ms());
  }
  return text + ")\n";
}

std::string connections_text(const Told& told, bool is_long) {
  std::string text;
  for (const auto& [id, facts] : told.connections.all()) text += connection_text(facts, is_long);
  return text + "\n";
}

std::string server_text(const Told& told, bool with_clients) {
  const Traffic& total = told.connections.total;
  std::string text = fmt::format("Zookeeper version: {}\n", version_text(told));
  if (with_clients) text += "Clients:\n" + connections_text(told, false);
  text += fmt::format("Latency min/avg/max: {}/{:.4f}/{}\n", total.latencies.least.ms(),
                      total.latencies.mean_ms(), total.latencies.most.ms());
  text += fmt::format("Received: {}\nSent: {}\nConnections: {}\nOutstanding: {}\n", total.received,
                      total.sent, told.connections.all().size(), told.connections.unanswered());
  text += fmt::format("Zxid: {:#x}\nMode: {}\nNode count: {}\n", zxid_of(told), mode_of(told),
                      found<zk::Counts>(told).nodes);
  return text;
}

std::string configuration_text(const Told& told) {
  const auto port_text = [](std::uint16_t port) { return port == 0 ? -1 : int{port}; };
  return fmt::format(
      "clientPort={}\nsecureClientPort={}\ndataDir={}\ntickTime={}\nmaxClientCnxns={}\n"
      "minSessionTimeout={}\nmaxSessionTimeout={}\nserverId={}\n",
      port_text(told.settings.port), port_text(told.settings.secure_port), told.settings.data_dir,
      kTickMs, told.settings.max_per_address, limits::kZooKeeperMinSessionTicks * kTickMs,
      limits::kZooKeeperMaxSessionTicks * kTickMs,
      told.answers.empty() ? 0 : told.answers[0].header.member.value);
}

std::string environment_text(const Told& told) {
  return fmt::format("Environment:\nzookeeper.version={}\nconclave.version={}\n",
                     version_text(told), told.settings.conclave_version);
}

// The leader's followers, as it sees them.
std::string followers_text(const Told& told) {
  const api::StatusResponse status = status_of(told);
  const auto synced =
      std::ranges::count_if(status.peers, [](const api::StatusResponse::Peer& peer) {
        return peer.active && peer.state == "replicate";
      });
  const auto votes = std::ranges::count_if(
      members_of(told), [](const api::Member& member) { return !member.is_learner; });
  return fmt::format("zk_learners\t{}\nzk_synced_followers\t{}\nzk_quorum_size\t{}\n",
                     status.peers.size(), synced, votes);
}

std::string monitor_text(const Told& told) {
  const Traffic& total = told.connections.total;
  const auto counts = found<zk::Counts>(told);
  std::string text;
  const auto add = [&text](std::string_view name, const auto& value) {
    text += fmt::format("zk_{}\t{}\n", name, value);
  };
  add("version", version_text(told));
  add("server_state", mode_of(told));
  add("avg_latency", fmt::format("{:.4f}", total.latencies.mean_ms()));
  add("min_latency", total.latencies.least.ms());
  add("max_latency", total.latencies.most.ms());
  add("packets_received", total.received);
  add("packets_sent", total.sent);
  add("num_alive_connections", told.connections.all().size());
  add("outstanding_requests", told.connections.unanswered());
  add("znode_count", counts.nodes);
  add("watch_count", counts.watches);
  add("ephemerals_count", counts.ephemerals);
  add("approximate_data_size", counts.data_bytes);
  add("global_sessions", counts.sessions);
  add("open_file_descriptor_count", told.process.open_files);
  add("max_file_descriptor_count", told.process.max_files);
  add("uptime", told.process.uptime_ms);
  if (mode_of(told) == "leader") text += followers_text(told);
  return text;
}

std::string sessions_text(const Told& told) {
  const auto dump = found<zk::SessionDump>(told);
  std::string text = fmt::format("SessionTracker dump:\nSession Sets (1)/({}):\n{} expire:\n",
                                 dump.sessions.size(), dump.sessions.size());
  std::size_t owners = 0;
  std::string nodes;
  for (const zk::SessionDump::One& one : dump.sessions) {
    text += fmt::format("\t{}\n", session_text(one.id));
    if (one.ephemerals.empty()) continue;
    ++owners;
    nodes += session_text(one.id) + ":\n";
    for (const Bytes& path : one.ephemerals) nodes += "\t" + path + "\n";
  }
  text += fmt::format("ephemeral nodes dump:\nSessions with Ephemerals ({}):\n{}", owners, nodes);
  text +=
      fmt::format("Connections dump:\nConnections Sets (1)/({}):\n", told.connections.all().size());
  for (const auto& [id, facts] : told.connections.all()) {
    text += fmt::format("\tip: /{} sessionId: {}\n", facts.peer, session_text(facts.session));
  }
  return text;
}

std::string watches_by_path(const Told& told) {
  std::string text;
  for (const zk::WatchDump::One& one : found<zk::WatchDump>(told).paths) {
    text += one.path + "\n";
    for (const zk::SessionId session : one.sessions) text += "\t" + session_text(session) + "\n";
  }
  return text + "\n";
}

std::string watches_by_session(const Told& told) {
  std::map<zk::SessionId, std::string> of_sessions;
  for (const zk::WatchDump::One& one : found<zk::WatchDump>(told).paths) {
    for (const zk::SessionId session : one.sessions) of_sessions[session] += "\t" + one.path + "\n";
  }
  std::string text;
  for (const auto& [session, paths] : of_sessions) text += session_text(session) + "\n" + paths;
  return text + "\n";
}

std::string watch_summary(const Told& told) {
  const auto counts = found<zk::Counts>(told);
  return fmt::format("{} connections watching {} paths\nTotal watches:{}\n", counts.watchers,
                     counts.watched_paths, counts.watches);
}

api::Body local_read(Read what) {
  return zk::ReadRequest{.caller = {}, .local = true, .op = std::move(what)};
}

}  // namespace

bool is_word(BytesView four) { return std::ranges::find(kWords, four) != kWords.end(); }

bool is_allowed(const WordSettings& settings, BytesView word) {
  return std::ranges::any_of(
      settings.allowed, [word](const std::string& each) { return each == "*" || each == word; });
}

std::vector<api::Body> questions_of(BytesView word) {
  std::vector<api::Body> questions;
  if (word != "ruok" && word != "srst" && word != "crst") {
    questions.emplace_back(api::StatusRequest{});
  }
  if (word == "srvr" || word == "stat" || word == "mntr") {
    questions.emplace_back(api::MemberListRequest{});
    questions.push_back(local_read(zk::GetCounts{}));
  }
  if (word == "wchs") questions.push_back(local_read(zk::GetCounts{}));
  if (word == "dump") questions.push_back(local_read(zk::DumpSessions{}));
  if (word == "wchp" || word == "wchc") questions.push_back(local_read(zk::DumpWatches{}));
  return questions;
}

Bytes answer_word(BytesView word, Told& told) {
  if (word == "ruok") return "imok";
  if (word == "isro") return is_cut_off(told) ? "null" : "rw";
  if (word == "envi") return environment_text(told);
  if (is_cut_off(told)) return Bytes(kNotServing);
  if (word == "srvr") return server_text(told, false);
  if (word == "stat") return server_text(told, true);
  if (word == "mntr") return monitor_text(told);
  if (word == "conf") return configuration_text(told);
  if (word == "cons") return connections_text(told, true);
  if (word == "dump") return sessions_text(told);
  if (word == "wchs") return watch_summary(told);
  if (word == "wchp") return watches_by_path(told);
  if (word == "wchc") return watches_by_session(told);
  if (word == "crst") {
    told.connections.reset_connections();
    return "Connection stats reset.\n";
  }
  if (word == "srst") {
    told.connections.total = {};
    return "Server stats reset.\n";
  }
  if (word == "hash") {
    const api::StatusResponse status = status_of(told);
    return fmt::format("{:#x}: {:#x}\n", status.applied_index.value, status.state_hash);
  }
  return refuse_word(word);
}

Bytes refuse_word(BytesView word) {
  return fmt::format("{} is not executed because it is not in the whitelist.\n", word);
}

}  // namespace conclave::zookeeper
