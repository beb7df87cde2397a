#include "frontends/zookeeper/admin.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "frontends/zookeeper/words.h"
#include "wire/json.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;

// Its name, the word with the same values (which is another name of it), and more names.
struct Command {
  BytesView name;
  BytesView word;  // empty: there is none
  BytesView alias;
};
constexpr std::array<Command, 19> kCommands = {{
    {"configuration", "conf", "config"},
    {"connection_stat_reset", "crst", ""},
    {"connections", "cons", ""},
    {"dump", "dump", ""},
    {"environment", "envi", "env"},
    {"hash", "hash", ""},
    {"is_read_only", "isro", ""},
    {"leader", "", "lead"},
    {"monitor", "mntr", ""},
    {"observers", "", "obsr"},
    {"ruok", "ruok", ""},
    {"server_stats", "srvr", ""},
    {"stat_reset", "srst", ""},
    {"stats", "stat", ""},
    {"voting_view", "", ""},
    {"watch_summary", "wchs", ""},
    {"watches", "wchc", ""},
    {"watches_by_path", "wchp", ""},
    {"zabstate", "", ""},
}};

const Command& command_of(BytesView name) {
  return *std::ranges::find(kCommands, name, &Command::name);
}

// --- JSON ---------------------------------------------------------------------------

// How many bytes the character has that `text` begins with; 0: it is none of UTF-8's.
std::size_t character_bytes(BytesView text) {
  const auto byte = [&](std::size_t i) -> std::uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const std::size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Longer than it has to be, a surrogate, or beyond the last character.
  const bool is_wrong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
                        (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f);
  return is_wrong ? 0 : size;
}

// JSON is UTF-8: bytes that are none become U+FFFD.
Bytes json_string(BytesView text) {
  Bytes valid;
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    valid += size == 0 ? BytesView("\xef\xbf\xbd") : text.substr(0, size);
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return wire::json_string(valid);
}

struct Json {
  std::string operator()(std::int64_t value) const { return fmt::format("{}", value); }
  std::string operator()(std::uint64_t value) const { return fmt::format("{}", value); }
  std::string operator()(double value) const { return fmt::format("{:.4f}", value); }
  std::string operator()(const std::string& value) const { return json_string(value); }
};

std::string json_of(bool value) { return value ? "true" : "false"; }

// Members in the order in which they were added.
class Object {
 public:
  void add_json(BytesView name, BytesView json) {
    text_ += text_.empty() ? "" : ",";
    text_ += json_string(name);
    text_ += ':';
    text_ += json;
  }
  void add(BytesView name, const Value& value) { add_json(name, std::visit(Json{}, value)); }
  void add(BytesView name, std::uint64_t value) { add_json(name, Json{}(value)); }
  std::string text() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

class Array {
 public:
  void add_json(BytesView json) {
    text_ += text_.empty() ? "" : ",";
    text_ += json;
  }
  std::string text() const { return "[" + text_ + "]"; }

 private:
  std::string text_;
};

// "clientPort": "client_port"
std::string snake_case(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const bool is_upper = c >= 'A' && c <= 'Z';
    if (is_upper) text += '_';
    text += is_upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return text;
}

// "http://10.0.0.1:2380": "10.0.0.1:2380"
std::string address_of(const std::string& url) {
  const std::size_t scheme = url.find("://");
  return scheme == std::string::npos ? url : url.substr(scheme + 3);
}

// "10.0.0.1:2380": "10.0.0.1"; "[::1]:2380": "::1"
std::string host_of_address(const std::string& address) {
  if (address.starts_with('[')) return address.substr(1, address.find(']') - 1);
  return address.substr(0, address.rfind(':'));
}

// --- the answers --------------------------------------------------------------------

std::string connection_json(const ConnectionFacts& facts, bool is_long) {
  Object connection;
  connection.add("remote_socket_address", facts.peer);
  connection.add("outstanding_requests", std::uint64_t{facts.unanswered});
  connection.add("packets_received", facts.traffic.received);
  connection.add("packets_sent", facts.traffic.sent);
  if (!is_long) return connection.text();
  const Latencies& latencies = facts.traffic.latencies;
  connection.add("session_id", Value(facts.session));
  connection.add("last_operation", std::string(operation_name(facts.last_opcode)));
  connection.add("session_timeout", Value(facts.timeout_ms));
  connection.add("last_cxid", Value(std::int64_t{facts.last_xid}));
  connection.add("last_zxid", Value(facts.last_zxid));
  connection.add("min_latency", Value(latencies.least.ms()));
  connection.add("avg_latency", Value(static_cast<std::int64_t>(latencies.mean_ms())));
  connection.add("max_latency", Value(latencies.most.ms()));
  return connection.text();
}

// Which of them are encrypted nobody has noted: they are all in the first list.
void add_connections(const Told& told, bool is_long, Object& answer) {
  Array connections;
  for (const auto& [id, facts] : told.connections.all()) {
    connections.add_json(connection_json(facts, is_long));
  }
  answer.add_json("connections", connections.text());
  answer.add_json("secure_connections", "[]");
}

void add_values(const NamedValues& values, Object& answer) {
  for (const auto& [name, value] : values) answer.add(name, value);
}

void add_stats(const Told& told, Object& answer) {
  const Traffic& total = told.connections.total;
  Object stats;
  stats.add("packets_sent", total.sent);
  stats.add("packets_received", total.received);
  stats.add("server_state", mode_of(told));
  stats.add("last_processed_zxid", Value(zxid_of(told)));
  stats.add("outstanding_requests", std::uint64_t{told.connections.unanswered()});
  stats.add("avg_latency", Value(total.latencies.mean_ms()));
  stats.add("max_latency", Value(total.latencies.most.ms()));
  stats.add("min_latency", Value(total.latencies.least.ms()));
  stats.add("num_alive_client_connections", std::uint64_t{told.connections.all().size()});
  stats.add("uptime", told.process.uptime_ms);
  answer.add("version", version_text(told));
  answer.add_json("read_only", "false");
  answer.add_json("server_stats", stats.text());
  answer.add("node_count", found<zk::Counts>(told).nodes);
}

void add_leader(const Told& told, Object& answer) {
  const NodeId leader = status_of(told).leader;
  const std::vector<api::Member> members = members_of(told);
  const auto member = std::ranges::find(members, leader, &api::Member::id);
  const bool is_known = member != members.end() && !member->peer_urls.empty();
  answer.add_json("is_leader", json_of(leader.value == member_id(told)));
  answer.add("leader_id", leader.value);
  answer.add("leader_ip",
             is_known ? host_of_address(address_of(member->peer_urls[0])) : std::string());
}

// Elections use the same address as everything else among members.
void add_voters(const Told& told, Object& answer) {
  Object voters;
  for (const api::Member& member : members_of(told)) {
    if (member.is_learner) continue;
    Array addresses;
    for (const std::string& url : member.peer_urls) {
      addresses.add_json(json_string(address_of(url)));
    }
    Object voter;
    voter.add_json("server_addresses", addresses.text());
    voter.add_json("election_addresses", addresses.text());
    // As in ZooKeeper without a dynamic configuration: only the member's own is known.
    const bool is_own = member.id.value == member_id(told);
    voter.add("client_address", is_own ? told.settings.address : std::string());
    voter.add("learner_type", "participant");
    voters.add_json(fmt::format("{}", member.id.value), voter.text());
  }
  answer.add_json("current_config", voters.text());
}

void add_observers(const Told& told, Object& answer) {
  std::uint64_t synced = 0;
  Array observers;
  const std::vector<api::Member> members = members_of(told);
  for (const api::StatusResponse::Peer& peer : status_of(told).peers) {
    const auto member = std::ranges::find(members, peer.id, &api::Member::id);
    if (member == members.end() || !member->is_learner) continue;
    if (peer.active && peer.state == "replicate") ++synced;
    Object observer;
    observer.add("sid", peer.id.value);
    observers.add_json(observer.text());
  }
  answer.add("synced_observers", synced);
  answer.add_json("observers", observers.text());
}

void add_state(const Told& told, Object& answer) {
  const api::StatusResponse status = status_of(told);
  answer.add("myid", member_id(told));
  answer.add_json("is_leader", json_of(status.leader.value == member_id(told)));
  answer.add("client_address", told.settings.address);
  answer.add_json("voting", json_of(!status.is_learner));
  answer.add("last_zxid", fmt::format("{:#x}", zxid_of(told)));
  answer.add("zab_epoch", status.raft_term.value);
  answer.add("zabstate", "broadcast");
}

std::string session_key(zk::SessionId session) { return fmt::format("{}", session); }

void add_dump(const Told& told, Object& answer) {
  Object ephemerals;
  for (const zk::SessionDump::One& one : found<zk::SessionDump>(told).sessions) {
    if (one.ephemerals.empty()) continue;
    Array paths;
    for (const Bytes& path : one.ephemerals) paths.add_json(json_string(path));
    ephemerals.add_json(session_key(one.id), paths.text());
  }
  answer.add_json("session_id_to_ephemeral_paths", ephemerals.text());
}

void add_watches_by_path(const Told& told, Object& answer) {
  Object paths;
  for (const zk::WatchDump::One& one : found<zk::WatchDump>(told).paths) {
    Array sessions;
    for (const zk::SessionId session : one.sessions) sessions.add_json(session_key(session));
    paths.add_json(one.path, sessions.text());
  }
  answer.add_json("path_to_session_ids", paths.text());
}

void add_watches(const Told& told, Object& answer) {
  std::map<zk::SessionId, Array> of_sessions;
  for (const zk::WatchDump::One& one : found<zk::WatchDump>(told).paths) {
    for (const zk::SessionId session : one.sessions) {
      of_sessions[session].add_json(json_string(one.path));
    }
  }
  Object sessions;
  for (const auto& [session, paths] : of_sessions) {
    sessions.add_json(session_key(session), paths.text());
  }
  answer.add_json("session_id_to_watched_paths", sessions.text());
}

void add_watch_summary(const Told& told, Object& answer) {
  const auto counts = found<zk::Counts>(told);
  answer.add("num_connections", counts.watchers);
  answer.add("num_paths", counts.watched_paths);
  answer.add("num_total_watches", counts.watches);
}

// Not ZooKeeper's digest of its tree: of all of the state, at an index of the log.
void add_hash(const Told& told, Object& answer) {
  const api::StatusResponse status = status_of(told);
  Object digest;
  digest.add("log_index", status.applied_index.value);
  digest.add("digest", fmt::format("{:x}", status.state_hash));
  answer.add_json("digests", "[" + digest.text() + "]");
}

void add_configuration(const Told& told, Object& answer) {
  for (const auto& [name, value] : configuration_values(told)) {
    answer.add(snake_case(name), value);
  }
}

void add_answer(BytesView command, Told& told, Object& answer) {
  if (command == "configuration") return add_configuration(told, answer);
  if (command == "connection_stat_reset") return told.connections.reset_connections();
  if (command == "connections") return add_connections(told, true, answer);
  if (command == "dump") return add_dump(told, answer);
  if (command == "environment") return add_values(environment_values(told), answer);
  if (command == "hash") return add_hash(told, answer);
  if (command == "is_read_only") return answer.add_json("read_only", "false");
  if (command == "leader") return add_leader(told, answer);
  if (command == "monitor") return add_values(monitor_values(told), answer);
  if (command == "observers") return add_observers(told, answer);
  if (command == "stat_reset") told.connections.total = {};
  if (command == "voting_view") return add_voters(told, answer);
  if (command == "watch_summary") return add_watch_summary(told, answer);
  if (command == "watches") return add_watches(told, answer);
  if (command == "watches_by_path") return add_watches_by_path(told, answer);
  if (command == "zabstate") return add_state(told, answer);
  if (command != "server_stats" && command != "stats") return;
  add_stats(told, answer);
  if (command == "stats") add_connections(told, false, answer);
}

struct IsNumber {
  bool operator()(const std::string&) const { return false; }
  template <class Number>
  bool operator()(const Number&) const {
    return true;
  }
};

// A member that could not find out says so, not that there is nothing.
bool is_answered(const api::Response& response) {
  const auto* reply = std::get_if<zk::Reply>(&response.answer);
  const bool is_refused = reply != nullptr && reply->code != zk::Code::kOk;
  return !std::holds_alternative<api::Error>(response.answer) && !is_refused;
}

Bytes metrics_of(const Told& told) {
  std::string text;
  for (const auto& [name, value] : monitor_values(told)) {
    if (!std::visit(IsNumber{}, value)) continue;
    text += fmt::format("# TYPE {} gauge\n{} {}\n", name, name, std::visit(Json{}, value));
  }
  return text;
}

}  // namespace

std::optional<BytesView> find_command(BytesView name) {
  if (name.empty()) return std::nullopt;
  for (const Command& command : kCommands) {
    if (name == command.name || name == command.word || name == command.alias) return command.name;
  }
  return std::nullopt;
}

std::vector<BytesView> all_commands() {
  std::vector<BytesView> names;
  for (const Command& command : kCommands) names.push_back(command.name);
  return names;
}

bool is_command_allowed(const WordSettings& settings, BytesView command) {
  if (command == kMetricsCommand) return is_allowed(settings, "mntr");
  const BytesView word = command_of(command).word;
  return word.empty() || is_allowed(settings, word);
}

std::vector<api::Body> questions_of_command(BytesView command) {
  if (command == kMetricsCommand) return questions_of("mntr");
  const BytesView word = command_of(command).word;
  return questions_of(word.empty() ? "mntr" : word);
}

Bytes answer_command(BytesView command, Told& told) {
  const bool is_told = std::ranges::all_of(told.answers, is_answered);
  if ((is_cut_off(told) || !is_told) && command != "environment") {
    if (command == kMetricsCommand) return {};
    return refuse_command(command, kNotServing);
  }
  if (command == kMetricsCommand) return metrics_of(told);
  Object answer;
  add_answer(command, told, answer);
  answer.add("command", std::string(command));
  answer.add_json("error", "null");
  return answer.text();
}

Bytes refuse_command(BytesView command, BytesView why) {
  Object answer;
  answer.add("command", std::string(command));
  answer.add("error", std::string(why));
  return answer.text();
}

}  // namespace conclave::zookeeper
