#include "store/observers.h"

#include "base/check.h"
#include "store/locks.h"

namespace conclave::store {
namespace {

api::KeyValueView view_of(const api::KeyValue& kv) {
  return {kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease};
}

}  // namespace

bool Observers::has_effects() const {
  return !effects_.calls.empty() || !effects_.watches.empty() || !effects_.closed.empty() ||
         !effects_.has_room.empty();
}

void Observers::observe(FeedId client, Bytes election, std::string user) {
  const Number number = next_++;
  if (!by_client_.emplace(client, number).second) return;
  Observer observer;
  observer.client = client;
  observer.election = std::move(election);
  observer.user = std::move(user);
  look(number, observers_.emplace(number, std::move(observer)).first->second);
}

void Observers::close(FeedId client) {
  const auto found = by_client_.find(client);
  if (found != by_client_.end()) erase(found->second);
}

void Observers::close_connection(std::uint64_t connection) {
  for (;;) {
    const auto found = by_client_.lower_bound({connection, 0});
    if (found == by_client_.end() || found->first.connection != connection) return;
    erase(found->second);
  }
}

void Observers::has_room(FeedId client) {
  const auto found = by_client_.find(client);
  if (found == by_client_.end()) return;
  Observer& observer = observers_.at(found->second);
  if (observer.step == Step::kTelling) return tell_leader(found->second, observer);
  if (observer.step != Step::kLooking) effects_.has_room.push_back(observer.feed);
}

// --- steps --------------------------------------------------------------------------

void Observers::look(Number number, Observer& observer) {
  observer.step = Step::kLooking;
  observer.feed = next_++;
  expected_.emplace(observer.feed, number);
  api::Request request{first_lock_key(observer.election), std::nullopt, std::nullopt};
  request.identity.user = observer.user;
  effects_.calls.push_back({observer.client, observer.feed, std::move(request)});
}

void Observers::watch(Number number, Observer& observer, Step step, api::WatchCreate create) {
  observer.step = step;
  observer.feed = next_++;
  expected_.emplace(observer.feed, number);
  create.start_revision = observer.revision + 1;
  create.identity.user = observer.user;
  effects_.watches.push_back({observer.feed, std::move(create)});
}

// After a compaction that its watch had not come past it may be the leader that was told last.
void Observers::tell_leader(Number number, Observer& observer) {
  observer.step = Step::kTelling;
  const bool is_told = observer.leader.create_revision == observer.told_create &&
                       observer.leader.mod_revision == observer.told_mod;
  if (!is_told && !tell(observer, view_of(observer.leader), observer.revision)) return;
  follow(number, observer, observer.leader.key);
}

void Observers::follow(Number number, Observer& observer, BytesView key) {
  watch(number, observer, Step::kFollowing, {.key = Bytes(key)});
}

// What is under way for the present step is of no interest any more.
void Observers::end_step(Observer& observer) {
  const bool has_feed = observer.step == Step::kAwaiting || observer.step == Step::kFollowing;
  if (has_feed) effects_.closed.push_back(observer.feed);
  expected_.erase(observer.feed);
}

void Observers::erase(Number number) {
  const auto found = observers_.find(number);
  end_step(found->second);
  by_client_.erase(found->second.client);
  observers_.erase(found);
}

// --- what came of them --------------------------------------------------------------

void Observers::on_response(api::CallId call, api::Response response) {
  const auto found = expected_.find(call);
  if (found == expected_.end()) return;
  const Number number = found->second;
  expected_.erase(found);
  Observer& observer = observers_.at(number);
  if (const auto* error = std::get_if<api::Error>(&response.answer)) {
    tell_(observer.client, response.header.revision, api::WatchFeedEnded{*error});
    return erase(number);
  }
  auto* range = std::get_if<api::RangeResponse>(&response.answer);
  CHECK(range != nullptr);
  observer.revision = response.header.revision;
  if (!range->kvs.empty()) {
    observer.leader = std::move(range->kvs.front());
    return tell_leader(number, observer);
  }
  api::RangeRequest keys = lock_keys(observer.election);
  watch(number, observer, Step::kAwaiting,
        {.key = std::move(keys.key), .range_end = std::move(keys.range_end), .no_delete = true});
}

bool Observers::on_watch(std::uint64_t feed, Revision revision, const api::WatchNews& news) {
  const auto found = expected_.find(feed);
  if (found == expected_.end()) return true;
  const Number number = found->second;
  Observer& observer = observers_.at(number);
  if (const auto* events = std::get_if<api::WatchEvents>(&news)) {
    return on_events(number, observer, *events);
  }
  if (std::holds_alternative<api::WatchCompacted>(news)) {
    end_step(observer);
    look(number, observer);
  } else if (const auto* refused = std::get_if<api::WatchRefused>(&news)) {
    using Reason = api::WatchRefused::Reason;
    const bool is_corrupt = refused->reason == Reason::kCorrupt;
    const auto code = refused->reason == Reason::kDenied ? refused->why
                      : is_corrupt                       ? api::ErrorCode::kCorrupt
                                                         : api::ErrorCode::kTooManyRequests;
    end(number, observer, revision, code);
  } else if (const auto* canceled = std::get_if<api::WatchCanceled>(&news)) {
    end(number, observer, revision, canceled->why.value_or(api::ErrorCode::kPermissionDenied));
  }
  return true;
}

void Observers::end(Number number, const Observer& observer, Revision revision,
                    api::ErrorCode why) {
  tell_(observer.client, revision, api::WatchFeedEnded{api::Error{why, {}}});
  erase(number);
}

// What was told before the client had enough is not told again: it is known by its revision.
bool Observers::on_events(Number number, Observer& observer, const api::WatchEvents& news) {
  for (const api::Event& event : news.events) {
    const Revision at = event.kv.mod_revision;
    if (at <= observer.revision) continue;
    if (event.is_delete) {
      end_step(observer);
      look(number, observer);
      return true;
    }
    if (!tell(observer, event.kv, at)) return false;
    if (observer.step == Step::kFollowing) continue;
    end_step(observer);
    follow(number, observer, event.kv.key);
    return true;
  }
  return true;
}

bool Observers::tell(Observer& observer, const api::KeyValueView& leader, Revision revision) {
  if (!tell_(observer.client, revision, api::ElectionLeader{leader})) return false;
  observer.revision = revision;
  observer.told_create = leader.create_revision;
  observer.told_mod = leader.mod_revision;
  return true;
}

}  // namespace conclave::store
