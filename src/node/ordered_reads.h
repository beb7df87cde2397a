#pragma once
// Reads that have to be answered in the order in which their connection asked, as a watch that one
// leaves must be known to the client before the next answer. Mostly they come up in that order by
// themselves; one that comes up before its time waits here for those before it.
//
// Pure, and not thread-safe.

#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "node/reads.h"

namespace conclave::node {

class OrderedReads {
 public:
  void add(const ClientCall& client) { queues_[client.connection].order.push_back(client.call); }

  // Whether a read that has come up may be answered now; if not it waits here.
  bool is_next(Reads::Read& read) {
    const auto found = queues_.find(read.client.connection);
    if (found == queues_.end() || found->second.order.front() == read.client.call) return true;
    const api::CallId call = read.client.call;
    found->second.early.emplace(call, std::move(read));
    return false;
  }

  // It has been answered, or will not be.
  void done(const ClientCall& client) {
    const auto found = queues_.find(client.connection);
    if (found == queues_.end()) return;
    Queue& queue = found->second;
    if (!queue.order.empty() && queue.order.front() == client.call) {
      queue.order.pop_front();
    } else {
      std::erase(queue.order, client.call);
      queue.early.erase(client.call);
    }
    if (queue.order.empty()) queues_.erase(found);
  }

  // Those that came up early and whose time it is now, one after the other.
  std::vector<Reads::Read> take_early(std::uint64_t connection) {
    std::vector<Reads::Read> reads;
    const auto found = queues_.find(connection);
    if (found == queues_.end()) return reads;
    for (const api::CallId call : found->second.order) {
      auto read = found->second.early.extract(call);
      if (read.empty()) break;
      reads.push_back(std::move(read.mapped()));
    }
    return reads;
  }

  void forget(std::uint64_t connection) { queues_.erase(connection); }

 private:
  struct Queue {
    std::deque<api::CallId> order;
    std::map<api::CallId, Reads::Read> early;
  };
  std::map<std::uint64_t, Queue> queues_;
};

}  // namespace conclave::node
