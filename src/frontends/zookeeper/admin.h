#pragma once
// ZooKeeper's admin server: its commands, which dashboards and probes ask for as
// GET /commands/<name>, and their answers as JSON. And the same values as metrics.
//
// The values are those of the four-letter words (member_facts.h), which --zookeeper-words allows or
// not: what is refused as a word is refused here.

#include <optional>
#include <vector>

#include "api/request.h"
#include "base/bytes.h"
#include "frontends/zookeeper/member_facts.h"

namespace conclave::zookeeper {

// In place of a command's name: all values that are numbers, for Prometheus.
inline constexpr BytesView kMetricsCommand = "/metrics";

// The command's own name ("monitor" of "mntr"); nullopt: there is none.
std::optional<BytesView> find_command(BytesView name);
// The names of all, sorted.
std::vector<BytesView> all_commands();

// What the member has to be asked before. REQUIRES of these three: `command` came from
// find_command(), or is kMetricsCommand.
std::vector<api::Body> questions_of_command(BytesView command);
bool is_command_allowed(const WordSettings& settings, BytesView command);
// JSON with `command` and `error`, or of kMetricsCommand text; and does what the command says.
Bytes answer_command(BytesView command, Told& told);

// JSON, too.
Bytes refuse_command(BytesView command, BytesView why);

}  // namespace conclave::zookeeper
