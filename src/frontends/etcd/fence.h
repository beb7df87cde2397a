#pragma once
// Fences in metadata (api/fence.h): taken from a request's header, and told with each grant of a
// lock, ready to be sent along with what is written under it.

#include <optional>

#include "api/request.h"
#include "wire/header_list.h"

namespace conclave::etcd {

// Puts the fence of `headers` into `request`, if there is one and the request can have it. What
// only reads ignores it, and so do streams; what else changes something is refused, rather than
// done without: kInvalidFence, also for a malformed fence or two of them.
std::optional<api::Error> take_fence(const wire::HeaderList& headers, api::Request& request);

// The fence that an answer grants; nullopt: it grants none, or one that no header can carry.
std::optional<Bytes> granted_fence(const api::Answer& answer);

}  // namespace conclave::etcd
