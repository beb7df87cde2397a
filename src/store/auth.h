#pragma once
// Users, roles and what they may do, with etcd 3.4's rules. Part of the replicated state: changed
// by commands in the log alone, in every snapshot, and in the state hash once there is anything.
//
// A user may read and write the ranges of its roles; the role "root" gives every right. Nothing is
// refused until authentication is enabled. Each change but AuthEnable adds one to the revision: who
// was identified at an older one is refused, since it may have lost its rights since.
//
// Passwords are here as hashes, made elsewhere; nothing here hashes or compares.
//
// Pure. Not thread-safe: what a user may do is put together when it is first asked for.

#include <absl/container/btree_map.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/request.h"
#include "store/codec.h"

namespace conclave::store {

inline constexpr const char* kRootUser = "root";
inline constexpr const char* kRootRole = "root";

enum class Access : std::uint8_t { kRead, kWrite };

// Sets of keys as ranges that neither overlap nor touch, in order.
class KeyRanges {
 public:
  void add(BytesView begin, std::optional<BytesView> end);
  // Of the one key, or of all of [key, range_end). A range that ends before it begins is asked for
  // as its first key.
  bool covers(BytesView key, BytesView range_end) const;

 private:
  absl::btree_map<Bytes, std::optional<Bytes>, std::less<>>
      ranges_;  // begin -> end; nullopt: all that follow
};

class Auth {
 public:
  struct User {
    Bytes password_hash;
    bool no_password = false;
    std::vector<std::string> roles;  // sorted
    std::uint64_t since = 0;         // the revision that last made its tokens invalid
  };
  using Users = absl::btree_map<std::string, User>;
  using Roles = absl::btree_map<std::string, std::vector<api::Permission>>;
  using MaybeError = std::optional<api::ErrorCode>;

  bool is_enabled() const { return enabled_; }
  std::uint64_t revision() const { return revision_; }
  // The secret that tokens are signed with; empty while they are not valid.
  const Bytes& token_key() const { return token_key_; }
  const User* find(const std::string& user) const;
  // Nothing was ever done: as far as the state hash and snapshots go, it is not there.
  bool is_blank() const;
  std::uint64_t digest() const { return digest_; }

  // --- may it be done? nullopt, or: kUserEmpty, kAuthOldRevision, kPermissionDenied.
  // REQUIRES: is_enabled() ---

  MaybeError check(const api::Identity& who, BytesView key, BytesView range_end,
                   Access access) const;
  // Without regard to the revision.
  MaybeError check_admin(const api::Identity& who) const;
  // For what goes on: no revision, the user as it is now.
  MaybeError check_now(const std::string& user, BytesView key, BytesView range_end) const;
  // Of a request about users and roles.
  MaybeError check(const api::Identity& who, const api::AuthRequest& request) const;

  // --- requests; rights are not looked at ---

  // REQUIRES: one of the reads, of users, roles and the status.
  api::Answer read(const api::AuthRequest& request) const;
  // REQUIRES: one of the others, and not Authenticate. Refused, or done as a whole.
  api::Answer change(const api::AuthRequest& request);

  // As it stands in snapshots, and in the digest.
  void encode(Encoder& out) const;
  static Auth decode(Decoder& in);

 private:
  struct Change;
  struct Rights {
    KeyRanges read;
    KeyRanges write;
  };

  bool is_root(const User& user) const;
  MaybeError check_rights(const std::string& user, BytesView key, BytesView range_end,
                          Access access) const;
  const Rights& rights_of(const std::string& name, const User& user) const;
  void changed();
  void update_digest();

  bool enabled_ = false;
  std::uint64_t revision_ = 1;
  Bytes token_key_;
  Users users_;
  Roles roles_;
  std::uint64_t digest_ = 0;
  mutable absl::btree_map<std::string, Rights> rights_;  // of users that were asked about
};

}  // namespace conclave::store
