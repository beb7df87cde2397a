#pragma once
// Whoever owns the machines, as clients that change a cluster's members know it.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"

namespace conclave::sim {

struct Tenant {
  NodeId id;
  std::string peer;  // "host:port"
  bool is_learner = false;
};
struct Tenants {
  std::int32_t version = 0;  // of the node that says who they are
  std::vector<Tenant> members;
};

class Landlord {
 public:
  virtual ~Landlord() = default;

  // Whether a change of the members may be asked for. If so, it counts as asked for: for a while no
  // disk loses anything.
  virtual bool may_change_members() = 0;
  // There are so many, and each may become a member: it starts when it is one.
  virtual std::size_t provide_hosts() = 0;
  // They are members no more, as somebody was told: their machines go for good, and at once.
  virtual void let_go(const std::vector<NodeId>& members) = 0;
  // Who they are by what the leader has; nullopt: nobody leads, or no client has been there yet.
  virtual std::optional<Tenants> members_now() const = 0;
  // Whether somebody else was asked to remove it.
  virtual bool has_asked_to_remove(NodeId member) const = 0;
};

}  // namespace conclave::sim
