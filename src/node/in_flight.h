#pragma once
// How many requests of clients wait, and with how many bytes; and who may bring more. Each
// connection has a limit of its own, all have one together, and one user may have half of that.
// Beyond what is shared, connections are refused that have more than a little waiting, and the
// others only beyond twice as much: who floods the member is refused, and not the others.
//
// Pure, and not thread-safe.

#include <xxhash.h>

#include <cstddef>
#include <unordered_map>

#include "base/bytes.h"
#include "base/check.h"
#include "base/fair_limits.h"
#include "node/fair_queue.h"

namespace conclave::node {

// Who has requests waiting: a connection, and its user if there is one.
struct Sharer {
  Flow connection = 0;
  Flow user = 0;  // user_flow(); 0: nobody said
};

// Stands for a user among connections, whose numbers are small.
inline Flow user_flow(BytesView name) {
  return name.empty() ? 0 : XXH3_64bits(name.data(), name.size()) | Flow{1} << 63;
}

class InFlight {
 public:
  struct Limits {
    std::size_t requests = 0;  // of all
    std::size_t bytes = 0;
    std::size_t connection_requests = limits::kMaxConnectionRequests;
    std::size_t connection_bytes = limits::kMaxConnectionRequestBytes;
  };

  explicit InFlight(const Limits& limits) : limits_(limits) {}

  // Whether a request of theirs may come. `share`: times the limits.
  bool has_room(Sharer who, std::size_t share = 1) const {
    const Sum own = of(who.connection);
    if (own.is_full(share * limits_.connection_requests, share * limits_.connection_bytes)) {
      return false;
    }
    const bool has_little = !own.is_full(limits::kLittleRequests, limits::kLittleRequestBytes);
    const std::size_t requests = (has_little ? 2 : 1) * share * limits_.requests;
    const std::size_t bytes = (has_little ? 2 : 1) * share * limits_.bytes;
    return !all_.is_full(requests, bytes) &&
           (who.user == 0 || !of(who.user).is_full(requests / 2, bytes / 2));
  }

  void add(Sharer who, std::size_t bytes) {
    all_.add(bytes);
    flows_[who.connection].add(bytes);
    if (who.user != 0) flows_[who.user].add(bytes);
  }
  // REQUIRES: it was added with as many bytes.
  void remove(Sharer who, std::size_t bytes) {
    all_.remove(bytes);
    take_off(who.connection, bytes);
    if (who.user != 0) take_off(who.user, bytes);
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

  void take_off(Flow flow, std::size_t bytes) {
    const auto found = flows_.find(flow);
    CHECK(found != flows_.end());
    found->second.remove(bytes);
    if (found->second.requests == 0) flows_.erase(found);
  }

  Limits limits_;
  Sum all_;
  std::unordered_map<Flow, Sum> flows_;  // never iterated
};

}  // namespace conclave::node
