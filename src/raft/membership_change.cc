#include "raft/membership_change.h"

#include <algorithm>

#include "base/check.h"
#include "raft/election.h"
#include "raft/replication.h"

namespace conclave::raft {

namespace {

using consensus::ChangeError;
using consensus::EntryKind;

Position append_membership(State& s, const Membership& membership) {
  return append_as_leader(s, EntryKind::kMembership, consensus::encode(membership));
}

// Tells everybody what is committed, and the best of the remaining voters to take over at once, so
// that removing the leader does not cost the others an election timeout.
void resign(State& s) {
  send_appends(s);
  NodeId best;
  LogIndex best_match;
  for (const auto& [id, peer] : s.leader()->peers) {
    if (!s.membership().is_voter(id) || s.membership().is_witness(id)) continue;
    if (best && peer.match <= best_match) continue;
    best = id;
    best_match = peer.match;
  }
  if (best) send_now(s, best, TimeoutNow{});
  become_follower(s, s.term, NodeId{});
}

}  // namespace

std::expected<Position, ChangeError> start_change(State& s, const Membership& target) {
  const Leader* leader = s.leader();
  if (!leader) return std::unexpected(ChangeError::kNotLeader);
  const Membership& current = s.membership();
  // The last change must be committed, and known to be: commit says so only once it has reached
  // this term.
  const bool settled = !current.is_joint() && s.memberships.current_index() <= s.commit &&
                       s.commit >= leader->term_start;
  if (!settled || leader->transfer) return std::unexpected(ChangeError::kInProgress);
  const bool makes_sense = target.is_valid() && !target.is_changing() && target != current;
  if (!makes_sense || target.voters.is_flexible() || !target.agrees_on_witnesses(current)) {
    return std::unexpected(ChangeError::kInvalid);
  }
  if (target.voters == current.voters) return append_membership(s, target);
  Membership joint = target;
  joint.outgoing = current.voters;
  joint.merge_witnesses(current.witnesses);
  return append_membership(s, joint);
}

void continue_change(State& s) {
  CHECK(s.leader());
  if (s.memberships.current_index() > s.commit) return;
  if (s.membership().is_joint()) {
    Membership final_one = s.membership();
    final_one.outgoing.reset();
    final_one.merge_witnesses({});
    append_membership(s, final_one);
    return;
  }
  if (!s.is_voter()) resign(s);
}

}  // namespace conclave::raft
