#pragma once
// The tree of znodes as `conclave import zookeeper` writes and reads it: whole nodes, beside ACLs
// and sessions, whose rules are for clients.

#include "api/zookeeper.h"
#include "store/state.h"

namespace conclave::store {

// zk::Reply, or kFenced: api/zookeeper.h says when.
api::Answer import_znodes(StoreState& state, const api::zk::ImportRequest& step);
// About limits::kExportedZnodeBytes of them, in the order of their keys.
api::zk::Reply export_znodes(const StoreState& state, const api::zk::ExportRequest& request);

}  // namespace conclave::store
