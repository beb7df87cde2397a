#pragma once
// Carries out the faults of a plan on a cluster, and heals everything when the storm is over.
// Members that stop by themselves are started again after a while, as a supervisor would.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "sim/cluster.h"
#include "sim/cluster_check.h"
#include "sim/operator.h"
#include "sim/plan.h"
#include "sim/trace.h"

namespace conclave::sim {

class Storm {
 public:
  // All outlive it.
  Storm(const Plan& plan, Cluster& cluster, ClusterCheck& check, Trace& trace);

  // Starts all members and lets the plan begin.
  void begin();
  // Undoes what still lasts and starts who is down.
  void end();
  // A power cut that lasts until what is returned is called.
  std::function<void()> take_down(std::size_t member) { return crash({member}, true); }
  // Nothing passes from the first of each pair to the second until what is returned is called.
  std::function<void()> cut(std::vector<std::pair<std::size_t, std::size_t>> links);
  // All is as an operator wants it to be: see Operator::settled().
  bool settled() const { return operator_.settled(); }

  Landlord& landlord() { return operator_; }

  // How often each kind of fault struck somebody.
  const std::map<std::string, std::uint64_t>& counts() const { return counts_; }
  const std::map<std::string, std::uint64_t>& operations() const { return operator_.counts(); }

 private:
  void strike(std::size_t number);
  // Tried again until it can strike; the others strike at once or never.
  static bool waits_for_its_time(FaultKind kind);
  // What ends the fault; empty if it is over at once. nullopt: there was nobody to strike.
  std::optional<std::function<void()>> carry_out(const Fault& fault, Rng& rng);

  std::function<void()> crash(std::vector<std::size_t> members, bool power);
  std::optional<std::function<void()>> disk_error(std::size_t member, Rng& rng);
  // Changes a bit where the newest write is not: the loss of what was written last cannot be told
  // from a power cut.
  bool rot(std::size_t member, Rng& rng);
  std::function<void()> small_only(std::size_t from, std::size_t to, std::size_t bytes);
  std::function<void()> bad_link(std::size_t from, std::size_t to, Rng& rng);
  std::function<void()> heal_link(std::size_t from, std::size_t to);
  std::function<void()> hand_over(std::size_t member);

  // Any member; with one chance in three the leader, if there is one.
  std::size_t pick(Rng& rng) const;
  std::vector<std::size_t> shuffled(Rng& rng) const;
  // Hosts may have been added.
  void know_all_hosts();
  void hold_down(std::size_t member);
  void release(std::size_t member);
  void start_soon(std::size_t member, Duration delay);
  void start(std::size_t member);
  void tend();
  void note(const std::string& who, const std::string& what);

  const Plan& plan_;
  Cluster& cluster_;
  Trace& trace_;
  Operator operator_;
  std::map<std::size_t, std::function<void()>> lasting_;  // by the fault's place in the plan
  std::vector<std::size_t> held_down_;                    // faults that keep a member down
  std::vector<bool> start_due_;                           // a start is on its way
  std::map<std::string, std::uint64_t> counts_;
  bool over_ = false;
};

}  // namespace conclave::sim
