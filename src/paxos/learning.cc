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

// The slots in (from, to] that satisfy `has`, as runs, from the lowest on.
template <class Has>
std::vector<Range> runs(const State& s, LogIndex from, Has has) {
  std::vector<Range> out;
  for (auto slot = s.log.slots().upper_bound(from); slot != s.log.slots().end(); ++slot) {
    if (!has(slot->second)) continue;
    if (out.empty() || out.back().last.next() != slot->first) {
      out.push_back({slot->first, slot->first});
    } else {
      out.back().last = slot->first;
    }
  }
  return out;
}

}  // namespace

void handle(State& s, NodeId from, Accept& message) {
  hear_leader(s, from);
  for (consensus::Entry& value : message.values) {
    const LogIndex index = value.index;
    if (index <= s.commit) continue;
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
  for (Pvalue& pvalue : message.chosen) learn(s, std::move(pvalue));
  advance_commit(s);
  s.follower()->ask_again_at = s.now;
  s.follower()->ack_due = true;
}

void send_ack(State& s) {
  Follower& follower = *s.follower();
  if (!follower.ack_due) return;
  CHECK(follower.leader);
  follower.ack_due = false;
  const auto has = [&s](const Slot& slot) { return slot.ballot == s.promised || slot.chosen; };
  send_after_persist(s, follower.leader, Accepted{s.commit, runs(s, s.commit, has)});
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
  for (const Range& run : runs(s, s.commit, [](const Slot& slot) { return slot.chosen; })) {
    if (run.first > follower.target) break;
    add(run.first.prev());
    next = run.last.next();
  }
  add(follower.target);
  CHECK(!ask.missing.empty());
  follower.ask_again_at = s.now + s.config.heartbeat_ticks;
  send_now(s, follower.leader, std::move(ask));
}

}  // namespace conclave::paxos
