// Users and roles of a group's clients: who asks, and what needs a password or a secret. Part of
// node/group.h.
//
// Passwords are hashed and compared on a lane of their own (io::Lane::kPasswords), since that is
// slow on purpose: neither the loop nor the log's disk waits for it. The log, and with it the other
// members and the disk, gets hashes alone.

#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "node/group.h"
#include "node/request_size.h"

namespace conclave::node {
namespace {

constexpr std::size_t kTokenKeyBytes = 32;
constexpr std::size_t kNonceBytes = 12;

}  // namespace

// --- who asks -----------------------------------------------------------------------

std::optional<api::Identity> Group::identity_of(BytesView token) {
  const AuthOptions& options = shared_.options.auth;
  const std::uint64_t wall_s = shared_.clock.wall_ms() / 1000;
  if (options.read_token) return options.read_token(token, wall_s);
  auto user = tokens_.user_of(token, store_.auth(), {shared_.clock.now(), wall_s});
  if (!user) return std::nullopt;
  return api::Identity{std::move(*user), store_.auth().revision()};
}

bool Group::identify(api::Request& request) {
  if (request.token) {
    auto identity = identity_of(*request.token);
    if (!identity) return false;
    request.identity = std::move(*identity);
  } else if (!store_.auth().is_enabled()) {
    request.identity.user.clear();  // nobody asks
  } else if (!request.identity.user.empty()) {
    request.identity.revision = store_.auth().revision();
  }
  return true;
}

// Who asks, for shares. Of a read with a signed token it is not known before that is looked at.
Flow Group::user_of(const api::Request& request) {
  if (!store_.auth().is_enabled()) return 0;
  const bool is_known = !request.token || request.identity.revision != 0;
  if (is_known) return user_flow(request.identity.user);
  if (shared_.options.auth.read_token) return 0;
  const auto identity = identity_of(*request.token);
  return identity ? user_flow(identity->user) : 0;
}

// What this member has not applied yet may make the token a valid one.
void Group::identify_later(ClientCall client, api::Request request) {
  const store::Limits store_limits{.max_txn_ops = shared_.options.max_txn_ops};
  if (auto error = store::Store::validate(request, store_limits)) {
    return answer(client, std::move(*error));
  }
  if (!reads_.has_room(client)) {
    ++counters_.requests_refused;
    return answer(client, api::Error{api::ErrorCode::kTooManyRequests, {}});
  }
  const Instant until = deadline(request);
  const std::size_t bytes = bytes_of(request);
  reads_.add({.client = client, .request = std::move(request), .deadline = until, .bytes = bytes});
  want_turn();
}

std::optional<api::Error> Group::denial(const api::Request& request) const {
  if (!store_.auth().is_enabled()) return std::nullopt;
  return store_.denial(request);
}

// The last look before it is answered. False: it was answered.
bool Group::may_read(Reads::Read& read) {
  if (!read.request.token && !store_.auth().is_enabled()) return true;
  std::optional<api::Error> refused;
  if (!identify(read.request)) {
    refused = api::Error{api::ErrorCode::kInvalidAuthToken, {}};
  } else {
    refused = denial(read.request);
  }
  if (!refused) return true;
  ++counters_.reads_failed;
  answer(read.client, std::move(*refused));
  return false;
}

// --- passwords ----------------------------------------------------------------------

void Group::authenticate(ClientCall client, api::Request request) {
  if (!shared_.options.auth.hash_password) {
    return answer(client, api::Error{api::ErrorCode::kUnsupported, "no passwords"});
  }
  auto& op = std::get<api::AuthRequest>(request.body).op;
  if (auto* enable = std::get_if<api::AuthEnable>(&op)) {
    enable->token_key = shared_.options.auth.random_bytes(kTokenKeyBytes);
    return write(client, std::move(request));
  }
  if (std::holds_alternative<api::Authenticate>(op)) return read(client, std::move(request));
  // Looked at here too, as hashing is dear: else anybody could keep the lane busy.
  if (auto denied = denial(request)) return answer(client, std::move(*denied));
  if (auto* add = std::get_if<api::UserAdd>(&op)) {
    const bool is_ready = add->no_password || !add->password_hash.empty();
    if (is_ready) return write(client, std::move(request));
    Bytes password = std::move(add->password);
    return hash_password(client, std::move(password), std::move(request));
  }
  auto& change = std::get<api::UserChangePassword>(op);
  if (!change.password_hash.empty()) return write(client, std::move(request));
  Bytes password = std::move(change.password);
  hash_password(client, std::move(password), std::move(request));
}

// At most so many wait for the lane.
bool Group::may_use_passwords(ClientCall client) {
  if (passwords_under_way_ < limits::kMaxWaitingPasswords) return true;
  answer(client, api::Error{api::ErrorCode::kTooManyRequests, {}});
  return false;
}

void Group::hash_password(ClientCall client, Bytes password, api::Request request) {
  if (!may_use_passwords(client)) return;
  ++passwords_under_way_;
  auto hash = std::make_shared<Bytes>();
  shared_.disk.run(
      io::Lane::kPasswords,
      [make = shared_.options.auth.hash_password, password = std::move(password),
       hash]() -> Result<void> {
        *hash = make(password);
        return {};
      },
      [this, client, hash, request = std::move(request),
       alive = std::weak_ptr<char>(alive_)](const Result<void>&) mutable {
        if (alive.expired()) return;
        --passwords_under_way_;
        auto& op = std::get<api::AuthRequest>(request.body).op;
        auto* add = std::get_if<api::UserAdd>(&op);
        Bytes& place = add != nullptr ? add->password_hash
                                      : std::get<api::UserChangePassword>(op).password_hash;
        place = std::move(*hash);
        write(client, std::move(request));
      });
}

// After a barrier: users are as they were when the request came, or newer.
void Group::check_password(ClientCall client, api::Authenticate asked) {
  const store::Auth& auth = store_.auth();
  if (!auth.is_enabled()) return answer(client, api::Error{api::ErrorCode::kAuthNotEnabled, {}});
  const store::Auth::User* user = auth.find(asked.name);
  if (user == nullptr) return answer(client, api::Error{api::ErrorCode::kAuthFailed, {}});
  if (user->no_password) return answer(client, api::Error{api::ErrorCode::kNoPasswordUser, {}});
  if (!may_use_passwords(client)) return;
  ++passwords_under_way_;
  auto is_right = std::make_shared<bool>(false);
  shared_.disk.run(
      io::Lane::kPasswords,
      [matches = shared_.options.auth.password_matches, password = std::move(asked.password),
       hash = user->password_hash, is_right]() -> Result<void> {
        *is_right = matches(password, hash);
        return {};
      },
      [this, client, name = std::move(asked.name), since = user->since, is_right,
       alive = std::weak_ptr<char>(alive_)](const Result<void>&) {
        if (alive.expired()) return;
        --passwords_under_way_;
        const store::Auth::User* now = store_.auth().find(name);
        const bool is_same = now != nullptr && now->since == since && store_.auth().is_enabled();
        if (*is_right && is_same) return issue_token(client, name);
        answer(client, api::Error{api::ErrorCode::kAuthFailed, {}});
      });
}

void Group::issue_token(ClientCall client, const std::string& user) {
  const AuthOptions& options = shared_.options.auth;
  const std::uint64_t wall_s = shared_.clock.wall_ms() / 1000;
  const store::Auth& auth = store_.auth();
  api::AuthResponse response;
  response.token = options.make_token
                       ? options.make_token({user, auth.revision()}, wall_s)
                       : Tokens::issue(auth, user, wall_s, options.random_bytes(kNonceBytes));
  answer(client, std::move(response));
}

}  // namespace conclave::node
