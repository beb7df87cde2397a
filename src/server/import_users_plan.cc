#include "server/import_users_plan.h"

#include <fmt/core.h>

#include <algorithm>

namespace conclave::server {

namespace {

using etcdserverpb::Permission;

constexpr const char* kRootRole = "root";

template <class Message>
Result<Message> message_of(BytesView name, BytesView value) {
  Message message;
  if (!message.ParseFromArray(value.data(), static_cast<int>(value.size())) ||
      message.name() != name) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("the user or role {} cannot be read", printable(name)));
  }
  return message;
}

// etcd makes these at its first start.
Result<void> read_all_of(const BoltFile& file, BytesView bucket, const BoltFile::Take& take) {
  if (TRY(file.read_bucket(bucket, take))) return {};
  return fail(ErrorCode::kCorrupt, fmt::format("it has no bucket {}", bucket));
}

Result<void> read_state(const BoltFile& file, ImportedUsers& into) {
  const auto take = [&](BytesView key, BytesView value) -> Result<void> {
    if (key == "authEnabled") into.enabled = value == BytesView("\1", 1);
    if (key != "authRevision") return {};
    if (value.size() != 8) return fail(ErrorCode::kCorrupt, "the revision of users");
    for (const char c : value) into.revision = into.revision << 8 | static_cast<unsigned char>(c);
    return {};
  };
  return read_all_of(file, "auth", take);
}

Result<void> read_all_roles(const BoltFile& file, ImportedUsers& into) {
  const auto take = [&](BytesView key, BytesView value) -> Result<void> {
    const auto message = TRY(message_of<etcdserverpb::Role>(key, value));
    ImportedRole& role = into.roles[Bytes(key)];
    for (const Permission& permission : message.keypermission()) add_right(role, permission);
    return {};
  };
  return read_all_of(file, "authRoles", take);
}

Result<void> read_all_users(const BoltFile& file, ImportedUsers& into) {
  const auto take = [&](BytesView key, BytesView value) -> Result<void> {
    const auto message = TRY(message_of<etcdserverpb::User>(key, value));
    ImportedUser& user = into.users[Bytes(key)];
    // One without a hash cannot log in with a password either.
    const bool none = message.options().no_password() || message.password().empty();
    user.password = ImportedPassword{.hash = none ? Bytes() : message.password(), .none = none};
    // One that does not exist gives no right. The role root need not.
    for (const std::string& role : message.roles()) {
      if (role == kRootRole || into.roles.contains(role)) user.roles.insert(role);
    }
    return {};
  };
  return read_all_of(file, "authUsers", take);
}

template <class Map>
bool is_same(const Map& source, const Map& target, const std::string& name) {
  const auto here = source.find(name);
  const auto there = target.find(name);
  return here != source.end() && there != target.end() && here->second == there->second;
}

bool has_any(const std::set<std::string>& roles, const std::vector<std::string>& of) {
  return std::ranges::any_of(of, [&](const std::string& role) { return roles.contains(role); });
}

}  // namespace

void add_right(ImportedRole& role, const Permission& permission) {
  const auto type = static_cast<std::int32_t>(permission.permtype());
  const auto [place, is_new] =
      role.try_emplace(std::pair(permission.key(), permission.range_end()), type);
  if (is_new || place->second == type) return;
  const auto is_known = [](std::int32_t each) { return Permission::Type_IsValid(each); };
  if (!is_known(type)) return;  // it gives none
  place->second = is_known(place->second) ? std::int32_t{Permission::READWRITE} : type;
}

Result<ImportedUsers> read_users(const BoltFile& file) {
  ImportedUsers users;
  TRY(read_state(file, users));
  TRY(read_all_roles(file, users));
  TRY(read_all_users(file, users));
  return users;
}

Result<void> check_login(const ImportedUsers& source, const ClusterOptions& target) {
  if (!source.enabled) return {};
  const std::string name = login_of(target.user).name;
  const bool is_of_certificate = name.empty() && !target.tls.certificate.empty();
  if (is_of_certificate) return {};
  const auto user = source.users.find(name);
  if (user != source.users.end() && user->second.roles.contains(kRootRole)) return {};
  return fail(ErrorCode::kInvalid,
              fmt::format("source: users are enabled there, and will be at the target: --to-user "
                          "has to name one of them with the role root{}",
                          name.empty() ? "" : ", which " + name + " is not"));
}

UserChanges changes_between(const ImportedUsers& source, const ImportedUsers& target) {
  UserChanges changes;
  for (const auto& [name, role] : target.roles) {
    if (!is_same(source.roles, target.roles, name)) changes.remove_roles.push_back(name);
  }
  for (const auto& [name, role] : source.roles) {
    if (!is_same(source.roles, target.roles, name)) changes.add_roles.push_back(name);
  }
  const auto stays = [&](const std::string& name) {
    return is_same(source.users, target.users, name) &&
           !has_any(target.users.at(name).roles, changes.remove_roles);
  };
  for (const auto& [name, user] : target.users) {
    if (!stays(name)) changes.remove_users.push_back(name);
  }
  for (const auto& [name, user] : source.users) {
    if (!stays(name)) changes.add_users.push_back(name);
  }
  return changes;
}

}  // namespace conclave::server
