#pragma once
// The tree of znodes as `conclave import zookeeper` writes and reads it: whole nodes, beside ACLs
// and sessions, whose rules are for clients.

#include "api/zookeeper.h"
#include "store/state.h"

namespace conclave::store {

// zk::Reply, or kFenced (api/zookeeper.h says what of). Beside the codes that are named there:
// kNodeExists, there is an ephemeral node of that name, whose session alone may end it; and unless
// the step merges kBadVersion, who wrote what is there last was no import.
api::Answer import_znodes(StoreState& state, const api::zk::ImportRequest& step);
// About limits::kExportedZnodeBytes of them, in the order of their keys.
api::zk::Reply export_znodes(const StoreState& state, const api::zk::ExportRequest& request);

}  // namespace conclave::store
