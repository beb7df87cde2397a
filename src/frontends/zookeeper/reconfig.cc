#include "frontends/zookeeper/reconfig.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/text.h"
#include "base/zookeeper_limits.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;
using zk::Code;
using Failed = std::unexpected<Code>;
using Parts = std::vector<BytesView>;

constexpr BytesView kServer = "server.";

// Without those that are empty.
Parts split(BytesView text, BytesView separators) {
  Parts parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(separators), text.size());
    const BytesView part = trim(text.substr(0, end));
    if (!part.empty()) parts.push_back(part);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

template <class Number>
std::optional<Number> number_in(BytesView digits) {
  Number number = 0;
  const char* const end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, number);
  const bool is_one = !digits.empty() && parsed.ec == std::errc() && parsed.ptr == end;
  return is_one ? std::optional(number) : std::nullopt;
}

std::expected<NodeId, Code> id_in(BytesView digits) {
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.remove_prefix(1);
  const auto id = number_in<std::int64_t>(digits);
  if (!id) return Failed(Code::kMarshallingError);
  return NodeId{static_cast<std::uint64_t>(*id)};
}

std::optional<std::uint16_t> port_in(BytesView text) {
  const auto port = number_in<std::uint16_t>(text);
  return port && *port != 0 ? port : std::nullopt;
}

// As server/url.cc has it: this becomes part of a member's URL.
bool is_host(BytesView host) {
  const bool is_bracketed = host.size() > 2 && host.starts_with('[') && host.ends_with(']');
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  return !host.empty() && std::ranges::all_of(host, [&](char c) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
    return is_plain || (is_bracketed && (c == ':' || c == '%'));
  });
}

// A host, which may be an address in brackets, and what follows it between colons.
Parts host_and_rest(BytesView text) {
  Parts parts;
  std::size_t host_end = 0;
  if (text.starts_with('[')) host_end = std::min(text.find(']'), text.size());
  host_end = std::min(text.find(':', host_end), text.size());
  parts.push_back(text.substr(0, host_end));
  while (host_end < text.size()) {
    text.remove_prefix(host_end + 1);
    host_end = std::min(text.find(':'), text.size());
    parts.push_back(text.substr(0, host_end));
  }
  return parts;
}

std::string joined(BytesView host, BytesView port) { return Bytes(host) + ":" + Bytes(port); }

// Whether it is an observer; nullopt: nobody can be that.
std::optional<bool> role_in(BytesView text) {
  const Bytes lower = lower_case(text);
  if (lower == "observer") return true;
  if (lower == "participant") return false;
  return std::nullopt;
}

std::optional<std::string> client_in(BytesView text) {
  const Parts parts = host_and_rest(text);
  if (parts.size() == 1 && port_in(parts[0])) return joined("0.0.0.0", parts[0]);
  if (parts.size() != 2 || !is_host(parts[0]) || !port_in(parts[1])) return std::nullopt;
  return joined(parts[0], parts[1]);
}

// What stands behind "server.<id>=".
std::optional<zk::Server> server_in(NodeId id, BytesView text) {
  zk::Server server{.id = id, .peer = {}, .is_observer = false, .client = {}};
  const std::size_t semicolon = std::min(text.find(';'), text.size());
  const Parts parts = host_and_rest(trim(text.substr(0, semicolon)));
  if (parts.size() < 3 || parts.size() > 4 || !is_host(parts[0])) return std::nullopt;
  const auto port = port_in(parts[1]);
  const auto election_port = port_in(parts[2]);
  if (!port || !election_port || *port == *election_port) return std::nullopt;
  server.peer = joined(parts[0], parts[1]);
  if (parts.size() == 4) {
    const auto is_observer = role_in(trim(parts[3]));
    if (!is_observer) return std::nullopt;
    server.is_observer = *is_observer;
  }
  const BytesView client = trim(text.substr(std::min(semicolon + 1, text.size())));
  if (!client.empty()) {
    auto address = client_in(client);
    if (!address) return std::nullopt;
    server.client = *std::move(address);
  }
  const bool is_short = server.peer.size() <= limits::kMaxServerAddressBytes &&
                        server.client.size() <= limits::kMaxServerAddressBytes;
  return is_short ? std::optional(std::move(server)) : std::nullopt;
}

// What is said of it last counts.
void put(std::vector<zk::Server>& servers, zk::Server server) {
  const auto same = std::ranges::find(servers, server.id, &zk::Server::id);
  if (same != servers.end()) {
    *same = std::move(server);
  } else {
    servers.push_back(std::move(server));
  }
}

using Parsed = std::expected<void, Code>;

std::expected<zk::Server, Code> read_server(BytesView key, BytesView value) {
  const auto id = id_in(key.substr(key.rfind('.') + 1));
  if (!id) return Failed(id.error());
  auto server = server_in(*id, value);
  if (!server) return Failed(Code::kBadArguments);
  return *std::move(server);
}

Parsed read_joining(BytesView text, zk::ReconfigRequest& request) {
  for (const BytesView each : split(text, ",")) {
    const Parts parts = split(each, "=");
    if (parts.size() != 2) return Failed(Code::kBadArguments);
    auto server = read_server(parts[0], parts[1]);
    if (!server) return Failed(server.error());
    if (server->client.empty()) return Failed(Code::kBadArguments);
    put(request.joining, *std::move(server));
  }
  return {};
}

Parsed read_leaving(BytesView text, zk::ReconfigRequest& request) {
  for (const BytesView each : split(text, ",")) {
    const auto id = id_in(each);
    if (!id) return Failed(id.error());
    request.leaving.push_back(*id);
  }
  return {};
}

// The lines of a configuration; `version` is that of the one they were taken from.
Parsed read_members(BytesView text, zk::ReconfigRequest& request) {
  request.is_whole = true;
  for (const BytesView line : split(text, ",\n")) {
    if (line.starts_with('#') || line.starts_with('!')) continue;
    const std::size_t equals = std::min(line.find('='), line.size());
    const BytesView key = trim(line.substr(0, equals));
    const BytesView value = trim(line.substr(std::min(equals + 1, line.size())));
    if (key == "version") continue;
    if (!key.starts_with(kServer)) return Failed(Code::kBadArguments);
    auto server = read_server(key, value);
    if (!server) return Failed(server.error());
    put(request.joining, *std::move(server));
  }
  if (request.joining.empty()) return Failed(Code::kBadArguments);
  return {};
}

}  // namespace

std::expected<zk::ReconfigRequest, Code> parse_reconfig(const Reconfig& asked) {
  zk::ReconfigRequest request;
  request.from = asked.from;
  Parsed parsed;
  if (!asked.members.empty()) {
    const bool is_mixed = !asked.joining.empty() || !asked.leaving.empty();
    parsed = is_mixed ? Failed(Code::kBadArguments) : read_members(asked.members, request);
  } else {
    parsed = read_leaving(asked.leaving, request);
    if (parsed) parsed = read_joining(asked.joining, request);
  }
  if (!parsed) return Failed(parsed.error());
  if (request.joining.size() + request.leaving.size() > limits::kMaxReconfiguredServers) {
    return Failed(Code::kBadArguments);
  }
  return request;
}

}  // namespace conclave::zookeeper
