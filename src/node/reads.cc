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
  new_.push_back(std::move(read));
  ++waiting_;
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

std::vector<Reads::Read> Reads::take_ready(LogIndex applied) {
  std::vector<Read> taken;
  while (!ready_.empty() && ready_.begin()->first <= applied) {
    if (taken.empty()) {
      taken = std::move(ready_.begin()->second);
    } else {
      move_all(ready_.begin()->second, taken);
    }
    ready_.erase(ready_.begin());
  }
  waiting_ -= taken.size();
  return taken;
}

std::vector<ClientCall> Reads::expire(Instant now) {
  std::vector<ClientCall> expired;
  const auto sweep = [&](std::vector<Read>& reads) {
    std::erase_if(reads, [&](const Read& read) {
      if (read.deadline > now) return false;
      expired.push_back(read.client);
      return true;
    });
  };
  sweep(new_);
  sweep(failed_);
  for (auto& [id, reads] : in_barrier_) sweep(reads);
  for (auto& [index, reads] : ready_) sweep(reads);
  waiting_ -= expired.size();
  return expired;
}

}  // namespace conclave::node
