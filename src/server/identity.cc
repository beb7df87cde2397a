#include "server/identity.h"

#include <xxhash.h>

#include <algorithm>

namespace conclave::server {
namespace {

std::uint64_t nonzero_hash(const std::string& text) {
  return std::max<std::uint64_t>(XXH3_64bits(text.data(), text.size()), 1);
}

}  // namespace

NodeId member_id(const std::vector<Url>& peer_urls, const std::string& token) {
  return NodeId{nonzero_hash(join(peer_urls) + "\n" + token)};
}

ClusterId cluster_id(std::vector<NodeId> members, const std::string& rule) {
  std::ranges::sort(members);
  std::string text;
  for (const NodeId id : members) text += std::to_string(id.value) + "\n";
  return ClusterId{nonzero_hash(text + rule)};
}

ClusterId restored_cluster_id(ClusterId configured, ClusterId from, LogIndex index,
                              std::uint64_t state_hash) {
  std::string text = "restored";
  for (const std::uint64_t word : {configured.value, from.value, index.value, state_hash}) {
    text += "\n" + std::to_string(word);
  }
  return ClusterId{nonzero_hash(text)};
}

}  // namespace conclave::server
