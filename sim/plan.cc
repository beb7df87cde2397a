#include "sim/plan.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <utility>

#include "node/options.h"

namespace conclave::sim {
namespace {

struct Habit {
  FaultKind kind;
  std::string_view name;
  std::int64_t shortest_ms;  // how long it lasts
  std::int64_t longest_ms;
};

constexpr std::array kHabits = {
    Habit{FaultKind::kCrash, "power cuts", 0, 8'000},
    Habit{FaultKind::kCrashSeveral, "power cuts of several", 0, 4'000},
    Habit{FaultKind::kCrashInWrite, "power cuts between disk calls", 0, 4'000},
    Habit{FaultKind::kKill, "kills", 0, 3'000},
    Habit{FaultKind::kPause, "pauses", 20, 12'000},
    Habit{FaultKind::kHandOver, "orderly stops", 100, 3'000},
    Habit{FaultKind::kClockRate, "clock rates", 1'000, 10'000},
    Habit{FaultKind::kWallJump, "wall clock jumps", 0, 0},
    Habit{FaultKind::kCutOneWay, "one-way cuts", 50, 8'000},
    Habit{FaultKind::kCutBoth, "cuts", 50, 8'000},
    Habit{FaultKind::kIsolate, "isolations", 50, 8'000},
    Habit{FaultKind::kHalves, "splits in two", 50, 8'000},
    Habit{FaultKind::kSmallOnly, "links for small messages only", 50, 8'000},
    Habit{FaultKind::kBadLink, "bad links", 50, 8'000},
    Habit{FaultKind::kBreak, "broken connections", 0, 0},
    Habit{FaultKind::kMembers, "changes of members", 0, 0},
    Habit{FaultKind::kMoveLeader, "moves of the leadership", 0, 0},
    Habit{FaultKind::kDiskHang, "disk hangs", 50, 8'000},
    Habit{FaultKind::kDiskError, "disk errors", 0, 0},
    Habit{FaultKind::kDiskFull, "full disks", 200, 5'000},
    Habit{FaultKind::kRot, "rotten bits", 0, 0},
    Habit{FaultKind::kMisdirect, "misdirected writes", 0, 0},
    Habit{FaultKind::kLoseDisk, "disks exchanged", 0, 0},
};

const Habit& habit_of(FaultKind kind) {
  return *std::find_if(kHabits.begin(), kHabits.end(),
                       [kind](const Habit& habit) { return habit.kind == kind; });
}

std::int64_t signed_between(Rng& rng, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(high - low + 1)));
}

// Log-uniform: as many small ones as large ones.
std::int64_t spread(Rng& rng, std::int64_t low, std::int64_t high) {
  std::int64_t ceiling = low;
  while (ceiling < high && !rng.one_in(3)) ceiling *= 2;
  return signed_between(rng, low, std::min(ceiling, high));
}

std::uint32_t sometimes(Rng& rng, std::uint32_t most) {
  if (rng.one_in(2)) return 0;
  return static_cast<std::uint32_t>(rng.below(most + 1));
}

LinkFaults draw_links(Rng& rng) {
  LinkFaults links;
  links.shortest = microseconds(spread(rng, 20, 2'000));
  links.longest = links.shortest + microseconds(spread(rng, 100, 50'000));
  links.long_tails = sometimes(rng, 20);
  links.tail = milliseconds(spread(rng, 100, 3'000));
  if (rng.one_in(4)) {
    links.bytes_per_second = static_cast<std::uint64_t>(spread(rng, 100'000, 10'000'000));
  }
  links.breaks = sometimes(rng, 3'000);
  links.resets = sometimes(rng, 1'000);
  links.lost = sometimes(rng, 300);
  links.repeated = sometimes(rng, 500);
  links.replayed = sometimes(rng, 500);
  links.reordered = sometimes(rng, 300);
  links.late = sometimes(rng, 100);
  return links;
}

// Clients lose nothing from the middle of a stream.
LinkFaults draw_client_links(Rng& rng) {
  LinkFaults links;
  links.shortest = microseconds(spread(rng, 20, 1'000));
  links.longest = links.shortest + microseconds(spread(rng, 50, 5'000));
  links.long_tails = sometimes(rng, 5);
  links.tail = milliseconds(spread(rng, 100, 3'000));
  links.breaks = sometimes(rng, 5'000);
  links.resets = sometimes(rng, 5'000);
  return links;
}

DiskFaults draw_disks(Rng& rng) {
  DiskFaults disks;
  disks.spikes = sometimes(rng, 20'000);
  disks.longest_spike = milliseconds(spread(rng, 10, 1'000));
  if (!rng.one_in(4)) return disks;
  disks.reads = sometimes(rng, 200);
  disks.writes = sometimes(rng, 200);
  disks.syncs = sometimes(rng, 200);
  disks.no_space = sometimes(rng, 200);
  disks.hangs = sometimes(rng, 200);
  return disks;
}

// Any pair that has to meet will do for Paxos.
void draw_quorums(Rng& rng, ClusterOptions& cluster) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < cluster.members; ++i) {
    cluster.weights.push_back(rng.one_in(3) ? static_cast<std::uint32_t>(rng.between(2, 3)) : 1);
    total += cluster.weights.back();
  }
  const std::uint64_t write = rng.between(1, total);
  if (cluster.engine != node::Consensus::kPaxos || rng.one_in(3)) return;
  cluster.write_quorum = write;
  cluster.election_quorum = rng.between(total - write + 1, total);
}

ClusterOptions draw_cluster(Rng& rng) {
  ClusterOptions cluster;
  const std::uint64_t dice = rng.below(10);
  cluster.members = dice == 0 ? 1 : dice < 8 ? 3 : 5;
  cluster.snapshot_entries = rng.one_in(3) ? 0 : rng.between(5, 300);
  cluster.keep_entries = rng.one_in(3) ? 5'000 : rng.below(200);
  cluster.max_append_bytes = rng.one_in(2) ? 1 << 20 : 1 + rng.below(4'000);
  cluster.max_inflight_appends = rng.one_in(2) ? 64 : 1 + rng.below(8);
  cluster.snapshot_chunk_bytes =
      rng.one_in(2) ? 512 << 10 : 256 + static_cast<std::uint32_t>(rng.below(8'000));
  cluster.segment_bytes = 16'384ull << rng.below(7);
  cluster.changing_flags = rng.one_in(3);
  if (rng.one_in(2)) cluster.engine = node::Consensus::kPaxos;
  if (rng.one_in(4)) draw_quorums(rng, cluster);
  return cluster;
}

// Drawn apart, so that no other draw changes. Not where witnesses alone could decide.
void draw_witnesses(std::uint64_t seed, ClusterOptions& cluster) {
  constexpr std::uint64_t kPurpose = 0x7769746e657373;
  Rng rng(seed ^ kPurpose);
  if (cluster.members < 3 || !rng.one_in(3)) return;
  const std::uint64_t count = cluster.members == 3 ? 1 : rng.between(1, 2);
  while (cluster.witnesses.size() < count) {
    const std::size_t one = rng.below(cluster.members);
    if (std::ranges::find(cluster.witnesses, one) == cluster.witnesses.end()) {
      cluster.witnesses.push_back(one);
    }
  }
  std::ranges::sort(cluster.witnesses);
  if (!Cluster::first_membership(cluster)->is_valid()) cluster.witnesses.clear();
}

// Drawn apart, too.
void draw_zookeeper_reads(std::uint64_t seed, ClusterOptions& cluster) {
  constexpr std::uint64_t kPurpose = 0x7a6f6f;
  cluster.local_zookeeper_reads = Rng(seed ^ kPurpose).one_in(3);
}

// Each run has its own mixture: half of the kinds do not occur, the others with different weights.
std::vector<Fault> draw_faults(Rng& rng, Duration storm) {
  std::vector<const Habit*> lots;
  for (const Habit& habit : kHabits) {
    if (habit.kind == FaultKind::kMoveLeader) continue;  // draw_transfers
    if (rng.one_in(2)) continue;
    lots.insert(lots.end(), rng.between(1, 8), &habit);
  }
  std::vector<Fault> faults;
  if (lots.empty()) return faults;
  const std::int64_t gap_ms = spread(rng, 100, 5'000);
  Duration at = milliseconds(signed_between(rng, 0, 2'000));
  while (at < storm) {
    const Habit& habit = *lots[rng.below(lots.size())];
    Fault fault;
    fault.kind = habit.kind;
    fault.at = at;
    fault.lasts = milliseconds(signed_between(rng, habit.shortest_ms, habit.longest_ms));
    fault.seed = rng.next();
    faults.push_back(fault);
    at = at + milliseconds(signed_between(rng, 1, 2 * gap_ms));
  }
  return faults;
}

// Drawn apart, so that no other draw and no fault's place changes.
void draw_transfers(std::uint64_t seed, Plan& plan) {
  constexpr std::uint64_t kPurpose = 0x7472616e73666572;
  Rng rng(seed ^ kPurpose);
  if (plan.cluster.members < 3 || !rng.one_in(4)) return;
  const std::int64_t gap_ms = spread(rng, 200, 5'000);
  Duration at = milliseconds(signed_between(rng, 0, 2 * gap_ms));
  while (at < plan.storm) {
    plan.faults.push_back(
        {.kind = FaultKind::kMoveLeader, .at = at, .lasts = {}, .seed = rng.next()});
    at = at + milliseconds(signed_between(rng, 1, 2 * gap_ms));
  }
}

WorkloadPlan draw_workload(Rng& rng, const WorkloadKind& kind, Duration storm) {
  WorkloadPlan plan;
  plan.name = kind.name;
  plan.seed = rng.next() >> 16;
  plan.clients = rng.between(1, 6);
  const bool is_brisk = kind.drawn != Drawn::kAmongOthers || rng.one_in(5);
  plan.think = milliseconds(is_brisk ? spread(rng, 2, 50) : spread(rng, 50, 1'000));
  plan.think = plan.think * kind.calls;
  // Enough for the storm; each call takes a few milliseconds of its own.
  const std::int64_t pace_ms = plan.think.ms() / 2 + 10 * kind.calls;
  plan.operations =
      static_cast<std::size_t>(std::clamp<std::int64_t>(storm.ms() / pace_ms, 20, 600));
  return plan;
}

std::vector<WorkloadPlan> draw_workloads(Rng& rng, Duration storm) {
  std::vector<WorkloadPlan> workloads;
  for (const WorkloadKind& kind : workload_kinds()) {
    if (kind.drawn != Drawn::kAmongOthers) continue;
    if (!workloads.empty() && rng.one_in(2)) continue;
    workloads.push_back(draw_workload(rng, kind, storm));
  }
  return workloads;
}

// Drawn apart, so that the other seeds' plans are what they would be without such kinds.
void draw_lone_workload(std::uint64_t seed, Plan& plan) {
  constexpr std::uint64_t kPurpose = 0x6c6f6e65;
  Rng rng(seed ^ kPurpose);
  for (const WorkloadKind& kind : workload_kinds()) {
    if (kind.drawn != Drawn::kAlone || !rng.one_in(8)) continue;
    plan.workloads = {draw_workload(rng, kind, plan.storm)};
    plan.workloads.front().clients += 2;
  }
}

// Drawn apart, too, and for plans whose workloads leave each other alone.
void draw_added_workload(std::uint64_t seed, Plan& plan) {
  constexpr std::uint64_t kPurpose = 0x6164646564;
  Rng rng(seed ^ kPurpose);
  const bool has_lone = std::ranges::any_of(workload_kinds(), [&plan](const WorkloadKind& kind) {
    return kind.drawn == Drawn::kAlone && kind.name == plan.workloads.front().name;
  });
  for (const WorkloadKind& kind : workload_kinds()) {
    if (kind.drawn != Drawn::kAdded || !rng.one_in(4)) continue;
    if (has_lone) continue;
    plan.workloads.push_back(draw_workload(rng, kind, plan.storm));
    plan.workloads.back().clients += 2;
  }
}

}  // namespace

std::string_view name_of(FaultKind kind) { return habit_of(kind).name; }

Plan plan_of(std::uint64_t seed) {
  Rng rng(seed);
  Plan plan;
  plan.seed = seed;
  plan.cluster = draw_cluster(rng);
  plan.links = draw_links(rng);
  plan.clients = draw_client_links(rng);
  plan.disks = draw_disks(rng);
  plan.log_latency = {.shortest = microseconds(spread(rng, 20, 1'000)), .longest = {}};
  plan.log_latency.longest = plan.log_latency.shortest + microseconds(spread(rng, 50, 30'000));
  plan.storm = milliseconds(signed_between(rng, 5'000, 30'000));
  plan.faults = draw_faults(rng, plan.storm);
  plan.workloads = draw_workloads(rng, plan.storm);
  draw_witnesses(seed, plan.cluster);
  draw_zookeeper_reads(seed, plan.cluster);
  draw_transfers(seed, plan);
  draw_lone_workload(seed, plan);
  draw_added_workload(seed, plan);
  return plan;
}

Plan edited(Plan plan, const Edits& edits) {
  if (edits.only_faults) {
    std::vector<Fault> kept;
    for (std::size_t i = 0; i < plan.faults.size(); ++i) {
      if (edits.only_faults->contains(i)) kept.push_back(plan.faults[i]);
    }
    plan.faults = std::move(kept);
  }
  if (edits.workload) {
    std::erase_if(plan.workloads, [&](const WorkloadPlan& w) { return w.name != *edits.workload; });
  }
  for (WorkloadPlan& workload : plan.workloads) {
    workload.clients = std::min(workload.clients, edits.clients.value_or(workload.clients));
    workload.operations =
        std::min(workload.operations, edits.operations.value_or(workload.operations));
  }
  if (edits.engine) plan.cluster.engine = *edits.engine;
  if (plan.cluster.engine == node::Consensus::kRaft) {
    plan.cluster.election_quorum = plan.cluster.write_quorum = 0;
  }
  const auto first = Cluster::first_membership(plan.cluster);
  if (first && !first->is_valid()) plan.cluster.witnesses.clear();
  if (edits.calm_links) plan.links = plan.clients = LinkFaults{};
  if (edits.calm_disks) plan.disks = DiskFaults{};
  return plan;
}

std::string Edits::to_flags() const {
  std::string flags;
  if (only_faults) {
    std::string list;
    for (const std::size_t i : *only_faults)
      list += fmt::format("{}{}", list.empty() ? "" : ",", i);
    flags += " --only-faults " + (list.empty() ? "none" : list);
  }
  if (clients) flags += fmt::format(" --clients {}", *clients);
  if (operations) flags += fmt::format(" --operations {}", *operations);
  if (engine) flags += fmt::format(" --engine {}", node::name_of(*engine));
  if (workload) flags += " --workload " + *workload;
  if (calm_links) flags += " --calm-links";
  if (calm_disks) flags += " --calm-disks";
  return flags;
}

std::string describe_quorums(const ClusterOptions& cluster) {
  std::string text(node::name_of(cluster.engine));
  if (!cluster.weights.empty())
    text += fmt::format(", weights {}", fmt::join(cluster.weights, ","));
  if (!cluster.witnesses.empty())
    text += fmt::format(", witnesses m{}", fmt::join(cluster.witnesses, ",m"));
  if (cluster.write_quorum == 0) return text;
  return text +
         fmt::format(", {} elect and {} write", cluster.election_quorum, cluster.write_quorum);
}

std::string describe(const Plan& plan) {
  std::string text = fmt::format(
      "seed {}: {} members with {}, snapshots every {} entries ({} kept) in chunks of {}, appends "
      "of {} "
      "bytes ({} ahead), segments of {} KiB{}{}, a storm of {:.1f} s\n",
      plan.seed, plan.cluster.members, describe_quorums(plan.cluster),
      plan.cluster.snapshot_entries, plan.cluster.keep_entries, plan.cluster.snapshot_chunk_bytes,
      plan.cluster.max_append_bytes, plan.cluster.max_inflight_appends,
      plan.cluster.segment_bytes / 1024,
      plan.cluster.changing_flags ? ", other flags at each restart" : "",
      plan.cluster.local_zookeeper_reads ? ", ZooKeeper's reads by session" : "",
      plan.storm.seconds());
  for (const auto& [name, links] : {std::pair{"links", &plan.links}, {"clients", &plan.clients}}) {
    text += fmt::format(
        "{}: {} to {} us, {} bytes/s; of a thousand pieces {} take up to {} ms, {} lost, {} "
        "repeated, {} replayed, {} reordered, {} late; of a million {} break, {} reset\n",
        name, links->shortest.ns / 1'000, links->longest.ns / 1'000, links->bytes_per_second,
        links->long_tails, links->tail.ms(), links->lost, links->repeated, links->replayed,
        links->reordered, links->late, links->breaks, links->resets);
  }
  text += fmt::format(
      "disks: {} to {} us; of a million calls {} reads, {} writes, {} syncs fail, {} find no room; "
      "of a million jobs {} take up to {} ms, {} hang\n",
      plan.log_latency.shortest.ns / 1'000, plan.log_latency.longest.ns / 1'000, plan.disks.reads,
      plan.disks.writes, plan.disks.syncs, plan.disks.no_space, plan.disks.spikes,
      plan.disks.longest_spike.ms(), plan.disks.hangs);
  for (const WorkloadPlan& w : plan.workloads) {
    text += fmt::format("workload {}: {} clients, {} operations each, {} ms apart at most\n",
                        w.name, w.clients, w.operations, w.think.ms());
  }
  for (std::size_t i = 0; i < plan.faults.size(); ++i) {
    const Fault& fault = plan.faults[i];
    text += fmt::format("fault {}: at {:.3f} s, {}, for {:.3f} s\n", i, fault.at.seconds(),
                        name_of(fault.kind), fault.lasts.seconds());
  }
  return text;
}

}  // namespace conclave::sim
