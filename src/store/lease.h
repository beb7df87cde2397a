#pragma once
// What the write operations ask about leases.

#include "api/kv.h"

namespace conclave::store {

// Whether a put may name `lease`. The store grants none, so only 0, "no lease", exists.
constexpr bool lease_exists(api::LeaseId lease) { return lease == 0; }

}  // namespace conclave::store
