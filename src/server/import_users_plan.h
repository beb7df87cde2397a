#pragma once
// Users and roles of an etcd: as its database has them, and what makes those of another cluster the
// same. No sockets, no clock.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "etcd.pb.h"
#include "server/bolt_file.h"
#include "server/cluster_options.h"

namespace conclave::server {

// What lets a user in, beside certificates.
struct ImportedPassword {
  Bytes hash;
  bool none = false;

  bool operator==(const ImportedPassword&) const = default;
};

struct ImportedUser {
  std::optional<ImportedPassword> password;  // nullopt: the cluster does not tell
  std::set<std::string> roles;

  bool operator==(const ImportedUser&) const = default;
};

// The rights to [key, range_end), as etcd writes ranges. Of a range that is there twice it is the
// union: etcd gives all rights of a role.
using ImportedRole = std::map<std::pair<Bytes, Bytes>, std::int32_t>;
void add_right(ImportedRole& role, const etcdserverpb::Permission& permission);

struct ImportedUsers {
  bool enabled = false;
  std::uint64_t revision = 0;  // of users and roles, in the cluster that they are of
  std::map<std::string, ImportedUser> users;
  std::map<std::string, ImportedRole> roles;

  bool empty() const { return users.empty() && roles.empty(); }
};

// kCorrupt if the file is damaged, or holds what etcd does not write there.
Result<ImportedUsers> read_users(const BoltFile& file);

// Once users are enabled at the target, as they are at the source, the import has to be one of
// them. kInvalid: by the name that it gives there, it would not be, or not one that may do
// everything.
Result<void> check_login(const ImportedUsers& source, const ClusterOptions& target);

// In this order: what is to be removed, and what is then to be made anew with all that belongs to
// it. A role that is removed takes itself from its users, so these are made anew too.
struct UserChanges {
  std::vector<std::string> remove_users, remove_roles;
  std::vector<std::string> add_roles, add_users;

  bool empty() const {
    return remove_users.empty() && remove_roles.empty() && add_roles.empty() && add_users.empty();
  }
  bool operator==(const UserChanges&) const = default;
};
// A user of the target whose password is not known is made anew.
UserChanges changes_between(const ImportedUsers& source, const ImportedUsers& target);

}  // namespace conclave::server
