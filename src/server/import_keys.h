#pragma once
// The keys of an import: reading a cluster's in order, and writing them to the target.

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "server/etcd_client.h"
#include "server/import_leases.h"
#include "server/import_plan.h"

namespace conclave::server {

// All keys of a span, in order, in pages; the next page is under way while one is read.
class KeyReader {
 public:
  // `revision`: of the cluster, for all pages; 0 reads each page as it is then.
  KeyReader(EtcdClient& client, KeySpan span, std::int64_t revision);

  // The key it stands at; nullptr behind the last one. kNotFound: the revision was compacted.
  Result<const mvccpb::KeyValue*> peek();
  // To the next one. REQUIRES: peek() gave one.
  void advance() { ++at_; }

 private:
  etcdserverpb::RangeRequest request() const;
  Result<void> next_page_of_keys();

  EtcdClient& client_;
  KeySpan span_;
  std::int64_t revision_;
  std::int64_t limit_ = 1'000;
  Bytes begin_;  // of the next page
  bool more_ = true;
  std::optional<EtcdCall> ahead_;  // the next page
  etcdserverpb::RangeResponse page_;
  int at_ = 0;
};

// Writes to the target. Each transaction holds only as long as the target's state is this import's:
// one that arrives late, after another process has gone on or a newer value was written, does
// nothing.
class TargetWriter {
 public:
  TargetWriter(EtcdClient& target, LeaseKeeper& leases) : target_(target), leases_(leases) {}

  // The state as it is in the target: empty if there is none.
  void begin_with(std::string state) { state_ = std::move(state); }
  // Carries out `changes` and sets the state, once, before it returns.
  Result<void> step(std::vector<Change> changes, const std::string& state);
  // Carries out `change` before drain() returns, in any order with other such.
  // REQUIRES: no other change of this key since the last drain().
  Result<void> add(Change change);
  Result<void> drain();

 private:
  struct Sent {
    etcdserverpb::TxnRequest request;
    std::optional<EtcdCall> call;
  };
  Result<void> send();
  Result<void> finish(Sent sent, const std::string& after);
  Result<void> give_leases(std::vector<Change>& changes);

  EtcdClient& target_;
  LeaseKeeper& leases_;
  std::string state_;
  std::vector<Change> changes_;  // not sent yet
  std::size_t bytes_ = 0;
  std::deque<Sent> sent_;
};

}  // namespace conclave::server
