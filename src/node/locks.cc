// Locks and elections of a group's clients: what their procedures (store/locks.h,
// store/observers.h) ask for goes the way of clients' requests and watches. Part of node/group.h.

#include <algorithm>
#include <utility>

#include "base/watch_limits.h"
#include "node/group.h"

namespace conclave::node {
namespace {

store::FeedId feed_id(ClientCall client) { return {client.connection, client.call}; }

}  // namespace

void Group::lock(ClientCall client, api::Request request) {
  std::optional<Instant> deadline;
  if (request.timeout_ms) {
    const std::uint64_t limit_ms = limits::kMaxLockTimeoutMs;
    const std::uint64_t timeout_ms = std::min(*request.timeout_ms, limit_ms);
    deadline = shared_.clock.now() + milliseconds(static_cast<std::int64_t>(timeout_ms));
  }
  if (locks_.waiting() >= limits::kMaxLockWaiters) {
    return answer(client, api::Error{api::ErrorCode::kTooManyRequests, {}});
  }
  locks_.request(feed_id(client), std::move(request), deadline);
  want_turn();
}

void Group::withdraw(ClientCall client) {
  locks_.withdraw(feed_id(client));
  if (locks_.has_effects()) want_turn();
}

void Group::stop_locks() {
  locks_.stop();
  want_turn();
}

// What is asked for here may be answered at once, with an error, and then more is to be done.
void Group::serve_locks() {
  store::Locks::Effects locks = locks_.take_effects();
  for (auto& [client, response] : locks.replies) {
    answer(ClientCall{client.connection, client.call}, std::move(response));
  }
  for (auto& [client, id, request] : locks.calls) {
    submit_for_locks(ClientCall{kLocksConnection, id, client.connection}, std::move(request));
  }
  store::Observers::Effects observers = observers_.take_effects();
  for (auto& [id, request] : observers.calls) {
    submit_for_locks(ClientCall{kObserversConnection, id}, std::move(request));
  }
  for (const std::uint64_t feed : observers.has_room) {
    watches_.has_room({kObserversConnection, feed});
  }
  watch_for_locks(kLocksConnection, locks.closed, locks.watches);
  watch_for_locks(kObserversConnection, observers.closed, observers.watches);
  const bool has_watches =
      !locks.watches.empty() || !observers.watches.empty() || !observers.has_room.empty();
  if (has_watches || locks_.has_effects() || observers_.has_effects()) want_turn();
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
  if (api::route_of(request) == api::Route::kWrite) return write(client, std::move(request));
  read(client, std::move(request));
}

}  // namespace conclave::node
