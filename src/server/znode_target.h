#pragma once
// The cluster that `conclave import zookeeper` writes to, by conclave.v1.Znodes: step by step, each
// of which is done once, and only while no other import was begun.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "conclave.pb.h"
#include "server/etcd_client.h"

namespace conclave::server {

class ZnodeTarget {
 public:
  ZnodeTarget(EtcdClient& client, bool merge) : client_(client), merge_(merge) {}

  // Calls visit(node) for each node but ZooKeeper's own; returns the mark of an import under way.
  // REQUIRES: nothing was written yet, or it is the same then as after every step.
  Result<std::string> load(const std::function<void(const v1::Znode&)>& visit);

  // From here on the mark is this import's; `identity` says which one it is, for is_of(), and
  // `hosts` (words without spaces, behind commas) where it reads. `before`: what it is now.
  Result<void> begin(std::string before, std::string hosts, std::string_view identity,
                     std::vector<v1::Znode> nodes);
  static std::vector<std::string> hosts_of(std::string_view mark);
  static bool is_of(std::string_view mark, std::string_view identity);
  // The node is written with the next flush(), after those that were added before.
  void add(v1::Znode node);
  bool is_full() const;
  Result<void> flush();
  // Children before their parents.
  Result<void> remove(const std::vector<std::string>& paths);
  // The mark is gone afterwards.
  Result<void> end();

  std::uint64_t written() const { return written_; }
  std::uint64_t removed() const { return removed_; }

 private:
  Result<void> step(std::string after, v1::ImportRequest& request);
  std::string next_mark();

  EtcdClient& client_;
  bool merge_;
  std::string hosts_;
  std::string identity_;
  std::string mark_;
  std::string run_;
  std::uint64_t steps_ = 0;
  v1::ImportRequest waiting_;
  std::size_t waiting_bytes_ = 0;
  std::uint64_t written_ = 0;
  std::uint64_t removed_ = 0;
};

}  // namespace conclave::server
