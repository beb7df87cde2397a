#pragma once
// The leases of an import: every lease of the source exists in the target too, with the same id and
// the same whole time, and is kept alive there for as long as the source has it.

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/etcd_client.h"

namespace conclave::server {

class LeaseKeeper {
 public:
  // Keeps leases alive whenever `pump` runs. All three outlive this.
  LeaseKeeper(Pump& pump, EtcdClient& source, EtcdClient& target);

  // Grants what is new in the source, and revokes in the target what is gone from the source and
  // has no keys left.
  Result<void> refresh();
  // Sees to it that those of `ids` which the source has exist in the target.
  Result<void> ensure(const std::set<std::int64_t>& ids);
  // The target answered that it does not have one of these: they are granted again.
  Result<void> grant_again(const std::set<std::int64_t>& ids);
  bool has(std::int64_t id) const { return leases_.contains(id); }
  // A lease has run out in the target, and its keys with it, though the source has it. Asking
  // forgets it.
  bool take_loss() { return std::exchange(lost_, false); }
  // Gives every lease its whole time, once more.
  Result<void> hand_over();
  // The first lease of the source that the target has not, or with less time; empty if none.
  Result<std::string> first_difference();

  std::size_t size() const { return leases_.size(); }
  // The source's revision when it was asked last.
  std::int64_t source_revision() const { return source_revision_; }

 private:
  struct Lease {
    std::int64_t ttl_seconds = 0;
    bool granted = false;  // in the target
    Instant sent;          // the last request to keep it alive
    Instant confirmed;     // and the last answer
  };
  Result<void> learn(const std::vector<std::int64_t>& ids);
  Result<void> grant(const std::vector<std::int64_t>& ids);
  std::vector<std::int64_t> not_granted() const;
  Result<void> revoke_gone();
  void tick();
  void arm();
  void take_answers();
  void send_due(Instant now);

  Pump& pump_;
  EtcdClient& source_;
  EtcdClient& target_;
  std::map<std::int64_t, Lease> leases_;
  std::set<std::int64_t> gone_;  // from the source; not yet from the target
  std::int64_t source_revision_ = 0;
  bool lost_ = false;
  std::optional<EtcdCall> keep_alives_;
  boost::asio::steady_timer timer_;
};

}  // namespace conclave::server
