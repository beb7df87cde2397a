// Watches of a group's clients: requests wait for a turn, in which the hub (store/watch_hub.h) does
// a bounded amount of work. Part of node/group.h.

#include <utility>

#include "base/watch_limits.h"
#include "node/group.h"

namespace conclave::node {
namespace {

std::size_t bytes_of(const std::optional<api::WatchRequest>& request) {
  if (!request) return 0;
  const auto* create = std::get_if<api::WatchCreate>(&*request);
  return create == nullptr ? 0 : create->key.size() + create->range_end.size();
}

}  // namespace

void Group::watch(ClientCall feed, api::WatchRequest request) {
  const bool is_closing = std::holds_alternative<api::WatchFeedClosed>(request);
  if (!watch_requests_.has_room({feed.connection}) && !is_closing) {
    ++counters_.requests_refused;
    request = api::WatchFeedClosed{};
    shared_.clock.post([this, feed, alive = std::weak_ptr<char>(alive_)] {
      if (alive.expired()) return;
      shared_.watch_news(feed, header(),
                         api::WatchFeedEnded{api::Error{api::ErrorCode::kTooManyRequests, {}}});
    });
  }
  add_watch_work({feed, std::move(request)});
}

void Group::on_watch_room(ClientCall feed) { add_watch_work({feed, std::nullopt}); }

void Group::on_watcher_gone(std::uint64_t connection) {
  writes_.drop_unsent(connection);
  forget_connection(connection);
  failed_connections_.erase(connection);
  watch_work_.erase_if(connection, [this, connection](const WatchWork& work) {
    watch_requests_.remove({connection}, bytes_of(work.request));
    return true;
  });
  add_watch_work({ClientCall{connection, 0}, api::WatchFeedClosed{}});
  locks_.close_connection(connection);
  native_waits_.close_connection(connection);
}

void Group::add_watch_work(WatchWork work) {
  const std::size_t bytes = bytes_of(work.request);
  const Flow flow = work.feed.connection;
  watch_requests_.add({flow}, bytes);
  watch_work_.push(flow, std::move(work), limits::kOperationCost + bytes);
  want_turn();
}

void Group::serve_watches() {
  for (std::size_t left = limits::kWatchRequestsPerTurn; left > 0 && !watch_work_.empty(); --left) {
    WatchWork work = watch_work_.pop();
    watch_requests_.remove({work.feed.connection}, bytes_of(work.request));
    if (!work.request) {
      observers_.has_room(feed_id(work.feed));
      watches_.has_room(feed_id(work.feed));
    } else if (work.feed.call == 0) {
      observers_.close_connection(work.feed.connection);
      watches_.close_connection(work.feed.connection);
    } else {
      serve_watch_request(work.feed, *work.request);
    }
  }
  const bool more = !is_corrupt() && watches_.step(store_);
  if (more || !watch_work_.empty()) want_turn();
}

// Why it is refused, if it is: what was wrong with who asks. The hub looks at the rights.
template <class Asked>
std::optional<api::ErrorCode> Group::identify_watcher(Asked& asked) {
  if (!asked.token) return std::nullopt;
  auto identity = identity_of(*asked.token);
  if (!identity) return api::ErrorCode::kInvalidAuthToken;
  asked.identity = std::move(*identity);
  const bool is_old = asked.identity.revision < store_.auth().revision();
  if (is_old && store_.auth().is_enabled()) return api::ErrorCode::kAuthOldRevision;
  return std::nullopt;
}

void Group::serve_watch_request(ClientCall feed, api::WatchRequest& request) {
  if (is_corrupt() && std::holds_alternative<api::WatchCreate>(request)) {
    shared_.watch_news(feed, header(),
                       api::WatchRefused{api::kNoWatch, api::WatchRefused::Reason::kCorrupt});
    return;
  }
  if (auto* create = std::get_if<api::WatchCreate>(&request)) {
    if (const auto refused = identify_watcher(*create)) {
      using Reason = api::WatchRefused::Reason;
      shared_.watch_news(feed, header(),
                         api::WatchRefused{api::kNoWatch, Reason::kDenied, *refused});
      return;
    }
  }
  if (auto* observe = std::get_if<api::ObserveElection>(&request)) {
    if (const auto refused = identify_watcher(*observe)) {
      shared_.watch_news(feed, header(), api::WatchFeedEnded{api::Error{*refused, {}}});
      return;
    }
    return observers_.observe(feed_id(feed), observe->name, std::move(observe->identity.user));
  }
  if (std::holds_alternative<api::WatchFeedClosed>(request)) observers_.close(feed_id(feed));
  watches_.request(store_, feed_id(feed), request);
}

bool Group::tell_watch(store::FeedId feed, api::Revision revision, const api::WatchNews& news) {
  if (feed.connection == kLocksConnection) {
    locks_.on_watch(feed.call, news);
    return true;
  }
  if (feed.connection == kNativeConnection) {
    native_waits_.on_watch(feed.call, news);
    return true;
  }
  if (feed.connection == kObserversConnection) {
    return observers_.on_watch(feed.call, revision, news);
  }
  api::Header names = header();
  names.revision = revision;
  return shared_.watch_news({feed.connection, feed.call}, names, news);
}

void Group::notify_watches() {
  const Instant now = shared_.clock.now();
  if (now < notify_watches_at_) return;
  if (notify_watches_at_ != Instant{}) watches_.notify_progress();
  notify_watches_at_ = now + shared_.options.watch_progress_interval;
}

}  // namespace conclave::node
