#pragma once
// One HTTP/1.1 connection to ZooKeeper's admin server (admin.h): GET /commands/<name>, a list of
// them at /commands, and /metrics. One request is answered at a time; those that a client sends
// ahead wait.

#include "api/session.h"
#include "frontends/zookeeper/session.h"

namespace conclave::zookeeper {

// Makes the sessions of a member's admin server. REQUIRES: `options.connections`, those of its
// ZooKeeper port.
api::SessionFactory make_admin_sessions(SessionOptions options);

}  // namespace conclave::zookeeper
