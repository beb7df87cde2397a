#pragma once
// What must hold between the members of a cluster, looked at after every step of a run. A violation
// is thrown as a Finding.
//
//   invariants            each engine's own (raft/invariants.h), over one state and two successive
//                         ones
//   election safety       at most one leader in a term (Raft paper, figure 3)
//   log matching          entries with the same index and term are the same entry, and so is
//                         everything before them
//   leader completeness   a new leader has every entry committed in an earlier term
//   state machine safety  what was committed at an index once is what is committed there for ever
//   state hash            members that applied the same index hold the same state
//   quorum on disk        what anybody calls committed is on the disks of a quorum
//   durability            what a member's disk acknowledged is what its restart finds
//   promises              votes and acknowledgements that left a member are what its restart finds
//
// Cost per step: a comparison of a few words per member that did nothing, and what is new for those
// that did something.

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "raft/invariants.h"
#include "sim/cluster.h"
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
  void forgive(std::size_t member) { members_.at(member).forgiven = true; }

  std::uint64_t steps() const { return steps_; }
  // The highest term anybody was in, the entries committed, and the elections won.
  std::uint64_t terms() const { return highest_term_; }
  std::uint64_t committed() const { return committed_.size(); }
  std::uint64_t elections() const { return leaders_.size(); }

 private:
  using Position = consensus::Position;

  // What a member's disk has acknowledged.
  struct Durable {
    raft::HardState hard_state;
    Position last;
  };
  // What the others were told, of each kind the newest.
  struct Promises {
    Epoch vote_term;
    NodeId vote;
    Epoch ack_term;
    LogIndex ack;
  };
  struct Member {
    std::uint64_t run = 0;  // of which the rest is; 0: never seen
    NodeId id;              // whom the host is a member as
    raft::Mark mark;
    LogIndex base;              // epochs[0] is of base + 1
    std::vector<Epoch> epochs;  // of the log's entries, as checked
    LogIndex committed;
    LogIndex applied;
    // These survive runs.
    std::optional<Durable> durable;
    Promises promises;
    bool forgiven = false;
  };
  struct Known {
    std::size_t hash = 0;
    Epoch previous;  // of the entry before
  };
  struct Committed {
    Epoch epoch;
    std::size_t hash = 0;
    Epoch seen_in;  // the term of who first called it committed
  };

  void look_at(std::size_t number);
  void begin_run(std::size_t number, const raft::State& state);
  void check_durability(std::size_t number, const raft::State& state) const;
  void check_promises(std::size_t number, const raft::State& state) const;
  void check_quorum(const consensus::Membership& membership, Position committed) const;
  void check_log(Member& member, const raft::State& state);
  void check_commit(Member& member, const raft::State& state);
  void check_leader(std::size_t number, const raft::State& state);
  void check_store(std::size_t number);
  void note_durable(Member& member, const raft::State& state);

  const Cluster& cluster_;
  Trace& trace_;
  std::vector<Member> members_;
  std::map<Epoch, NodeId> leaders_;
  std::unordered_map<LogIndex, std::map<Epoch, Known>> entries_;
  std::vector<Committed> committed_;                    // entry i at i - 1
  std::unordered_map<LogIndex, std::uint64_t> hashes_;  // of the store, by applied index
  std::uint64_t highest_term_ = 0;
  std::uint64_t steps_ = 0;
};

}  // namespace conclave::sim
