#pragma once
// The texts of a reconfig: servers as ZooKeeper's configuration names them,
//
//   server.<id>=<host>:<peer port>:<election port>[:participant|:observer][;[<host>:]<client port>]
//
// Ids are Java's numbers, with a sign. The election port has to be there and another than the peer
// port, as ZooKeeper wants it, and is of no other use.

#include <expected>

#include "api/zookeeper.h"
#include "base/bytes.h"

namespace conclave::zookeeper {

// As a client sends it. A null is empty: not said.
struct Reconfig {
  Bytes joining;  // servers, with commas between them; each says where its clients reach it
  Bytes leaving;  // ids, with commas between them
  Bytes members;  // all that are to be there, in lines or with commas between them
  api::zk::Zxid from = api::zk::ReconfigRequest::kAnyConfig;
};

// Nobody asks yet: no caller. kMarshallingError, as of ZooKeeper: an id is no number.
// kBadArguments: anything else is wrong, or `members` comes with one of the others, or names no
// server, or something that is none (ZooKeeper's groups and weights, more than one address), or
// there are more than limits::kMaxReconfiguredServers.
std::expected<api::zk::ReconfigRequest, api::zk::Code> parse_reconfig(const Reconfig& asked);

}  // namespace conclave::zookeeper
