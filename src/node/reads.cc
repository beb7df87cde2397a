#include "node/reads.h"

#include <iterator>
#include <utility>

namespace conclave::node {
namespace {

void move_all(std::vector<Reads::Read>& from, std::vector<Reads::Read>& to) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  from.clear();
}

}  // namespace

void Reads::add(Read read) {
  count(read);
  new_.push_back(std::move(read));
}

std::optional<ReadId> Reads::begin_barrier() {
  if (new_.empty() || in_barrier_.size() >= kMaxBarriers) return std::nullopt;
  const ReadId id = next_;
  next_ = next_.next();
  in_barrier_.emplace(id, std::exchange(new_, {}));
  return id;
}

void Reads::barrier_done(ReadId id, std::optional<LogIndex> index) {
  const auto found = in_barrier_.find(id);
  if (found == in_barrier_.end()) return;
  if (index) {
    ready_.emplace(*index, std::move(found->second));
  } else {
    move_all(found->second, failed_);
  }
  in_barrier_.erase(found);
}

void Reads::retry() { move_all(failed_, new_); }

void Reads::make_due(LogIndex applied) {
  while (!ready_.empty() && ready_.begin()->first <= applied) {
    for (Read& read : ready_.begin()->second) push(due_, std::move(read));
    ready_.erase(ready_.begin());
  }
}

void Reads::push(Queue& queue, Read read) {
  const Flow flow = flow_of(read.client);
  const std::uint64_t cost = limits::kRequestCost + read.bytes;
  queue.push(flow, std::move(read), cost);
}

void Reads::add_due(Read read) {
  count(read);
  push(due_, std::move(read));
}

std::optional<Reads::Read> Reads::take_first(Queue& from) {
  if (from.empty()) return std::nullopt;
  Read read = from.pop();
  discount(read);
  return read;
}

std::optional<Reads::Read> Reads::next_due() { return take_first(due_); }

void Reads::postpone(Read read) {
  count(read);
  push(postponed_, std::move(read));
}

std::optional<Reads::Read> Reads::next_postponed() { return take_first(postponed_); }

void Reads::hold(Read read) {
  count(read);
  held_[read.client.connection].push_back(std::move(read));
}

void Reads::on_room(std::uint64_t connection) {
  const auto found = held_.find(connection);
  if (found == held_.end()) return;
  for (Read& read : found->second) push(due_, std::move(read));
  held_.erase(found);
}

std::vector<std::uint64_t> Reads::full_connections() const {
  std::vector<std::uint64_t> connections;
  for (const auto& [connection, reads] : held_) connections.push_back(connection);
  return connections;
}

std::vector<Reads::Expired> Reads::expire(Instant now) {
  std::vector<Expired> expired;
  const auto is_over = [&](const Read& read, bool held) {
    if (read.deadline > now) return false;
    expired.push_back({read.client, held});
    discount(read);
    return true;
  };
  const auto sweep = [&](std::vector<Read>& reads, bool held = false) {
    std::erase_if(reads, [&](const Read& read) { return is_over(read, held); });
  };
  sweep(new_);
  sweep(failed_);
  for (auto& [id, reads] : in_barrier_) sweep(reads);
  for (auto& [index, reads] : ready_) sweep(reads);
  for (Queue* queue : {&due_, &postponed_}) {
    queue->erase_if([&](const Read& read) { return is_over(read, false); });
  }
  for (auto& [connection, reads] : held_) sweep(reads, true);
  std::erase_if(held_, [](const auto& entry) { return entry.second.empty(); });
  return expired;
}

}  // namespace conclave::node
