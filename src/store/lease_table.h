#pragma once
// The leases there are, with their deadlines and the keys attached to them.
//
// Time is the cluster's (Stamp), and only ever an argument: nothing here happens by itself. Which
// keys belong to a lease follows from the newest version of each key, which names its lease; Mvcc
// reports every change of that (attach, detach), so no operation can forget it. Hence the leases'
// own numbers are in the state hash and in snapshots, and the attachments are in neither.

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/time.h"
#include "store/record.h"

namespace conclave::store {

// A lease without its keys.
struct LeaseTerm {
  LeaseId id = 0;
  std::int64_t ttl_s = 0;
  Stamp deadline;  // its time is over as soon as the stamp has reached it
  Bytes user;      // who asked for it; empty: nobody said
};

class LeaseTable {
 public:
  struct Key {
    Keyspace keyspace = Keyspace::kEtcd;
    Bytes key;

    auto operator<=>(const Key&) const = default;
  };
  using Keys = absl::btree_set<Key>;
  using Deadlines = absl::btree_set<std::pair<Stamp, LeaseId>>;

  std::size_t count() const { return leases_.size(); }
  bool contains(LeaseId id) const { return leases_.contains(id); }
  // nullopt: there is none.
  std::optional<LeaseTerm> find(LeaseId id) const;
  // REQUIRES: contains(id).
  const Keys& keys_of(LeaseId id) const;
  // All leases, the first to expire first.
  const Deadlines& deadlines() const { return deadlines_; }

  // Of those there are, how many this user asked for.
  std::uint64_t count_of(BytesView user) const;
  // REQUIRES: !contains(id), id != 0, ttl_s > 0.
  void grant(LeaseId id, std::int64_t ttl_s, Stamp now, BytesView user = {});
  // The lease has all of its time again. REQUIRES: contains(id).
  void keep_alive(LeaseId id, Stamp now);
  // Takes the lease out. Its keys are to be deleted before anything else happens.
  // REQUIRES: contains(id).
  Keys remove(LeaseId id);

  // The newest version of a key names this lease, or did until now. Without effect for 0.
  void attach(LeaseId id, Keyspace keyspace, BytesView key);
  void detach(LeaseId id, Keyspace keyspace, BytesView key);
  // Keys that name a lease which is not there. None but within an operation, and while a snapshot
  // is read: older versions name leases that have ended.
  std::uint64_t orphans() const { return orphans_; }

  // The sum of the hashes of all leases.
  std::uint64_t sum() const { return sum_; }
  std::uint64_t size_bytes() const { return size_bytes_; }

  // --- snapshots: the leases as they were at begin_snapshot(), although they go on changing ---

  bool has_users() const { return !users_.empty(); }
  void begin_snapshot();
  void end_snapshot();
  // The first lease with an id above `after` (the first of all if nullopt) as it was then; nullopt
  // at the end. REQUIRES: `after` never falls; everything up to there has been written.
  std::optional<LeaseTerm> next_in_snapshot(std::optional<LeaseId> after);
  // Puts a lease of a snapshot back. False if it cannot be one.
  bool restore(const LeaseTerm& term);

 private:
  using Users = std::map<Bytes, std::uint64_t, std::less<>>;  // names stay where they are
  struct Lease {
    std::int64_t ttl_s = 0;
    Stamp deadline;
    Users::value_type* user = nullptr;
    // The number of the newest snapshot that needs nothing more of this lease: it came later, or
    // its state of then has been put aside.
    std::uint64_t settled = 0;
    Keys keys;
  };
  // Behind a pointer: a node of the tree then has five times as many, and a search fewer misses.
  using Leases = absl::btree_map<LeaseId, std::unique_ptr<Lease>>;

  static LeaseTerm term_of(const Leases::value_type& entry);
  void add(const LeaseTerm& term);
  void preserve(Leases::value_type& entry);
  bool is_in_snapshot(const Lease& lease) const { return lease.settled < snapshots_; }

  Leases leases_;
  Deadlines deadlines_;
  Users users_;        // how many leases each has
  LeaseId ended_ = 0;  // the last one that was removed, whose keys are detached next; 0: it is back
  std::uint64_t orphans_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t size_bytes_ = 0;

  std::uint64_t snapshots_ = 0;  // begun so far
  bool is_snapshot_open_ = false;
  // Leases that changed since the open snapshot was begun, as they were then.
  absl::btree_map<LeaseId, LeaseTerm> before_;
  std::optional<LeaseId> written_;  // leases up to here
  std::optional<LeaseId> same_;     // where the search for those that have not changed goes on
};

}  // namespace conclave::store
