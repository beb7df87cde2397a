#pragma once
// Ids of members and clusters, computed from the configuration alone so that members agree on them
// before they have ever talked: a member is its peer URLs and the cluster's token, a cluster is its
// members (as in etcd).

#include <string>
#include <vector>

#include "base/ids.h"
#include "server/url.h"

namespace conclave::server {

NodeId member_id(const std::vector<Url>& peer_urls, const std::string& token);
// Never 0, and the same for any order of `members`.
// `rule`: what else the members have to agree on; empty for the defaults.
ClusterId cluster_id(std::vector<NodeId> members, const std::string& rule = "");
// Of a cluster that begins with what a snapshot holds (its owner, index and state hash): no other
// one's, also if it has the same members as a new cluster that begins with nothing.
ClusterId restored_cluster_id(ClusterId configured, ClusterId from, LogIndex index,
                              std::uint64_t state_hash);

}  // namespace conclave::server
