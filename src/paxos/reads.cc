#include "paxos/reads.h"

#include <algorithm>

#include "base/check.h"
#include "paxos/election.h"
#include "paxos/proposing.h"

namespace conclave::paxos {

namespace {

// Answers one read of the leader's, which learned `index` or nothing.
void answer(State& s, const WaitingRead& read, std::optional<LogIndex> index) {
  if (read.origin == s.self()) {
    s.out.reads_ready.push_back({read.id, index});
  } else {
    send_now(s, read.origin, ReadReply{read.batch, index});
  }
}

void fail_batch(State& s, const ReadBatch& batch) {
  for (const ReadId id : batch.ids) s.out.reads_ready.push_back({id, std::nullopt});
}

// A write quorum has not promised a higher ballot: it shares a member with every election quorum,
// so nobody had one when the round began.
bool is_confirmed(const State& s, const Leader& leader, std::uint64_t round) {
  return s.membership().reached([&](NodeId id) {
    if (id == s.self()) return true;
    const auto peer = leader.peers.find(id);
    return peer != leader.peers.end() && peer->second.round >= round;
  });
}

// The voters of another membership know nothing of a leader elected by those of the one before: a
// round is only worth something to the slots its own voters decide.
bool is_outlived(const State& s, const ReadRound& round) {
  return round.config != s.in_force().from;
}

void finish_round(State& s, Leader& leader) {
  if (!leader.confirming) return;
  if (is_outlived(s, *leader.confirming)) {
    auto& reads = leader.confirming->reads;
    leader.waiting.insert(leader.waiting.begin(), reads.begin(), reads.end());
    leader.confirming.reset();
    return;
  }
  if (!is_confirmed(s, leader, leader.confirming->round)) return;
  for (const WaitingRead& read : leader.confirming->reads)
    answer(s, read, leader.confirming->index);
  leader.confirming.reset();
}

// Everything that an earlier leader committed is committed here, and known to be.
bool knows_commit(const State& s, const Leader& leader) {
  return s.commit >= leader.start && is_prepared(s, leader.phase_one, s.in_force());
}

void start_round(State& s, Leader& leader) {
  if (leader.confirming || leader.waiting.empty() || !knows_commit(s, leader)) return;
  ++leader.round;
  leader.confirming =
      ReadRound{leader.round, s.commit, s.in_force().from, std::exchange(leader.waiting, {})};
  if (!is_confirmed(s, leader, leader.round)) send_heartbeats(s);
}

void expire(State& s, std::vector<WaitingRead>& reads) {
  std::erase_if(reads, [&s](const WaitingRead& read) {
    if (read.deadline > s.now) return false;
    answer(s, read, std::nullopt);
    return true;
  });
}

}  // namespace

void begin_read(State& s, ReadId id) {
  if (Leader* leader = s.leader()) {
    leader->waiting.push_back({s.self(), 0, id, s.now + s.config.election_ticks});
    return;
  }
  Follower* follower = s.follower();
  if (follower && follower->leader) {
    follower->reads_to_forward.push_back(id);
  } else {
    s.out.reads_ready.push_back({id, std::nullopt});
  }
}

void handle(State& s, NodeId from, const ReadRequest& message) {
  Leader* leader = s.leader();
  if (!leader) return send_now(s, from, ReadReply{message.batch, std::nullopt});
  leader->waiting.push_back({from, message.batch, ReadId{}, s.now + s.config.election_ticks});
}

void handle(State& s, NodeId, const ReadReply& message) {
  Follower* follower = s.follower();
  if (!follower) return;
  const auto batch = follower->forwarded.find(message.batch);
  if (batch == follower->forwarded.end()) return;
  for (const ReadId id : batch->second.ids) s.out.reads_ready.push_back({id, message.index});
  follower->forwarded.erase(batch);
}

void advance_reads(State& s) {
  Leader& leader = *s.leader();
  finish_round(s, leader);
  start_round(s, leader);
  finish_round(s, leader);  // a group of one has its answer already
}

void forward_reads(State& s) {
  Follower& follower = *s.follower();
  if (follower.reads_to_forward.empty()) return;
  CHECK(follower.leader);
  const std::uint64_t batch = s.next_batch++;
  send_now(s, follower.leader, ReadRequest{batch});
  follower.forwarded[batch] = {std::exchange(follower.reads_to_forward, {}),
                               s.now + s.config.election_ticks};
}

void fail_reads(State& s) {
  if (Follower* follower = s.follower()) {
    fail_batch(s, {std::exchange(follower->reads_to_forward, {})});
    for (const auto& [number, batch] : follower->forwarded) fail_batch(s, batch);
    follower->forwarded.clear();
  } else if (Leader* leader = s.leader()) {
    if (leader->confirming) {
      for (const WaitingRead& read : leader->confirming->reads) answer(s, read, std::nullopt);
    }
    for (const WaitingRead& read : leader->waiting) answer(s, read, std::nullopt);
    leader->confirming.reset();
    leader->waiting.clear();
  }
}

void expire_reads(State& s) {
  if (Follower* follower = s.follower()) {
    std::erase_if(follower->forwarded, [&s](const auto& numbered) {
      if (numbered.second.deadline > s.now) return false;
      fail_batch(s, numbered.second);
      return true;
    });
  } else if (Leader* leader = s.leader()) {
    if (leader->confirming) {
      expire(s, leader->confirming->reads);
      if (leader->confirming->reads.empty()) leader->confirming.reset();
    }
    expire(s, leader->waiting);
  }
}

}  // namespace conclave::paxos
