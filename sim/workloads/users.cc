// Users that write and read while one client, as root, gives them roles, takes these away in every
// way there is, and changes passwords. What others know of that is the order in time alone: a role
// is the user's for sure from the answer that gave it until it was asked to be taken away, and
// perhaps from the first question until the last answer.
//
// Judged as it goes on: a request that is answered was asked by somebody who may have had the right
// to it at some moment between question and answer, at whichever member; one that is refused for
// want of the right, by somebody who may have lacked it; no token counts once its user's password
// was changed. And what was refused is written nowhere.
//
// A question whose fate is unknown may yet have its effect, at any time later. So a role has a name
// that is never used again, and one that might come back by such a question is not counted as gone.

#include <fmt/core.h>

#include <array>
#include <deque>
#include <limits>
#include <set>
#include <utility>

#include "base/check.h"
#include "etcd.pb.h"
#include "sim/finding.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/kinds.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kUsers = 3;
constexpr std::size_t kKeys = 6;
constexpr std::size_t kRoles = 5;  // at a time
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::string_view kDenied = "etcdserver: permission denied";
constexpr std::string_view kBadToken = "etcdserver: invalid auth token";
constexpr std::string_view kNoName = "etcdserver: user name is empty";
constexpr std::string_view kNotEnabled = "etcdserver: authentication is not enabled";

template <class... Values>
Finding wrong(fmt::format_string<Values...> format, Values&&... values) {
  return {"users", fmt::format(format, std::forward<Values>(values)...), {}};
}

std::string user_of(std::size_t number) { return fmt::format("user{}", number); }
std::string key_of(std::size_t number) { return fmt::format("users/{}", number); }

using Permission = etcdserverpb::Permission;

// A role with one permission, which one user has.
struct Role {
  std::string name;
  std::size_t user = 0;
  std::size_t first_key = 0;
  std::size_t end_key = 0;
  Permission::Type type{};

  // When the last step that gives it was first asked for, and answered; when what takes it away
  // was, and was.
  std::int64_t giving_ns = kNever;
  std::int64_t given_ns = kNever;
  std::int64_t taking_ns = kNever;
  std::int64_t taken_ns = kNever;
  // Of the steps that give it: the fate of a question is unknown.
  bool making_unknown = false;
  bool permitting_unknown = false;
  bool granting_unknown = false;

  bool is_about(std::size_t who, std::size_t key, Permission::Type wanted) const {
    return user == who && first_key <= key && key < end_key &&
           (type == wanted || type == etcdserverpb::Permission::READWRITE);
  }
};

struct PasswordChange {
  std::int64_t asked_ns = kNever;
  std::int64_t answered_ns = kNever;
};

struct Span {
  std::int64_t from_ns = 0;
  std::int64_t to_ns = 0;
};

struct Shared {
  explicit Shared(const WorkloadPlan&) {}

  bool may_have(std::size_t user, std::size_t key, Permission::Type type, Span span) const {
    for (const Role& role : roles) {
      if (!role.is_about(user, key, type)) continue;
      if (role.giving_ns <= span.to_ns && role.taken_ns >= span.from_ns) return true;
    }
    return false;
  }
  bool surely_has(std::size_t user, std::size_t key, Permission::Type type, Span span) const {
    for (const Role& role : roles) {
      if (!role.is_about(user, key, type)) continue;
      if (role.given_ns <= span.from_ns && role.taking_ns >= span.to_ns) return true;
    }
    return false;
  }

  bool enabled = false;
  std::string root_token;
  std::deque<Role> roles;  // all there ever were
  std::array<std::vector<PasswordChange>, kUsers> passwords;
  std::set<std::string> refused;  // values that are written nowhere
};

void check_values(const Shared& shared, const etcdserverpb::RangeResponse& response) {
  for (const mvccpb::KeyValue& kv : response.kvs()) {
    if (shared.refused.contains(kv.value())) {
      throw wrong("{} is {}, though that write was refused", kv.key(), kv.value());
    }
  }
}

// --- root ---------------------------------------------------------------------------

class Root {
 public:
  Root(Caller& caller, Shared& shared) : caller_(caller), shared_(shared) { prepare(); }

  void act() {
    if (shared_.enabled && shared_.root_token.empty()) return log_in();
    if (steps_.empty()) plan_something();
    ask(steps_.front());
  }

 private:
  // Asked again and again until it is answered, or is told to have been done already.
  struct Step {
    std::string_view method;
    std::shared_ptr<google::protobuf::Message> request;
    std::string_view done_already;
    std::function<void(std::int64_t now_ns)> asked = {};  // for the first time
    std::function<void(std::int64_t now_ns)> done = {};
    bool* unknown = nullptr;  // told that the fate of a question is
    bool was_asked = false;
  };

  void prepare() {
    const auto add_user = [this](const std::string& name) {
      auto request = std::make_shared<etcdserverpb::AuthUserAddRequest>();
      request->set_name(name);
      request->set_password(name);
      push("Auth/UserAdd", request, "etcdserver: user name already exists");
    };
    add_user("root");
    for (std::size_t i = 0; i < kUsers; ++i) add_user(user_of(i));
    auto role = std::make_shared<etcdserverpb::AuthRoleAddRequest>();
    role->set_name("root");
    push("Auth/RoleAdd", role, "etcdserver: role name already exists");
    auto grant = std::make_shared<etcdserverpb::AuthUserGrantRoleRequest>();
    grant->set_user("root");
    grant->set_role("root");
    push("Auth/UserGrantRole", grant, "");
    push("Auth/AuthEnable", std::make_shared<etcdserverpb::AuthEnableRequest>(), kNoName);
    steps_.back().done = [this](std::int64_t) { shared_.enabled = true; };
  }

  void push(std::string_view method, std::shared_ptr<google::protobuf::Message> request,
            std::string_view done_already, bool* unknown = nullptr) {
    Step step{.method = method, .request = std::move(request), .done_already = done_already};
    step.unknown = unknown;
    steps_.push_back(std::move(step));
  }

  void plan_something() {
    Rng& rng = caller_.rng();
    if (rng.one_in(8)) return plan_password(rng.below(kUsers));
    std::vector<Role*> there;
    for (Role& role : shared_.roles) {
      if (role.taking_ns == kNever) there.push_back(&role);
    }
    const bool gives = there.empty() || (there.size() < kRoles && rng.one_in(2));
    if (gives) return plan_giving();
    plan_taking(*there[rng.below(there.size())]);
  }

  void plan_giving() {
    Rng& rng = caller_.rng();
    Role& role = shared_.roles.emplace_back();
    role.name = fmt::format("role{}", shared_.roles.size());
    role.user = rng.below(kUsers);
    role.first_key = rng.below(kKeys);
    role.end_key = role.first_key + rng.between(1, kKeys - role.first_key);
    role.type = static_cast<Permission::Type>(rng.below(3));
    auto add = std::make_shared<etcdserverpb::AuthRoleAddRequest>();
    add->set_name(role.name);
    push("Auth/RoleAdd", add, "etcdserver: role name already exists", &role.making_unknown);
    auto permit = std::make_shared<etcdserverpb::AuthRoleGrantPermissionRequest>();
    permit->set_name(role.name);
    permit->mutable_perm()->set_permtype(role.type);
    permit->mutable_perm()->set_key(key_of(role.first_key));
    permit->mutable_perm()->set_range_end(key_of(role.end_key));
    push("Auth/RoleGrantPermission", permit, "", &role.permitting_unknown);
    auto grant = std::make_shared<etcdserverpb::AuthUserGrantRoleRequest>();
    grant->set_user(user_of(role.user));
    grant->set_role(role.name);
    push("Auth/UserGrantRole", grant, "", &role.granting_unknown);
    steps_.back().asked = [&role](std::int64_t now_ns) { role.giving_ns = now_ns; };
    steps_.back().done = [&role](std::int64_t now_ns) { role.given_ns = now_ns; };
  }

  void plan_taking(Role& role) {
    bool may_come_back = false;
    const std::uint64_t dice = caller_.rng().below(3);
    if (dice == 0) {
      auto revoke = std::make_shared<etcdserverpb::AuthRoleRevokePermissionRequest>();
      revoke->set_role(role.name);
      revoke->set_key(key_of(role.first_key));
      revoke->set_range_end(key_of(role.end_key));
      push("Auth/RoleRevokePermission", revoke,
           "etcdserver: permission is not granted to the role");
      may_come_back = role.permitting_unknown;
    } else if (dice == 1) {
      auto revoke = std::make_shared<etcdserverpb::AuthUserRevokeRoleRequest>();
      revoke->set_name(user_of(role.user));
      revoke->set_role(role.name);
      push("Auth/UserRevokeRole", revoke, "etcdserver: role is not granted to the user");
      may_come_back = role.granting_unknown;
    } else {
      auto gone = std::make_shared<etcdserverpb::AuthRoleDeleteRequest>();
      gone->set_role(role.name);
      push("Auth/RoleDelete", gone, "etcdserver: role name not found");
      may_come_back = role.making_unknown && role.permitting_unknown && role.granting_unknown;
    }
    steps_.back().asked = [&role](std::int64_t now_ns) { role.taking_ns = now_ns; };
    if (may_come_back) return;
    steps_.back().done = [&role](std::int64_t now_ns) { role.taken_ns = now_ns; };
  }

  // To what it is, so that nobody has to be told: what it ends is tokens.
  void plan_password(std::size_t user) {
    auto change = std::make_shared<etcdserverpb::AuthUserChangePasswordRequest>();
    change->set_name(user_of(user));
    change->set_password(user_of(user));
    push("Auth/UserChangePassword", change, "");
    std::vector<PasswordChange>& changes = shared_.passwords[user];
    const std::size_t place = changes.size();
    changes.emplace_back();
    steps_.back().asked = [&changes, place](std::int64_t now) { changes[place].asked_ns = now; };
    steps_.back().done = [&changes, place](std::int64_t now) { changes[place].answered_ns = now; };
  }

  void ask(Step& step) {
    if (!step.was_asked && step.asked) step.asked(caller_.now_ns());
    step.was_asked = true;
    caller_.call(
        step.method, *step.request,
        [this](const EtcdClient::Reply& reply) {
          hear(reply);
          caller_.next();
        },
        metadata());
  }

  void hear(const EtcdClient::Reply& reply) {
    Step& step = steps_.front();
    if (reply.unknown() && step.unknown != nullptr) *step.unknown = true;
    if (reply.error == kDenied) throw wrong("root is refused {}", step.method);
    if (reply.error == kBadToken) shared_.root_token.clear();
    const bool is_done =
        reply.answered() || (!step.done_already.empty() && reply.error == step.done_already);
    if (!is_done) return;
    if (step.done) step.done(caller_.now_ns());
    steps_.pop_front();
  }

  void log_in() {
    etcdserverpb::AuthenticateRequest request;
    request.set_name("root");
    request.set_password("root");
    caller_.call("Auth/Authenticate", request, [this](const EtcdClient::Reply& reply) {
      shared_.root_token = reply.as<etcdserverpb::AuthenticateResponse>().token();
      caller_.next();
    });
  }

  EtcdClient::Metadata metadata() const {
    if (shared_.root_token.empty()) return {};
    return {{"token", shared_.root_token}};
  }

  Caller& caller_;
  Shared& shared_;
  std::deque<Step> steps_;
};

// --- the others ---------------------------------------------------------------------

class User {
 public:
  User(Caller& caller, Shared& shared)
      : caller_(caller), shared_(shared), user_((caller.number() - 1) % kUsers) {}

  void act() {
    if (!shared_.enabled) return caller_.next();
    Rng& rng = caller_.rng();
    if (token_.empty() || rng.one_in(12)) return log_in();
    if (rng.one_in(6)) caller_.hop();
    reads_ = writes_ = false;
    key_ = rng.below(kKeys);
    value_.clear();
    const std::uint64_t dice = rng.below(8);
    if (dice < 3) return put();
    if (dice < 6) return get();
    return dice < 7 ? remove() : put_again();
  }

 private:
  void log_in() {
    etcdserverpb::AuthenticateRequest request;
    request.set_name(user_of(user_));
    request.set_password(user_of(user_));
    caller_.call("Auth/Authenticate", request, [this](const EtcdClient::Reply& reply) {
      if (reply.answered()) {
        token_ = reply.as<etcdserverpb::AuthenticateResponse>().token();
        token_ns_ = caller_.now_ns();
      }
      caller_.next();
    });
  }

  std::string new_value() {
    value_ = fmt::format("{}-{}-{}", user_of(user_), caller_.number(), ++written_);
    return value_;
  }

  void put() {
    writes_ = true;
    etcdserverpb::PutRequest request;
    request.set_key(key_of(key_));
    request.set_value(new_value());
    call("KV/Put", request);
  }

  void get() {
    reads_ = true;
    etcdserverpb::RangeRequest request;
    request.set_key(key_of(key_));
    call("KV/Range", request);
  }

  void remove() {
    writes_ = true;
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(key_of(key_));
    call("KV/DeleteRange", request);
  }

  // If it is there.
  void put_again() {
    reads_ = writes_ = true;
    etcdserverpb::TxnRequest request;
    etcdserverpb::Compare& compare = *request.add_compare();
    compare.set_key(key_of(key_));
    compare.set_target(etcdserverpb::Compare::VERSION);
    compare.set_result(etcdserverpb::Compare::GREATER);
    compare.set_version(0);
    etcdserverpb::PutRequest& write = *request.add_success()->mutable_request_put();
    write.set_key(key_of(key_));
    write.set_value(new_value());
    call("KV/Txn", request);
  }

  void call(std::string_view method, const google::protobuf::Message& request) {
    const std::int64_t called_ns = caller_.now_ns();
    const bool is_get = reads_ && !writes_;
    caller_.call(method, request,
                 [this, method, called_ns, is_get](const EtcdClient::Reply& reply) {
                   const Span span{called_ns, caller_.now_ns()};
                   if (reply.refused() && !value_.empty()) shared_.refused.insert(value_);
                   if (reply.answered()) check_answered(method, span);
                   if (reply.answered() && is_get) {
                     check_values(shared_, reply.as<etcdserverpb::RangeResponse>());
                   }
                   if (reply.error == kDenied) check_denied(method, span);
                   if (reply.error == kBadToken) token_.clear();
                   caller_.next();
                 },
                 {{"token", token_}});
  }

  void check_answered(std::string_view method, Span span) const {
    const bool may =
        (!reads_ || shared_.may_have(user_, key_, etcdserverpb::Permission::READ, span)) &&
        (!writes_ || shared_.may_have(user_, key_, etcdserverpb::Permission::WRITE, span));
    if (!may) {
      throw wrong("{} of {} by {}, asked at {} ns, is answered at {} ns, without the right to it",
                  method, key_of(key_), user_of(user_), span.from_ns, span.to_ns);
    }
    for (const PasswordChange& change : shared_.passwords[user_]) {
      if (token_ns_ < change.asked_ns && change.answered_ns < span.from_ns) {
        throw wrong(
            "{} by {}, asked at {} ns, is answered, with a token of {} ns and a password "
            "of {} ns",
            method, user_of(user_), span.from_ns, token_ns_, change.answered_ns);
      }
    }
  }

  void check_denied(std::string_view method, Span span) const {
    const bool must =
        (!reads_ || shared_.surely_has(user_, key_, etcdserverpb::Permission::READ, span)) &&
        (!writes_ || shared_.surely_has(user_, key_, etcdserverpb::Permission::WRITE, span));
    if (!must) return;
    throw wrong(
        "{} of {} by {}, asked at {} ns, is refused at {} ns, though there is a right to it",
        method, key_of(key_), user_of(user_), span.from_ns, span.to_ns);
  }

  Caller& caller_;
  Shared& shared_;
  std::size_t user_;
  std::string token_;
  std::int64_t token_ns_ = 0;
  std::uint64_t written_ = 0;
  // The call under way.
  std::size_t key_ = 0;
  std::string value_;
  bool reads_ = false;
  bool writes_ = false;
};

// The first one is root.
class Client {
 public:
  Client(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : caller_(site, plan, "u", number) {
    if (number == 0) {
      root_ = std::make_unique<Root>(caller_, shared);
    } else {
      user_ = std::make_unique<User>(caller_, shared);
    }
  }

  Caller& caller() { return caller_; }
  void act() { root_ ? root_->act() : user_->act(); }

 private:
  Caller caller_;
  std::unique_ptr<Root> root_;
  std::unique_ptr<User> user_;
};

class Users final : public Crowd<Client, Shared> {
 public:
  using Crowd::Crowd;

  std::optional<Finding> judge() const override { return std::nullopt; }

 private:
  // What is there is what was not refused. Then users are disabled, so that nobody else is.
  void last_look(Caller& caller) override {
    etcdserverpb::RangeRequest request;
    request.set_key("users/");
    request.set_range_end("users0");
    caller.call(
        "KV/Range", request,
        [this, &caller](const EtcdClient::Reply& reply) {
          if (reply.answered()) {
            check_values(shared(), reply.as<etcdserverpb::RangeResponse>());
            return disable(caller);
          }
          log_in(caller, [this, &caller] { last_look(caller); });
        },
        metadata());
  }

  void disable(Caller& caller) {
    caller.call(
        "Auth/AuthDisable", etcdserverpb::AuthDisableRequest(),
        [this, &caller](const EtcdClient::Reply& reply) {
          if (reply.answered()) return over();
          log_in(caller, [this, &caller] { disable(caller); });
        },
        metadata());
  }

  // Or learns that users are disabled, and needs no token.
  void log_in(Caller& caller, std::function<void()> then) {
    etcdserverpb::AuthenticateRequest request;
    request.set_name("root");
    request.set_password("root");
    caller.call("Auth/Authenticate", request,
                [this, then = std::move(then)](const EtcdClient::Reply& reply) {
                  if (reply.answered() || reply.error == kNotEnabled) {
                    shared().root_token = reply.as<etcdserverpb::AuthenticateResponse>().token();
                  }
                  then();
                });
  }

  EtcdClient::Metadata metadata() const {
    if (shared().root_token.empty()) return {};
    return {{"token", shared().root_token}};
  }
};

}  // namespace

std::unique_ptr<Workload> make_users(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<Users>(site, plan);
}

}  // namespace conclave::sim
