#include "store/lease_table.h"

#include <xxhash.h>

#include <span>

#include "base/check.h"
#include "store/hash.h"
#include "store/lease.h"

namespace conclave::store {
namespace {

// Memory, about: a lease with its place among the deadlines; an attached key without its bytes.
constexpr std::uint64_t kLeaseBytes = 96;
constexpr std::uint64_t kAttachmentBytes = 56;

std::uint64_t hash_of(const LeaseTerm& term) {
  const std::uint64_t words[] = {static_cast<std::uint64_t>(term.id),
                                 static_cast<std::uint64_t>(term.ttl_s), term.deadline.ms,
                                 XXH3_64bits(term.user.data(), term.user.size())};
  // As it was before leases had users.
  return hash_words(std::span(words).first(term.user.empty() ? 3 : 4));
}

// REQUIRES: the ttl is in the range that the store grants; so nothing overflows.
Stamp after(Stamp now, std::int64_t ttl_s) {
  return Stamp{now.ms + static_cast<std::uint64_t>(ttl_s) * 1000};
}

}  // namespace

LeaseTerm LeaseTable::term_of(const Leases::value_type& entry) {
  const Lease& lease = *entry.second;
  return {.id = entry.first,
          .ttl_s = lease.ttl_s,
          .deadline = lease.deadline,
          .user = lease.user == nullptr ? Bytes() : lease.user->first};
}

std::optional<LeaseTerm> LeaseTable::find(LeaseId id) const {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return std::nullopt;
  return term_of(*found);
}

const LeaseTable::Keys& LeaseTable::keys_of(LeaseId id) const {
  const auto found = leases_.find(id);
  CHECK(found != leases_.end());
  return found->second->keys;
}

void LeaseTable::add(const LeaseTerm& term) {
  auto lease = std::make_unique<Lease>(Lease{.ttl_s = term.ttl_s,
                                             .deadline = term.deadline,
                                             .user = nullptr,
                                             .settled = snapshots_,
                                             .keys = {}});
  if (!term.user.empty()) {
    lease->user = &*users_.try_emplace(term.user).first;
    ++lease->user->second;
  }
  if (term.id == ended_) ended_ = 0;
  const bool is_new = leases_.emplace(term.id, std::move(lease)).second;
  CHECK(is_new, "lease {} exists", term.id);
  deadlines_.emplace(term.deadline, term.id);
  sum_ += hash_of(term);
  size_bytes_ += kLeaseBytes;
}

std::uint64_t LeaseTable::count_of(BytesView user) const {
  const auto found = users_.find(user);
  return found == users_.end() ? 0 : found->second;
}

void LeaseTable::grant(LeaseId id, std::int64_t ttl_s, Stamp now, BytesView user) {
  CHECK(id != 0);
  CHECK(ttl_s > 0);
  add({.id = id, .ttl_s = ttl_s, .deadline = after(now, ttl_s), .user = Bytes(user)});
}

void LeaseTable::keep_alive(LeaseId id, Stamp now) {
  const auto found = leases_.find(id);
  CHECK(found != leases_.end());
  preserve(*found);
  const LeaseTerm old_term = term_of(*found);
  found->second->deadline = after(now, old_term.ttl_s);
  deadlines_.erase({old_term.deadline, id});
  deadlines_.emplace(found->second->deadline, id);
  sum_ += hash_of(term_of(*found)) - hash_of(old_term);
}

LeaseTable::Keys LeaseTable::remove(LeaseId id) {
  const auto found = leases_.find(id);
  CHECK(found != leases_.end());
  preserve(*found);
  const LeaseTerm term = term_of(*found);
  Keys keys = std::move(found->second->keys);
  Users::value_type* user = found->second->user;
  if (user != nullptr && --user->second == 0) users_.erase(users_.find(user->first));
  leases_.erase(found);
  deadlines_.erase({term.deadline, id});
  sum_ -= hash_of(term);
  size_bytes_ -= kLeaseBytes;
  for (const Key& key : keys) size_bytes_ -= kAttachmentBytes + key.key.size();
  orphans_ += keys.size();
  ended_ = id;
  return keys;
}

void LeaseTable::attach(LeaseId id, Keyspace keyspace, BytesView key) {
  if (id == 0) return;
  const auto found = leases_.find(id);
  if (found == leases_.end()) {
    ++orphans_;
    return;
  }
  found->second->keys.insert(Key{keyspace, Bytes(key)});
  size_bytes_ += kAttachmentBytes + key.size();
}

void LeaseTable::detach(LeaseId id, Keyspace keyspace, BytesView key) {
  if (id == 0) return;
  const auto found = id == ended_ ? leases_.end() : leases_.find(id);
  if (found == leases_.end()) {
    CHECK(orphans_ > 0);
    --orphans_;
    return;
  }
  const std::size_t erased = found->second->keys.erase(Key{keyspace, Bytes(key)});
  CHECK(erased == 1, "a key was not attached to lease {}", id);
  size_bytes_ -= kAttachmentBytes + key.size();
}

void LeaseTable::begin_snapshot() {
  CHECK(!is_snapshot_open_);
  is_snapshot_open_ = true;
  ++snapshots_;
  written_.reset();
  same_.reset();
}

void LeaseTable::end_snapshot() {
  is_snapshot_open_ = false;
  before_.clear();
}

// The first time that a lease changes under a snapshot that needs it still its term is copied.
void LeaseTable::preserve(Leases::value_type& entry) {
  const bool is_needed =
      is_snapshot_open_ && is_in_snapshot(*entry.second) && (!written_ || entry.first > *written_);
  if (is_needed) before_.emplace(entry.first, term_of(entry));
  entry.second->settled = snapshots_;
}

std::optional<LeaseTerm> LeaseTable::next_in_snapshot(std::optional<LeaseId> after) {
  CHECK(is_snapshot_open_);
  CHECK(after >= written_);
  written_ = after;
  const auto changed = after ? before_.upper_bound(*after) : before_.begin();
  // Leases below same_ are written or settled, and none of these is ever needed again: the search
  // goes on there, or it would pass over the same ones each time.
  auto same = leases_.begin();
  if (same_ && (!after || *same_ > *after)) {
    same = leases_.lower_bound(*same_);
  } else if (after) {
    same = leases_.upper_bound(*after);
  }
  while (same != leases_.end() && !is_in_snapshot(*same->second)) ++same;
  const bool has_changed = changed != before_.end();
  const bool has_same = same != leases_.end();
  same_ = has_same ? same->first : INT64_MAX;
  if (has_changed && (!has_same || changed->first < same->first)) return changed->second;
  if (!has_same) return std::nullopt;
  return term_of(*same);
}

bool LeaseTable::restore(const LeaseTerm& term) {
  const bool is_sane = term.id != 0 && term.ttl_s > 0 && term.ttl_s <= kMaxLeaseTtlSeconds;
  if (!is_sane || contains(term.id)) return false;
  add(term);
  return true;
}

}  // namespace conclave::store
