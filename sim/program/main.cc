// conclave-sim: runs whole clusters of the shipped code in virtual time, one for each seed, and
// says whether what the clients were told was right (docs/simulation.md).

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "node/options.h"
#include "sim/program/many.h"
#include "sim/program/shrink.h"
#include "sim/run.h"

namespace conclave::sim {
namespace {

struct Flags {
  std::optional<std::uint64_t> seed;
  std::uint64_t seeds = 0;
  std::optional<std::uint64_t> from;
  unsigned jobs = 1;
  double minutes = 0;
  bool stop_at_failure = false;
  bool shrink = false;
  bool plan = false;
  std::string trace;
  std::string history;
  std::string only_faults;
  std::string engine;
  Edits edits;
};

std::set<std::size_t> parse_list(const std::string& list) {
  std::set<std::size_t> numbers;
  if (list == "none") return numbers;
  for (const std::string& part : CLI::detail::split(list, ',')) {
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    if (error != std::errc{} || end != part.data() + part.size()) {
      throw CLI::ValidationError("--only-faults", "not a list of numbers: " + list);
    }
    numbers.insert(number);
  }
  return numbers;
}

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return true;
  fmt::print(stderr, "conclave-sim: cannot write {}\n", path);
  return false;
}

int run_one(const Flags& flags) {
  const Plan plan = edited(plan_of(*flags.seed), flags.edits);
  if (flags.plan) {
    fmt::print("{}", describe(plan));
    return 0;
  }
  const RunResult result =
      run(plan, {.trace = !flags.trace.empty(), .history = !flags.history.empty()});
  if (!flags.trace.empty()) {
    if (!write_file(flags.trace + ".log", result.trace_text)) return 2;
    if (!write_file(flags.trace + ".json", result.trace_json)) return 2;
  }
  if (!flags.history.empty() && !write_file(flags.history, result.history)) return 2;
  fmt::print("{}", report(plan, flags.edits, result));
  if (!result.finding) return 0;
  if (flags.shrink) {
    const Edits smaller = shrink(plan.seed, flags.edits, result.finding->check);
    fmt::print("\n{}", describe(edited(plan_of(plan.seed), smaller)));
    fmt::print("the smallest run found that still fails:\n  conclave-sim --seed {}{}\n", plan.seed,
               smaller.to_flags());
  }
  return 1;
}

int main_of(int argc, char** argv) {
  Flags flags;
  CLI::App app{"Runs clusters of Conclave in a simulated world and checks every answer."};
  app.set_help_flag("-h,--help");
  app.add_option("--seed", flags.seed, "run this seed");
  app.add_option("--seeds", flags.seeds, "run so many seeds, one after the other");
  app.add_option("--minutes", flags.minutes, "run seeds for so long");
  app.add_option("--from", flags.from, "the first of them (default: 1; with --minutes: random)");
  app.add_option("--jobs", flags.jobs, "so many at a time")->check(CLI::Range(1u, 256u));
  app.add_flag("--stop-at-failure", flags.stop_at_failure, "run no more seeds after one failed");
  app.add_flag("--plan", flags.plan, "only print what the seed would do");
  app.add_option("--trace", flags.trace, "write what happened to FILE.log and FILE.json")
      ->type_name("FILE");
  app.add_option("--history", flags.history,
                 "write what clients asked and heard, as JSON lines, for other checkers")
      ->type_name("FILE");
  app.add_flag("--shrink", flags.shrink, "look for a smaller run that still fails");
  app.add_option("--only-faults", flags.only_faults, "keep these faults of the plan: 3,7 or none");
  app.add_option("--clients", flags.edits.clients, "at most so many clients of each workload");
  app.add_option("--operations", flags.edits.operations, "at most so many calls of each client");
  app.add_option("--workload", flags.edits.workload, "this workload only");
  app.add_option("--engine", flags.engine, "clusters of this engine only: raft or paxos")
      ->check(CLI::IsMember({"raft", "paxos"}));
  app.add_flag("--calm-links", flags.edits.calm_links, "links that lose and delay nothing");
  app.add_flag("--calm-disks", flags.edits.calm_disks, "disks that fail no call at random");
  try {
    app.parse(argc, argv);
    if (!flags.engine.empty()) flags.edits.engine = node::consensus_of(flags.engine);
    if (!flags.only_faults.empty()) flags.edits.only_faults = parse_list(flags.only_faults);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (flags.seed) return run_one(flags);
  if (flags.seeds == 0 && flags.minutes == 0) {
    fmt::print("{}", app.help());
    return 2;
  }
  const bool random = !flags.from && flags.minutes > 0;
  const std::uint64_t first = random ? std::random_device{}() : flags.from.value_or(1);
  if (random) fmt::print("seeds from {}\n", first);
  return run_many({.first = first,
                   .count = flags.seeds == 0 ? ~std::uint64_t{0} : flags.seeds,
                   .minutes = flags.minutes,
                   .jobs = flags.jobs,
                   .stop_at_failure = flags.stop_at_failure,
                   .edits = flags.edits});
}

}  // namespace
}  // namespace conclave::sim

int main(int argc, char** argv) { return conclave::sim::main_of(argc, argv); }
