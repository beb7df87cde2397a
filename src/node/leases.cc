// Leases (Group in group.h): what the log has to carry so that they expire. The store decides from
// the log alone which are over (store/lease.h); the leader sees to it that the cluster's time is in
// the log, and that what is over is revoked, piece by piece.

#include <algorithm>

#include "base/limits.h"
#include "node/group.h"

namespace conclave::node {
namespace {

// The least a lease is granted for, as etcd's: one and a half election timeouts in whole seconds. A
// lease that is kept alive at a third of its time outlives any change of the leader.
std::int64_t min_ttl_s(const Options& options) {
  const Duration least = options.tick * (std::int64_t{options.election_ticks} * 3 / 2);
  return (least.ns + seconds(1).ns - 1) / seconds(1).ns;
}

}  // namespace

// What the log says is what every member grants, whatever its own flags are.
void Group::complete(api::LeaseGrantRequest& grant) {
  while (grant.id == 0) grant.id = static_cast<api::LeaseId>(lease_ids_.next() & INT64_MAX);
  grant.ttl_s = std::max(grant.ttl_s, min_ttl_s(shared_.options));
}

// While there are leases, or nodes that live for a time, no heartbeat passes without a stamp in the
// log: the next leader goes on from there. Without any, time is of no consequence.
//
// One entry at a time, so that other requests get in between, and a leader that cannot commit adds
// little to its log. Only of what one entry was not enough for two pieces are under way: the next
// is there when a member has applied the last one.
//
// Where members disagree about the state, nobody can keep a lease alive: then none expires.
void Group::keep_time() {
  const std::optional<Stamp> deadline = store_.next_lease_deadline();
  const bool time_counts = deadline || store_.has_timed_znodes();
  if (!time_counts || !engine_.is_leader() || is_corrupt()) return;
  if (no_space_ || shared_.log.is_full() || is_held_for_change_) return;
  const Epoch epoch = engine_.epoch();
  const Instant now = shared_.clock.now();
  const Stamp stamp = cluster_clock_.stamp(epoch, now, store_.stamp());
  const auto is_under_way = [&](const consensus::Position& at) {
    return at.epoch == epoch && at.index > store_.applied_index();
  };
  const auto under_way = std::ranges::count_if(timed_, is_under_way);
  const bool is_over = deadline && *deadline <= stamp;
  if (under_way == 0) expiry_goes_on_ = is_over && timed_expiry_;
  if (under_way >= (is_over && expiry_goes_on_ ? 2 : 1)) return;
  const Duration heartbeat = shared_.options.tick * std::int64_t{shared_.options.heartbeat_ticks};
  const bool is_silent = epoch != stamped_in_ || now - stamped_at_ >= heartbeat;
  if (!is_over && !is_silent) return;
  store::BatchEncoder batch;
  if (is_over) batch.add(store::encode_command({}, store::ExpireLeases{limits::kExpiryWork}));
  if (const auto place = propose(batch.finish(epoch, stamp))) {
    timed_ = {timed_[1], *place};
    timed_expiry_ = is_over;
  }
}

}  // namespace conclave::node
