#include "raft/invariants.h"

#include <algorithm>

#include "base/check.h"
#include "raft/snapshot.h"

namespace conclave::raft {

namespace {

void check_indices(const State& s) {
  const LogIndex base = s.log.base().index;
  const LogIndex last = s.log.last();
  CHECK(base <= s.commit);
  CHECK(s.commit <= last);
  CHECK(s.delivered <= s.commit);
  CHECK(base <= s.delivered);
  CHECK(s.appended <= last);
  CHECK(base <= s.durable);
  CHECK(s.durable <= s.appended);
  CHECK(s.delivered <= s.appended, "handed out as committed before it was handed out for writing");
  CHECK(s.log.last_position().epoch <= s.term, "an entry of a term to come");
  CHECK(s.memberships.current_index() <= last, "a membership whose entry is gone");
  CHECK(s.membership().is_valid());
}

void check_durability(const State& s) {
  CHECK(s.hard_state.term <= s.term);
  CHECK(s.durable_hard_state.term <= s.hard_state.term);
  CHECK(s.hard_state.commit <= s.commit);
  Ticket previous;
  for (const PendingWrite& write : s.writes) {
    CHECK(write.ticket > previous, "tickets must grow");
    CHECK(write.last <= s.appended);
    previous = write.ticket;
  }
  CHECK(previous <= s.last_ticket);
}

void check_peer(const State& s, const Progress& peer) {
  CHECK(peer.match <= s.log.last());
  CHECK(peer.match < peer.next);
  CHECK(peer.next <= s.log.last().next());
  CHECK(peer.round <= s.leader()->round);
  if (const auto* mode = std::get_if<Replicate>(&peer.mode)) {
    CHECK(mode->inflight.size() <= s.config.max_inflight_appends);
    CHECK(std::is_sorted(mode->inflight.begin(), mode->inflight.end()));
    if (!mode->inflight.empty()) CHECK(mode->inflight.front() > peer.match);
    if (!mode->inflight.empty()) CHECK(mode->inflight.back() < peer.next);
  }
  if (const auto* mode = std::get_if<SendSnapshot>(&peer.mode)) {
    CHECK(mode->meta.index <= s.snapshot.index);
    // What follows the snapshot is gone: it waits for the next one.
    if (mode->meta.index < s.log.base().index) {
      CHECK(mode->meta.index == s.snapshot.index, "waits though there is a newer snapshot");
      CHECK(!snapshot_on_its_way(peer), "a snapshot on its way, and what follows it is gone");
    }
    CHECK(mode->offset <= mode->next);
    CHECK(!(mode->reading && (mode->pausing || mode->ended)));
  }
}

void check_leader(const State& s, const Leader& leader) {
  CHECK(s.vote == s.self(), "leads without having voted for itself");
  CHECK(s.durable_hard_state.term == s.term, "leads in a term that could be forgotten");
  CHECK(leader.term_start <= s.log.last());
  CHECK(s.log.base().index >= leader.term_start || s.log.epoch_at(leader.term_start) == s.term);
  CHECK(!s.install || !s.install->finishing);
  for (const NodeId id : s.membership().all()) {
    CHECK(id == s.self() || leader.peers.contains(id), "no progress kept for {}", id.value);
  }
  CHECK(!leader.peers.contains(s.self()));
  // It may have inherited two, of which it does not know yet that the first is committed.
  const LogIndex own = std::max(s.commit, leader.term_start);
  CHECK(s.memberships.count_after(own) <= 1, "two changes of the membership at once");
  for (const auto& [id, peer] : leader.peers) {
    CHECK(s.membership().contains(id), "replicates to {}, who is no member", id.value);
    check_peer(s, peer);
  }
  if (leader.confirming) CHECK(!leader.confirming->reads.empty());
  if (leader.confirming) CHECK(leader.confirming->index >= leader.term_start);
  if (leader.transfer) CHECK(s.membership().is_voter(leader.transfer->target));
}

void check_role(const State& s) {
  if (const Leader* leader = s.leader()) return check_leader(s, *leader);
  if (const Candidate* candidate = s.candidate()) {
    CHECK(s.is_electable(), "a campaign of somebody who cannot lead");
    if (!candidate->pre) CHECK(s.vote == s.self());
    return;
  }
  const Follower& follower = *s.follower();
  CHECK(follower.leader != s.self());
  if (!follower.leader) CHECK(!follower.ack);
  if (!follower.leader) CHECK(follower.forwarded.empty());
}

void check_install(const State& s) {
  if (!s.install) return;
  CHECK(s.install->meta.index);
  if (s.install->finishing) CHECK(s.install->writing_to.has_value());
  if (!s.install->ahead.empty()) CHECK(s.install->writing_to.has_value());
  CHECK(s.install->ahead.size() < s.config.snapshot_window);
  if (s.install->finishing) CHECK(s.delivered < s.install->meta.index);
}

}  // namespace

void check_state(const State& s) {
  check_indices(s);
  check_durability(s);
  check_role(s);
  check_install(s);
}

Mark mark(const State& s) {
  return {.term = s.term,
          .vote = s.vote,
          .commit = s.commit,
          .delivered = s.delivered,
          .last = s.log.last_position(),
          .commit_epoch = *s.log.epoch_at(s.commit),
          .snapshot = s.snapshot.index,
          .durable_hard_state = s.durable_hard_state,
          .last_ticket = s.last_ticket,
          .leads = s.leader() != nullptr};
}

void check_step(const Mark& before, const State& after) {
  CHECK(after.term >= before.term, "the term fell");
  if (after.term == before.term && before.vote) CHECK(after.vote == before.vote, "voted twice");
  CHECK(after.commit >= before.commit, "commit fell");
  CHECK(after.delivered >= before.delivered);
  CHECK(after.snapshot.index >= before.snapshot);
  CHECK(after.last_ticket >= before.last_ticket);
  CHECK(after.durable_hard_state.term >= before.durable_hard_state.term);
  if (after.log.base().index <= before.commit) {
    CHECK(after.log.epoch_at(before.commit) == before.commit_epoch, "a committed entry changed");
  }
  if (!before.leads || !after.leader() || after.term != before.term) return;
  if (after.commit > before.commit) {
    CHECK(after.log.epoch_at(after.commit) == after.term,
          "committed an older term's entry by count");
  }
  // Leader append-only (Raft paper, section 5.3).
  CHECK(after.log.last() >= before.last.index);
  if (after.log.base().index <= before.last.index) {
    CHECK(after.log.epoch_at(before.last.index) == before.last.epoch);
  }
}

}  // namespace conclave::raft
