#include "frontends/zookeeper/words.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "frontends/zookeeper/messages.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;

constexpr std::array<BytesView, 18> kWords = {"conf", "cons", "crst", "dirs", "dump", "envi",
                                              "gtmk", "hash", "isro", "mntr", "ruok", "srst",
                                              "srvr", "stat", "stmk", "wchc", "wchp", "wchs"};

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
                        operation_name(facts.last_opcode), facts.timeout_ms,
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

struct ValueText {
  std::string operator()(std::int64_t value) const { return fmt::format("{}", value); }
  std::string operator()(std::uint64_t value) const { return fmt::format("{}", value); }
  std::string operator()(double value) const { return fmt::format("{:.4f}", value); }
  std::string operator()(const std::string& value) const { return value; }
};

// A line for each.
std::string values_text(std::string_view prefix, const NamedValues& values, char separator) {
  std::string text;
  for (const auto& [name, value] : values) {
    text += fmt::format("{}{}{}{}\n", prefix, name, separator, std::visit(ValueText{}, value));
  }
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
  if (word == "envi") return "Environment:\n" + values_text("", environment_values(told), '=');
  if (is_cut_off(told)) return Bytes(kNotServing) + "\n";
  if (word == "srvr") return server_text(told, false);
  if (word == "stat") return server_text(told, true);
  if (word == "mntr") return values_text("zk_", monitor_values(told), '\t');
  if (word == "conf") return values_text("", configuration_values(told), '=');
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
