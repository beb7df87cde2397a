#pragma once
// Changes of users and roles as they stand in commands (docs/formats/commands.md).

#include "api/auth.h"
#include "store/codec.h"

namespace conclave::store {

// REQUIRES: a change, and not Authenticate. A password is left out: its hash is written.
void encode(Encoder& out, const api::AuthRequest& request);
api::AuthRequest decode_auth(Decoder& in);

}  // namespace conclave::store
