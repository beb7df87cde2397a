#include "frontends/etcd/auth_codec.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "etcd.pb.h"
#include "frontends/etcd/message_codec.h"
#include "frontends/etcd/translate.h"
#include "wire/json.h"

namespace conclave::etcd {
namespace {

using wire::GrpcStatus;
using Decoded = std::expected<api::Body, GrpcStatus>;

// Each login with such a hash takes 2^cost steps, on the thread of all passwords: about 4 s at 16.
constexpr int kMaxCost = 16;

bool is_bcrypt(BytesView hash) {
  constexpr std::size_t kBegin = 7;  // "$2b$10$", then salt and hash
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_one_of_64 = [&](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '/';
  };
  if (hash.size() != kBegin + 53 || !hash.starts_with("$2") || hash[3] != '$' || hash[6] != '$') {
    return false;
  }
  const int cost = (hash[4] - '0') * 10 + hash[5] - '0';
  return BytesView("aby").find(hash[2]) != BytesView::npos && is_digit(hash[4]) &&
         is_digit(hash[5]) && cost >= 4 && cost <= kMaxCost &&
         std::ranges::all_of(hash.substr(kBegin), is_one_of_64);
}

// A hash that nobody's password has would shut its user out.
std::optional<GrpcStatus> wrong_hash(BytesView hashed, BytesView password) {
  if (hashed.empty()) return std::nullopt;
  const auto hash = wire::from_base64(hashed);
  if (hash && is_bcrypt(*hash) && password.empty()) return std::nullopt;
  return GrpcStatus{wire::GrpcCode::kInvalidArgument,
                    password.empty()
                        ? "auth: hashedPassword is no bcrypt hash in base64, or costs too much"
                        : "auth: both a password and hashedPassword were given"};
}

template <class Message>
std::optional<GrpcStatus> refusal(const Message&) {
  return std::nullopt;
}
std::optional<GrpcStatus> refusal(const pb::AuthUserAddRequest& from) {
  if (from.options().no_password()) return std::nullopt;
  return wrong_hash(from.hashedpassword(), from.password());
}
std::optional<GrpcStatus> refusal(const pb::AuthUserChangePasswordRequest& from) {
  return wrong_hash(from.hashedpassword(), from.password());
}

api::AuthEnable to_op(pb::AuthEnableRequest&) { return {}; }
api::AuthDisable to_op(pb::AuthDisableRequest&) { return {}; }
api::AuthStatus to_op(pb::AuthStatusRequest&) { return {}; }
api::UserList to_op(pb::AuthUserListRequest&) { return {}; }
api::RoleList to_op(pb::AuthRoleListRequest&) { return {}; }

api::Authenticate to_op(pb::AuthenticateRequest& from) {
  return {std::move(*from.mutable_name()), std::move(*from.mutable_password())};
}

api::UserAdd to_op(pb::AuthUserAddRequest& from) {
  api::UserAdd add;
  add.name = std::move(*from.mutable_name());
  add.no_password = from.options().no_password();
  if (add.no_password) return add;
  add.password = std::move(*from.mutable_password());
  add.password_hash = wire::from_base64(from.hashedpassword()).value_or(Bytes());
  return add;
}

api::UserGet to_op(pb::AuthUserGetRequest& from) { return {std::move(*from.mutable_name())}; }
api::UserDelete to_op(pb::AuthUserDeleteRequest& from) { return {std::move(*from.mutable_name())}; }

api::UserChangePassword to_op(pb::AuthUserChangePasswordRequest& from) {
  api::UserChangePassword change;
  change.name = std::move(*from.mutable_name());
  change.password = std::move(*from.mutable_password());
  change.password_hash = wire::from_base64(from.hashedpassword()).value_or(Bytes());
  return change;
}

api::UserGrantRole to_op(pb::AuthUserGrantRoleRequest& from) {
  return {std::move(*from.mutable_user()), std::move(*from.mutable_role())};
}
api::UserRevokeRole to_op(pb::AuthUserRevokeRoleRequest& from) {
  return {std::move(*from.mutable_name()), std::move(*from.mutable_role())};
}

api::RoleAdd to_op(pb::AuthRoleAddRequest& from) { return {std::move(*from.mutable_name())}; }
api::RoleGet to_op(pb::AuthRoleGetRequest& from) { return {std::move(*from.mutable_role())}; }
api::RoleDelete to_op(pb::AuthRoleDeleteRequest& from) { return {std::move(*from.mutable_role())}; }

api::RoleGrantPermission to_op(pb::AuthRoleGrantPermissionRequest& from) {
  api::RoleGrantPermission grant;
  grant.role = std::move(*from.mutable_name());
  if (!from.has_perm()) return grant;
  pb::Permission& perm = *from.mutable_perm();
  grant.permission =
      api::Permission{static_cast<std::int32_t>(perm.permtype()), std::move(*perm.mutable_key()),
                      std::move(*perm.mutable_range_end())};
  return grant;
}

api::RoleRevokePermission to_op(pb::AuthRoleRevokePermissionRequest& from) {
  return {std::move(*from.mutable_role()), std::move(*from.mutable_key()),
          std::move(*from.mutable_range_end())};
}

template <class Message>
Decoded decode_as(Format format, BytesView bytes) {
  Message message;
  if (auto parsed = parse_message(message, format, bytes); !parsed) {
    return std::unexpected(std::move(parsed.error()));
  }
  if (auto refused = refusal(message)) return std::unexpected(std::move(*refused));
  return api::Body(api::AuthRequest{to_op(message)});
}

// --- answers ------------------------------------------------------------------------

template <class Message>
void fill(const api::AuthResponse&, Message&) {}

void fill(const api::AuthResponse& from, pb::AuthStatusResponse& to) {
  to.set_enabled(from.enabled);
  to.set_authrevision(from.revision);
}
void fill(const api::AuthResponse& from, pb::AuthenticateResponse& to) { to.set_token(from.token); }
void fill(const api::AuthResponse& from, pb::AuthUserGetResponse& to) {
  for (const std::string& role : from.names) to.add_roles(role);
}
void fill(const api::AuthResponse& from, pb::AuthUserListResponse& to) {
  for (const std::string& user : from.names) to.add_users(user);
}
void fill(const api::AuthResponse& from, pb::AuthRoleListResponse& to) {
  for (const std::string& role : from.names) to.add_roles(role);
}
void fill(const api::AuthResponse& from, pb::AuthRoleGetResponse& to) {
  for (const api::Permission& permission : from.permissions) {
    pb::Permission& perm = *to.add_perm();
    perm.set_permtype(static_cast<pb::Permission::Type>(permission.type));
    perm.set_key(permission.key);
    perm.set_range_end(permission.range_end);
  }
}

template <class Message>
void encode_as(Format format, const api::Header& header, const api::AuthResponse& response,
               Bytes& out) {
  Message message;
  to_proto(header, *message.mutable_header());
  fill(response, message);
  write_message(message, format, out);
}

}  // namespace

Decoded decode_auth_request(Method method, Format format, BytesView bytes) {
  switch (method) {
    case Method::kAuthEnable:
      return decode_as<pb::AuthEnableRequest>(format, bytes);
    case Method::kAuthDisable:
      return decode_as<pb::AuthDisableRequest>(format, bytes);
    case Method::kAuthStatus:
      return decode_as<pb::AuthStatusRequest>(format, bytes);
    case Method::kAuthenticate:
      return decode_as<pb::AuthenticateRequest>(format, bytes);
    case Method::kUserAdd:
      return decode_as<pb::AuthUserAddRequest>(format, bytes);
    case Method::kUserGet:
      return decode_as<pb::AuthUserGetRequest>(format, bytes);
    case Method::kUserList:
      return decode_as<pb::AuthUserListRequest>(format, bytes);
    case Method::kUserDelete:
      return decode_as<pb::AuthUserDeleteRequest>(format, bytes);
    case Method::kUserChangePassword:
      return decode_as<pb::AuthUserChangePasswordRequest>(format, bytes);
    case Method::kUserGrantRole:
      return decode_as<pb::AuthUserGrantRoleRequest>(format, bytes);
    case Method::kUserRevokeRole:
      return decode_as<pb::AuthUserRevokeRoleRequest>(format, bytes);
    case Method::kRoleAdd:
      return decode_as<pb::AuthRoleAddRequest>(format, bytes);
    case Method::kRoleGet:
      return decode_as<pb::AuthRoleGetRequest>(format, bytes);
    case Method::kRoleList:
      return decode_as<pb::AuthRoleListRequest>(format, bytes);
    case Method::kRoleDelete:
      return decode_as<pb::AuthRoleDeleteRequest>(format, bytes);
    case Method::kRoleGrantPermission:
      return decode_as<pb::AuthRoleGrantPermissionRequest>(format, bytes);
    case Method::kRoleRevokePermission:
      return decode_as<pb::AuthRoleRevokePermissionRequest>(format, bytes);
    default:
      break;
  }
  CHECK(false, "method {} is not of Auth", static_cast<int>(method));
  std::unreachable();
}

void encode_auth_response(Method method, Format format, const api::Header& header,
                          api::AuthResponse& response, Bytes& out) {
  switch (method) {
    case Method::kAuthEnable:
      return encode_as<pb::AuthEnableResponse>(format, header, response, out);
    case Method::kAuthDisable:
      return encode_as<pb::AuthDisableResponse>(format, header, response, out);
    case Method::kAuthStatus:
      return encode_as<pb::AuthStatusResponse>(format, header, response, out);
    case Method::kAuthenticate:
      return encode_as<pb::AuthenticateResponse>(format, header, response, out);
    case Method::kUserAdd:
      return encode_as<pb::AuthUserAddResponse>(format, header, response, out);
    case Method::kUserGet:
      return encode_as<pb::AuthUserGetResponse>(format, header, response, out);
    case Method::kUserList:
      return encode_as<pb::AuthUserListResponse>(format, header, response, out);
    case Method::kUserDelete:
      return encode_as<pb::AuthUserDeleteResponse>(format, header, response, out);
    case Method::kUserChangePassword:
      return encode_as<pb::AuthUserChangePasswordResponse>(format, header, response, out);
    case Method::kUserGrantRole:
      return encode_as<pb::AuthUserGrantRoleResponse>(format, header, response, out);
    case Method::kUserRevokeRole:
      return encode_as<pb::AuthUserRevokeRoleResponse>(format, header, response, out);
    case Method::kRoleAdd:
      return encode_as<pb::AuthRoleAddResponse>(format, header, response, out);
    case Method::kRoleGet:
      return encode_as<pb::AuthRoleGetResponse>(format, header, response, out);
    case Method::kRoleList:
      return encode_as<pb::AuthRoleListResponse>(format, header, response, out);
    case Method::kRoleDelete:
      return encode_as<pb::AuthRoleDeleteResponse>(format, header, response, out);
    case Method::kRoleGrantPermission:
      return encode_as<pb::AuthRoleGrantPermissionResponse>(format, header, response, out);
    case Method::kRoleRevokePermission:
      return encode_as<pb::AuthRoleRevokePermissionResponse>(format, header, response, out);
    default:
      break;
  }
  CHECK(false, "method {} is not of Auth", static_cast<int>(method));
  std::unreachable();
}

}  // namespace conclave::etcd
