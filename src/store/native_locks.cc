#include "store/native_locks.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/watch_limits.h"
#include "store/locks.h"
#include "store/operations.h"

namespace conclave::store {
namespace {

using api::ErrorCode;
using api::LockWait;

const Record* find(const Mvcc& mvcc, BytesView key) {
  return mvcc.find(Keyspace::kEtcd, key, mvcc.revision());
}

Bytes times_text(std::uint32_t times) { return times == 1 ? Bytes() : fmt::format("{}", times); }

bool has_conflict(const LockQueue& queue, BytesView key) {
  return std::ranges::any_of(queue.places(), [&](const LockQueue::Place& place) {
    return is_same_owner(place.key, key) || is_other_semaphore(place.key, key);
  });
}

std::uint32_t small(std::size_t count) {
  return static_cast<std::uint32_t>(std::min<std::size_t>(count, UINT32_MAX));
}

// What is there of this owner already, and once more of it if that is asked for.
api::AcquireResponse acquire_again(Mvcc& mvcc, const api::AcquireRequest& op,
                                   const LockQueue& queue, const Record& own) {
  api::AcquireResponse response{Bytes(own.key()), own.create,
                                small(queue.ahead_of(*queue.find(own.key(), own.create))),
                                times_of(own.value())};
  const bool wants_more =
      op.wait == LockWait::kUntilHeld || (op.wait == LockWait::kNotAtAll && response.ahead == 0);
  if (!wants_more) return response;
  if (response.times < UINT32_MAX) ++response.times;
  Mvcc::Write(mvcc).put(Keyspace::kEtcd, response.key, times_text(response.times), own.lease);
  return response;
}

}  // namespace

std::uint32_t times_of(BytesView value) {
  std::uint32_t times = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), times);
  const bool is_number = error == std::errc{} && end == value.data() + value.size();
  return is_number && times > 0 ? times : 1;
}

LockQueue queue_of(const Mvcc& mvcc, BytesView name) {
  std::vector<LockQueue::Place> places;
  const api::RangeRequest keys = lock_keys(name);
  mvcc.scan(Keyspace::kEtcd, KeyRange::of(keys.key, keys.range_end), mvcc.revision(),
            [&](const Record& record) {
              places.push_back({record.key(), record.create});
              return true;
            });
  return LockQueue(std::move(places));
}

// Keys of locks and barriers go with a lease, so there has to be one.
api::Answer acquire(Mvcc& mvcc, const api::AcquireRequest& op) {
  if (!is_lease(mvcc, op.lease)) return api::Error{ErrorCode::kLeaseNotFound, {}};
  const Bytes key = lock_key(op);
  const LockQueue queue = queue_of(mvcc, op.name);
  if (const Record* own = find(mvcc, key)) return acquire_again(mvcc, op, queue, *own);
  if (has_conflict(queue, key)) return api::Error{ErrorCode::kLockConflict, {}};
  if (queue.places().size() >= limits::kMaxLockQueue) {
    return api::Error{ErrorCode::kTooManyRequests, {}};
  }
  std::vector<LockQueue::Place> places = queue.places();
  places.push_back({key, mvcc.revision() + 1});
  const std::uint32_t ahead = small(LockQueue(std::move(places)).ahead_of(queue.places().size()));
  if (op.wait == LockWait::kNotAtAll && ahead > 0) return api::AcquireResponse{{}, 0, ahead, 0};
  Mvcc::Write(mvcc).put(Keyspace::kEtcd, key, {}, op.lease);
  return api::AcquireResponse{key, mvcc.revision(), ahead, 1};
}

api::Answer release(Mvcc& mvcc, const api::ReleaseRequest& op) {
  const Record* own = find(mvcc, op.key);
  if (own == nullptr || own->create != op.token) return api::ReleaseResponse{false, 0};
  if (op.unless_after != 0 && own->mod > op.unless_after) {
    return api::ReleaseResponse{false, times_of(own->value())};
  }
  const std::uint32_t times = op.altogether ? 0 : times_of(own->value()) - 1;
  if (times == 0) {
    Mvcc::Write(mvcc).erase(Keyspace::kEtcd, KeyRange::one(op.key));
  } else {
    Mvcc::Write(mvcc).put(Keyspace::kEtcd, op.key, times_text(times), own->lease);
  }
  return api::ReleaseResponse{true, times};
}

// --- barriers -----------------------------------------------------------------------

namespace {

struct Barrier {
  std::size_t others = 0;       // who is there, but for the one that is asked about
  const Record* own = nullptr;  // the key of that one
  const Record* door = nullptr;
};

Barrier barrier_of(const Mvcc& mvcc, BytesView name, BytesView own) {
  const Record* door = find(mvcc, barrier_door(name));
  const Record* mine = find(mvcc, own);
  const std::size_t keys = queue_of(mvcc, name).places().size();
  return {keys - (door == nullptr ? 0 : 1) - (mine == nullptr ? 0 : 1), mine, door};
}

}  // namespace

Bytes barrier_key(BytesView name, api::LeaseId lease) {
  api::AcquireRequest place;
  place.name = name;
  place.lease = lease;
  return lock_key(place);
}

Bytes barrier_door(BytesView name) { return fmt::format("{}/!open", name); }

api::Answer enter(Mvcc& mvcc, const api::EnterRequest& op) {
  if (!is_lease(mvcc, op.lease)) return api::Error{ErrorCode::kLeaseNotFound, {}};
  const Bytes own = barrier_key(op.name, op.lease);
  const Barrier barrier = barrier_of(mvcc, op.name, own);
  // A door that nobody is behind was left open by those whose leases have ended.
  const bool was_opened = barrier.door != nullptr && (barrier.others > 0 || barrier.own != nullptr);
  const bool is_open = was_opened || barrier.others + 1 >= op.count;
  Mvcc::Write write(mvcc);
  write.put(Keyspace::kEtcd, own, {}, op.lease);  // again, too: LeaveRequest::unless_after
  if (is_open && barrier.door == nullptr) {
    write.put(Keyspace::kEtcd, barrier_door(op.name), {}, 0);
  } else if (!is_open && barrier.door != nullptr) {
    write.erase(Keyspace::kEtcd, KeyRange::one(barrier_door(op.name)));
  }
  return api::EnterResponse{is_open, small(barrier.others + 1)};
}

api::Answer leave(Mvcc& mvcc, const api::LeaveRequest& op) {
  const Bytes own = barrier_key(op.name, op.lease);
  const Barrier barrier = barrier_of(mvcc, op.name, own);
  if (op.unless_after != 0 && barrier.own != nullptr && barrier.own->mod > op.unless_after) {
    return api::LeaveResponse{small(barrier.others + 1), 0};
  }
  const bool is_last = barrier.others == 0;
  const bool stays_open = barrier.door != nullptr && !is_last;
  const api::LeaveResponse response{small(barrier.others), stays_open ? barrier.door->create : 0};
  Mvcc::Write write(mvcc);
  write.erase(Keyspace::kEtcd, KeyRange::one(own));
  if (is_last) write.erase(Keyspace::kEtcd, KeyRange::one(barrier_door(op.name)));
  return response;
}

}  // namespace conclave::store
