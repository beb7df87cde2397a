// Locks, elections and barriers of a group's clients: what their procedures (store/locks.h,
// store/native_waits.h, store/observers.h) ask for goes the way of clients' requests and watches.
// Part of node/group.h.

#include <algorithm>
#include <utility>

#include "base/fair_limits.h"
#include "base/watch_limits.h"
#include "node/group.h"

namespace conclave::node {
namespace {

bool is_native(const api::Request& request) {
  return std::holds_alternative<api::AcquireRequest>(request.body) ||
         std::holds_alternative<api::EnterRequest>(request.body) ||
         std::holds_alternative<api::LeaveRequest>(request.body);
}

}  // namespace

void Group::lock(ClientCall client, api::Request request) {
  // What a procedure asks for later is asked in the name alone.
  const bool is_old = request.token && request.identity.revision < store_.auth().revision();
  if (is_old && store_.auth().is_enabled()) {
    return answer(client, api::Error{api::ErrorCode::kAuthOldRevision, {}});
  }
  std::optional<Instant> deadline;
  if (request.timeout_ms) {
    const std::uint64_t timeout_ms = std::min(*request.timeout_ms, limits::kMaxLockTimeoutMs);
    deadline = shared_.clock.now() + milliseconds(static_cast<std::int64_t>(timeout_ms));
  }
  const std::size_t native = native_waits_.waiting() + native_waits_.undoing();
  const std::size_t own_bytes = locks_.waiting_bytes_of(client.connection);
  const std::size_t share = own_bytes < limits::kLittleRequestBytes ? 2 : 1;
  if (locks_.waiting() + native >= limits::kMaxLockWaiters ||
      own_bytes >= limits::kMaxConnectionLockWaiterBytes ||
      locks_.waiting_bytes() >= share * limits::kMaxLockWaiterBytes) {
    ++counters_.requests_refused;
    return answer(client, api::Error{api::ErrorCode::kTooManyRequests, {}});
  }
  if (is_native(request)) {
    native_waits_.request(feed_id(client), std::move(request), deadline);
  } else {
    locks_.request(feed_id(client), std::move(request), deadline);
  }
  want_turn();
}

void Group::withdraw(ClientCall client) {
  locks_.withdraw(feed_id(client));
  native_waits_.withdraw(feed_id(client));
  if (locks_.has_effects() || native_waits_.has_effects()) want_turn();
}

void Group::stop_locks() {
  locks_.stop();
  native_waits_.stop();
  want_turn();
}

// What is asked for here may be answered at once, with an error, and then more is to be done.
void Group::serve_locks() {
  serve_locks(kLocksConnection, locks_.take_effects());
  serve_locks(kNativeConnection, native_waits_.take_effects());
  store::Observers::Effects observers = observers_.take_effects();
  for (auto& [client, id, request] : observers.calls) {
    submit_for_locks(ClientCall{kObserversConnection, id, client.connection}, std::move(request));
  }
  for (const std::uint64_t feed : observers.has_room) {
    watches_.has_room({kObserversConnection, feed});
  }
  watch_for_locks(kObserversConnection, observers.closed, observers.watches);
  const bool has_watches = !observers.watches.empty() || !observers.has_room.empty();
  const bool has_more =
      locks_.has_effects() || native_waits_.has_effects() || observers_.has_effects();
  if (has_watches || has_more) want_turn();
}

void Group::serve_locks(std::uint64_t connection, store::Locks::Effects effects) {
  for (auto& [client, response] : effects.replies) {
    answer(ClientCall{client.connection, client.call}, std::move(response));
  }
  for (auto& [client, id, request] : effects.calls) {
    submit_for_locks(ClientCall{connection, id, client.connection}, std::move(request));
  }
  watch_for_locks(connection, effects.closed, effects.watches);
  if (!effects.watches.empty()) want_turn();
}

template <class Watches>
void Group::watch_for_locks(std::uint64_t connection, const std::vector<std::uint64_t>& closed,
                            const Watches& watches) {
  for (const std::uint64_t feed : closed) {
    watches_.request(store_, {connection, feed}, api::WatchFeedClosed{});
  }
  for (const auto& [feed, create] : watches) watches_.request(store_, {connection, feed}, create);
}

void Group::submit_for_locks(ClientCall client, api::Request request) {
  identify(request);
  const api::Route route = api::route_of(request);
  // Of kLock: the command of somebody who waits.
  const bool is_write = route == api::Route::kWrite || route == api::Route::kLock;
  is_write ? write(client, std::move(request)) : read(client, std::move(request));
}

}  // namespace conclave::node
