#include "store/native_waits.h"

#include <algorithm>

#include "base/check.h"
#include "store/native_locks.h"

namespace conclave::store {
namespace {

using api::ErrorCode;

LockQueue queue_in(const api::Response& response) {
  std::vector<LockQueue::Place> places;
  for (const api::KeyValue& kv : std::get<api::RangeResponse>(response.answer).kvs) {
    places.push_back({kv.key, kv.create_revision});
  }
  return LockQueue(std::move(places));
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
  waiter.deadline = deadline;
  if (auto* acquire = std::get_if<api::AcquireRequest>(&request.body)) {
    waiter.name = acquire->name;
    waiter.lease = acquire->lease;
    acquire->wait = false;
    acquire->only_if_free = false;
  } else if (auto* enter = std::get_if<api::EnterRequest>(&request.body)) {
    waiter.kind = Kind::kEnter;
    waiter.name = enter->name;
    waiter.lease = enter->lease;
    enter->wait = false;
  } else {
    auto* leave = std::get_if<api::LeaveRequest>(&request.body);
    CHECK(leave != nullptr);
    waiter.kind = Kind::kLeave;
    waiter.name = leave->name;
    waiter.lease = leave->lease;
    leave->wait = false;
  }
  const Number number = next_++;
  waiter.call = next_++;
  commands_.emplace(waiter.call, number);
  CHECK(by_client_.emplace(client, number).second);
  if (deadline) deadlines_.emplace(*deadline, number);
  request.timeout_ms.reset();
  effects_.calls.push_back({waiter.call, std::move(request)});
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
  by_client_.clear();
  commands_.clear();
  looks_.clear();
  feeds_.clear();
  deadlines_.clear();
}

// The client is gone, or has its reply. What its command did is undone once that is known.
void NativeWaits::leave(Number number, Waiter& waiter) {
  waiter.is_gone = true;
  by_client_.erase(waiter.client);
  if (waiter.deadline) deadlines_.erase({*waiter.deadline, number});
  if (!waiter.is_entered) return;
  undo(waiter);
  erase(number);
}

// Nobody hears what comes of it: a key that is not deleted goes with its lease.
void NativeWaits::undo(const Waiter& waiter) {
  api::Request request;
  switch (waiter.kind) {
    case Kind::kAcquire:
      request.body = api::ReleaseRequest{waiter.acquired.key, waiter.acquired.token, false};
      break;
    case Kind::kEnter:
      request.body = api::LeaveRequest{waiter.name, waiter.lease, false};
      break;
    case Kind::kLeave:
      return;
  }
  effects_.calls.push_back({next_++, std::move(request)});
}

// --- rooms --------------------------------------------------------------------------

void NativeWaits::enter_room(Number number, const Waiter& waiter) {
  const auto [entry, is_new] = rooms_.try_emplace(waiter.name);
  Room& room = entry->second;
  room.waiters.insert(number);
  if (is_new) watch(entry->first, room, waiter.header.revision + 1);
  // Of what was told before it came, the room has no memory.
  look(entry->first, room);
}

void NativeWaits::leave_room(Number number, const Waiter& waiter) {
  const auto entry = rooms_.find(waiter.name);
  if (entry == rooms_.end() || entry->second.waiters.erase(number) == 0) return;
  Room& room = entry->second;
  if (!room.waiters.empty()) return;
  effects_.closed.push_back(room.feed);
  feeds_.erase(room.feed);
  if (room.look != 0) looks_.erase(room.look);
  rooms_.erase(entry);
}

void NativeWaits::watch(const Bytes& name, Room& room, Revision from) {
  api::RangeRequest keys = lock_keys(name);
  api::WatchCreate create;
  create.key = std::move(keys.key);
  create.range_end = std::move(keys.range_end);
  create.start_revision = from;
  room.feed = next_++;
  feeds_.emplace(room.feed, name);
  effects_.watches.push_back({room.feed, std::move(create)});
}

void NativeWaits::look(const Bytes& name, Room& room) {
  room.is_stale = room.look != 0;
  if (room.is_stale) return;
  api::RangeRequest keys = lock_keys(name);
  keys.keys_only = true;
  keys.serializable = true;
  room.look = next_++;
  looks_.emplace(room.look, name);
  effects_.calls.push_back({room.look, {std::move(keys), std::nullopt, std::nullopt}});
}

// --- what came of it ----------------------------------------------------------------

void NativeWaits::on_response(api::CallId call, api::Response response) {
  if (const auto command = commands_.find(call); command != commands_.end()) {
    const Number number = command->second;
    commands_.erase(command);
    return commanded(number, response);
  }
  const auto found = looks_.find(call);
  if (found == looks_.end()) return;
  const Bytes name = found->second;
  looks_.erase(found);
  looked(name, response);
}

void NativeWaits::commanded(Number number, api::Response& response) {
  Waiter& waiter = waiters_.at(number);
  waiter.is_entered = true;
  waiter.header = response.header;
  const bool has_failed = std::holds_alternative<api::Error>(response.answer);
  bool is_done = has_failed;
  if (auto* acquired = std::get_if<api::AcquireResponse>(&response.answer)) {
    waiter.acquired = *acquired;
    is_done = acquired->ahead == 0;
  } else if (auto* entered = std::get_if<api::EnterResponse>(&response.answer)) {
    waiter.entered = *entered;
    is_done = entered->open;
  } else if (auto* left = std::get_if<api::LeaveResponse>(&response.answer)) {
    is_done = left->present == 0;
  }
  if (waiter.is_gone) {
    if (!has_failed) undo(waiter);
    return erase(number);
  }
  if (is_done) return finish(number, response.header, std::move(response.answer));
  enter_room(number, waiter);
}

void NativeWaits::looked(const Bytes& name, const api::Response& response) {
  const auto entry = rooms_.find(name);
  if (entry == rooms_.end()) return;
  Room& room = entry->second;
  room.look = 0;
  const bool is_stale = std::exchange(room.is_stale, false);
  if (is_stale) look(entry->first, room);
  if (const auto* error = std::get_if<api::Error>(&response.answer)) return fail(room, *error);
  const LockQueue queue = queue_in(response);
  const auto door = queue.find(barrier_door(name));
  const std::vector<Number> waiters(room.waiters.begin(), room.waiters.end());
  for (const Number number : waiters) settle(number, response.header, queue, door.has_value());
}

// Whether it is this waiter's turn.
void NativeWaits::settle(Number number, const api::Header& header, const LockQueue& queue,
                         bool is_open) {
  Waiter& waiter = waiters_.at(number);
  switch (waiter.kind) {
    case Kind::kAcquire: {
      const auto at = queue.find(waiter.acquired.key);
      const bool is_there = at && queue.places()[*at].created == waiter.acquired.token;
      if (!is_there) return finish(number, header, api::Error{ErrorCode::kLockLost, {}});
      if (!queue.holds(*at)) return;
      waiter.acquired.ahead = 0;
      return finish(number, header, waiter.acquired);
    }
    case Kind::kEnter:
      if (!is_open) return;
      waiter.entered = {true, static_cast<std::uint32_t>(queue.places().size() - 1)};
      return finish(number, header, waiter.entered);
    case Kind::kLeave:
      if (queue.places().size() > (is_open ? 1 : 0)) return;
      return finish(number, header, api::LeaveResponse{});
  }
}

void NativeWaits::on_watch(std::uint64_t feed, const api::WatchNews& news) {
  const auto found = feeds_.find(feed);
  if (found == feeds_.end()) return;
  const Bytes name = found->second;
  Room& room = rooms_.at(name);
  if (std::holds_alternative<api::WatchEvents>(news)) return look(name, room);
  if (const auto* compacted = std::get_if<api::WatchCompacted>(&news)) {
    effects_.closed.push_back(feed);
    feeds_.erase(found);
    watch(name, room, compacted->compact_revision + 1);
    return look(name, room);
  }
  const auto* refused = std::get_if<api::WatchRefused>(&news);
  if (refused == nullptr) return;
  const bool is_corrupt = refused->reason == api::WatchRefused::Reason::kCorrupt;
  fail(room, {is_corrupt ? ErrorCode::kCorrupt : ErrorCode::kTooManyRequests, {}});
}

// Everybody who waits there.
void NativeWaits::fail(const Room& room, const api::Error& error) {
  const std::vector<Number> waiters(room.waiters.begin(), room.waiters.end());
  for (const Number number : waiters) {
    const Waiter& waiter = waiters_.at(number);
    undo(waiter);
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
  leave_room(number, waiter);
  if (!waiter.is_gone) {
    by_client_.erase(waiter.client);
    if (waiter.deadline) deadlines_.erase({*waiter.deadline, number});
  }
  waiters_.erase(found);
}

}  // namespace conclave::store
