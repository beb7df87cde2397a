#pragma once
// The replicated state machine: everything the members agree on. Entries of the log are applied to
// it in order; reads are answered from it. Two stores that applied the same entries are equal,
// which hash() lets members compare.
//
// Nothing here waits, and nothing depends on anything but the entries: no clock, no randomness, no
// order of a hash table. Long work (reclaiming compacted revisions, writing a snapshot) is done in
// steps that the owner calls.
//
// Not thread-safe: one loop owns a Store.

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/request.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "store/command.h"
#include "store/lease_counts.h"
#include "store/znode_news.h"

namespace conclave::store {

// Limits that change what a write is answered. All members of a cluster must agree on them, since
// they are applied with the log.
struct Limits {
  std::size_t max_txn_ops = 128;
};

// What applying one command did. Only commands of the asking member (Store::apply's `self`) are
// listed.
struct Outcome {
  Origin origin;
  api::Response response;  // header: revision only
};

struct ApplyResult {
  std::vector<Outcome> outcomes;
  std::vector<ZnodeNews> znode_news;  // in order; if they are wanted
  // Set if a CheckHash of the batch disagreed with this member's own hash at that index.
  std::optional<LogIndex> diverged_at;
};

class Auth;            // store/auth.h
class HistoryHash;     // store/history_hash.h
class RangeReader;     // store/range_reader.h
class SnapshotWriter;  // store/snapshot.h
struct StoreState;     // store/state.h

class Store {
 public:
  explicit Store(Limits limits);
  ~Store();
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;

  // Checks a write for what can be refused without looking at the state (empty key, too many
  // operations, duplicate keys in a transaction, ...), as etcd does before proposing. nullopt: it
  // may be proposed.
  static std::optional<api::Error> validate(const api::Request& request, const Limits& limits);

  // Applies the data of a committed kCommand entry. REQUIRES: index follows applied_index().
  // kCorrupt: the entry cannot be decoded; the member must stop.
  //
  // A batch whose epoch is lower than that of a batch already applied is skipped as a whole,
  // without an effect: so once a member has applied anything of epoch E, no command proposed in an
  // epoch below E can ever take effect, and the member may propose its own unanswered ones again. A
  // command with a request id that was applied before has no effect and gets the first answer.
  Result<ApplyResult> apply(LogIndex index, BytesView entry, NodeId self,
                            std::uint64_t incarnation);
  // A committed entry that carries no commands (no-op, membership): moves applied_index() and the
  // epoch fence.
  void apply_empty(LogIndex index, Epoch epoch);

  // Whether apply() says what it did to znodes and sessions. Not at first.
  void want_znode_news(bool wanted);
  // Whether changes of nodes are among that. At first they are.
  void want_znode_changes(bool wanted);

  // Why request.identity may not have the request carried out now (store/permissions.h); nullopt:
  // it may. Of commands apply() asks that itself.
  std::optional<api::Error> denial(const api::Request& request) const;
  // The same for a watch, whose user only counts.
  std::optional<api::ErrorCode> watch_denial(const std::string& user, BytesView key,
                                             BytesView range_end) const;

  // Answers Range and read-only Txn at the current state (or at the revision they name), what is
  // asked about leases, users and roles, and reads of znodes (store/znodes.h).
  api::Response read(const api::Request& request) const;
  // The same for one Range, in slices. The reader must not outlive the store. Errors: those that
  // the request is answered with.
  std::expected<std::unique_ptr<RangeReader>, api::Error> begin_range(
      const api::RangeRequest& request);

  // The hash of the history up to `revision` (0 or less: the newest), in steps. It must not outlive
  // the store. kFutureRevision; kCompacted, as in etcd also for the compacted revision itself.
  std::expected<std::unique_ptr<HistoryHash>, api::Error> begin_history_hash(
      api::Revision revision);

  LogIndex applied_index() const;
  Epoch applied_epoch() const;     // the highest epoch applied: the fence above
  Stamp stamp() const;             // of the last batch applied
  api::Revision revision() const;  // 1 in an empty store
  api::Revision compact_revision() const;
  std::uint64_t hash() const;               // of everything replicated, at applied_index()
  std::uint64_t size_bytes() const;         // memory of keys, values, history and leases, about
  std::uint64_t size_in_use_bytes() const;  // of that, what the newest revisions need
  std::uint64_t key_count() const;
  std::size_t lease_count() const;
  const LeaseCounts& lease_counts() const;  // since this Store was made
  // Of the lease that expires first; nullopt if there are none. Once the stamp has reached it,
  // ExpireLeases has work.
  std::optional<Stamp> next_lease_deadline() const;

  const Auth& auth() const;  // users and roles

  // ZooKeeper's (store/znodes.h).
  api::zk::Code check_session(const api::zk::Caller& caller) const;
  std::optional<api::zk::Stat> find_znode(BytesView path) const;
  api::zk::Counts znode_counts() const;
  api::zk::SessionDump dump_sessions() const;
  bool has_timed_znodes() const;  // containers and TTL nodes
  // What a leader is to grant of it by this state, the one before the entry that brings the change
  // (store/znode_reconfig.h); or why not.
  std::expected<std::vector<ReconfigStep>, api::zk::Code> plan(
      const api::zk::ReconfigRequest& request) const;
  ReapZnodes find_reapable(Stamp now, std::size_t max_looks, Bytes& from) const;

  const std::vector<api::Member>& members() const;  // sorted by id
  // members() are all there are, by replicated decision; before, who is one is for the engine to
  // say, and members() what some of them told.
  bool founded() const;
  // Ids that were members once, the newest last, and whether `member` is one.
  const std::vector<NodeId>& removed() const;
  bool was_removed(NodeId member) const;
  // The id of the member's data directory; 0 if it never told.
  std::uint64_t directory_of(NodeId member) const;
  // Where ZooKeeper's clients reach it; empty: it has not told.
  std::string zookeeper_address_of(NodeId member) const;
  // Changes with everything about the members and the alarms.
  std::uint64_t facts_digest() const;
  // Raised alarms, sorted.
  std::vector<std::pair<NodeId, Alarm>> alarms() const;
  bool has_alarm(NodeId member, Alarm alarm) const;
  bool is_raised(Alarm alarm) const;  // for anybody

  // Makes of a store that came from another cluster's snapshot what a new cluster begins with, at
  // `index` and in `epoch`. Keys with all their revisions, leases and the time stay; members,
  // alarms and the answers to request ids were the other cluster's. Of a witness (!keeps_data) only
  // the time stays.
  void begin_new_cluster(LogIndex index, Epoch epoch, bool keeps_data);

  // Reclaims up to `max_revisions` compacted revisions, none above `newest`. True while there is
  // more to do. Does nothing while a snapshot is being written, and leaves what a RangeReader
  // reads.
  bool reclaim(std::size_t max_revisions, api::Revision newest = INT64_MAX);
  // Revisions up to this one have been reclaimed.
  api::Revision reclaimed_revision() const;

  // Starts writing the state as it is now; the store may be written meanwhile. REQUIRES: no other
  // one is open. The writer must not outlive the store, and must be destroyed before another one is
  // begun.
  std::unique_ptr<SnapshotWriter> begin_snapshot();

 private:
  friend class SnapshotWriter;
  friend class SnapshotLoader;
  friend class WatchHub;
  std::unique_ptr<StoreState> state_;
};

}  // namespace conclave::store
