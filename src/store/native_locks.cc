#include "store/native_locks.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "store/locks.h"
#include "store/operations.h"

namespace conclave::store {
namespace {

using api::ErrorCode;

const Record* find(const Mvcc& mvcc, BytesView key) {
  return mvcc.find(Keyspace::kEtcd, key, mvcc.revision());
}

// How often the holder of a key has to release it: once, unless the key's value says more.
std::uint32_t times_of(const Record& record) {
  const BytesView value = record.value();
  std::uint32_t times = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), times);
  const bool is_number = error == std::errc{} && end == value.data() + value.size();
  return is_number && times > 0 ? times : 1;
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

// Once more of what is there already.
api::AcquireResponse acquire_again(Mvcc& mvcc, const LockQueue& queue, std::size_t at,
                                   const Record& own) {
  api::AcquireResponse response{Bytes(own.key()), own.create, small(queue.ahead_of(at)),
                                times_of(own) + 1};
  Mvcc::Write(mvcc).put(Keyspace::kEtcd, response.key, times_text(response.times), own.lease);
  return response;
}

}  // namespace

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

api::Answer acquire(Mvcc& mvcc, const api::AcquireRequest& op) {
  if (op.lease == 0 || !may_attach(mvcc, op.lease))
    return api::Error{ErrorCode::kLeaseNotFound, {}};
  const Bytes key = lock_key(op);
  const LockQueue queue = queue_of(mvcc, op.name);
  if (const auto at = queue.find(key)) {
    if (op.only_if_free && !queue.holds(*at)) {
      return api::AcquireResponse{{}, 0, small(queue.ahead_of(*at)), 0};
    }
    return acquire_again(mvcc, queue, *at, *find(mvcc, key));
  }
  if (has_conflict(queue, key)) return api::Error{ErrorCode::kLockConflict, {}};
  std::vector<LockQueue::Place> places = queue.places();
  places.push_back({key, mvcc.revision() + 1});
  const std::uint32_t ahead = small(LockQueue(std::move(places)).ahead_of(queue.places().size()));
  if (op.only_if_free && ahead > 0) return api::AcquireResponse{{}, 0, ahead, 0};
  Mvcc::Write(mvcc).put(Keyspace::kEtcd, key, {}, op.lease);
  return api::AcquireResponse{key, mvcc.revision(), ahead, 1};
}

api::Answer release(Mvcc& mvcc, const api::ReleaseRequest& op) {
  const Record* own = find(mvcc, op.key);
  if (own == nullptr || own->create != op.token) return api::ReleaseResponse{false, 0};
  const std::uint32_t times = op.altogether ? 0 : times_of(*own) - 1;
  if (times == 0) {
    Mvcc::Write(mvcc).erase(Keyspace::kEtcd, KeyRange::one(op.key));
  } else {
    Mvcc::Write(mvcc).put(Keyspace::kEtcd, op.key, times_text(times), own->lease);
  }
  return api::ReleaseResponse{true, times};
}

// --- barriers -----------------------------------------------------------------------

namespace {

// Who is there: the keys but for the door.
std::size_t present_at(const Mvcc& mvcc, BytesView name) {
  const std::size_t keys = queue_of(mvcc, name).places().size();
  return keys - (find(mvcc, barrier_door(name)) == nullptr ? 0 : 1);
}

Bytes key_at(BytesView name, api::LeaseId lease) {
  api::AcquireRequest place;
  place.name = name;
  place.lease = lease;
  return lock_key(place);
}

}  // namespace

Bytes barrier_door(BytesView name) { return fmt::format("{}/!open", name); }

api::Answer enter(Mvcc& mvcc, const api::EnterRequest& op) {
  if (op.lease == 0 || !may_attach(mvcc, op.lease))
    return api::Error{ErrorCode::kLeaseNotFound, {}};
  const Bytes door = barrier_door(op.name);
  const Bytes own = key_at(op.name, op.lease);
  const std::size_t others = present_at(mvcc, op.name) - (find(mvcc, own) == nullptr ? 0 : 1);
  const bool was_open = find(mvcc, door) != nullptr;
  // Nobody is left of those for whom it was opened: their leases have ended.
  const bool is_stale = was_open && others == 0 && find(mvcc, own) == nullptr;
  const bool is_open = (was_open && !is_stale) || others + 1 >= op.count;
  Mvcc::Write write(mvcc);
  if (find(mvcc, own) == nullptr) write.put(Keyspace::kEtcd, own, {}, op.lease);
  if (is_open && !was_open) write.put(Keyspace::kEtcd, door, {}, 0);
  if (!is_open && was_open) write.erase(Keyspace::kEtcd, KeyRange::one(door));
  return api::EnterResponse{is_open, small(others + 1)};
}

api::Answer leave(Mvcc& mvcc, const api::LeaveRequest& op) {
  const Bytes own = key_at(op.name, op.lease);
  const bool is_there = find(mvcc, own) != nullptr;
  const std::size_t others = present_at(mvcc, op.name) - (is_there ? 1 : 0);
  Mvcc::Write write(mvcc);
  write.erase(Keyspace::kEtcd, KeyRange::one(own));
  if (others == 0) write.erase(Keyspace::kEtcd, KeyRange::one(barrier_door(op.name)));
  return api::LeaveResponse{small(others)};
}

}  // namespace conclave::store
