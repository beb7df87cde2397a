#include "node/writes.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::node {

void Writes::add(ClientCall client, Bytes command, bool idempotent, Instant deadline) {
  unsent_.push_back(next_call());
  waiting_bytes_ += command.size();
  slots_.push_back(Slot{.client = client,
                        .command = std::move(command),
                        .deadline = deadline,
                        .sent = {},
                        .idempotent = idempotent});
  ++waiting_;
}

Writes::Slot* Writes::find(std::uint64_t call) {
  if (call < first_ || call >= next_call()) return nullptr;
  Slot& slot = slots_[call - first_];
  return slot.ended ? nullptr : &slot;
}

bool Writes::is_waiting(std::uint64_t call) const {
  return call >= first_ && call < next_call() && !slots_[call - first_].ended;
}

void Writes::end(Slot& slot) {
  CHECK(!slot.ended);
  slot.ended = true;
  waiting_bytes_ -= slot.command.size();
  slot.command = Bytes();
  --waiting_;
}

void Writes::drop_ended() {
  while (!slots_.empty() && slots_.front().ended) {
    slots_.pop_front();
    ++first_;
  }
}

std::vector<Writes::Sent> Writes::take_unsent(Epoch epoch, std::size_t max_bytes) {
  std::vector<Sent> taken;
  std::size_t bytes = 0;
  while (!unsent_.empty()) {
    const std::uint64_t call = unsent_.front();
    Slot* slot = find(call);
    if (slot != nullptr) {
      if (!taken.empty() && bytes + slot->command.size() > max_bytes) break;
      bytes += slot->command.size();
      slot->sent = epoch;
      taken.push_back(Sent{call, slot->command});
    }
    unsent_.pop_front();
  }
  return taken;
}

void Writes::sort_unsent() { std::ranges::sort(unsent_); }

void Writes::put_back(const std::vector<std::uint64_t>& calls) {
  for (const std::uint64_t call : calls) {
    Slot* slot = find(call);
    if (slot == nullptr || !slot->sent) continue;
    slot->sent = {};
    unsent_.push_back(call);
  }
  sort_unsent();
}

void Writes::put_back_before(Epoch applied) {
  bool moved = false;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.ended || !slot.sent || slot.sent >= applied) continue;
    slot.sent = {};
    unsent_.push_back(first_ + i);
    moved = true;
  }
  if (moved) sort_unsent();
}

std::optional<ClientCall> Writes::finish(std::uint64_t call) {
  Slot* slot = find(call);
  if (slot == nullptr) return std::nullopt;
  const ClientCall client = slot->client;
  end(*slot);
  drop_ended();
  return client;
}

std::vector<Writes::Expired> Writes::expire(Instant now) {
  std::vector<Expired> expired;
  for (Slot& slot : slots_) {
    if (slot.ended || slot.deadline > now) continue;
    expired.push_back(Expired{slot.client, static_cast<bool>(slot.sent)});
    end(slot);
  }
  drop_ended();
  return expired;
}

std::vector<ClientCall> Writes::forget_sent() {
  std::vector<ClientCall> forgotten;
  bool moved = false;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.ended || !slot.sent) continue;
    if (slot.idempotent) {
      slot.sent = {};
      unsent_.push_back(first_ + i);
      moved = true;
    } else {
      forgotten.push_back(slot.client);
      end(slot);
    }
  }
  if (moved) sort_unsent();
  drop_ended();
  return forgotten;
}

}  // namespace conclave::node
