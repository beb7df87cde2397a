#include "paxos/log.h"

#include "base/check.h"

namespace conclave::paxos {

Slot* Log::find(LogIndex index) {
  const auto slot = slots_.find(index);
  return slot == slots_.end() ? nullptr : &slot->second;
}

const Slot* Log::find(LogIndex index) const {
  const auto slot = slots_.find(index);
  return slot == slots_.end() ? nullptr : &slot->second;
}

Slot& Log::at(LogIndex index) {
  Slot* slot = find(index);
  CHECK(slot, "slot {} is empty; the log is {}..{}", index.value, first().value, last().value);
  return *slot;
}

const Slot& Log::at(LogIndex index) const {
  const Slot* slot = find(index);
  CHECK(slot, "slot {} is empty; the log is {}..{}", index.value, first().value, last().value);
  return *slot;
}

Slot& Log::put(Epoch ballot, consensus::Entry value) {
  CHECK(value.index > base_.index, "slot {} is compacted up to {}", value.index.value,
        base_.index.value);
  CHECK(ballot);
  Slot slot{.ballot = ballot, .value = std::move(value), .settled = {}};
  const LogIndex index = slot.value.index;
  // Most values go to the end.
  const auto put = slots_.insert_or_assign(slots_.end(), index, std::move(slot));
  return put->second;
}

void Log::compact_to(consensus::Position base) {
  CHECK(base.index >= base_.index);
  slots_.erase(slots_.begin(), slots_.upper_bound(base.index));
  base_ = base;
}

}  // namespace conclave::paxos
