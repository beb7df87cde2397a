#include "paxos/membership_change.h"

#include "base/check.h"
#include "paxos/ballot.h"
#include "paxos/election.h"
#include "paxos/proposing.h"

namespace conclave::paxos {

namespace {

using consensus::ChangeError;
using consensus::EntryKind;

// Everybody of now and then can be told apart.
bool seats_stay_distinct(const Membership& current, const Membership& target) {
  Membership both = current;
  both.successor = {LogIndex{2}, target.voters, target.learners};
  return seats_are_distinct(both);
}

}  // namespace

std::expected<Position, ChangeError> start_change(State& s, const Membership& target) {
  const Leader* leader = s.leader();
  if (!leader) return std::unexpected(ChangeError::kNotLeader);
  const Membership& current = s.membership();
  // The last change must be in force, and known to be the last: commit says so only once it has
  // reached what phase one found.
  const bool settled = s.memberships.newest().from <= s.commit.next() &&
                       leader->change <= s.commit && s.commit >= leader->start;
  if (!settled || leader->transfer) return std::unexpected(ChangeError::kInProgress);
  if (!target.is_valid() || target.is_changing() || target == current ||
      !seats_stay_distinct(current, target) || !target.agrees_on_witnesses(current)) {
    return std::unexpected(ChangeError::kInvalid);
  }
  return append_as_leader(s, EntryKind::kMembership, consensus::encode(target));
}

void resign_if_removed(State& s) {
  CHECK(s.leader());
  if (s.is_electable()) return;
  // Tells everybody what is committed, and the best of the voters to take over at once, so that
  // removing the leader does not cost the others an election timeout.
  send_accepts(s);
  NodeId best;
  LogIndex best_commit;
  for (const auto& [id, peer] : s.leader()->peers) {
    if (!s.membership().is_voter(id) || s.membership().is_witness(id)) continue;
    if (best && peer.commit <= best_commit) continue;
    best = id;
    best_commit = peer.commit;
  }
  if (best) send_now(s, best, TimeoutNow{});
  become_follower(s, s.promised, NodeId{});
}

}  // namespace conclave::paxos
