#pragma once
// What must hold between the members of a cluster, looked at after every step of a run: of their
// engines (sim/engine_check.h), and of their stores. A violation is thrown as a Finding.
//
//   state machine safety  nobody applies backwards
//   state hash            members that applied the same index hold the same state, witnesses theirs
//   quorum rule           whoever votes, as many decide as the cluster was created with
//   no spinning           a second brings no more work than members and clients could ever have

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "sim/cluster.h"
#include "sim/engine_check.h"
#include "sim/trace.h"

namespace conclave::sim {

class ClusterCheck {
 public:
  // Both outlive the check.
  ClusterCheck(const Cluster& cluster, Trace& trace);

  void after_step();
  // A piece leaves one host for another, as Fabric::tap tells it.
  void on_piece(const std::string& from, const std::string& to, BytesView piece);
  // The member's disk lost or changed what it had acknowledged, by a fault: its next start may find
  // less. Over when the host is another member.
  void forgive(std::size_t member) { engines_->forgive(member); }

  std::uint64_t steps() const { return steps_; }
  // Entries committed, and elections won.
  std::uint64_t committed() const { return engines_->committed(); }
  std::uint64_t elections() const { return engines_->elections(); }

 private:
  struct Member {
    std::uint64_t run = 0;  // of which the rest is; 0: never seen
    LogIndex applied;
    consensus::Quorum voters;
  };

  void count_step();
  void check_store(std::size_t number);
  void check_rule(Member& member, const consensus::Quorum& voters) const;

  const Cluster& cluster_;
  Trace& trace_;
  std::unique_ptr<EngineCheck> engines_;
  std::vector<Member> members_;
  std::unordered_map<LogIndex, std::uint64_t> hashes_;  // of the store, by applied index
  std::unordered_map<LogIndex, std::uint64_t> witness_hashes_;
  std::uint64_t steps_ = 0;
  Instant second_begins_;
  std::uint64_t steps_in_second_ = 0;  // since then
};

}  // namespace conclave::sim
