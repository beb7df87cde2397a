#pragma once
// Simple tokens: what a client shows instead of its password. A token says whose it is and when it
// was issued, and is signed with a secret that every member has from the replicated state; so each
// member knows every token, also after a restart, without having been told.
//
// As with etcd's, a token lasts so long after it was last used at a member, or issued; and a user's
// tokens end when the user is deleted, gets another password, or authentication is disabled.
//
// The age of a token that this member has not seen is by the time of day, so members' clocks have
// to agree much better than a token lasts.
//
// Pure. Not thread-safe.

#include <absl/container/btree_map.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/time.h"
#include "store/auth.h"

namespace conclave::node {

class Tokens {
 public:
  struct Now {
    Instant instant;
    std::uint64_t wall_s = 0;  // since 1970
  };

  explicit Tokens(Duration lasts) : lasts_(lasts) {}

  // `nonce` makes it one of its kind. REQUIRES: the user exists, and `auth` has a key.
  static Bytes issue(const store::Auth& auth, const std::string& user, std::uint64_t wall_s,
                     BytesView nonce);
  // Whose it is; nullopt: it is not valid, or not any more.
  std::optional<std::string> user_of(BytesView token, const store::Auth& auth, const Now& now);
  // Forgets those that were not used for too long. Now and then.
  void expire(Instant now);

 private:
  struct Known {
    std::string user;
    std::uint64_t since = 0;  // the user's, when it was issued
    Bytes key;                // it is signed with
    Instant used;
  };
  std::optional<Known> read(BytesView token, const store::Auth& auth, const Now& now) const;

  Duration lasts_;
  absl::btree_map<Bytes, Known, std::less<>> known_;
};

// HMAC with SHA-256 (RFC 2104).
Bytes hmac_sha256(BytesView key, BytesView message);

}  // namespace conclave::node
