#pragma once
// What a Store holds. Private to this folder: apply.cc changes it, read.cc answers from it,
// snapshot_*.cc write and rebuild it.

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <set>

#include "store/auth.h"
#include "store/codec.h"
#include "store/fences.h"
#include "store/hash.h"
#include "store/lease_counts.h"
#include "store/lease_table.h"
#include "store/mvcc.h"
#include "store/request_ids.h"
#include "store/store.h"
#include "store/znode_news.h"

namespace conclave::store {

// Who the members are, and the alarms: small, so a snapshot copies it, and it is hashed anew after
// each change. Rules for changes of the members: members.cc.
struct ClusterFacts {
  std::vector<api::Member> members;  // sorted by id
  // The members are those above and nobody else. Before, only what members published is known, and
  // who they are is the engine's business.
  bool founded = false;
  std::vector<NodeId> removed;  // the newest last, limits::kMaxRemovedMembers of them
  // Of each member that told: the id of its data directory. Sorted.
  absl::btree_map<NodeId, std::uint64_t> directories;
  // Where ZooKeeper's clients reach each member that told, or of which a reconfig said it until it
  // does: "host:port". Sorted.
  absl::btree_map<NodeId, std::string> zookeeper;
  absl::btree_set<std::pair<NodeId, Alarm>> alarms;
  std::uint64_t digest = 0;

  void publish(const PublishMember& publish);
  // False: it was so already.
  bool set(const SetAlarm& alarm);
  void found(const FoundMembers& found);
  // What is wrong with it, or nullopt: done.
  std::optional<api::Error> change(const MemberChange& change);
  // All of them or none.
  std::optional<api::Error> reconfigure(const std::vector<ReconfigStep>& steps);
  // To be called after a change other than by those above.
  void update_digest();
};

api::Alarm to_api(NodeId member, Alarm alarm);

// What came with changes of the members, as it stands in snapshots (version 2 of their head) and in
// the digest.
void encode_founding(Encoder& out, const ClusterFacts& facts);
void decode_founding(Decoder& in, ClusterFacts& facts);

// The same of ZooKeeper's addresses (version 8 of the head).
void encode_zookeeper(Encoder& out, const ClusterFacts& facts);
void decode_zookeeper(Decoder& in, ClusterFacts& facts);

struct StoreState {
  explicit StoreState(Limits limits_of_writes) : limits(limits_of_writes) {}

  Limits limits;
  LeaseTable leases;
  Mvcc mvcc{leases};
  RequestIds request_ids;
  ClusterFacts facts;
  Fences fences;  // remembers what the keys say: of no account in hash and snapshots
  Auth auth;
  LogIndex applied_index;
  Epoch applied_epoch;
  Stamp stamp;
  std::uint64_t hash = 0;  // of all of the above at applied_index
  HashRing hashes;
  LeaseCounts lease_counts;
  bool is_snapshot_open = false;
  bool wants_znode_news = false;           // Store::want_znode_news
  bool wants_znode_changes = true;         // Store::want_znode_changes
  std::vector<ZnodeNews> znode_news;       // of the entry that is being applied
  std::multiset<Revision> read_revisions;  // what each RangeReader and HistoryHash reads

  // Ends the application of the entry at `index`.
  void advance(LogIndex index);
  std::uint64_t compute_hash() const;
};

}  // namespace conclave::store
