#include "sim/run.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "node/group.h"
#include "sim/cluster_check.h"
#include "sim/key_history.h"
#include "sim/storm.h"
#include "sim/trace.h"

namespace conclave::sim {
namespace {

// In the calm some call must be answered within this time, until all are done, and a few times as
// long as a client may think: what it does next may be to ask nothing, or be refused as it should.
constexpr Duration kStalled = seconds(20);
constexpr std::int64_t kThoughts = 3;
constexpr Duration kConverges = seconds(60);
constexpr std::size_t kLedThere = 60;

// The log lines of the shipped code belong to the run that is under way.
Trace* log_trace = nullptr;

void log_to_trace(LogLevel level, std::string_view line) {
  constexpr const char* kNames[] = {"debug", "info", "warn", "error"};
  if (log_trace == nullptr || !log_trace->wants(Trace::Kind::kLog)) return;
  log_trace->note(Trace::Kind::kLog, kNames[static_cast<int>(level)], std::string(line));
}

void check_to_finding(std::string_view message) { found("invariant", std::string(message)); }

// All that a run is made of. Given up as it is, without its destructors, when there is a finding:
// what has broken an invariant may break another on its way out.
struct World {
  World(const Plan& its_plan, const RunOptions& options)
      : plan(its_plan),
        cluster(plan.seed, plan.cluster),
        trace([this] { return cluster.clock().now(); }, options.trace),
        check(cluster, trace),
        storm(plan, cluster, check, trace),
        lock_keys(cluster, std::string(kLockPrefix)),
        site{cluster.clock(), cluster.fabric(), cluster.client_addresses(), trace} {
    const auto is_locks = [](const WorkloadPlan& workload) {
      return workload.name == "locks" || workload.name == "native";
    };
    const bool has_locks = std::ranges::any_of(plan.workloads, is_locks);
    if (has_locks) site.lock_keys = &lock_keys;
    site.landlord = &storm.landlord();
    site.local_zookeeper_reads = plan.cluster.local_zookeeper_reads;
    cluster.after_step = [this, has_locks] {
      check.after_step();
      if (has_locks) lock_keys.look();
    };
    for (const WorkloadPlan& workload : plan.workloads) {
      workloads.push_back(make_workload(site, workload));
    }
    cluster.fabric().tap = [this](const std::string& from, const std::string& to, BytesView piece) {
      check.on_piece(from, to, piece);
    };
    log_trace = &trace;
  }
  ~World() { log_trace = nullptr; }

  void run_for(Duration duration) {
    const Instant end = cluster.clock().now() + duration;
    bool over = false;
    cluster.clock().after(duration, [&over] { over = true; });
    while (!over) cluster.step();
    CHECK(cluster.clock().now() >= end);
  }

  bool done() const {
    for (const auto& workload : workloads) {
      if (!workload->done()) return false;
    }
    return true;
  }
  std::uint64_t answered() const {
    std::uint64_t sum = 0;
    for (const auto& workload : workloads) sum += workload->answered();
    return sum;
  }

  void weather() {
    storm.begin();
    for (const auto& workload : workloads) workload->start();
    run_for(plan.storm);
    storm.end();
    site.healed_at = cluster.clock().now();
  }
  Duration stalled() const {
    Duration longest;
    for (const WorkloadPlan& workload : plan.workloads) longest = std::max(longest, workload.think);
    return kStalled + longest * kThoughts;
  }

  void calm() {
    Instant progress = cluster.clock().now();
    std::uint64_t seen = answered();
    while (!done()) {
      run_for(milliseconds(100));
      const Instant now = cluster.clock().now();
      if (answered() > seen) progress = now;
      seen = answered();
      if (now - progress > stalled()) {
        found("progress", fmt::format("no call was answered for {:.0f} s, though all is healed",
                                      stalled().seconds()));
      }
    }
    converge();
    lose_a_copy();
  }

  void converge() {
    const Instant end = cluster.clock().now() + kConverges;
    while (!cluster.converged() || !storm.settled()) {
      run_for(milliseconds(20));
      if (cluster.clock().now() > end) {
        found("convergence",
              storm.settled() ? "members do not come to hold the same state, though all is healed"
                              : "not everybody who is a member runs, though all is healed");
      }
    }
  }

  // What witnesses are for: a full member fails while writes are on their way, and the others go
  // on, if their votes are enough. For a moment before, it may reach none but the witnesses.
  void lose_a_copy() {
    Rng rng(plan.seed);
    if (plan.cluster.witnesses.empty()) return;
    // First everybody has written something: a disk that hung when the storm ended may hang still,
    // and its member's copy may count as lost already.
    see_a_write(rng, "no write is answered, though all is healed");
    const Instant end = cluster.clock().now() + kConverges;
    while (!copies_are_equal()) {
      if (cluster.clock().now() > end) {
        found("progress", "a full copy does not get everything to its disk, though all is healed");
      }
      run_for(milliseconds(20));
    }
    run_for(seconds(1));
    const std::optional<std::size_t> victim = copy_to_spare(rng);
    if (!victim) return;
    std::function<void()> heal = [] {};
    if (rng.one_in(2)) heal = storm.cut(to_other_copies(*victim));
    for (std::uint64_t writes = rng.between(1, 20); writes > 0; --writes) {
      write_something(rng, nullptr);
      run_for(microseconds(static_cast<std::int64_t>(rng.below(20'000))));
    }
    const std::function<void()> give_back = storm.take_down(*victim);
    see_a_write(rng, fmt::format("{} is down, and the other copies do not go on with the witnesses",
                                 Cluster::host(*victim)));
    heal();
    give_back();
    converge();
  }

  // By what the leader knows to be on their disks.
  bool copies_are_equal() const {
    const auto leader = cluster.leader();
    if (!leader) return false;
    const node::Engine& engine = cluster.node(*leader).group().engine();
    return std::ranges::all_of(engine.status().peers, [&](const consensus::PeerStatus& peer) {
      return engine.membership().is_witness(peer.id) || peer.match >= engine.status().commit;
    });
  }

  std::vector<std::pair<std::size_t, std::size_t>> to_other_copies(std::size_t member) const {
    std::vector<std::pair<std::size_t, std::size_t>> links;
    for (std::size_t i = 0; i < cluster.size(); ++i) {
      const bool is_copy = cluster.running(i) && !cluster.is_witness(i);
      if (i != member && is_copy) links.emplace_back(member, i);
    }
    return links;
  }

  std::optional<std::size_t> copy_to_spare(Rng& rng) const {
    const auto leader = cluster.leader();
    if (!leader) return std::nullopt;
    const consensus::Membership& membership = cluster.node(*leader).group().engine().membership();
    if (membership.witnesses.empty()) return std::nullopt;
    std::vector<std::size_t> spare;
    for (std::size_t i = 0; i < cluster.size(); ++i) {
      if (!cluster.running(i) || cluster.is_witness(i)) continue;
      const NodeId id = cluster.node(i).group().engine().status().self;
      const auto is_other = [id](NodeId other) { return other != id; };
      const bool enough = membership.reached(is_other) && membership.elects(is_other);
      if (enough && membership.is_voter(id)) spare.push_back(i);
    }
    if (spare.empty()) return std::nullopt;
    return spare[rng.below(spare.size())];
  }

  // Writes until somebody answers one that was sent from now on.
  void see_a_write(Rng& rng, const std::string& or_else) {
    const auto answered = std::make_shared<bool>(false);
    const Instant end = cluster.clock().now() + kStalled;
    while (!*answered) {
      if (cluster.clock().now() > end) found("progress", or_else);
      write_something(rng, answered);
      run_for(milliseconds(200));
    }
  }

  // At any member that can take it.
  void write_something(Rng& rng, std::shared_ptr<bool> answered) {
    const std::size_t member = rng.below(cluster.size());
    if (!cluster.running(member) || cluster.is_witness(member)) return;
    api::PutRequest put;
    put.key = "/a-copy-falls";
    cluster.ask(member, std::move(put), [answered](const api::Answer& answer) {
      if (answered && std::holds_alternative<api::PutResponse>(answer)) *answered = true;
    });
  }

  void judge() const {
    for (const auto& workload : workloads) {
      if (std::optional<Finding> finding = workload->judge()) throw std::move(*finding);
    }
  }

  const Plan& plan;
  Cluster cluster;
  Trace trace;
  ClusterCheck check;
  Storm storm;
  KeyHistory lock_keys;
  Site site;
  std::vector<std::unique_ptr<Workload>> workloads;
};

}  // namespace

RunResult run(const Plan& plan, const RunOptions& options) {
  set_check_handler(check_to_finding);
  set_log_sink(log_to_trace, options.trace ? LogLevel::kInfo : LogLevel::kError);
  auto world = std::make_unique<World>(plan, options);
  RunResult result;
  try {
    world->weather();
    world->calm();
    world->judge();
  } catch (Finding& finding) {
    result.finding = std::move(finding);
    result.led_there = world->trace.newest(kLedThere);
  }
  result.virtual_time = world->cluster.clock().now() - Instant{};
  result.steps = world->check.steps();
  result.answered = world->answered();
  result.committed = world->check.committed();
  result.elections = world->check.elections();
  result.faults = world->storm.counts();
  for (const auto& [name, count] : result.faults) result.struck += count;
  for (const auto& [name, count] : world->storm.operations()) result.faults[name] += count;
  for (const auto& [name, count] : world->cluster.fault_counts().rows()) {
    if (count != 0) result.faults[std::string(name)] += count;
  }
  if (options.trace) {
    result.trace_text = world->trace.as_text();
    result.trace_json = world->trace.as_json_lines();
  }
  if (options.history) {
    for (const auto& workload : world->workloads) result.history += workload->history();
  }
  if (result.finding) {
    log_trace = nullptr;
    (void)world.release();
  }
  set_check_handler(nullptr);
  return result;
}

}  // namespace conclave::sim
