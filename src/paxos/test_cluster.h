#pragma once
// A cluster in one place for tests: engines, and around each the least that a node must do (a disk
// that forgets what was not durable, a store, snapshot files), and a network of queues between
// them. The test decides what happens next.
//
// After each call the invariants of the member are checked (invariants.h), and those that span
// members: one leader per ballot; one value per ballot and slot; a value that a quorum has on disk
// stays chosen; the acceptors that chose it and those of any later phase one share a member; nobody
// forgets what it said; what was committed once is committed everywhere and for ever; a read
// barrier never learns less than was committed when it began.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "paxos/invariants.h"
#include "paxos/paxos.h"

namespace conclave::paxos {

class TestCluster {
 public:
  using Link = std::pair<NodeId, NodeId>;

  struct Write {
    Ticket ticket;
    std::optional<Bytes> hard_state;
    std::vector<consensus::Entry> entries;
  };
  struct Held {
    Ticket until;  // durable up to here: it may leave
    consensus::Envelope envelope;
  };
  struct StoredSnapshot {
    SnapshotMeta meta;
    Bytes file;
  };
  using Job = std::variant<consensus::SnapshotRead, consensus::SnapshotWrite>;

  struct Member {
    std::optional<Paxos> engine;  // none: crashed
    int runs = 0;

    // On disk.
    std::optional<Bytes> hard_state;
    std::vector<consensus::Entry> records;
    std::map<LogIndex, StoredSnapshot> snapshots;  // the newest two

    std::map<LogIndex, Epoch> accepted;  // the newest record of each slot: its ballot
    Epoch said;                          // the highest ballot of any promise that left

    // Under way; lost in a crash.
    std::deque<Write> writes;
    Ticket handed_out;
    Ticket durable;
    std::deque<Held> held;
    std::deque<Job> jobs;                   // of the snapshot lane
    Bytes receiving;                        // the temporary file
    std::optional<StoredSnapshot> writing;  // its own
    bool wants_snapshot = false;

    // The store: a hash over all entries applied; a witness's, over what it keeps of them.
    LogIndex applied;
    std::uint64_t hash = 0;
    std::map<ReadId, LogIndex> reads;  // open ones, and the least that they must learn
  };

  // Members 1..size exist and run; those in `initial` form the group. `witnesses` are such
  // whenever they are members.
  TestCluster(std::uint64_t size, Membership initial, consensus::EngineConfig config,
              std::uint64_t seed, std::uint64_t window, std::vector<NodeId> witnesses = {});
  bool is_witness(NodeId id) const;

  Member& member(NodeId id) { return members_.at(id); }
  bool is_up(NodeId id) const { return members_.at(id).engine.has_value(); }
  std::map<NodeId, Member>& members() { return members_; }
  std::map<Link, std::deque<consensus::Envelope>>& network() { return network_; }
  // The running leader of the highest ballot.
  std::optional<NodeId> leader() const;
  // Everything committed anywhere; entry i is at i - 1.
  const std::vector<consensus::Entry>& history() const { return history_; }

  // Calls `action` on the engine of a running member, and carries out what it wants done.
  void act(NodeId id, const std::function<void(Paxos&)>& action);
  // The same without taking the output yet.
  void act_quietly(NodeId id, const std::function<void(Paxos&)>& action);

  void read(NodeId id, ReadId read);
  // Delivers the message at `position` of a link's queue (and keeps it there if `keep`). To a
  // member that is down it is lost.
  void deliver(Link link, std::size_t position = 0, bool keep = false);
  // The oldest `count` writes become durable and are reported.
  void persist(NodeId id, std::size_t count = SIZE_MAX);
  // Carries out the oldest job of the snapshot lane. !ok: reads find nothing, writes fail.
  void run_job(NodeId id, bool ok = true);
  // Snapshots what was applied, keeping `keep` entries before it in memory; what may have happened
  // in between, in two steps.
  void compact(NodeId id, std::uint64_t keep);
  void begin_snapshot(NodeId id);
  void finish_snapshot(NodeId id, std::uint64_t keep);
  // All but `keep` entries of what was applied may leave the memory.
  void release(NodeId id, std::uint64_t keep);
  // Stops; of the writes under way the oldest `survive` got to the disk without being reported.
  void crash(NodeId id, std::size_t survive);
  void restart(NodeId id);

  // Compares all logs: one value per ballot and slot, and nothing but what is chosen where somebody
  // says that it is.
  void check_logs() const;

  // Told of everything that leaves an engine, if set.
  std::function<void(const std::string&)> trace;

 private:
  void carry_out(NodeId id, consensus::Output out);
  void release_held(NodeId id);
  void apply(NodeId id, const consensus::Entry& entry);
  void read_snapshot(NodeId id, const consensus::SnapshotRead& wanted, bool ok);
  void write_snapshot(NodeId id, const consensus::SnapshotWrite& write, bool ok);
  void store_snapshot(Member& member, const SnapshotMeta& meta, Bytes file);
  void check_leader(NodeId id);
  void check_data(NodeId id, const consensus::Entry& entry) const;
  const std::vector<std::uint64_t>& hashes(NodeId id) const;
  void check_phase_one(NodeId id);
  void check_said(NodeId id, const consensus::Envelope& envelope);
  void reach_disk(NodeId id, Write write);
  void count_record(NodeId id, const consensus::Entry& record);
  void note(const std::string& line) const {
    if (trace) trace(line);
  }

  consensus::EngineConfig config_;
  Membership initial_;
  std::uint64_t seed_;
  std::uint64_t window_;
  std::vector<NodeId> witnesses_;
  std::map<NodeId, Member> members_;
  std::map<Link, std::deque<consensus::Envelope>> network_;

  std::vector<consensus::Entry> history_;
  std::vector<std::uint64_t> hashes_;          // of the store after entry i, at i
  std::vector<std::uint64_t> witness_hashes_;  // of a witness's
  std::map<Epoch, NodeId> leaders_;
  LogIndex max_commit_;

  // Seen from above: who has which value on disk, and what is chosen thereby.
  struct Chosen {
    Epoch ballot;
    consensus::Entry value;
    std::set<NodeId> by;
  };
  MembershipLog memberships_;
  std::map<Position, std::set<NodeId>> accepted_;  // slot and ballot
  std::map<Position, consensus::Entry> proposed_;  // what was accepted there by anybody
  std::map<LogIndex, Chosen> chosen_;
};

}  // namespace conclave::paxos
