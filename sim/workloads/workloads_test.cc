// Each workload on clusters that crash and are cut: it ends, and its judge has nothing to say. The
// seeds are fixed; CONCLAVE_SIM_SEEDS runs more of them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "sim/cluster.h"
#include "sim/key_history.h"
#include "sim/workload.h"

namespace conclave::sim {
namespace {

std::uint64_t seeds() {
  const char* wanted = std::getenv("CONCLAVE_SIM_SEEDS");
  return wanted == nullptr ? 15 : std::strtoull(wanted, nullptr, 10);
}

std::string words(const Finding& finding) { return finding.check + ": " + finding.what; }

// One member after the other crashes and comes back, and links are cut for a while.
void storm(Cluster& cluster, Rng& rng) {
  for (int i = 0; i < 8; ++i) {
    cluster.run_for(milliseconds(static_cast<std::int64_t>(rng.between(20, 600))));
    const std::size_t member = rng.below(cluster.size());
    if (!cluster.running(member)) {
      ASSERT_TRUE(cluster.start(member).has_value());
    } else if (rng.one_in(2)) {
      cluster.crash(member);
    } else {
      const std::size_t other = (member + 1) % cluster.size();
      cluster.fabric().cut(Cluster::host(member), Cluster::host(other));
    }
    if (rng.one_in(3)) cluster.fabric().heal();
  }
  cluster.fabric().heal();
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (!cluster.running(i)) {
      ASSERT_TRUE(cluster.start(i).has_value());
    }
  }
}

// All workloads of these kinds on one cluster, through a storm and to their end.
void run(const std::vector<std::string_view>& kinds, std::uint64_t seed, bool stormy,
         bool local_zookeeper_reads = false) {
  Cluster cluster(seed, {.snapshot_entries = 60, .local_zookeeper_reads = local_zookeeper_reads});
  for (std::size_t i = 0; i < cluster.size(); ++i) ASSERT_TRUE(cluster.start(i).has_value());
  Trace trace([&cluster] { return cluster.clock().now(); }, false);
  Site site{cluster.clock(), cluster.fabric(), cluster.client_addresses(), trace};
  KeyHistory lock_keys(cluster, std::string(kLockPrefix));
  site.lock_keys = &lock_keys;
  site.local_zookeeper_reads = local_zookeeper_reads;
  cluster.after_step = [&lock_keys] { lock_keys.look(); };
  std::vector<std::unique_ptr<Workload>> workloads;
  for (const std::string_view kind : kinds) {
    workloads.push_back(make_workload(site, {.name = std::string(kind),
                                             .seed = seed,
                                             .clients = 5,
                                             .operations = 150,
                                             .think = milliseconds(10)}));
  }
  Rng rng(seed);
  try {
    for (const auto& workload : workloads) workload->start();
    if (stormy) storm(cluster, rng);
    site.healed_at = cluster.clock().now();
    ASSERT_TRUE(cluster.run_until(seconds(120),
                                  [&] {
                                    return std::ranges::all_of(workloads, [](const auto& workload) {
                                      return workload->done();
                                    });
                                  }))
        << "seed " << seed;
    for (const auto& workload : workloads) {
      const auto finding = workload->judge();
      EXPECT_FALSE(finding.has_value()) << "seed " << seed << ", " << words(*finding);
      EXPECT_GT(workload->answered(), 0u);
    }
  } catch (const Finding& finding) {
    FAIL() << "seed " << seed << ", " << words(finding);
  }
}

class WorkloadsTest : public testing::TestWithParam<std::string_view> {};

TEST_P(WorkloadsTest, HasNothingToSayOfAQuietCluster) { run({GetParam()}, 1, false); }

TEST_P(WorkloadsTest, HasNothingToSayAfterCrashesAndCuts) {
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) run({GetParam()}, seed, true);
}

std::vector<std::string_view> all_kinds() {
  std::vector<std::string_view> names;
  for (const WorkloadKind& kind : workload_kinds()) names.push_back(kind.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(, WorkloadsTest, testing::ValuesIn(all_kinds()),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(ZooKeeperTest, ReadsOfASessionNeverGoBack) {
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) run({"zookeeper"}, seed, true, true);
}

TEST(AllWorkloadsTest, DoNotDisturbEachOther) {
  std::vector<std::string_view> together;
  for (const WorkloadKind& kind : workload_kinds()) {
    if (kind.drawn != Drawn::kAlone) together.push_back(kind.name);
  }
  run(together, 3, true);
}

}  // namespace
}  // namespace conclave::sim
