#include "store/native_waits.h"

#include <algorithm>

#include "base/check.h"
#include "base/watch_limits.h"
#include "store/native_locks.h"

namespace conclave::store {
namespace {

using api::ErrorCode;

LockQueue queue_in(const api::RangeResponse& response) {
  std::vector<LockQueue::Place> places;
  places.reserve(response.kvs.size());
  for (const api::KeyValue& kv : response.kvs) places.push_back({kv.key, kv.create_revision});
  return LockQueue(std::move(places));
}

// How often whoever has the key has to release it: since it came to wait, its owner may have asked
// once more, or have given that up. REQUIRES: the key is there.
std::uint32_t times_now(const api::RangeResponse& range, BytesView key) {
  const auto own = std::ranges::lower_bound(range.kvs, key, {}, &api::KeyValue::key);
  return times_of(own->value);
}

// Whether anybody's turn may have come: somebody left, or a barrier was opened.
bool is_of_interest(const api::WatchEvents& news, BytesView door) {
  return std::ranges::any_of(news.events, [door](const api::Event& event) {
    return event.is_delete || event.kv.key == door;
  });
}

bool is_certainly_not_done(const api::Error& error) {
  return error.code == ErrorCode::kNoLeader || error.code == ErrorCode::kTooManyRequests ||
         error.code == ErrorCode::kAuthOldRevision || error.code == ErrorCode::kNoSpace;
}

}  // namespace

// --- what clients want --------------------------------------------------------------

void NativeWaits::request(FeedId client, api::Request request, std::optional<Instant> deadline) {
  if (stopped_) {
    effects_.replies.push_back({client, {{}, api::Error{ErrorCode::kStopped, {}}}});
    return;
  }
  Waiter waiter;
  waiter.client = client;
  waiter.user = request.identity.user;
  waiter.deadline = deadline;
  if (const auto* acquire = std::get_if<api::AcquireRequest>(&request.body)) {
    waiter.name = acquire->name;
    waiter.lease = acquire->lease;
  } else if (const auto* enter = std::get_if<api::EnterRequest>(&request.body)) {
    waiter.kind = Kind::kEnter;
    waiter.name = enter->name;
    waiter.lease = enter->lease;
  } else {
    const auto* leave = std::get_if<api::LeaveRequest>(&request.body);
    CHECK(leave != nullptr);
    waiter.kind = Kind::kLeave;
    waiter.name = leave->name;
    waiter.lease = leave->lease;
  }
  const Number number = next_++;
  CHECK(by_client_.emplace(client, number).second);
  if (deadline) deadlines_.emplace(*deadline, number);
  request.timeout_ms.reset();
  effects_.calls.push_back({client, number, std::move(request)});
  waiters_.emplace(number, std::move(waiter));
}

void NativeWaits::withdraw(FeedId client) {
  const auto found = by_client_.find(client);
  if (found != by_client_.end()) leave(found->second, waiters_.at(found->second));
}

void NativeWaits::close_connection(std::uint64_t connection) {
  for (;;) {
    const auto found = by_client_.lower_bound({connection, 0});
    if (found == by_client_.end() || found->first.connection != connection) return;
    leave(found->second, waiters_.at(found->second));
  }
}

void NativeWaits::expire(Instant now) {
  std::size_t undos = 0;
  for (const Number number : std::exchange(repeated_, {})) {
    if (const auto room = rooms_.find(number); room != rooms_.end()) look(number, room->second);
    const auto undo = undone_.find(number);
    if (undo == undone_.end()) continue;
    if (++undos <= limits::kMaxUndosAtOnce) {
      submit(number, undo->second);
    } else {
      repeated_.insert(number);
    }
  }
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const Number number = deadlines_.begin()->second;
    Waiter& waiter = waiters_.at(number);
    reply(waiter, waiter.header, api::Error{ErrorCode::kDeadlineExceeded, {}});
    leave(number, waiter);
  }
}

void NativeWaits::stop() {
  stopped_ = true;
  for (const auto& [number, waiter] : waiters_) {
    reply(waiter, {}, api::Error{ErrorCode::kStopped, {}});
  }
  waiters_.clear();
  rooms_.clear();
  undone_.clear();
  room_by_name_.clear();
  by_client_.clear();
  deadlines_.clear();
  repeated_.clear();
}

// The client is gone, or has its reply. What its command did is undone once that is known.
void NativeWaits::leave(Number number, Waiter& waiter) {
  waiter.is_gone = true;
  by_client_.erase(waiter.client);
  if (waiter.deadline) deadlines_.erase({*waiter.deadline, number});
  if (waiter.room == 0) return;
  undo(number, waiter);
  erase(number);
}

void NativeWaits::undo(Number number, const Waiter& waiter) {
  if (waiter.kind == Kind::kLeave || has_companion(number, waiter)) return;
  const api::Revision taken = waiter.header.revision;
  Undo undo{api::LeaveRequest{waiter.name, waiter.lease, false, taken}, waiter.client, waiter.user,
            taken};
  if (waiter.kind == Kind::kAcquire) {
    undo.request = api::ReleaseRequest{waiter.acquired.key, waiter.acquired.token, false, 0};
  }
  const Number undoing = next_++;
  submit(undoing, undo);
  undone_.emplace(undoing, std::move(undo));
}

void NativeWaits::submit(Number number, const Undo& undo) {
  api::Request request{api::LeaveRequest{}, std::nullopt, std::nullopt};
  std::visit([&request](const auto& body) { request.body = body; }, undo.request);
  request.identity.user = undo.user;
  effects_.calls.push_back({undo.client, number, std::move(request)});
}

// Repeated until it is known that it was done, and not done twice: a release that may have been
// done says with its repetition what it is about, and who leaves a barrier always does.
void NativeWaits::undone(Number number, const api::Response& response) {
  const auto undo = undone_.find(number);
  const auto* error = std::get_if<api::Error>(&response.answer);
  const bool is_unknown = error != nullptr && error->code == ErrorCode::kTimeout;
  if (error == nullptr || !(is_unknown || is_certainly_not_done(*error))) {
    undone_.erase(undo);
    return;
  }
  auto* release = std::get_if<api::ReleaseRequest>(&undo->second.request);
  if (release != nullptr && is_unknown) release->unless_after = undo->second.taken;
  repeated_.insert(number);
}

// Whether another client waits to enter with the same lease, and so with the same key.
bool NativeWaits::has_companion(Number number, const Waiter& waiter) const {
  if (waiter.kind != Kind::kEnter) return false;
  const auto room = room_by_name_.find({waiter.name, waiter.user});
  if (room == room_by_name_.end()) return false;
  return std::ranges::any_of(rooms_.at(room->second).waiters, [&](Number there) {
    const Waiter& other = waiters_.at(there);
    return there != number && other.kind == Kind::kEnter && other.lease == waiter.lease;
  });
}

// --- rooms --------------------------------------------------------------------------

void NativeWaits::enter_room(Number number, Waiter& waiter) {
  const auto [entry, is_new] = room_by_name_.try_emplace({waiter.name, waiter.user}, next_);
  waiter.room = entry->second;
  Room& room = rooms_[waiter.room];
  room.waiters.insert(number);
  if (is_new) {
    ++next_;
    room.name = waiter.name;
    room.user = waiter.user;
    watch(waiter.room, room, waiter.header.revision + 1);
  }
  // Of what was told before it came, the room has no memory.
  look(waiter.room, room);
}

void NativeWaits::leave_room(Number number, const Waiter& waiter) {
  const auto room = rooms_.find(waiter.room);
  if (room == rooms_.end()) return;
  room->second.waiters.erase(number);
  if (!room->second.waiters.empty()) return;
  effects_.closed.push_back(room->first);
  room_by_name_.erase({room->second.name, room->second.user});
  rooms_.erase(room);
}

void NativeWaits::watch(Number number, const Room& room, api::Revision from) {
  api::RangeRequest keys = lock_keys(room.name);
  api::WatchCreate create;
  create.key = std::move(keys.key);
  create.range_end = std::move(keys.range_end);
  create.start_revision = from;
  create.identity.user = room.user;
  effects_.watches.push_back({number, std::move(create)});
}

void NativeWaits::look(Number number, Room& room) {
  room.is_stale = room.is_looking;
  if (room.is_looking) return;
  room.is_looking = true;
  api::RangeRequest keys = lock_keys(room.name);
  api::Request request{std::move(keys), std::nullopt, std::nullopt};
  request.identity.user = room.user;
  // One look serves all who wait: nobody's share, unless it is for one connection.
  const FeedId first = waiters_.at(*room.waiters.begin()).client;
  const FeedId last = waiters_.at(*room.waiters.rbegin()).client;
  const FeedId asker = first.connection == last.connection ? first : FeedId{};
  effects_.calls.push_back({asker, number, std::move(request)});
}

// --- what came of it ----------------------------------------------------------------

void NativeWaits::on_response(api::CallId call, api::Response response) {
  if (waiters_.contains(call)) return commanded(call, response);
  if (rooms_.contains(call)) return looked(call, response);
  if (undone_.contains(call)) return undone(call, response);
}

void NativeWaits::commanded(Number number, api::Response& response) {
  Waiter& waiter = waiters_.at(number);
  waiter.header = response.header;
  const bool has_failed = std::holds_alternative<api::Error>(response.answer);
  bool is_done = has_failed;
  if (const auto* acquired = std::get_if<api::AcquireResponse>(&response.answer)) {
    waiter.acquired = *acquired;
    is_done = acquired->ahead == 0;
  } else if (const auto* entered = std::get_if<api::EnterResponse>(&response.answer)) {
    is_done = entered->open;
  } else if (const auto* left = std::get_if<api::LeaveResponse>(&response.answer)) {
    waiter.opened = left->opened;
    is_done = left->opened == 0;
  }
  if (waiter.is_gone) {
    if (!has_failed) undo(number, waiter);
    return erase(number);
  }
  if (is_done) return finish(number, response.header, std::move(response.answer));
  enter_room(number, waiter);
}

void NativeWaits::looked(Number number, const api::Response& response) {
  Room& room = rooms_.at(number);
  room.is_looking = false;
  if (const auto* error = std::get_if<api::Error>(&response.answer)) {
    const bool is_for_the_moment =
        is_certainly_not_done(*error) || error->code == ErrorCode::kTimeout;
    if (!is_for_the_moment) return fail(room, *error);
    repeated_.insert(number);
    return;
  }
  if (room.is_stale) look(number, room);
  const auto& range = std::get<api::RangeResponse>(response.answer);
  Seen seen{queue_in(range)};
  seen.holders = seen.queue.holders();
  const auto& places = seen.queue.places();
  const auto door = std::ranges::find(places, barrier_door(room.name), &LockQueue::Place::key);
  if (door != places.end()) seen.opened = door->created;
  const std::vector<Number> waiters(room.waiters.begin(), room.waiters.end());
  for (const Number there : waiters) {
    const Waiter& waiter = waiters_.at(there);
    // A long queue is read as it was when that began; then this one had not come yet.
    if (waiter.header.revision > response.header.revision) continue;
    auto answer = answer_of(waiter, seen);
    if (!answer) continue;
    auto* acquired = std::get_if<api::AcquireResponse>(&*answer);
    if (acquired != nullptr) acquired->times = times_now(range, acquired->key);
    finish(there, response.header, *std::move(answer));
  }
}

// nullopt: it is not this waiter's turn yet.
std::optional<api::Answer> NativeWaits::answer_of(const Waiter& waiter, const Seen& seen) {
  const api::Error lost{ErrorCode::kLockLost, {}};
  const auto& places = seen.queue.places();
  switch (waiter.kind) {
    case Kind::kAcquire: {
      const auto at = seen.queue.find(waiter.acquired.key, waiter.acquired.token);
      if (!at) return lost;
      if (*at >= seen.holders) return std::nullopt;
      api::AcquireResponse acquired = waiter.acquired;
      acquired.ahead = 0;
      return acquired;
    }
    case Kind::kEnter: {
      // As long as its key is there, so is the door once it was opened.
      const Bytes own = barrier_key(waiter.name, waiter.lease);
      if (std::ranges::find(places, own, &LockQueue::Place::key) == places.end()) return lost;
      if (seen.opened == 0) return std::nullopt;
      return api::EnterResponse{true, static_cast<std::uint32_t>(places.size() - 1)};
    }
    case Kind::kLeave: {
      const bool is_empty = places.size() <= 1;  // whose leases have ended, left the door behind
      if (seen.opened == waiter.opened && !is_empty) return std::nullopt;
      return api::LeaveResponse{};
    }
  }
  CHECK(false, "waiter of kind {}", static_cast<int>(waiter.kind));
}

void NativeWaits::on_watch(std::uint64_t feed, const api::WatchNews& news) {
  const auto found = rooms_.find(feed);
  if (found == rooms_.end()) return;
  Room& room = found->second;
  if (const auto* events = std::get_if<api::WatchEvents>(&news)) {
    if (is_of_interest(*events, barrier_door(room.name))) look(feed, room);
  } else if (const auto* compacted = std::get_if<api::WatchCompacted>(&news)) {
    watch(feed, room, compacted->compact_revision + 1);
    look(feed, room);
  } else if (const auto* canceled = std::get_if<api::WatchCanceled>(&news)) {
    fail(room, {canceled->why.value_or(ErrorCode::kPermissionDenied), {}});
  } else if (const auto* refused = std::get_if<api::WatchRefused>(&news)) {
    if (refused->reason == api::WatchRefused::Reason::kDenied) {
      return fail(room, {refused->why, {}});
    }
    const bool is_corrupt = refused->reason == api::WatchRefused::Reason::kCorrupt;
    fail(room, {is_corrupt ? ErrorCode::kCorrupt : ErrorCode::kTooManyRequests, {}});
  }
}

// Everybody who waits there.
void NativeWaits::fail(const Room& room, const api::Error& error) {
  const std::vector<Number> waiters(room.waiters.begin(), room.waiters.end());
  for (const Number number : waiters) {
    const Waiter& waiter = waiters_.at(number);
    undo(number, waiter);
    finish(number, waiter.header, error);
  }
}

// --- replies ------------------------------------------------------------------------

void NativeWaits::reply(const Waiter& waiter, const api::Header& header, api::Answer answer) {
  if (waiter.is_gone) return;
  effects_.replies.push_back({waiter.client, {header, std::move(answer)}});
}

void NativeWaits::finish(Number number, const api::Header& header, api::Answer answer) {
  reply(waiters_.at(number), header, std::move(answer));
  erase(number);
}

void NativeWaits::erase(Number number) {
  const auto found = waiters_.find(number);
  const Waiter& waiter = found->second;
  if (waiter.room != 0) leave_room(number, waiter);
  if (!waiter.is_gone) {
    by_client_.erase(waiter.client);
    if (waiter.deadline) deadlines_.erase({*waiter.deadline, number});
  }
  waiters_.erase(found);
}

}  // namespace conclave::store
