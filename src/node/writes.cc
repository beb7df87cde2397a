#include "node/writes.h"

#include <iterator>
#include <utility>

#include "base/check.h"

namespace conclave::node {

void Writes::add(ClientCall client, Bytes command, bool idempotent, Instant deadline,
                 std::size_t operations, bool ordered) {
  const std::uint64_t cost =
      limits::kRequestCost + command.size() + operations * limits::kOperationCost;
  const Flow flow = flow_of(client);
  unsent_.push(flow, next_call(), cost);
  in_flight_.add(sharer_of(client), command.size());
  slots_.push_back(Slot{.client = client,
                        .command = std::move(command),
                        .deadline = deadline,
                        .cost = cost,
                        .sent = {},
                        .idempotent = idempotent,
                        .ordered = ordered});
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
  in_flight_.remove(sharer_of(slot.client), slot.command.size());
  slot.command = Bytes();
  if (!slot.sent) return;
  set_sent(slot, Epoch{});
  done_cost_ += slot.cost;
}

// Or no more, if `epoch` is none.
void Writes::set_sent(Slot& slot, Epoch epoch) {
  if (slot.sent) {
    sent_cost_ -= slot.cost;
    if (slot.ordered && --ordered_sent_[slot.sent] == 0) ordered_sent_.erase(slot.sent);
  }
  slot.sent = epoch;
  if (!epoch) return;
  sent_cost_ += slot.cost;
  if (slot.ordered) ++ordered_sent_[epoch];
}

void Writes::unsend(std::uint64_t call, Slot& slot) {
  if (slot.is_last_try) return end(slot);
  set_sent(slot, Epoch{});
  again_.insert(call);
}

void Writes::drop_ended() {
  while (!slots_.empty() && slots_.front().ended) {
    slots_.pop_front();
    ++first_;
  }
}

bool Writes::may_send(Epoch epoch) const {
  if (!again_.empty()) return true;
  if (unsent_.empty()) return false;
  if (!ordered_sent_.empty() && ordered_sent_.begin()->first < epoch) return false;
  return sent_cost_ < (unsent_.has_fresh() ? 2 * window_ : window_);
}

std::uint64_t Writes::next_unsent() { return again_.empty() ? unsent_.front() : *again_.begin(); }

void Writes::pop_unsent() {
  if (again_.empty()) {
    unsent_.pop();
  } else {
    again_.erase(again_.begin());
  }
}

std::vector<Writes::Sent> Writes::take_unsent(Epoch epoch, std::size_t max_bytes) {
  std::vector<Sent> taken;
  std::size_t bytes = 0;
  while (may_send(epoch)) {
    const std::uint64_t call = next_unsent();
    Slot* slot = find(call);
    if (slot != nullptr) {
      if (!taken.empty() && bytes + slot->command.size() > max_bytes) break;
      bytes += slot->command.size();
      set_sent(*slot, epoch);
      last_sent_ = call;
      taken.push_back(Sent{call, slot->command});
    }
    pop_unsent();
  }
  return taken;
}

void Writes::put_back(const std::vector<std::uint64_t>& calls) {
  for (const std::uint64_t call : calls) {
    Slot* slot = find(call);
    if (slot != nullptr && slot->sent) unsend(call, *slot);
  }
  drop_ended();
}

void Writes::put_back_before(Epoch applied) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (!slot.ended && slot.sent && slot.sent < applied) unsend(first_ + i, slot);
  }
  drop_ended();
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
  if (!expired.empty()) {
    const auto is_over = [this](std::uint64_t call) { return !is_waiting(call); };
    unsent_.erase_if(is_over);
    std::erase_if(again_, is_over);
  }
  return expired;
}

void Writes::drop_unsent(std::uint64_t connection) {
  unsent_.erase_if(connection, [this, connection](std::uint64_t call) {
    Slot* slot = find(call);
    if (slot != nullptr && slot->client.connection != connection) return false;  // on its behalf
    if (slot != nullptr) end(*slot);
    return true;
  });
  drop_ended();
}

void Writes::drop_after_failure(std::uint64_t connection) {
  for (auto it = again_.begin(); it != again_.end();) {
    Slot* slot = find(*it);
    const bool is_theirs = slot != nullptr && slot->client.connection == connection;
    if (is_theirs) end(*slot);
    it = is_theirs ? again_.erase(it) : std::next(it);
  }
  for (Slot& slot : slots_) {
    if (!slot.ended && slot.client.connection == connection) slot.is_last_try = true;
  }
  drop_unsent(connection);
}

std::vector<ClientCall> Writes::forget_sent() {
  std::vector<ClientCall> forgotten;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.ended || !slot.sent) continue;
    if (slot.idempotent) {
      unsend(first_ + i, slot);
    } else {
      forgotten.push_back(slot.client);
      end(slot);
    }
  }
  drop_ended();
  return forgotten;
}

}  // namespace conclave::node
