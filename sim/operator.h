#pragma once
// Whoever runs the cluster: adds, promotes and removes members while it storms, has others lead,
// and replaces those whose disk was damaged or lost. Careful in one thing only: disks go bad one at
// a time, with enough others whole, and not while the membership changes.

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/request.h"
#include "base/rng.h"
#include "sim/cluster.h"
#include "sim/cluster_check.h"
#include "sim/landlord.h"
#include "sim/trace.h"

namespace conclave::sim {

class Operator final : public Landlord {
 public:
  // All outlive it.
  Operator(Cluster& cluster, ClusterCheck& check, Trace& trace);

  // Asks somebody for some change; how it ends is seen in what the members know later. False: not
  // now.
  bool change_members(Rng& rng);
  bool may_change_members() override;
  std::size_t provide_hosts() override;
  void let_go(const std::vector<NodeId>& members) override;
  std::optional<Tenants> members_now() const override;
  bool has_asked_to_remove(NodeId member) const override { return asked_to_go_.contains(member); }
  // Asks the leader that another member lead, which may be nobody. False: no leader can be
  // asked now.
  bool move_leader(Rng& rng);
  // Whether the member's disk may lose something now.
  bool may_damage(std::size_t host) const;
  // Whether it may lose all. Until a member has told the id of its data directory, nobody can tell
  // that it has lost it: all have to have heard of it.
  bool may_lose_disk(std::size_t host) const;
  // It has lost something: until the member is replaced it may refuse to start.
  void damaged(std::size_t host);
  bool is_damaged(std::size_t host) const { return damaged_.contains(host); }
  // The member crashes and comes back with an empty disk. REQUIRES: may_lose_disk().
  void lose_disk(std::size_t host);

  // Starts a host as what it is: a founder, a member, or one that was added and has to join.
  // nullopt: it is nobody.
  std::optional<Result<void>> start(std::size_t host);
  // The host has started again although it was damaged.
  void unharmed(std::size_t host);
  // Called now and then: replaces the damaged, and empties the disks of removed members.
  void tend();
  // Stops whose damage has not shown: their next start finds it, or it was where nothing is needed
  // any more.
  void look_for_damage();
  // Whoever is a member runs and votes as it should, and nobody else runs.
  bool settled() const;

  // Counted by what was asked.
  const std::map<std::string, std::uint64_t>& counts() const { return counts_; }

 private:
  struct Damage {
    NodeId id;             // whom it was a member as
    bool lost = false;     // its disk was exchanged
    bool may_try = false;  // to start it as the founder it was
  };

  const store::Store* truth() const;
  // As the leader knows it; none if the host is no member, or there is no leader.
  NodeId id_of(std::size_t host) const;
  void ask(std::size_t host, const std::string& what, api::Body body);
  void ask_for_change(std::size_t host, const std::string& what, api::Body body);
  // REQUIRES: it runs.
  NodeId self_of(std::size_t host) const;
  void take_away(std::size_t host);
  bool is_forgotten(std::size_t host) const;
  void empty_disk(std::size_t host);
  void replace(std::size_t host, Damage& damage);

  Cluster& cluster_;
  ClusterCheck& check_;
  Trace& trace_;
  const std::size_t founders_;
  std::map<std::size_t, Damage> damaged_;  // by host
  std::set<std::size_t> had_data_;         // hosts that were members once
  std::set<NodeId> asked_to_go_;
  Instant changed_at_;  // a change was asked for; it may still be under way
  std::map<std::string, std::uint64_t> counts_;
};

}  // namespace conclave::sim
