// Anything that can happen to a cluster, in an order drawn from a seed: messages lost, repeated and
// reordered, writes that finish late, crashes that forget what was not durable, membership changes,
// transfers, snapshots. TestCluster checks safety after every step. Then a calm in which every
// member must converge, which is liveness. Some clusters have witnesses: then, still calm, one full
// copy falls, whatever is on its way, and the others must go on.
//
// RAFT_SEED=n runs that one; RAFT_SEEDS=n runs the first n instead of the few thousand that CI
// does.

#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/rng.h"
#include "raft/describe.h"
#include "raft/test_cluster.h"

namespace conclave::raft {
namespace {

constexpr std::uint64_t kMembers = 5;
constexpr int kSteps = 1200;

consensus::EngineConfig small_config(Rng& rng) {
  consensus::EngineConfig config;
  config.heartbeat_ticks = 2;
  config.election_ticks = 10;
  config.max_append_bytes = rng.between(1, 40);
  config.max_inflight_appends = rng.between(1, 4);
  config.snapshot_chunk_bytes = static_cast<std::uint32_t>(rng.between(7, 60));
  config.snapshot_window = rng.between(1, 4);
  config.max_transfer_log_bytes = rng.between(1, 40);
  return config;
}

// Whoever of these is a member is a witness. Drawn apart, so that it changes no other draw.
std::vector<NodeId> some_witnesses(std::uint64_t seed) {
  Rng rng(seed ^ 0x7769746e657373);
  if (rng.one_in(2)) return {};
  const std::uint64_t one = rng.between(1, kMembers);
  const std::uint64_t other = rng.between(1, kMembers);
  if (one == other || rng.one_in(2)) return {NodeId{one}};
  return {NodeId{std::min(one, other)}, NodeId{std::max(one, other)}};
}

Membership some_members(Rng& rng) {
  std::vector<consensus::Vote> votes;
  Membership membership;
  for (std::uint64_t id = 1; id <= kMembers; ++id) {
    const std::uint64_t dice = rng.below(10);
    if (dice < 6) votes.push_back({NodeId{id}, dice == 0 ? 2u : 1u});
    if (dice == 6) membership.learners.push_back(NodeId{id});
  }
  if (votes.empty()) votes.push_back({NodeId{1}, 1});
  membership.voters = consensus::Quorum::weighted(std::move(votes));
  std::erase_if(membership.learners, [&](NodeId id) { return membership.voters.contains(id); });
  return membership;
}

class Storm {
 public:
  explicit Storm(std::uint64_t seed)
      : rng_(seed),
        releases_(seed ^ 0x72656c65617365),
        witnesses_(some_witnesses(seed)),
        cluster_(kMembers, start_members(seed), small_config(rng_), seed, witnesses_),
        loss_(rng_.below(15)),
        reorder_(rng_.below(30)) {}

  void run() {
    for (int i = 0; i < kSteps; ++i) {
      something_happens();
      if (i % 64 == 0) cluster_.check_log_matching();
    }
    calm();
  }

 private:
  static Membership start_members(std::uint64_t seed) {
    std::vector<NodeId> ids;
    for (std::uint64_t id = 1; id <= (seed % 2 ? 3 : kMembers); ++id) ids.push_back({id});
    Membership membership = Membership::of_majority(ids);
    membership.merge_witnesses(some_witnesses(seed));
    if (membership.is_valid()) return membership;
    return Membership::of_majority({NodeId{1}, NodeId{2}, NodeId{3}, NodeId{4}, NodeId{5}});
  }

  NodeId anybody() { return NodeId{rng_.between(1, kMembers)}; }

  // Drawn apart, so that it changes no other draw.
  void something_is_released() {
    const NodeId id{releases_.between(1, kMembers)};
    const std::uint64_t keep = releases_.below(4);
    if (!releases_.one_in(8) || !cluster_.is_up(id)) return;
    if (releases_.one_in(4)) return cluster_.begin_snapshot(id);
    if (releases_.one_in(4)) return cluster_.finish_snapshot(id, keep);
    if (!cluster_.member(id).wants_snapshot) return cluster_.release(id, keep);
    if (releases_.one_in(4)) cluster_.compact(id, keep);
  }

  void something_happens() {
    something_is_released();
    const std::uint64_t dice = rng_.below(1000);
    const NodeId id = anybody();
    if (dice < 480) return some_message();
    if (dice < 490) return cut_or_heal();
    if (!cluster_.is_up(id)) {
      if (dice % 8 == 0) cluster_.restart(id);
      return;
    }
    if (dice < 750) return cluster_.act(id, [](Raft& raft) { raft.tick(); });
    if (dice < 860) return cluster_.persist(id, rng_.between(1, 3));
    if (dice < 900) return some_job(id);
    if (dice < 940) return propose(id);
    if (dice < 965) return cluster_.read(id, ReadId{++reads_});
    if (dice < 975) return cluster_.compact(id, rng_.below(4));
    rare(id, dice);
  }

  void rare(NodeId id, std::uint64_t dice) {
    if (dice < 980) return cluster_.crash(id, rng_.below(3));
    if (dice < 985) return cluster_.act(id, [&](Raft& raft) { raft.transfer(anybody()); });
    if (dice < 990) return cluster_.act(id, [&](Raft& raft) { raft.peer_lost(anybody()); });
    Membership target = some_members(rng_);
    target.merge_witnesses(witnesses_);
    cluster_.act(id, [&](Raft& raft) { (void)raft.change_membership(target); });
  }

  // Several proposals may share an output, as they do in a node.
  void propose(NodeId id) {
    for (std::uint64_t n = rng_.between(1, 3); n > 0; --n) {
      cluster_.act_quietly(id, [&](Raft& raft) {
        (void)raft.propose(std::string(rng_.below(20), 'x') + std::to_string(++proposals_));
      });
    }
    cluster_.act(id, [](Raft&) {});
  }

  void some_message() {
    std::vector<TestCluster::Link> links;
    for (const auto& [link, queue] : cluster_.network()) {
      if (!queue.empty()) links.push_back(link);
    }
    if (links.empty()) return;
    const TestCluster::Link link = links[rng_.below(links.size())];
    auto& queue = cluster_.network()[link];
    const bool out_of_order = rng_.below(100) < reorder_;
    const std::size_t position = out_of_order ? rng_.below(queue.size()) : 0;
    if (cut_.contains(link) || rng_.below(100) < loss_ || queue.size() > 50) {
      queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(position));
      return;
    }
    cluster_.deliver(link, position, rng_.one_in(20));
  }

  void some_job(NodeId id) {
    if (!cluster_.member(id).jobs.empty()) cluster_.run_job(id, !rng_.one_in(10));
  }

  // A partition lasts long enough, on average, for the others to elect somebody.
  void cut_or_heal() {
    const NodeId one = anybody();
    if (rng_.one_in(4)) return cut_.clear();
    if (rng_.one_in(2)) return isolate(one);
    cut_.insert({one, anybody()});
  }

  void isolate(NodeId one) {
    for (std::uint64_t other = 1; other <= kMembers; ++other) {
      cut_.insert({one, NodeId{other}});
      if (rng_.one_in(2)) cut_.insert({NodeId{other}, one});
    }
  }

  // Everybody is up and everything works; a new entry must reach all members.
  void calm() {
    if (std::getenv("RAFT_TRACE")) {
      cluster_.trace = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    }
    for (auto& [id, member] : cluster_.members()) {
      if (!member.raft) cluster_.restart(id);
    }
    LogIndex goal;
    for (int ticks = 0; ticks < 400; ++ticks) {
      everybody_ticks();
      if (!goal || cluster_.history().size() < goal.value) goal = propose_goal();
      settle();
      if (!goal || !has_converged(goal)) continue;
      finish();
      return one_falls();
    }
    FAIL() << "no convergence\n" << everybody();
  }

  // A full copy stops while entries are on their way to everybody. What is left must go on,
  // whoever had led.
  void one_falls() {
    const Membership membership = cluster_.member(*cluster_.leader()).raft->membership();
    const std::optional<NodeId> victim = some_copy_to_spare(membership);
    if (membership.witnesses.empty() || !victim) return;
    for (int i = 0; i < 60; ++i) half_of_something();
    cluster_.crash(*victim, rng_.below(3));
    for (auto& [link, queue] : cluster_.network()) {
      if (link.first == *victim && rng_.one_in(2)) queue.clear();
    }
    LogIndex goal;
    for (int ticks = 0; ticks < 400; ++ticks) {
      everybody_ticks();
      if (!goal) goal = propose_goal();
      settle();
      const auto has_goal = [&](NodeId id) {
        return id == *victim || cluster_.member(id).applied >= goal;
      };
      const std::vector<NodeId> all = membership.all();
      if (goal && std::all_of(all.begin(), all.end(), has_goal)) return;
      if (goal && cluster_.history().size() < goal.value) goal = LogIndex{};
    }
    FAIL() << "one full copy, " << victim->value << ", fell, and the others stand still\n"
           << everybody();
  }

  // Whose loss leaves a quorum.
  std::optional<NodeId> some_copy_to_spare(const Membership& membership) {
    std::vector<NodeId> spare;
    for (const consensus::Vote& vote : membership.voters.votes()) {
      const auto is_other = [&](NodeId id) { return id != vote.id; };
      const bool enough = membership.reached(is_other) && membership.elects(is_other);
      if (enough && !membership.is_witness(vote.id)) spare.push_back(vote.id);
    }
    if (spare.empty()) return std::nullopt;
    return spare[rng_.below(spare.size())];
  }

  // No time passes and nothing is lost.
  void half_of_something() {
    const NodeId id = anybody();
    const std::uint64_t dice = rng_.below(10);
    if (dice < 6) {
      std::vector<TestCluster::Link> links;
      for (const auto& [link, queue] : cluster_.network()) {
        if (!queue.empty()) links.push_back(link);
      }
      if (!links.empty()) cluster_.deliver(links[rng_.below(links.size())]);
    } else if (dice < 8) {
      cluster_.persist(id, rng_.between(1, 2));
    } else if (const auto leader = cluster_.leader()) {
      propose(*leader);
    }
  }

  std::string everybody() {
    std::string out;
    for (auto& [id, member] : cluster_.members()) {
      if (!member.raft) continue;
      out += std::to_string(id.value) + ": " + describe(member.raft->state()) + "\n";
    }
    return out;
  }

  void everybody_ticks() {
    for (auto& [id, member] : cluster_.members()) {
      if (member.raft) cluster_.act(id, [](Raft& raft) { raft.tick(); });
      if (member.wants_snapshot) cluster_.compact(id, releases_.below(4));
    }
    settle();
  }

  void settle() {
    for (bool busy = true; busy;) {
      busy = false;
      for (auto& [link, queue] : cluster_.network()) {
        while (!queue.empty()) {
          busy = true;
          cluster_.deliver(link);
        }
      }
      for (auto& [id, member] : cluster_.members()) {
        busy = busy || !member.writes.empty() || !member.jobs.empty();
        if (!member.writes.empty()) cluster_.persist(id);
        if (!member.jobs.empty()) cluster_.run_job(id);
      }
    }
  }

  // None if nobody can take a proposal now.
  LogIndex propose_goal() {
    const auto leader = cluster_.leader();
    LogIndex goal;
    if (!leader) return goal;
    cluster_.act(*leader, [&](Raft& raft) {
      if (const auto position = raft.propose("calm")) goal = position->index;
    });
    return goal;
  }

  bool has_converged(LogIndex goal) {
    const auto leader = cluster_.leader();
    if (!leader) return false;
    const Membership membership = cluster_.member(*leader).raft->membership();
    if (membership.is_joint()) return false;
    for (const NodeId id : membership.all()) {
      if (cluster_.member(id).applied < goal) return false;
    }
    return true;
  }

  void finish() {
    cluster_.check_log_matching();
    // The barriers of the storm end within an election timeout, one way or the other.
    for (int ticks = 0; ticks < 30; ++ticks) everybody_ticks();
    for (auto& [id, member] : cluster_.members()) EXPECT_TRUE(member.reads.empty()) << id.value;
    // And one in the calm has its answer as soon as the messages are through.
    for (const NodeId id : cluster_.member(*cluster_.leader()).raft->membership().all()) {
      cluster_.read(id, ReadId{++reads_});
      settle();
      EXPECT_TRUE(cluster_.member(id).reads.empty()) << id.value << "\n" << everybody();
    }
  }

  Rng rng_;
  Rng releases_;
  std::vector<NodeId> witnesses_;
  TestCluster cluster_;
  std::uint64_t loss_;     // percent
  std::uint64_t reorder_;  // percent
  std::set<TestCluster::Link> cut_;
  std::uint64_t proposals_ = 0;
  std::uint64_t reads_ = 0;
};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value ? std::strtoull(value, nullptr, 10) : otherwise;
}

// A violated invariant aborts: say which seed it was.
std::uint64_t running_seed = 0;

void name_seed(int) {
  std::fprintf(stderr, "RAFT_SEED=%llu\n", static_cast<unsigned long long>(running_seed));
}

TEST(RaftRandom, SafeInAnyStormAndLiveInTheCalmAfterIt) {
  const std::uint64_t only = from_environment("RAFT_SEED", 0);
  const std::uint64_t first = only ? only : 1;
  const std::uint64_t last = only ? only : from_environment("RAFT_SEEDS", 2000);
  std::signal(SIGABRT, name_seed);
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    running_seed = seed;
    SCOPED_TRACE("RAFT_SEED=" + std::to_string(seed));
    Storm(seed).run();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace conclave::raft
