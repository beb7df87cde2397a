#include "server/status.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "server/command_line.h"

namespace conclave::server {

namespace {

using Cells = std::array<std::string, 10>;

constexpr std::array<std::string_view, 10> kTitles{
    "ID", "NAME", "ENDPOINT", "ROLE", "TERM", "INDEX", "APPLIED", "LAG", "SIZE", "ERRORS"};

std::string hex(NodeId id) { return fmt::format("{:x}", id.value); }

std::string readable_size(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto amount = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (amount >= 1024 && unit + 1 < kUnits.size()) {
    amount /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", amount, kUnits[unit]);
}

std::string join(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += (joined.empty() ? "" : "; ") + text;
  return joined;
}

// Why a row has no answer. A witness serves no clients, so it advertises nothing to be asked at:
// what the leader says of it counts.
std::string silence(const MemberStatus& row) {
  if (!row.witness || !row.endpoint.empty()) return "unreachable: " + row.unreachable;
  if (!row.seen_by_leader) return "no leader to ask about it";
  return row.seen_by_leader->active ? "" : "unreachable: the leader does not hear from it";
}

Cells cells_of(const MemberStatus& row) {
  const std::string id = row.id ? hex(row.id) : "-";
  const std::string name = row.name.empty() ? "-" : row.name;
  const std::string endpoint = row.endpoint.empty() ? "-" : row.endpoint;
  if (!row.answer) {
    const std::string role = row.witness ? "witness" : "-";
    const std::string index =
        row.witness && row.seen_by_leader ? std::to_string(row.seen_by_leader->match.value) : "-";
    return {id, name, endpoint, role, "-", index, "-", "-", "-", silence(row)};
  }
  const StatusAnswer& answer = *row.answer;
  return {id,
          name,
          endpoint,
          answer.role,
          std::to_string(answer.term.value),
          std::to_string(answer.index.value),
          std::to_string(answer.applied.value),
          row.lag ? std::to_string(*row.lag) : "-",
          readable_size(answer.size_bytes),
          join(answer.errors)};
}

std::string json_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

// null for an empty text.
std::string json_optional(std::string_view text) { return text.empty() ? "null" : json_text(text); }

std::string json_errors(const MemberStatus& row) {
  if (!row.answer) {
    const std::string why = silence(row);
    return why.empty() ? "[]" : "[" + json_text(why) + "]";
  }
  std::string list;
  for (const std::string& error : row.answer->errors) {
    list += (list.empty() ? "" : ", ") + json_text(error);
  }
  return "[" + list + "]";
}

std::string json_object(const MemberStatus& row) {
  std::string object =
      fmt::format("{{\"id\": {}, \"name\": {}, \"endpoint\": {}, \"reachable\": {}",
                  row.id ? json_text(hex(row.id)) : "null", json_optional(row.name),
                  json_optional(row.endpoint), row.answer.has_value());
  if (row.answer) {
    const StatusAnswer& answer = *row.answer;
    object += fmt::format(
        ", \"role\": {}, \"leader\": {}, \"term\": {}, \"index\": {}, \"applied\": {}, "
        "\"lag\": {}, \"size_bytes\": {}, \"size_in_use_bytes\": {}, \"version\": {}, "
        "\"state_hash\": {}",
        json_text(answer.role), answer.leader ? json_text(hex(answer.leader)) : "null",
        answer.term.value, answer.index.value, answer.applied.value,
        row.lag ? std::to_string(*row.lag) : "null", answer.size_bytes, answer.size_in_use_bytes,
        json_optional(answer.version), json_optional(answer.state_hash));
  } else {
    object += fmt::format(", \"role\": {}", row.witness ? json_text("witness") : "null");
    for (const char* key : {"leader", "term", "index", "applied", "lag", "size_bytes",
                            "size_in_use_bytes", "version", "state_hash"}) {
      object += fmt::format(", \"{}\": null", key);
    }
  }
  return object + ", \"errors\": " + json_errors(row) + "}";
}

}  // namespace

std::string status_table(const std::vector<MemberStatus>& rows) {
  std::vector<Cells> lines;
  Cells titles;
  std::ranges::copy(kTitles, titles.begin());
  lines.push_back(titles);
  for (const MemberStatus& row : rows) lines.push_back(cells_of(row));

  std::array<std::size_t, kTitles.size()> widths{};
  for (const Cells& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string table;
  for (const Cells& line : lines) {
    std::string printed;
    for (std::size_t i = 0; i < line.size(); ++i) {
      printed += fmt::format("{:<{}}  ", line[i], widths[i]);
    }
    printed.erase(printed.find_last_not_of(' ') + 1);
    table += printed + "\n";
  }
  return table;
}

std::string status_json(const std::vector<MemberStatus>& rows) {
  std::string list;
  for (const MemberStatus& row : rows) {
    list += (list.empty() ? "\n  " : ",\n  ") + json_object(row);
  }
  return "[" + list + "\n]\n";
}

int run_status(const std::vector<std::string>& arguments) {
  const auto options = parse_status_options(arguments);
  if (!options) return print(options.error());
  const auto rows = ask_cluster(HttpClient(options->cluster.tls), options->cluster.endpoints);
  const std::string text = options->json ? status_json(rows) : status_table(rows);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  return std::ranges::any_of(rows, [](const auto& row) { return row.answer.has_value(); }) ? 0 : 1;
}

}  // namespace conclave::server
