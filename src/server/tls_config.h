#pragma once
// The part of reading a configuration that is about TLS.

#include "base/result.h"
#include "server/config.h"
#include "server/settings.h"

namespace conclave::server {

// Fills in client_tls and peer_tls from the flags, and checks them against the URLs, which are
// there already. kInvalid for what would protect less than it seems to.
Result<void> read_tls(const Settings& settings, Config& config);

}  // namespace conclave::server
