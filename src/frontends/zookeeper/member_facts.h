#pragma once
// What a member knows of itself for those that ask in ZooKeeper's ways: the source of the
// four-letter words' texts (words.h), of the admin server's JSON and of its metrics (admin.h).

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "api/request.h"
#include "api/zookeeper.h"
#include "base/bytes.h"
#include "frontends/zookeeper/connections.h"

namespace conclave::zookeeper {

// What is the same for all connections of a member, for as long as it runs.
struct WordSettings {
  std::string conclave_version = "0.1.0";
  std::uint16_t port = 0;         // 0: none without TLS
  std::uint16_t secure_port = 0;  // 0: none with
  std::string address;            // of the first of them, "host:port"
  std::string data_dir;
  std::size_t max_per_address = 0;  // connections; 0: no limit
  // The words that are answered; "*": all. ZooKeeper's own default is `srvr` alone.
  std::vector<std::string> allowed = {"conf", "cons", "envi", "isro", "mntr",
                                      "ruok", "srvr", "stat", "wchs"};
};

// What the process knows of itself.
struct ProcessFacts {
  std::uint64_t uptime_ms = 0;
  std::uint64_t open_files = 0;
  std::uint64_t max_files = 0;
};

// What a member said to questions that do not go through the log.
struct Told {
  const WordSettings& settings;
  ProcessFacts process;
  Connections& connections;
  std::vector<api::Response> answers;
};

// The first answer of this kind; nullptr if there is none.
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
  const auto* reply = find<api::zk::Reply>(told);
  const auto* result = reply == nullptr ? nullptr : std::get_if<T>(&reply->result);
  return result == nullptr ? T() : *result;
}

// --- each of these as far as it was told --------------------------------------------

// Version 3.8's commands, as its clients know them, and which server it is.
std::string version_text(const Told& told);
api::StatusResponse status_of(const Told& told);
std::vector<api::Member> members_of(const Told& told);
api::zk::Zxid zxid_of(const Told& told);
// 0: nothing was.
std::uint64_t member_id(const Told& told);
// As ZooKeeper calls it: leader, follower, observer, looking, standalone.
std::string mode_of(const Told& told);
// There is no leader: as in ZooKeeper, nothing more is told then.
bool is_cut_off(const Told& told);
inline constexpr BytesView kNotServing =
    "This ZooKeeper instance is not currently serving requests";
// What was done last with a connection: "GETD".
BytesView operation_name(std::int32_t opcode);

using Value = std::variant<std::int64_t, std::uint64_t, double, std::string>;
using NamedValues = std::vector<std::pair<std::string, Value>>;

// As ZooKeeper's `mntr` names them, without "zk_".
NamedValues monitor_values(const Told& told);
// As its `conf` does.
NamedValues configuration_values(const Told& told);
NamedValues environment_values(const Told& told);

}  // namespace conclave::zookeeper
