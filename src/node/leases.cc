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
// One entry at a time: the next piece of what expires follows when the last one has been applied,
// so that other requests get in between, and a leader that cannot commit adds nothing to its log.
//
// Where members disagree about the state, nobody can keep a lease alive: then none expires.
void Group::keep_time() {
  const std::optional<Stamp> deadline = store_.next_lease_deadline();
  const bool time_counts = deadline || store_.has_timed_znodes();
  if (!time_counts || !engine_.is_leader() || is_corrupt()) return;
  if (no_space_ || shared_.log.is_full()) return;
  const Epoch epoch = engine_.epoch();
  const Instant now = shared_.clock.now();
  const Stamp stamp = cluster_clock_.stamp(epoch, now, store_.stamp());
  const bool one_under_way = timed_.epoch == epoch && timed_.index > store_.applied_index();
  if (one_under_way) return;
  const Duration heartbeat = shared_.options.tick * std::int64_t{shared_.options.heartbeat_ticks};
  const bool is_over = deadline && *deadline <= stamp;
  const bool is_silent = epoch != stamped_in_ || now - stamped_at_ >= heartbeat;
  if (!is_over && !is_silent) return;
  store::BatchEncoder batch;
  if (is_over) batch.add(store::encode_command({}, store::ExpireLeases{limits::kExpiryWork}));
  if (const auto place = propose(batch.finish(epoch, stamp))) timed_ = *place;
}

}  // namespace conclave::node
