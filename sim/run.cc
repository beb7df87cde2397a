#include "sim/run.h"

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "sim/cluster_check.h"
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
        site{cluster.clock(), cluster.fabric(), cluster.client_addresses(), trace} {
    for (const WorkloadPlan& workload : plan.workloads) {
      workloads.push_back(make_workload(site, workload));
    }
    cluster.fabric().tap = [this](const std::string& from, const std::string& to, BytesView piece) {
      check.on_piece(from, to, piece);
    };
    log_trace = &trace;
  }
  ~World() { log_trace = nullptr; }

  void step() {
    cluster.step();
    check.after_step();
  }
  void run_for(Duration duration) {
    const Instant end = cluster.clock().now() + duration;
    bool over = false;
    cluster.clock().after(duration, [&over] { over = true; });
    while (!over) step();
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
