#pragma once
// ZooKeeper's reconfig over our members: what a request changes by the state that there is, and the
// command that changes it.
//
// The leader plans and every member carries out. A plan is made of sessions, rights and the version
// of /zookeeper/config, which a witness does not have; so it counts for one place in the log only
// (Reconfigure::Granted), and nobody looks at these again.

#include <expected>
#include <vector>

#include "store/state.h"

namespace conclave::store {

// Steps that can be done, one after the other, and make of the members what is asked for; none if
// they are that. What the leader alone knows (who is reachable, how far a learner is) is not asked
// here. Refusals as at api::zk::ReconfigRequest, in ZooKeeper's order.
std::expected<std::vector<ReconfigStep>, api::zk::Code> plan_reconfig(
    const StoreState& state, const api::zk::ReconfigRequest& request);

// Of the entry that is being applied. api::zk::Reply, with Configured if it was done.
api::Answer reconfigure(StoreState& state, const Reconfigure& change);

}  // namespace conclave::store
