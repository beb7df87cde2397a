#pragma once
// What the tests of whole clusters share: how many seeds to run, how members are started, and the
// registers workload with its judge.

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

#include "sim/cluster.h"
#include "sim/linearizability.h"
#include "sim/workload.h"

namespace conclave::sim {

inline std::uint64_t seeds() {
  const char* wanted = std::getenv("CONCLAVE_SIM_SEEDS");
  return wanted == nullptr ? 30 : std::strtoull(wanted, nullptr, 10);
}

inline void start(Cluster& cluster, std::size_t member) {
  const Result<void> started = cluster.start(member);
  ASSERT_TRUE(started.has_value()) << started.error().message;
}

inline void wait_for_leader(Cluster& cluster) {
  ASSERT_TRUE(cluster.run_until(seconds(20), [&] { return cluster.leader().has_value(); }));
}

// The registers workload on a cluster.
class Registers {
 public:
  Registers(Cluster& cluster, std::uint64_t seed, std::size_t clients, std::size_t operations)
      : site_{cluster.clock(), cluster.fabric(), cluster.client_addresses(), trace_},
        trace_([&cluster] { return cluster.clock().now(); }, false),
        workload_(make_workload(site_, {.name = "registers",
                                        .seed = seed * 1'000,
                                        .clients = clients,
                                        .operations = operations,
                                        .think = milliseconds(2)})) {
    workload_->start();
  }
  bool done() const { return workload_->done(); }
  std::uint64_t answered() const { return workload_->answered(); }
  History history() const {
    const Result<History> parsed = parse_history(workload_->history());
    EXPECT_TRUE(parsed.has_value());
    return parsed.value_or(History{});
  }

 private:
  Site site_;
  Trace trace_;
  std::unique_ptr<Workload> workload_;
};

inline void expect_linearizable(const History& history, std::uint64_t seed) {
  const Verdict verdict = check_linearizable(history);
  EXPECT_EQ(verdict.decision, Decision::kLinearizable)
      << "seed " << seed << ": " << (verdict.violation ? verdict.violation->what : "undecided");
  const auto revisions = find_revision_violation(history);
  EXPECT_FALSE(revisions.has_value()) << "seed " << seed << ": " << revisions->what;
}

}  // namespace conclave::sim
