#include "store/fences.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/limits.h"
#include "store/locks.h"
#include "store/native_locks.h"

namespace conclave::store {
namespace {

Revision created_at(const Mvcc& mvcc, BytesView key) {
  const Record* record = mvcc.find(Keyspace::kEtcd, key, mvcc.revision());
  return record == nullptr ? 0 : record->create;
}

// In a text for people.
std::string shown(BytesView key) {
  std::string text(key);
  std::ranges::replace_if(
      text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

std::string why(BytesView key, Revision token, Revision highest) {
  const std::string name = shown(key);
  if (highest == 0) {
    return fmt::format("{}: token {} does not hold: nobody has the lock", name, token);
  }
  if (token > highest) {
    return fmt::format("{}: token {} was not granted: the highest is {}", name, token, highest);
  }
  return fmt::format("{}: token {} is not the highest, which is {}", name, token, highest);
}

}  // namespace

std::optional<BytesView> lock_of(BytesView key) {
  const std::size_t slash = key.rfind('/');
  if (slash == BytesView::npos) return std::nullopt;
  return key.substr(0, slash);
}

std::optional<api::Error> Fences::refusal(const Mvcc& mvcc, BytesView key, Revision token) {
  if (holds(mvcc, key, token)) return std::nullopt;
  Revision highest = holder(mvcc, key);
  if (const auto lock = lock_of(key); lock && highest == 0 && created_at(mvcc, key) != 0) {
    highest = holder(mvcc, *lock);
  }
  return api::Error{api::ErrorCode::kFenced, why(key, token, highest)};
}

bool Fences::holds(const Mvcc& mvcc, BytesView key, Revision token) {
  if (holds_lock(mvcc, key, token)) return true;
  if (created_at(mvcc, key) != token) return false;
  const auto lock = lock_of(key);
  return lock && holds_lock(mvcc, *lock, token);
}

bool Fences::holds_lock(const Mvcc& mvcc, BytesView name, Revision token) {
  const Revision first = holder(mvcc, name);
  if (first == token) return true;
  if (first == 0 || token < first || !may_share(first_.find(name)->second.key)) return false;
  const LockQueue queue = queue_of(mvcc, name);
  const auto holders = std::span(queue.places()).first(queue.holders());
  return std::ranges::find(holders, token, &LockQueue::Place::created) != holders.end();
}

Revision Fences::holder(const Mvcc& mvcc, BytesView name) {
  const auto known = first_.find(name);
  if (known != first_.end()) {
    if (created_at(mvcc, known->second.key) == known->second.token) return known->second.token;
    first_.erase(known);
  }
  const Record* first = nullptr;
  const api::RangeRequest keys = lock_keys(name);
  mvcc.scan(Keyspace::kEtcd, KeyRange::of(keys.key, keys.range_end), mvcc.revision(),
            [&](const Record& record) {
              if (first == nullptr || record.create < first->create) first = &record;
              return true;
            });
  if (first == nullptr) return 0;
  if (first_.size() >= limits::kFencedLocks) first_.clear();
  first_.emplace(Bytes(name), First{Bytes(first->key()), first->create});
  return first->create;
}

}  // namespace conclave::store
