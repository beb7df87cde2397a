#pragma once
// What each request needs rights to: etcd's rules. Where etcd 3.4 forgets one (transactions within
// transactions, previous values and leases inside of transactions, watches of all keys from one on,
// the names of a lease's keys), the rule is that of the same operation by itself.
//
// Asked when a command is applied and when a read is answered, so a right that was taken away is
// gone for everything after that in the log.

#include <optional>

#include "api/request.h"
#include "store/command_codec.h"
#include "store/state.h"

namespace conclave::store {

// Why who asks may not have it done; nullopt: it may. With a fence it needs to read what that tells
// of: the keys of the lock.
std::optional<api::ErrorCode> denial(const StoreState& state, const Command& command);
std::optional<api::ErrorCode> denial(const StoreState& state, const api::Request& request);

}  // namespace conclave::store
