#pragma once
// What a Store holds. Private to this folder: apply.cc changes it, read.cc answers from it,
// snapshot_*.cc write and rebuild it.

#include <absl/container/btree_set.h>

#include "store/hash.h"
#include "store/mvcc.h"
#include "store/request_ids.h"
#include "store/store.h"

namespace conclave::store {

// The descriptive data about members and the alarms: small, so a snapshot copies it, and it is
// hashed anew after each change.
struct ClusterFacts {
  std::vector<api::Member> members;  // sorted by id
  absl::btree_set<std::pair<NodeId, Alarm>> alarms;
  std::uint64_t digest = 0;

  void publish(const api::Member& member);
  void set(const SetAlarm& alarm);
  // To be called after a change other than by the two above.
  void update_digest();
};

struct StoreState {
  explicit StoreState(Limits limits_of_writes) : limits(limits_of_writes) {}

  Limits limits;
  Mvcc mvcc;
  RequestIds request_ids;
  ClusterFacts facts;
  LogIndex applied_index;
  Epoch applied_epoch;
  Stamp stamp;
  std::uint64_t hash = 0;  // of all of the above at applied_index
  HashRing hashes;
  bool is_snapshot_open = false;

  // Ends the application of the entry at `index`.
  void advance(LogIndex index);
  std::uint64_t compute_hash() const;
};

}  // namespace conclave::store
