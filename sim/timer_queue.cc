#include "sim/timer_queue.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::sim {
namespace {

// An id is the timer's number above its slot, so ids grow in the order of asking.
constexpr unsigned kSlotBits = 24;
constexpr std::uint64_t kMaxSlots = std::uint64_t{1} << kSlotBits;
constexpr std::size_t kFewEntries = 64;

}  // namespace

TimerQueue::Slot& TimerQueue::slot_of(Id id) { return slots_[id % kMaxSlots]; }

TimerQueue::Id TimerQueue::add(Instant when, Fire fire) {
  if (free_.empty()) {
    CHECK(slots_.size() < kMaxSlots);
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const Id id = (++last_number_ << kSlotBits) | free_.back();
  free_.pop_back();
  Slot& slot = slot_of(id);
  slot.id = id;
  slot.fire = std::move(fire);
  heap_.push_back({when, id});
  std::ranges::push_heap(heap_, std::greater{});
  return id;
}

TimerQueue::Fire TimerQueue::release(Slot& slot) {
  free_.push_back(static_cast<std::uint32_t>(&slot - slots_.data()));
  slot.id = 0;
  return std::exchange(slot.fire, nullptr);
}

void TimerQueue::cancel(Id id) {
  if (id == 0 || id % kMaxSlots >= slots_.size() || slot_of(id).id != id) return;
  const Fire dropped = release(slot_of(id));
  if (heap_.size() > kFewEntries && heap_.size() / 2 > slots_.size() - free_.size()) {
    std::erase_if(heap_, [this](const Entry& entry) { return is_cancelled(entry); });
    std::ranges::make_heap(heap_, std::greater{});
  }
}

void TimerQueue::drop_cancelled() {
  while (!heap_.empty() && is_cancelled(heap_.front())) {
    std::ranges::pop_heap(heap_, std::greater{});
    heap_.pop_back();
  }
}

std::optional<Instant> TimerQueue::next() {
  drop_cancelled();
  if (heap_.empty()) return std::nullopt;
  return heap_.front().when;
}

TimerQueue::Fire TimerQueue::take() {
  drop_cancelled();
  CHECK(!heap_.empty());
  const Id id = heap_.front().id;
  std::ranges::pop_heap(heap_, std::greater{});
  heap_.pop_back();
  return release(slot_of(id));
}

// What is destroyed may call back, so the queue is empty before anything is.
void TimerQueue::clear() {
  heap_.clear();
  free_.clear();
  const auto dropped = std::exchange(slots_, {});
}

}  // namespace conclave::sim
