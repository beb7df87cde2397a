#include "store/znode_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "store/znode_tree.h"

namespace conclave::store {
namespace {

constexpr BytesView kVersion = "version=";

// What is behind the scheme of "http://10.0.0.1:2380", and the port of that; 0 if there is none.
BytesView host_and_port(BytesView url) {
  const std::size_t scheme = url.find("://");
  return scheme == BytesView::npos ? url : url.substr(scheme + 3);
}
std::uint16_t port_of(BytesView address) {
  const BytesView digits = address.substr(std::min(address.rfind(':'), address.size() - 1) + 1);
  std::uint16_t port = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return port;
}

// "10.0.0.1:2380:2381:participant"; empty if it cannot be said.
Bytes server_of(const api::Member& member) {
  const BytesView peer = peer_address(member);
  if (peer.empty()) return {};
  const std::uint16_t port = port_of(peer);
  const int other = port == UINT16_MAX ? port - 1 : port + 1;
  return fmt::format("{}:{}:{}", peer, other, member.is_learner ? "observer" : "participant");
}

// All but the last line.
Bytes config_lines(const ClusterFacts& facts) {
  Bytes lines;
  for (const api::Member& member : facts.members) {
    const Bytes server = server_of(member);
    if (server.empty()) continue;
    lines += fmt::format("server.{}={}", static_cast<std::int64_t>(member.id.value), server);
    const auto client = facts.zookeeper.find(member.id);
    if (client != facts.zookeeper.end()) lines += ";" + client->second;
    lines += '\n';
  }
  return lines;
}

}  // namespace

BytesView peer_address(const api::Member& member) {
  if (member.peer_urls.empty()) return {};
  const BytesView peer = host_and_port(member.peer_urls.front());
  return peer.empty() || port_of(peer) == 0 ? BytesView() : peer;
}

std::optional<api::zk::Zxid> config_version(BytesView data) {
  const BytesView line = data.substr(data.rfind('\n') + 1);
  if (!line.starts_with(kVersion)) return std::nullopt;
  const BytesView digits = line.substr(kVersion.size());
  const char* const end = digits.data() + digits.size();
  api::zk::Zxid version = 0;
  const auto parsed = std::from_chars(digits.data(), end, version, 16);
  const bool is_good = parsed.ec == std::errc() && parsed.ptr == end && version >= 0;
  return is_good ? std::optional(version) : std::nullopt;
}

void refresh_config(StoreState& state) {
  Mvcc::Write write(state.mvcc);
  ZnodeTree tree(state, write.revision());
  const ZnodeTree::Node* node = tree.find(kConfigPath);
  if (node == nullptr) return;
  Bytes data;
  if (!state.facts.zookeeper.empty()) {
    data = config_lines(state.facts) + Bytes(kVersion);
    if (node->znode.data.starts_with(data)) return;
    data += fmt::format("{:x}", write.revision());
  } else if (node->znode.data.empty()) {
    return;
  }
  tree.set_data(kConfigPath, data, node->znode.mtime_ms);
  tree.commit(write);
}

}  // namespace conclave::store
