#pragma once
// /zookeeper/config: who the members are, as ZooKeeper's clients read it (getConfig). A line for
// each, and the zxid of the last change:
//
//   server.<id>=<host>:<peer port>:<election port>:participant;<where ZooKeeper's clients reach it>
//   version=<zxid in hex>
//
// Ids are Java's numbers, with a sign. There is no election port, and ZooKeeper's clients insist on
// one that is not the peer port: it is the number after it. A learner is an observer. The node is
// empty as long as neither a member (PublishMember) nor a reconfig has told an address for
// ZooKeeper's clients: builds that do not know of it apply the same log alike.

#include "store/state.h"

namespace conclave::store {

inline constexpr BytesView kConfigPath = "/zookeeper/config";

// Writes the node anew if the members are others than it says, at a revision of its own. Empty
// while nobody has said where a member is reached. Without effect before the first session.
void refresh_config(StoreState& state);

// What a line says of where the other members reach it, "10.0.0.1:2380"; empty: it has no line.
BytesView peer_address(const api::Member& member);
// What the last line of the node's data says; nullopt if it is none.
std::optional<api::zk::Zxid> config_version(BytesView data);

}  // namespace conclave::store
