#pragma once
// How many requests of clients wait, and with how many bytes; and who may bring more. Each
// connection has a limit of its own, and all have one together. Beyond the latter only those are
// refused that have more than a little waiting, up to twice as much in all: so the requests of one
// that floods the member are refused, and the others' are not.
//
// Pure, and not thread-safe.

#include <cstddef>
#include <unordered_map>

#include "base/fair_limits.h"
#include "node/fair_queue.h"

namespace conclave::node {

class InFlight {
 public:
  struct Limits {
    std::size_t requests = 0;  // of all
    std::size_t bytes = 0;
    std::size_t connection_requests = limits::kMaxConnectionRequests;
    std::size_t connection_bytes = limits::kMaxConnectionRequestBytes;
  };

  explicit InFlight(const Limits& limits) : limits_(limits) {}

  // Whether a request of this flow may come. `share`: times the limits.
  bool has_room(Flow flow, std::size_t share = 1) const {
    if (all_.is_full(share * limits_.requests, share * limits_.bytes)) {
      return !all_.is_full(2 * share * limits_.requests, 2 * share * limits_.bytes) &&
             !of(flow).is_full(limits::kLittleRequests, limits::kLittleRequestBytes);
    }
    return !of(flow).is_full(share * limits_.connection_requests, share * limits_.connection_bytes);
  }

  void add(Flow flow, std::size_t bytes) {
    all_.add(bytes);
    flows_[flow].add(bytes);
  }
  // REQUIRES: it was added with as many bytes.
  void remove(Flow flow, std::size_t bytes) {
    all_.remove(bytes);
    const auto found = flows_.find(flow);
    CHECK(found != flows_.end());
    found->second.remove(bytes);
    if (found->second.requests == 0) flows_.erase(found);
  }

  std::size_t requests() const { return all_.requests; }
  std::size_t bytes() const { return all_.bytes; }

 private:
  struct Sum {
    std::size_t requests = 0;
    std::size_t bytes = 0;

    void add(std::size_t more) {
      ++requests;
      bytes += more;
    }
    void remove(std::size_t less) {
      CHECK(requests > 0);
      CHECK(bytes >= less);
      --requests;
      bytes -= less;
    }
    bool is_full(std::size_t max_requests, std::size_t max_bytes) const {
      return requests >= max_requests || bytes >= max_bytes;
    }
  };

  Sum of(Flow flow) const {
    const auto found = flows_.find(flow);
    return found == flows_.end() ? Sum{} : found->second;
  }

  Limits limits_;
  Sum all_;
  std::unordered_map<Flow, Sum> flows_;  // never iterated
};

}  // namespace conclave::node
