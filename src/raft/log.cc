#include "raft/log.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::raft {

using consensus::Entry;
using consensus::Position;

std::size_t Log::slot(LogIndex index) const {
  CHECK(index >= first(), "entry {} is compacted up to {}", index.value, base_.index.value);
  CHECK(index <= last(), "entry {} is after the last, {}", index.value, last().value);
  return static_cast<std::size_t>(index.value - first().value);
}

Position Log::last_position() const {
  return entries_.empty() ? base_ : Position{entries_.back().index, entries_.back().epoch};
}

std::optional<Epoch> Log::epoch_at(LogIndex index) const {
  if (index == base_.index) return base_.epoch;
  if (index < base_.index || index > last()) return std::nullopt;
  return entries_[slot(index)].epoch;
}

const Entry& Log::at(LogIndex index) const { return entries_[slot(index)]; }

Position Log::meeting_point(LogIndex index, Epoch epoch) const {
  index = std::min(index, last());
  if (index <= base_.index) return base_;
  const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(slot(index)) + 1;
  // Epochs never fall, so the entries that qualify are a prefix.
  const auto above = std::upper_bound(
      entries_.begin(), end, epoch, [](Epoch wanted, const Entry& e) { return wanted < e.epoch; });
  if (above == entries_.begin()) return base_;
  const Entry& meeting = *std::prev(above);
  return {meeting.index, meeting.epoch};
}

LogIndex Log::run_within(LogIndex from, std::size_t max_bytes) const {
  std::size_t bytes = at(from).data.size();
  LogIndex to = from;
  while (to < last()) {
    bytes += at(to.next()).data.size();
    if (bytes > max_bytes) break;
    to = to.next();
  }
  return to;
}

std::size_t Log::bytes_of(LogIndex from, LogIndex to) const {
  std::size_t bytes = 0;
  for (LogIndex index = from; index <= to; index = index.next()) bytes += at(index).data.size();
  return bytes;
}

std::vector<Entry> Log::slice(LogIndex from, LogIndex to) const {
  if (to < from) return {};
  const auto begin = entries_.begin() + static_cast<std::ptrdiff_t>(slot(from));
  const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(slot(to)) + 1;
  return {begin, end};
}

void Log::append(Entry entry) {
  CHECK(entry.index == last().next(), "entry {} after {}", entry.index.value, last().value);
  CHECK(entry.epoch >= last_position().epoch, "epoch {} after {}", entry.epoch.value,
        last_position().epoch.value);
  entries_.push_back(std::move(entry));
}

void Log::truncate_from(LogIndex index) {
  const auto begin = entries_.begin() + static_cast<std::ptrdiff_t>(slot(index));
  entries_.erase(begin, entries_.end());
}

void Log::compact_to(LogIndex index) {
  CHECK(index >= base_.index);
  CHECK(index <= last());
  const Position base{index, *epoch_at(index)};
  entries_.erase(entries_.begin(),
                 entries_.begin() + static_cast<std::ptrdiff_t>(index.value - base_.index.value));
  base_ = base;
}

void Log::restart_at(Position base) {
  entries_.clear();
  base_ = base;
}

}  // namespace conclave::raft
