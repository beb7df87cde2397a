#include "server/import_users.h"

#include <fmt/core.h>

#include <utility>

#include "base/limits.h"
#include "etcd.pb.h"
#include "server/etcd_snapshot.h"
#include "wire/json.h"

namespace conclave::server {

namespace {

namespace pb = etcdserverpb;
using wire::GrpcCode;

constexpr const char* kUserList = "/etcdserverpb.Auth/UserList";
constexpr const char* kUserGet = "/etcdserverpb.Auth/UserGet";
constexpr const char* kUserAdd = "/etcdserverpb.Auth/UserAdd";
constexpr const char* kUserDelete = "/etcdserverpb.Auth/UserDelete";
constexpr const char* kUserGrantRole = "/etcdserverpb.Auth/UserGrantRole";
constexpr const char* kRoleList = "/etcdserverpb.Auth/RoleList";
constexpr const char* kRoleGet = "/etcdserverpb.Auth/RoleGet";
constexpr const char* kRoleAdd = "/etcdserverpb.Auth/RoleAdd";
constexpr const char* kRoleDelete = "/etcdserverpb.Auth/RoleDelete";
constexpr const char* kRoleGrant = "/etcdserverpb.Auth/RoleGrantPermission";
constexpr const char* kAuthStatus = "/etcdserverpb.Auth/AuthStatus";
constexpr const char* kAuthEnable = "/etcdserverpb.Auth/AuthEnable";
constexpr const char* kAuthDisable = "/etcdserverpb.Auth/AuthDisable";

constexpr const char* kProbe = "conclave.import/probe";
constexpr int kMostCopies = 3;  // until they are the same

Failure failure(const EtcdClient& client, const wire::GrpcStatus& status) {
  Error error = client.error(status);
  if (status.code == GrpcCode::kPermissionDenied) {
    error.message +=
        "; copying users takes one with the role root on both sides (--user, --to-user), or leave "
        "them behind with --without-users";
  }
  return Failure(std::move(error));
}

template <class Response, class Request>
Result<Response> ask(EtcdClient& client, std::string_view method, const Request& request) {
  auto answer = client.ask<Response>(method, request);
  if (!answer) return failure(client, answer.error());
  return std::move(*answer);
}

pb::AuthUserAddRequest user_add(const std::string& name, const ImportedPassword& password) {
  pb::AuthUserAddRequest request;
  request.set_name(name);
  request.mutable_options()->set_no_password(password.none);
  if (!password.none) wire::append_base64(password.hash, *request.mutable_hashedpassword());
  return request;
}

template <class Request>
Request named(const std::string& name) {
  Request request;
  request.set_name(name);
  return request;
}

}  // namespace

Result<std::vector<std::string>> UserCopier::users_of(EtcdClient& client) {
  const auto answer =
      TRY(ask<pb::AuthUserListResponse>(client, kUserList, pb::AuthUserListRequest()));
  return std::vector<std::string>(answer.users().begin(), answer.users().end());
}

Result<std::vector<std::string>> UserCopier::roles_of(EtcdClient& client) {
  const auto answer =
      TRY(ask<pb::AuthRoleListResponse>(client, kRoleList, pb::AuthRoleListRequest()));
  return std::vector<std::string>(answer.roles().begin(), answer.roles().end());
}

Result<bool> UserCopier::any_in(EtcdClient& client) {
  const auto users = TRY(users_of(client));
  if (!users.empty()) return true;
  const auto roles = TRY(roles_of(client));
  return !roles.empty();
}

Result<bool> UserCopier::decide(bool without_users, const std::optional<ImportState>& before) {
  if (without_users) {
    if (!before || !before->users) return false;
    return fail(ErrorCode::kInvalid,
                "target: the import that was begun there copies users: it goes on without "
                "--without-users");
  }
  const bool in_source = TRY(any_in(source_));
  if (before && !before->users) {
    if (!in_source) return false;
    return fail(ErrorCode::kInvalid,
                "target: the import that was begun there copies no users: it goes on with "
                "--without-users");
  }
  // A target that does not let this import see its users has some.
  const auto in_target = any_in(target_);
  if (!in_source && !before) return in_target && !*in_target;
  if (!in_target) return Failure(in_target.error());
  if (*in_target && !before) {
    return fail(
        ErrorCode::kInvalid,
        "target: it has users or roles of its own, as the source has: delete them, or leave "
        "the source's behind with --without-users");
  }
  return true;
}

// Nobody needs to be a user of it from here on.
Result<void> UserCopier::prepare_target() {
  if (prepared_) return {};
  const auto status =
      TRY(ask<pb::AuthStatusResponse>(target_, kAuthStatus, pb::AuthStatusRequest()));
  if (status.enabled()) {
    TRY(ask<pb::AuthDisableResponse>(target_, kAuthDisable, pb::AuthDisableRequest()));
    display_.note("Users are enabled at the target: disabled until the cut-over");
  }
  TRY(probe_target());
  prepared_ = true;
  return {};
}

// One that knows no hashes would make users whose password is empty: what it must refuse tells.
Result<void> UserCopier::probe_target() {
  const auto made = target_.ask<pb::AuthUserAddResponse>(
      kUserAdd, user_add(kProbe, {.hash = "no hash", .none = false}));
  if (!made && made.error().code == GrpcCode::kInvalidArgument) return {};
  if (!made) return failure(target_, made.error());
  TRY(ask<pb::AuthUserDeleteResponse>(target_, kUserDelete,
                                      named<pb::AuthUserDeleteRequest>(kProbe)));
  return fail(ErrorCode::kInvalid,
              target_.name() +
                  ": it takes no hashes of passwords, so that users cannot be copied: its members "
                  "have to be newer; or leave them behind with --without-users");
}

Result<ImportedUsers> UserCopier::find() {
  if (!TRY(any_in(source_))) return ImportedUsers{};
  ImportedUsers found = TRY(read_database());
  TRY(check_login(found, target_.cluster()));
  TRY(prepare_target());
  return found;
}

Result<ImportedUsers> UserCopier::read_database() {
  const auto show = [this](std::uint64_t done, std::uint64_t left) {
    if (done < limits::kMiB || !display_.is_due()) return;
    display_.progress(fmt::format("reading users from a snapshot: {} of {} MiB",
                                  with_commas(done / limits::kMiB),
                                  with_commas((done + left) / limits::kMiB)));
  };
  const auto database = TRY(download_snapshot(pump_, source_, show));
  const auto read = [&](std::uint64_t offset, std::size_t size) {
    return database->read(offset, size);
  };
  const auto file = BoltFile::open(read, database->size());
  auto users = file ? read_users(*file) : Failure(file.error());
  if (!users) users.error().message = source_.name() + ": its snapshot: " + users.error().message;
  return users;
}

Result<ImportedUsers> UserCopier::read_target() {
  ImportedUsers target;
  const auto roles = TRY(roles_of(target_));
  const auto role_get = [](const std::string& name) {
    pb::AuthRoleGetRequest request;
    request.set_role(name);
    return request;
  };
  TRY(ask_each<pb::AuthRoleGetResponse>(
      target_, kRoleGet, roles, role_get,
      [&](const std::string& name, const auto& answer) -> Result<void> {
        if (!answer) return failure(target_, answer.error());
        ImportedRole& role = target.roles[name];
        for (const auto& permission : answer->perm()) add_right(role, permission);
        return {};
      }));
  const auto users = TRY(users_of(target_));
  TRY(ask_each<pb::AuthUserGetResponse>(
      target_, kUserGet, users, named<pb::AuthUserGetRequest>,
      [&](const std::string& name, const auto& answer) -> Result<void> {
        if (!answer) return failure(target_, answer.error());
        ImportedUser& user = target.users[name];
        user.roles.insert(answer->roles().begin(), answer->roles().end());
        if (const auto given = given_.find(name); given != given_.end()) {
          user.password = given->second;
        }
        return {};
      }));
  return target;
}

Result<void> UserCopier::copy(const ImportedUsers& source, std::string_view verb) {
  const Instant begin = now();
  // What is there may be somebody else's, as the source never had any.
  if (source.empty() && !has_copied_) return {};
  has_copied_ = true;
  // While users are not enabled anybody may change a password there: all are made anew.
  given_.clear();
  TRY(make_same(source));
  if (source.empty()) return {};
  display_.done(fmt::format("{} {} and {} in {:.1f} s, as of their revision {}; users are {}", verb,
                            count_of(source.users.size(), "user"),
                            count_of(source.roles.size(), "role"), (now() - begin).seconds(),
                            source.revision, source.enabled ? "enabled" : "not enabled"));
  return {};
}

Result<void> UserCopier::make_same(const ImportedUsers& source) {
  for (int copies = 0;; ++copies) {
    const ImportedUsers target = TRY(read_target());
    const UserChanges changes = changes_between(source, target);
    if (changes.empty()) return {};
    if (copies == kMostCopies) {
      return fail(ErrorCode::kMismatch,
                  fmt::format("{}: its users and roles do not become those of the source{}",
                              target_.name(), refusal_.empty() ? "" : ": " + refusal_));
    }
    TRY(remove(changes));
    TRY(add_roles(changes.add_roles, source));
    TRY(add_users(changes.add_users, source));
  }
}

// What is there already, or gone already, may be this import's own doing, of which no answer came:
// the next look at the target tells.
template <class Response, class Item, class Make, class Done>
Result<void> UserCopier::change_each(std::string_view method, const std::vector<Item>& items,
                                     Make&& make, Done&& done) {
  return ask_each<Response>(target_, method, items, make,
                            [&](const Item& item, const auto& answer) -> Result<void> {
                              if (answer) {
                                done(item);
                              } else if (answer.error().code == GrpcCode::kFailedPrecondition) {
                                refusal_ = answer.error().message;
                              } else {
                                return failure(target_, answer.error());
                              }
                              return {};
                            });
}

Result<void> UserCopier::remove(const UserChanges& changes) {
  // Whatever the answers: what is known of their passwords is not true any more.
  for (const std::string& name : changes.remove_users) given_.erase(name);
  TRY(change_each<pb::AuthUserDeleteResponse>(kUserDelete, changes.remove_users,
                                              named<pb::AuthUserDeleteRequest>,
                                              [](const std::string&) {}));
  const auto role_delete = [](const std::string& name) {
    pb::AuthRoleDeleteRequest request;
    request.set_role(name);
    return request;
  };
  return change_each<pb::AuthRoleDeleteResponse>(kRoleDelete, changes.remove_roles, role_delete,
                                                 [](const std::string&) {});
}

Result<void> UserCopier::add_roles(const std::vector<std::string>& names,
                                   const ImportedUsers& source) {
  TRY(change_each<pb::AuthRoleAddResponse>(kRoleAdd, names, named<pb::AuthRoleAddRequest>,
                                           [](const std::string&) {}));
  std::vector<pb::AuthRoleGrantPermissionRequest> grants;
  for (const std::string& name : names) {
    for (const auto& [range, type] : source.roles.at(name)) {
      auto& grant = grants.emplace_back(named<pb::AuthRoleGrantPermissionRequest>(name));
      grant.mutable_perm()->set_permtype(static_cast<pb::Permission::Type>(type));
      grant.mutable_perm()->set_key(range.first);
      grant.mutable_perm()->set_range_end(range.second);
    }
  }
  return change_each<pb::AuthRoleGrantPermissionResponse>(
      kRoleGrant, grants, [](const auto& grant) { return grant; }, [](const auto&) {});
}

Result<void> UserCopier::add_users(const std::vector<std::string>& names,
                                   const ImportedUsers& source) {
  const auto password_of = [&](const std::string& name) {
    return source.users.at(name).password.value_or(ImportedPassword{.hash = {}, .none = true});
  };
  TRY(change_each<pb::AuthUserAddResponse>(
      kUserAdd, names, [&](const std::string& name) { return user_add(name, password_of(name)); },
      [&](const std::string& name) { given_[name] = password_of(name); }));
  std::vector<pb::AuthUserGrantRoleRequest> grants;
  for (const std::string& name : names) {
    for (const std::string& role : source.users.at(name).roles) {
      auto& grant = grants.emplace_back();
      grant.set_user(name);
      grant.set_role(role);
    }
  }
  return change_each<pb::AuthUserGrantRoleResponse>(
      kUserGrantRole, grants, [](const auto& grant) { return grant; }, [](const auto&) {});
}

Result<void> UserCopier::enable() {
  TRY(ask<pb::AuthEnableResponse>(target_, kAuthEnable, pb::AuthEnableRequest()));
  return {};
}

}  // namespace conclave::server
