#include "store/auth_codec.h"

#include <utility>

#include "base/check.h"

namespace conclave::store {
namespace {

// Stored: values never change meaning.
enum class AuthKind : std::uint8_t {
  kEnable = 1,
  kDisable = 2,
  kUserAdd = 3,
  kUserDelete = 4,
  kUserChangePassword = 5,
  kUserGrantRole = 6,
  kUserRevokeRole = 7,
  kRoleAdd = 8,
  kRoleDelete = 9,
  kRoleGrantPermission = 10,
  kRoleRevokePermission = 11,
};

struct AuthEncoder {
  void operator()(const api::AuthEnable& enable) const {
    write(AuthKind::kEnable, enable.token_key);
  }
  void operator()(const api::AuthDisable&) const { write(AuthKind::kDisable); }
  void operator()(const api::UserAdd& add) const {
    write(AuthKind::kUserAdd, add.name);
    out.u8(add.no_password ? 1 : 0);
    if (!add.no_password) out.bytes(add.password_hash);
  }
  void operator()(const api::UserDelete& gone) const { write(AuthKind::kUserDelete, gone.name); }
  void operator()(const api::UserChangePassword& change) const {
    write(AuthKind::kUserChangePassword, change.name, change.password_hash);
  }
  void operator()(const api::UserGrantRole& grant) const {
    write(AuthKind::kUserGrantRole, grant.user, grant.role);
  }
  void operator()(const api::UserRevokeRole& revoke) const {
    write(AuthKind::kUserRevokeRole, revoke.user, revoke.role);
  }
  void operator()(const api::RoleAdd& add) const { write(AuthKind::kRoleAdd, add.name); }
  void operator()(const api::RoleDelete& gone) const { write(AuthKind::kRoleDelete, gone.name); }
  void operator()(const api::RoleGrantPermission& grant) const {
    write(AuthKind::kRoleGrantPermission, grant.role);
    out.u8(grant.permission ? 1 : 0);
    if (!grant.permission) return;
    out.number(grant.permission->type);
    out.bytes(grant.permission->key);
    out.bytes(grant.permission->range_end);
  }
  void operator()(const api::RoleRevokePermission& revoke) const {
    write(AuthKind::kRoleRevokePermission, revoke.role, revoke.key, revoke.range_end);
  }
  template <class Read>
  void operator()(const Read&) const {
    CHECK(false, "not a change of users or roles");
  }

  template <class... Texts>
  void write(AuthKind kind, const Texts&... texts) const {
    out.u8(static_cast<std::uint8_t>(kind));
    (out.bytes(texts), ...);
  }

  Encoder& out;
};

std::string text(Decoder& in) { return std::string(in.bytes()); }

api::UserAdd decode_user_add(Decoder& in) {
  api::UserAdd add;
  add.name = text(in);
  add.no_password = in.flags(1) != 0;
  if (!add.no_password) add.password_hash = in.bytes();
  return add;
}

api::UserChangePassword decode_change_password(Decoder& in) {
  api::UserChangePassword change;
  change.name = text(in);
  change.password_hash = in.bytes();
  return change;
}

template <class RoleOfUser>
RoleOfUser decode_role_of_user(Decoder& in) {
  RoleOfUser change;
  change.user = text(in);
  change.role = text(in);
  return change;
}

api::RoleGrantPermission decode_grant(Decoder& in) {
  api::RoleGrantPermission grant;
  grant.role = text(in);
  if (in.flags(1) == 0) return grant;
  api::Permission& permission = grant.permission.emplace();
  permission.type = static_cast<std::int32_t>(in.number());
  permission.key = in.bytes();
  permission.range_end = in.bytes();
  return grant;
}

api::RoleRevokePermission decode_revoke(Decoder& in) {
  api::RoleRevokePermission revoke;
  revoke.role = text(in);
  revoke.key = in.bytes();
  revoke.range_end = in.bytes();
  return revoke;
}

}  // namespace

void encode(Encoder& out, const api::AuthRequest& request) {
  std::visit(AuthEncoder{out}, request.op);
}

api::AuthRequest decode_auth(Decoder& in) {
  switch (static_cast<AuthKind>(in.u8())) {
    case AuthKind::kEnable:
      return {api::AuthEnable{Bytes(in.bytes())}};
    case AuthKind::kDisable:
      return {api::AuthDisable{}};
    case AuthKind::kUserAdd:
      return {decode_user_add(in)};
    case AuthKind::kUserDelete:
      return {api::UserDelete{text(in)}};
    case AuthKind::kUserChangePassword:
      return {decode_change_password(in)};
    case AuthKind::kUserGrantRole:
      return {decode_role_of_user<api::UserGrantRole>(in)};
    case AuthKind::kUserRevokeRole:
      return {decode_role_of_user<api::UserRevokeRole>(in)};
    case AuthKind::kRoleAdd:
      return {api::RoleAdd{text(in)}};
    case AuthKind::kRoleDelete:
      return {api::RoleDelete{text(in)}};
    case AuthKind::kRoleGrantPermission:
      return {decode_grant(in)};
    case AuthKind::kRoleRevokePermission:
      return {decode_revoke(in)};
  }
  in.fail();
  return {};
}

}  // namespace conclave::store
