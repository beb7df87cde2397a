#include <algorithm>
#include <map>
#include <utility>

#include "sim/linearizability.h"

namespace conclave::sim {
namespace {

// The newest revision the answer proves to have existed.
std::int64_t proven(const Operation& op) { return std::max(op.revision, op.store_revision); }

bool is_recorded_write(const Operation& op) { return op.wrote() && op.revision != 0; }

// What an operation read, if it says so: a get, or a cas that was told why it failed.
bool is_read(const Operation& op) {
  if (op.is_unknown()) return false;
  return op.kind == OpKind::kGet || (op.kind == OpKind::kCas && !op.succeeded && op.actual_known);
}
const Cell& cell_read(const Operation& op) {
  return op.kind == OpKind::kGet ? op.value : op.actual;
}

Violation violation(const Operation& earlier, const Operation& later, std::string what) {
  return {later.key, std::move(what), {earlier, later}};
}

// Real time: whoever is called after an answer knows of at least the revision that answer proved,
// and a write called after it makes a higher one.
std::optional<Violation> check_real_time(const std::vector<const Operation*>& answered) {
  std::vector<const Operation*> by_call = answered;
  std::vector<const Operation*> by_return = answered;
  std::ranges::sort(by_call, {}, [](const Operation* op) { return std::pair(op->called_ns, op); });
  std::ranges::sort(by_return, {},
                    [](const Operation* op) { return std::pair(*op->returned_ns, op); });
  const Operation* highest = nullptr;
  std::size_t returned = 0;
  for (const Operation* op : by_call) {
    for (; returned < by_return.size() && *by_return[returned]->returned_ns < op->called_ns;
         ++returned)
      if (highest == nullptr || proven(*by_return[returned]) > proven(*highest))
        highest = by_return[returned];
    if (highest == nullptr) continue;
    const std::string known = std::to_string(proven(*highest));
    if (is_recorded_write(*op) && op->revision <= proven(*highest))
      return violation(*highest, *op,
                       "a write made revision " + std::to_string(op->revision) + " although " +
                           known + " was known before it was called");
    if (op->store_revision != 0 && op->store_revision < proven(*highest))
      return violation(*highest, *op,
                       "the store answered at revision " + std::to_string(op->store_revision) +
                           " although " + known + " was known before it was asked");
  }
  return std::nullopt;
}

std::optional<Violation> check_unique(const std::vector<const Operation*>& answered) {
  std::map<std::int64_t, const Operation*> writer;
  for (const Operation* op : answered) {
    if (!is_recorded_write(*op)) continue;
    const auto [found, added] = writer.try_emplace(op->revision, op);
    if (!added)
      return violation(*found->second, *op,
                       "revision " + std::to_string(op->revision) + " was given to two writes");
  }
  return std::nullopt;
}

// One key: its acknowledged writes by revision, against what was read.
class KeyRevisions {
 public:
  void add(const Operation& op) {
    if (op.is_unknown() && op.kind == OpKind::kDelete) may_be_deleted_ = true;
    if (op.wrote() && op.revision == 0) incomplete_ = true;
    if (is_recorded_write(op)) writes_[op.revision] = &op;
    if (is_read(op)) reads_.push_back(&op);
  }

  std::optional<Violation> check() {
    for (const Operation* op : reads_) {
      if (auto found = check_names(*op)) return found;
      if (auto found = check_newest(*op)) return found;
    }
    return std::nullopt;
  }

 private:
  // A revision of a key has one value.
  std::optional<Violation> check_names(const Operation& op) {
    if (op.revision == 0) return std::nullopt;
    const std::string at = "revision " + std::to_string(op.revision);
    if (const auto write = writes_.find(op.revision); write != writes_.end()) {
      const bool deleted = write->second->kind == OpKind::kDelete;
      if (deleted || write->second->value != cell_read(op))
        return violation(*write->second, op, at + " was read with another value than was written");
    }
    const auto [first, added] = read_at_.try_emplace(op.revision, &op);
    if (!added && cell_read(*first->second) != cell_read(op))
      return violation(*first->second, op, at + " was read with two values");
    if (op.store_revision != 0 && op.revision > op.store_revision)
      return violation(op, op, at + " is newer than the store that answered");
    return std::nullopt;
  }

  // A read at a revision of the store sees the newest write up to it.
  std::optional<Violation> check_newest(const Operation& op) const {
    if (op.store_revision == 0) return std::nullopt;
    const auto after = writes_.upper_bound(op.store_revision);
    if (after == writes_.begin()) return std::nullopt;
    const Operation& newest = *std::prev(after)->second;
    const bool absent = !cell_read(op).has_value();
    if (absent && (may_be_deleted_ || incomplete_ || newest.kind == OpKind::kDelete))
      return std::nullopt;
    if (absent || (op.revision != 0 && op.revision < newest.revision))
      return violation(newest, op,
                       "a read at revision " + std::to_string(op.store_revision) +
                           " misses the write of revision " + std::to_string(newest.revision));
    return std::nullopt;
  }

  std::map<std::int64_t, const Operation*> writes_;
  std::map<std::int64_t, const Operation*> read_at_;
  std::vector<const Operation*> reads_;
  bool may_be_deleted_ = false;
  bool incomplete_ = false;  // a write did not record its revision
};

}  // namespace

std::optional<Violation> find_revision_violation(const History& history) {
  std::vector<const Operation*> answered;
  std::map<std::string_view, KeyRevisions> keys;
  for (const Operation& op : history) {
    keys[op.key].add(op);
    if (!op.is_unknown() && proven(op) != 0) answered.push_back(&op);
  }
  if (auto found = check_unique(answered)) return found;
  if (auto found = check_real_time(answered)) return found;
  for (auto& [key, revisions] : keys)
    if (auto found = revisions.check()) return found;
  return std::nullopt;
}

}  // namespace conclave::sim
