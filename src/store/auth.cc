#include "store/auth.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "store/hash.h"

namespace conclave::store {
namespace {

using api::ErrorCode;
using api::Permission;
using MaybeError = Auth::MaybeError;

constexpr BytesView kNoEnd("\0", 1);

bool has(const std::vector<std::string>& sorted, const std::string& name) {
  return std::ranges::binary_search(sorted, name);
}

template <class Map>
std::vector<std::string> names_of(const Map& map) {
  std::vector<std::string> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

// As in etcd, one that begins with no key, or ends before it begins, gives no right.
void add(KeyRanges& ranges, const Permission& permission) {
  if (permission.key.empty()) return;
  if (permission.range_end.empty()) {
    const Bytes next = permission.key + Bytes(kNoEnd);
    return ranges.add(permission.key, next);
  }
  if (permission.range_end == kNoEnd) return ranges.add(permission.key, std::nullopt);
  if (permission.key < permission.range_end) ranges.add(permission.key, permission.range_end);
}

}  // namespace

// --- ranges -------------------------------------------------------------------------

void KeyRanges::add(BytesView begin, std::optional<BytesView> end) {
  Bytes first(begin);
  std::optional<Bytes> last;
  if (end) last = Bytes(*end);
  auto it = ranges_.upper_bound(first);
  if (it != ranges_.begin()) {
    const auto before = std::prev(it);
    const bool touches = !before->second || *before->second >= first;
    if (touches) it = before;
  }
  while (it != ranges_.end() && (!last || it->first <= *last)) {
    first = std::min(first, it->first);
    if (!it->second) {
      last.reset();
    } else if (last) {
      last = std::max(*last, *it->second);
    }
    it = ranges_.erase(it);
  }
  ranges_.emplace(std::move(first), std::move(last));
}

bool KeyRanges::covers(BytesView key, BytesView range_end) const {
  auto it = ranges_.upper_bound(key);
  if (it == ranges_.begin()) return false;
  --it;
  if (!it->second) return true;
  if (*it->second <= key) return false;
  if (range_end.empty()) return true;
  return range_end != kNoEnd && range_end <= *it->second;
}

// --- rights -------------------------------------------------------------------------

const Auth::User* Auth::find(const std::string& user) const {
  const auto found = users_.find(user);
  return found == users_.end() ? nullptr : &found->second;
}

bool Auth::is_blank() const {
  return revision_ == 1 && !enabled_ && token_key_.empty() && users_.empty() && roles_.empty();
}

bool Auth::is_root(const User& user) const { return has(user.roles, kRootRole); }

MaybeError Auth::check(const api::Identity& who, BytesView key, BytesView range_end,
                       Access access) const {
  if (who.revision == 0) return ErrorCode::kUserEmpty;
  if (who.revision < revision_) return ErrorCode::kAuthOldRevision;
  return check_rights(who.user, key, range_end, access);
}

MaybeError Auth::check_admin(const api::Identity& who) const {
  if (who.user.empty()) return ErrorCode::kUserEmpty;
  const User* user = find(who.user);
  if (user == nullptr || !is_root(*user)) return ErrorCode::kPermissionDenied;
  return std::nullopt;
}

MaybeError Auth::check_now(const std::string& user, BytesView key, BytesView range_end) const {
  if (user.empty()) return ErrorCode::kUserEmpty;
  return check_rights(user, key, range_end, Access::kRead);
}

MaybeError Auth::check_rights(const std::string& name, BytesView key, BytesView range_end,
                              Access access) const {
  const User* user = find(name);
  if (user == nullptr) return ErrorCode::kPermissionDenied;
  if (is_root(*user)) return std::nullopt;
  const Rights& rights = rights_of(name, *user);
  const KeyRanges& ranges = access == Access::kRead ? rights.read : rights.write;
  if (ranges.covers(key, range_end)) return std::nullopt;
  return ErrorCode::kPermissionDenied;
}

// Who one is, and what one's roles are, may be asked by everybody.
MaybeError Auth::check(const api::Identity& who, const api::AuthRequest& request) const {
  const MaybeError refused = check_admin(who);
  if (!refused) return std::nullopt;
  if (const auto* get = std::get_if<api::UserGet>(&request.op)) {
    if (get->name == who.user) return std::nullopt;
  } else if (const auto* role = std::get_if<api::RoleGet>(&request.op)) {
    const User* user = find(who.user);
    if (user != nullptr && has(user->roles, role->name)) return std::nullopt;
  }
  return refused;
}

const Auth::Rights& Auth::rights_of(const std::string& name, const User& user) const {
  const auto [place, is_new] = rights_.try_emplace(name);
  Rights& rights = place->second;
  if (!is_new) return rights;
  for (const std::string& role : user.roles) {
    const auto found = roles_.find(role);
    if (found == roles_.end()) continue;
    for (const Permission& permission : found->second) {
      const bool both = permission.type == Permission::kReadWrite;
      if (both || permission.type == Permission::kRead) add(rights.read, permission);
      if (both || permission.type == Permission::kWrite) add(rights.write, permission);
    }
  }
  return rights;
}

// --- reads --------------------------------------------------------------------------

api::Answer Auth::read(const api::AuthRequest& request) const {
  api::AuthResponse response;
  if (const auto* get = std::get_if<api::UserGet>(&request.op)) {
    const User* user = find(get->name);
    if (user == nullptr) return api::Error{ErrorCode::kUserNotFound, {}};
    response.names = user->roles;
  } else if (std::holds_alternative<api::UserList>(request.op)) {
    response.names = names_of(users_);
  } else if (const auto* role = std::get_if<api::RoleGet>(&request.op)) {
    const auto found = roles_.find(role->name);
    if (found == roles_.end()) return api::Error{ErrorCode::kRoleNotFound, {}};
    response.permissions = found->second;
  } else if (std::holds_alternative<api::RoleList>(request.op)) {
    response.names = names_of(roles_);
  } else {
    CHECK(std::holds_alternative<api::AuthStatus>(request.op), "not a read");
    response.enabled = enabled_;
    response.revision = revision_;
  }
  return response;
}

// --- changes ------------------------------------------------------------------------

// Each says what is wrong with it, or does it. What has no effect does not count as a change.
struct Auth::Change {
  MaybeError operator()(const api::AuthEnable& enable) const {
    if (auth.enabled_) return std::nullopt;
    const User* root = auth.find(kRootUser);
    if (root == nullptr) return ErrorCode::kRootUserNotFound;
    if (!auth.is_root(*root)) return ErrorCode::kRootRoleNotGranted;
    auth.enabled_ = true;
    auth.token_key_ = enable.token_key;
    auth.update_digest();
    return std::nullopt;
  }

  MaybeError operator()(const api::AuthDisable&) const {
    if (!auth.enabled_) return std::nullopt;
    auth.enabled_ = false;
    auth.token_key_.clear();
    return done();
  }

  MaybeError operator()(const api::UserAdd& add) const {
    if (add.name.empty()) return ErrorCode::kUserEmpty;
    User user{.password_hash = {}, .no_password = add.no_password, .roles = {}};
    if (!add.no_password) user.password_hash = add.password_hash;
    user.since = auth.revision_ + 1;
    if (!auth.users_.emplace(add.name, std::move(user)).second) return ErrorCode::kUserExists;
    return done();
  }

  MaybeError operator()(const api::UserDelete& gone) const {
    if (auth.enabled_ && gone.name == kRootUser) return ErrorCode::kInvalidAuthManagement;
    if (auth.users_.erase(gone.name) == 0) return ErrorCode::kUserNotFound;
    return done();
  }

  MaybeError operator()(const api::UserChangePassword& change) const {
    const auto user = auth.users_.find(change.name);
    if (user == auth.users_.end()) return ErrorCode::kUserNotFound;
    if (!user->second.no_password) user->second.password_hash = change.password_hash;
    user->second.since = auth.revision_ + 1;
    return done();
  }

  MaybeError operator()(const api::UserGrantRole& grant) const {
    const auto user = auth.users_.find(grant.user);
    if (user == auth.users_.end()) return ErrorCode::kUserNotFound;
    const bool is_known = grant.role == kRootRole || auth.roles_.contains(grant.role);
    if (!is_known) return ErrorCode::kRoleNotFound;
    auto& roles = user->second.roles;
    const auto place = std::ranges::lower_bound(roles, grant.role);
    if (place != roles.end() && *place == grant.role) return std::nullopt;
    roles.insert(place, grant.role);
    return done();
  }

  MaybeError operator()(const api::UserRevokeRole& revoke) const {
    const bool is_last_root = revoke.user == kRootUser && revoke.role == kRootRole;
    if (auth.enabled_ && is_last_root) return ErrorCode::kInvalidAuthManagement;
    const auto user = auth.users_.find(revoke.user);
    if (user == auth.users_.end()) return ErrorCode::kUserNotFound;
    if (std::erase(user->second.roles, revoke.role) == 0) return ErrorCode::kRoleNotGranted;
    return done();
  }

  MaybeError operator()(const api::RoleAdd& add) const {
    if (add.name.empty()) return ErrorCode::kRoleEmpty;
    if (!auth.roles_.try_emplace(add.name).second) return ErrorCode::kRoleExists;
    return done();
  }

  MaybeError operator()(const api::RoleDelete& gone) const {
    if (auth.enabled_ && gone.name == kRootRole) return ErrorCode::kInvalidAuthManagement;
    if (auth.roles_.erase(gone.name) == 0) return ErrorCode::kRoleNotFound;
    for (auto& [name, user] : auth.users_) std::erase(user.roles, gone.name);
    return done();
  }

  // etcd looks for the range among those of the key at the first place only: a second range of the
  // same key is added again rather than changed.
  MaybeError operator()(const api::RoleGrantPermission& grant) const {
    if (!grant.permission) return ErrorCode::kPermissionNotGiven;
    const auto role = auth.roles_.find(grant.role);
    if (role == auth.roles_.end()) return ErrorCode::kRoleNotFound;
    std::vector<Permission>& permissions = role->second;
    const Permission& given = *grant.permission;
    const auto first = std::ranges::lower_bound(permissions, given.key, {}, &Permission::key);
    const bool is_there = first != permissions.end() && first->key == given.key &&
                          first->range_end == given.range_end;
    if (is_there) {
      first->type = given.type;
    } else {
      permissions.insert(std::ranges::upper_bound(permissions, given.key, {}, &Permission::key),
                         given);
    }
    return done();
  }

  MaybeError operator()(const api::RoleRevokePermission& revoke) const {
    const auto role = auth.roles_.find(revoke.role);
    if (role == auth.roles_.end()) return ErrorCode::kRoleNotFound;
    const auto removed = std::erase_if(role->second, [&](const Permission& permission) {
      return permission.key == revoke.key && permission.range_end == revoke.range_end;
    });
    if (removed == 0) return ErrorCode::kPermissionNotGranted;
    return done();
  }

  template <class Read>
  MaybeError operator()(const Read&) const {
    CHECK(false, "not a change");
    return std::nullopt;
  }

  MaybeError done() const {
    auth.changed();
    return std::nullopt;
  }

  Auth& auth;
};

api::Answer Auth::change(const api::AuthRequest& request) {
  if (const MaybeError refused = std::visit(Change{*this}, request.op)) {
    return api::Error{*refused, {}};
  }
  return api::AuthResponse{};
}

void Auth::changed() {
  ++revision_;
  rights_.clear();
  update_digest();
}

void Auth::update_digest() {
  Bytes bytes;
  Encoder out(bytes);
  encode(out);
  digest_ = hash_bytes(bytes);
}

// --- snapshots ----------------------------------------------------------------------

void Auth::encode(Encoder& out) const {
  out.u8(enabled_ ? 1 : 0);
  out.varint(revision_);
  out.bytes(token_key_);
  out.varint(users_.size());
  for (const auto& [name, user] : users_) {
    out.bytes(name);
    out.u8(user.no_password ? 1 : 0);
    out.bytes(user.password_hash);
    out.varint(user.since);
    out.varint(user.roles.size());
    for (const std::string& role : user.roles) out.bytes(role);
  }
  out.varint(roles_.size());
  for (const auto& [name, permissions] : roles_) {
    out.bytes(name);
    out.varint(permissions.size());
    for (const Permission& permission : permissions) {
      out.number(permission.type);
      out.bytes(permission.key);
      out.bytes(permission.range_end);
    }
  }
}

namespace {

Auth::User decode_user(Decoder& in) {
  Auth::User user;
  user.no_password = in.flags(1) != 0;
  user.password_hash = in.bytes();
  user.since = in.varint();
  const std::size_t roles = in.count();
  for (std::size_t i = 0; i < roles && in.ok(); ++i) user.roles.emplace_back(in.bytes());
  for (std::size_t i = 1; i < user.roles.size(); ++i) {
    if (user.roles[i - 1] >= user.roles[i]) in.fail();
  }
  return user;
}

std::vector<Permission> decode_permissions(Decoder& in) {
  std::vector<Permission> permissions;
  const std::size_t count = in.count();
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    Permission permission;
    permission.type = static_cast<std::int32_t>(in.number());
    permission.key = in.bytes();
    permission.range_end = in.bytes();
    if (i > 0 && permissions.back().key > permission.key) in.fail();
    permissions.push_back(std::move(permission));
  }
  return permissions;
}

}  // namespace

Auth Auth::decode(Decoder& in) {
  Auth auth;
  auth.enabled_ = in.flags(1) != 0;
  auth.revision_ = in.varint();
  auth.token_key_ = in.bytes();
  const std::size_t users = in.count();
  for (std::size_t i = 0; i < users && in.ok(); ++i) {
    std::string name(in.bytes());
    if (!auth.users_.emplace(std::move(name), decode_user(in)).second) in.fail();
  }
  const std::size_t roles = in.count();
  for (std::size_t i = 0; i < roles && in.ok(); ++i) {
    std::string name(in.bytes());
    if (!auth.roles_.emplace(std::move(name), decode_permissions(in)).second) in.fail();
  }
  if (auth.revision_ == 0 || auth.is_blank()) in.fail();
  auth.update_digest();
  return auth;
}

}  // namespace conclave::store
