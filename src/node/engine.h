#pragma once
// The engine of a group: one of those there are, chosen when the cluster is created. All that the
// node knows of it is the concept (consensus/engine.h), whose calls these are.

#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "consensus/engine.h"
#include "node/options.h"
#include "paxos/paxos.h"
#include "raft/raft.h"

namespace conclave::node {

// Whether a cluster of this engine can begin with `membership`; kInvalid says why not.
Result<void> check_first_membership(Consensus which, const consensus::Membership& membership);

class Engine {
 public:
  Engine(Consensus which, const consensus::EngineConfig& config, consensus::Saved saved,
         std::uint64_t seed);
  static void absorb(Consensus which, consensus::Saved& saved, consensus::Entry entry);
  // The owner's own data in a log record; empty if it is no command.
  static Bytes command_in(Consensus which, const consensus::Entry& record);

  Result<void> step(const consensus::Envelope& envelope);
  void tick();
  std::expected<consensus::Position, consensus::ProposeError> propose(Bytes command);
  void persisted(Ticket ticket);
  void read_barrier(ReadId id);
  std::expected<consensus::Position, consensus::ChangeError> change_membership(
      const consensus::Membership& target);
  bool transfer(NodeId target);
  void peer_lost(NodeId node);
  void release(LogIndex keep_from);
  bool wants_snapshot() const;
  void snapshot_taken(const consensus::SnapshotMeta& meta, LogIndex keep_from);
  consensus::SnapshotMeta snapshot_meta(LogIndex index) const;
  void snapshot_chunk(const consensus::SnapshotRead& wanted, Bytes data, bool last);
  void snapshot_unavailable(const consensus::SnapshotRead& wanted);
  void snapshot_stored(LogIndex index, std::uint64_t offset, bool ok);
  consensus::Output take_output();

  consensus::EngineStatus status() const;
  const consensus::Membership& membership() const;
  bool is_leader() const;
  NodeId leader() const;  // none if unknown
  Epoch epoch() const;

  // Whether somebody of this id can be told apart from everybody there is; several, also from each
  // other.
  bool may_add(NodeId id) const { return may_add(std::vector<NodeId>{id}); }
  bool may_add(const std::vector<NodeId>& ids) const;

  // For checks that know what an engine looks like inside; nullptr if it is another one.
  const raft::Raft* raft() const { return std::get_if<raft::Raft>(&engine_); }
  const paxos::Paxos* paxos() const { return std::get_if<paxos::Paxos>(&engine_); }

 private:
  using Any = std::variant<raft::Raft, paxos::Paxos>;
  static Any make(Consensus which, const consensus::EngineConfig& config, consensus::Saved saved,
                  std::uint64_t seed);

  Any engine_;
};

}  // namespace conclave::node
