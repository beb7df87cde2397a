#pragma once
// The vocabulary of users, roles and permissions: etcd's. Plain values.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"

namespace conclave::api {

// Who asks. A front-end that knows the name by other means than a token (a certificate) sets `user`
// and nothing else.
struct Identity {
  std::string user;            // empty: nobody said who it is
  std::uint64_t revision = 0;  // of users and roles, when the name was found to be true

  bool operator==(const Identity&) const = default;
};

// A right to the keys of a range (api/kv.h says how ranges are written).
struct Permission {
  static constexpr std::int32_t kRead = 0;
  static constexpr std::int32_t kWrite = 1;
  static constexpr std::int32_t kReadWrite = 2;

  std::int32_t type = kRead;  // as etcd, any other number is kept, and gives no right
  Bytes key;
  Bytes range_end;

  bool operator==(const Permission&) const = default;
};

// kRootUserNotFound, kRootRoleNotGranted.
struct AuthEnable {
  Bytes token_key;  // signs tokens; the member that takes the request draws it
};
struct AuthDisable {};
struct AuthStatus {};
// Answered with a token. kAuthFailed, kNoPasswordUser, kAuthNotEnabled.
struct Authenticate {
  std::string name;
  Bytes password;
};

// A password goes no further than the member that takes the request: the log has its hash.
struct UserAdd {
  std::string name;
  bool no_password = false;
  Bytes password;
  Bytes password_hash;
};
struct UserGet {
  std::string name;
};
struct UserList {};
struct UserDelete {
  std::string name;
};
struct UserChangePassword {
  std::string name;
  Bytes password;
  Bytes password_hash;
};
struct UserGrantRole {
  std::string user;
  std::string role;
};
struct UserRevokeRole {
  std::string user;
  std::string role;
};

struct RoleAdd {
  std::string name;
};
struct RoleGet {
  std::string name;
};
struct RoleList {};
struct RoleDelete {
  std::string name;
};
struct RoleGrantPermission {
  std::string role;
  std::optional<Permission> permission;
};
struct RoleRevokePermission {
  std::string role;
  Bytes key;
  Bytes range_end;
};

struct AuthRequest {
  std::variant<AuthEnable, AuthDisable, AuthStatus, Authenticate, UserAdd, UserGet, UserList,
               UserDelete, UserChangePassword, UserGrantRole, UserRevokeRole, RoleAdd, RoleGet,
               RoleList, RoleDelete, RoleGrantPermission, RoleRevokePermission>
      op;
};

// What was asked for; the rest is empty.
struct AuthResponse {
  Bytes token;                          // Authenticate
  std::vector<std::string> names;       // UserGet: roles; UserList, RoleList; sorted
  std::vector<Permission> permissions;  // RoleGet: by key
  bool enabled = false;                 // AuthStatus
  std::uint64_t revision = 0;           // AuthStatus
};

}  // namespace conclave::api
