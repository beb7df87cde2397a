#include "paxos/invariants.h"

#include <algorithm>

#include "base/check.h"
#include "paxos/ballot.h"
#include "paxos/election.h"
#include "paxos/persistence.h"

namespace conclave::paxos {

namespace {

void check_indices(const State& s) {
  const LogIndex base = s.log.base().index;
  CHECK(base <= s.commit);
  CHECK(s.delivered <= s.commit);
  CHECK(base <= s.delivered);
  CHECK(base <= s.durable);
  CHECK(s.durable <= s.commit);
  if (base < s.commit) CHECK(s.log.find(s.commit), "what is committed is not there");
  CHECK(s.announced.is_valid());
  CHECK(s.announced.voters == s.memberships.at(s.commit).membership.voters);
}

void check_open_slots(const State& s) {
  const Slot* next = s.log.find(s.commit.next());
  CHECK(!next || !next->chosen, "chosen without a hole before it, and not committed");
  for (auto slot = s.log.slots().upper_bound(s.commit); slot != s.log.slots().end(); ++slot) {
    CHECK(slot->first == slot->second.value.index);
    CHECK(slot->second.ballot <= s.promised, "accepted in a ballot that is not promised");
    CHECK(slot->second.value.epoch <= slot->second.ballot, "accepted before it was proposed");
  }
}

void check_durability(const State& s) {
  CHECK(s.hard_state.promised <= s.promised);
  CHECK(s.durable_hard_state.promised <= s.hard_state.promised);
  CHECK(s.hard_state.commit <= s.commit);
  CHECK(s.promised <= s.highest);
  Ticket previous;
  for (const PendingWrite& write : s.writes) {
    CHECK(write.ticket > previous, "tickets must grow");
    previous = write.ticket;
  }
  CHECK(previous <= s.last_ticket);
  for (const LogIndex index : s.to_write) CHECK(!s.log.at(index).durable);
}

void check_peer(const State& s, const Peer& peer) {
  CHECK(peer.sent <= s.leader()->opened);
  CHECK(peer.commit_sent <= s.commit);
  CHECK(peer.round <= s.leader()->round);
  std::size_t bytes = 0;
  std::size_t lost = 0;
  for (const auto& [slot, sent] : peer.unacknowledged) {
    CHECK(slot <= peer.sent);
    CHECK(sent.message <= peer.messages);
    bytes += sent.bytes;
    lost += sent.lost ? 1 : 0;
  }
  CHECK(lost == peer.lost);
  CHECK(bytes == peer.unacknowledged_bytes);
  if (!peer.snapshot) return;
  CHECK(peer.snapshot->meta.index <= s.snapshot.index);
  CHECK(!(peer.snapshot->reading && peer.snapshot->wanted));
  if (peer.snapshot->meta.index >= s.log.base().index) return;
  // What follows the snapshot is gone: it waits for the next one.
  CHECK(peer.snapshot->meta.index == s.snapshot.index, "waits though there is a newer snapshot");
  CHECK(!peer.snapshot->begun, "a snapshot on its way, and what follows it is gone");
}

void check_proposals(const State& s, const Leader& leader) {
  CHECK(s.commit <= leader.opened);
  CHECK(leader.opened.value <= s.commit.value + s.memberships.window(), "too many slots are open");
  for (LogIndex slot = s.commit.next(); slot <= leader.opened; slot = slot.next()) {
    const Slot* own = s.log.find(slot);
    CHECK(own, "proposed something in {} that it does not have", slot.value);
    CHECK(own->ballot == s.promised, "the proposal in {} is of another ballot", slot.value);
    CHECK(leader.accepted.contains(slot));
    CHECK(is_prepared(s, leader.phase_one, s.memberships.at(slot)),
          "proposed in {} without phase one of those who decide it", slot.value);
  }
  LogIndex next = std::max(leader.opened, leader.adopted_to);
  for (const consensus::Entry& value : leader.fresh) {
    next = next.next();
    CHECK(value.index == next);
    CHECK(value.epoch == s.promised);
  }
}

void check_leader(const State& s, const Leader& leader) {
  CHECK(s.owner == s.self());
  CHECK(owns(s.self(), s.promised));
  CHECK(s.durable_hard_state.promised == s.promised, "leads in a ballot that could be forgotten");
  CHECK(s.durable_hard_state.owner == s.self());
  CHECK(!s.install || !s.install->finishing);
  check_proposals(s, leader);
  CHECK(!leader.peers.contains(s.self()));
  for (const Config& config : s.memberships.open(s.commit)) {
    for (const NodeId id : config.membership.all()) {
      CHECK(id == s.self() || leader.peers.contains(id), "no progress kept for {}", id.value);
    }
  }
  for (const auto& [id, peer] : leader.peers) check_peer(s, peer);
  if (leader.confirming) CHECK(!leader.confirming->reads.empty());
  if (leader.transfer) CHECK(s.membership().is_voter(leader.transfer->target));
}

void check_role(const State& s) {
  if (const Leader* leader = s.leader()) return check_leader(s, *leader);
  if (const Candidate* candidate = s.candidate()) {
    CHECK(s.is_electable(), "a campaign of somebody who cannot lead");
    if (!candidate->pre) CHECK(s.owner == s.self());
    if (!candidate->pre) CHECK(owns(s.self(), s.promised));
    return;
  }
  const Follower& follower = *s.follower();
  CHECK(follower.leader != s.self());
  if (follower.leader) CHECK(s.owner == follower.leader);
  if (!follower.leader) CHECK(!follower.ack_due);
  if (!follower.leader) CHECK(follower.forwarded.empty());
}

void check_install(const State& s) {
  if (!s.install) return;
  CHECK(s.install->meta.index);
  if (s.install->finishing) CHECK(s.install->writing_to.has_value());
  if (s.install->finishing) CHECK(s.delivered < s.install->meta.index);
}

}  // namespace

void check_state(const State& s) {
  check_indices(s);
  check_open_slots(s);
  check_durability(s);
  check_role(s);
  check_install(s);
}

Mark mark(const State& s) {
  std::vector<Position> to_write;
  for (const LogIndex index : s.to_write) to_write.push_back({index, s.log.at(index).ballot});
  return {.promised = s.promised,
          .owner = s.owner,
          .commit = s.commit,
          .commit_epoch = settled_epoch(s, s.commit),
          .delivered = s.delivered,
          .snapshot = s.snapshot.index,
          .durable_hard_state = s.durable_hard_state,
          .last_ticket = s.last_ticket,
          .leads = s.leader() != nullptr,
          .opened = s.leader() ? s.leader()->opened : LogIndex{},
          .to_write = std::move(to_write)};
}

void check_step(const Mark& before, const State& after) {
  CHECK(after.promised >= before.promised, "a promise was taken back");
  if (after.promised == before.promised && before.owner) {
    CHECK(after.owner == before.owner, "one ballot was promised to two members");
  }
  CHECK(after.commit >= before.commit, "commit fell");
  CHECK(after.delivered >= before.delivered);
  CHECK(after.snapshot.index >= before.snapshot);
  CHECK(after.last_ticket >= before.last_ticket);
  CHECK(after.durable_hard_state.promised >= before.durable_hard_state.promised);
  if (after.log.base().index <= before.commit) {
    CHECK(settled_epoch(after, before.commit) == before.commit_epoch, "a committed entry changed");
  }
  for (const LogIndex index : after.to_write) {
    const Slot& slot = after.log.at(index);
    const Position now{index, slot.ballot};
    if (std::binary_search(before.to_write.begin(), before.to_write.end(), now)) continue;
    // What is known to be chosen is learned, not accepted.
    CHECK(slot.chosen || slot.ballot >= before.promised, "slot {} breaks a promise", index.value);
  }
  if (before.leads && after.leader() && after.promised == before.promised) {
    CHECK(after.leader()->opened >= before.opened);
  }
}

}  // namespace conclave::paxos
