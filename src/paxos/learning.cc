#include "paxos/learning.h"

#include <algorithm>

#include "base/check.h"
#include "paxos/election.h"
#include "paxos/persistence.h"

namespace conclave::paxos {

namespace {

// One message asks for so many runs of slots at most.
constexpr std::size_t kMaxRunsAskedFor = 128;

// The leader says that everything up to `target` is chosen. What this replica accepted in that
// leader's own ballot is it. What it accepted in an older one may not be, and is asked for.
void follow_commit(State& s, LogIndex target) {
  Follower& follower = *s.follower();
  if (target <= follower.target) return;
  const LogIndex known = std::max(s.commit, follower.target);
  auto& log = s.log;
  for (auto slot = log.slots().upper_bound(known); slot != log.slots().end(); ++slot) {
    if (slot->first > target) break;
    if (slot->second.ballot == s.promised) log.at(slot->first).chosen = true;
  }
  follower.target = target;
  advance_commit(s);
}

void add_to(std::vector<Range>& runs, LogIndex slot) {
  if (runs.empty() || runs.back().last.next() != slot) {
    runs.push_back({slot, slot});
  } else {
    runs.back().last = slot;
  }
}

// What an acknowledgement lists: everything the leader may still count, so that one that was lost
// does no harm; and what is new, whether it counts or not, so that the leader need not send it
// again.
std::vector<Range> acknowledged(const State& s, const std::set<LogIndex>& fresh) {
  std::vector<Range> runs;
  const LogIndex counted = std::max(s.commit, s.follower()->target);
  for (auto slot = fresh.upper_bound(s.commit); slot != fresh.end() && *slot <= counted; ++slot) {
    add_to(runs, *slot);
  }
  const auto& slots = s.log.slots();
  for (auto slot = slots.upper_bound(counted); slot != slots.end(); ++slot) {
    if (slot->second.ballot == s.promised || slot->second.chosen) add_to(runs, slot->first);
  }
  return runs;
}

}  // namespace

void handle(State& s, NodeId from, Accept& message) {
  hear_leader(s, from);
  for (consensus::Entry& value : message.values) {
    const LogIndex index = value.index;
    if (index <= s.commit) continue;
    s.follower()->to_acknowledge.insert(index);
    const Slot* slot = s.log.find(index);
    if (slot && (slot->ballot == s.promised || slot->chosen)) continue;
    Slot& accepted = accept(s, s.promised, std::move(value));
    if (index <= s.follower()->target) accepted.chosen = true;
  }
  follow_commit(s, message.commit);
  advance_commit(s);
  s.follower()->ack_due = true;
}

void handle(State& s, NodeId from, const Heartbeat& message) {
  hear_leader(s, from);
  follow_commit(s, message.commit);
  if (message.ask) s.follower()->ack_due = true;
  send_now(s, from, HeartbeatReply{message.round});
}

void handle(State& s, NodeId from, const CommitNotice& message) {
  hear_leader(s, from);
  follow_commit(s, message.commit);
}

void handle(State& s, NodeId from, Learn& message) {
  hear_leader(s, from);
  bool is_news = false;
  for (Pvalue& pvalue : message.chosen) is_news |= learn(s, std::move(pvalue));
  advance_commit(s);
  // An answer that the network repeats asks nothing: each question would have an answer of its own,
  // and that be asked about again.
  if (is_news) s.follower()->ask_again_at = s.now;
  s.follower()->ack_due = true;
}

void send_ack(State& s) {
  Follower& follower = *s.follower();
  if (!follower.ack_due) return;
  CHECK(follower.leader);
  follower.ack_due = false;
  const std::set<LogIndex> fresh = std::exchange(follower.to_acknowledge, {});
  s.write_commit = true;  // so that the commit it tells is one that it will still know
  send_after_persist(s, follower.leader, Accepted{s.commit, acknowledged(s, fresh)});
}

void ask_for_missing(State& s) {
  Follower& follower = *s.follower();
  if (!follower.leader || s.commit >= follower.target || s.now < follower.ask_again_at) return;
  if (s.install && s.install->finishing) return;
  CatchUp ask;
  LogIndex next = s.commit.next();
  const auto add = [&](LogIndex last) {
    if (next <= last && ask.missing.size() < kMaxRunsAskedFor) ask.missing.push_back({next, last});
  };
  const auto& slots = s.log.slots();
  for (auto slot = slots.upper_bound(s.commit); slot != slots.end(); ++slot) {
    if (slot->first > follower.target) break;
    if (!slot->second.chosen) continue;
    add(slot->first.prev());
    next = slot->first.next();
  }
  add(follower.target);
  CHECK(!ask.missing.empty());
  follower.ask_again_at = s.now + s.config.heartbeat_ticks;
  send_now(s, follower.leader, std::move(ask));
}

}  // namespace conclave::paxos
