// simulated-engines: Raft and Multi-Paxos side by side in virtual time, on networks that lose
// messages and on a wide-area one. Writes JSON; bench/simulated.py makes tables and plots of it.
//
// Everything follows from --seed. See bench/simulation.h for what is measured and what is not.

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>

#include "base/log.h"
#include "bench/simulation.h"

namespace conclave::bench {
namespace {

struct Flags {
  std::uint64_t seed = 1;
  double seconds = 1;
  std::uint64_t kills = 15;
  std::vector<std::size_t> in_flight = {1, 16, 64, 256};
  std::string only;
  std::string json = "-";
};

constexpr Duration kShortest = microseconds(50);
constexpr Duration kLongest = microseconds(150);
// How long a busy TCP connection of that length takes to notice and repair a loss, at most.
constexpr Duration kLongestRetransmission = milliseconds(10);

Network local(std::string name, std::uint32_t lost_per_thousand) {
  return {.name = std::move(name),
          .members = 3,
          .links = {.shortest = kShortest, .longest = kLongest, .lost = lost_per_thousand}};
}

// As TCP does it: what is lost comes later, and what follows waits for it.
Network retransmitting(std::string name, std::uint32_t lost_per_thousand) {
  return {.name = std::move(name),
          .members = 3,
          .links = {.shortest = kShortest,
                    .longest = kLongest,
                    .long_tails = lost_per_thousand,
                    .tail = kLongestRetransmission}};
}

constexpr std::array<const char*, 5> kPlaces = {"Virginia", "Texas", "Oregon", "Ireland",
                                                "Frankfurt"};

// About what lies between data centres in these places, in round numbers.
Network wide_area(std::string name, std::uint32_t lost_per_thousand) {
  return {.name = std::move(name),
          .members = kPlaces.size(),
          .links = {.lost = lost_per_thousand},
          .rtt_ms = {{0, 30, 65, 70, 90},
                     {30, 0, 45, 105, 120},
                     {65, 45, 0, 130, 150},
                     {70, 105, 130, 0, 30},
                     {90, 120, 150, 30, 0}}};
}

std::vector<Network> networks() {
  return {local("lan", 0),
          local("lan, 1 % lost", 10),
          local("lan, 5 % lost", 50),
          retransmitting("lan, 1 % retransmitted", 10),
          retransmitting("lan, 5 % retransmitted", 50),
          wide_area("wide area", 0),
          wide_area("wide area, 1 % lost", 10),
          wide_area("wide area, 5 % lost", 50)};
}

std::vector<Engine> engines_for(const Network& network) {
  std::vector<Engine> engines = {{.name = "raft", .consensus = node::Consensus::kRaft},
                                 {.name = "paxos", .consensus = node::Consensus::kPaxos}};
  if (network.members == 5) {
    engines.push_back({.name = "paxos 4/2",
                       .consensus = node::Consensus::kPaxos,
                       .election_quorum = 4,
                       .write_quorum = 2});
  }
  return engines;
}

const char* name_of(Operation operation) {
  switch (operation) {
    case Operation::kWrite:
      return "write";
    case Operation::kLinearizableRead:
      return "linearizable read";
    case Operation::kSerializableRead:
      return "serializable read";
  }
  return "";
}

std::string describe(const Network& network) {
  std::vector<std::string> rows;
  for (const auto& row : network.rtt_ms) rows.push_back(fmt::format("[{}]", fmt::join(row, ", ")));
  const bool wide = !rows.empty();
  return fmt::format(
      R"(  {{"name": "{}", "members": {}, "one_way_us": [{}, {}], "lost_per_thousand": {}, )"
      R"("retransmitted_per_thousand": {}, "longest_retransmission_ms": {}, "places": [{}], )"
      R"("rtt_ms": [{}]}})",
      network.name, network.members, network.links.shortest.ns / 1'000,
      network.links.longest.ns / 1'000, network.links.lost, network.links.long_tails,
      network.links.long_tails == 0 ? 0 : network.links.tail.ms(),
      wide ? fmt::format("\"{}\"", fmt::join(kPlaces, "\", \"")) : "", fmt::join(rows, ", "));
}

class Program {
 public:
  explicit Program(Flags flags) : flags_(std::move(flags)) {}

  int run() {
    for (const Network& network : networks()) {
      if (network.name.find(flags_.only) == std::string::npos) continue;
      networks_.push_back(describe(network));
      for (const Engine& engine : engines_for(network)) {
        if (!measure_engine(engine, network)) return 1;
      }
    }
    return write() ? 0 : 2;
  }

 private:
  bool measure_engine(const Engine& engine, const Network& network) {
    fmt::print(stderr, "{}: {}\n", network.name, engine.name);
    Scenario scenario{.engine = engine, .network = network, .leader_place = 0, .seed = flags_.seed};
    for (const std::size_t in_flight : flags_.in_flight) {
      if (!sample(scenario, {.in_flight = in_flight})) return false;
    }
    return measure_places(scenario) && measure_failovers(scenario, Loss::kKill) &&
           measure_failovers(scenario, Loss::kPowerCut);
  }

  // What depends on where one is, where nothing else matters.
  bool measure_places(Scenario scenario) {
    if (scenario.network.links.lost != 0) return true;
    const std::size_t places = scenario.network.rtt_ms.size();
    for (std::size_t place = 0; place < places; ++place) {
      for (const Operation read : {Operation::kLinearizableRead, Operation::kSerializableRead}) {
        if (!sample(scenario, {.operation = read, .asked_place = place})) return false;
      }
    }
    const bool first_done =
        std::find(flags_.in_flight.begin(), flags_.in_flight.end(), 1) != flags_.in_flight.end();
    scenario.leader_place = first_done ? 1 : 0;
    for (; scenario.leader_place < places; ++scenario.leader_place) {
      if (!sample(scenario, {})) return false;
    }
    return true;
  }

  bool sample(const Scenario& scenario, Load load) {
    const bool takes_long =
        !scenario.network.rtt_ms.empty() && load.operation != Operation::kSerializableRead;
    load.measured =
        nanoseconds(static_cast<std::int64_t>(flags_.seconds * (takes_long ? 1e10 : 1e9)));
    const Result<LoadResult> result = measure_load(scenario, load);
    if (!result) return complain(scenario, result.error());
    virtual_time_ = virtual_time_ + result->virtual_time;
    samples_.push_back(fmt::format(
        R"(  {{"network": "{}", "engine": "{}", "operation": "{}", "leader_place": {}, )"
        R"("asked_place": {}, "in_flight": {}, "measured_ns": {}, "acknowledged": {}, )"
        R"("failed": {}, "p50_ns": {}, "p99_ns": {}, "messages": {}, "bytes": {}, )"
        R"("leader_changed": {}}})",
        scenario.network.name, scenario.engine.name, name_of(load.operation), scenario.leader_place,
        load.asked_place.value_or(scenario.leader_place), load.in_flight, load.measured.ns,
        result->acknowledged, result->failed, result->p50.ns, result->p99.ns, result->messages,
        result->bytes, result->leader_changed));
    return true;
  }

  bool measure_failovers(Scenario scenario, Loss loss) {
    for (std::uint64_t kill = 0; kill < flags_.kills; ++kill) {
      scenario.seed = flags_.seed + kill;
      const Result<FailoverResult> result = measure_failover(scenario, loss);
      if (!result) return complain(scenario, result.error());
      virtual_time_ = virtual_time_ + result->virtual_time;
      failovers_.push_back(fmt::format(
          R"(  {{"network": "{}", "engine": "{}", "loss": "{}", "seed": {}, "ns": {}}})",
          scenario.network.name, scenario.engine.name,
          loss == Loss::kKill ? "process killed" : "power cut", scenario.seed,
          result->until_acknowledged.ns));
    }
    return true;
  }

  bool complain(const Scenario& scenario, const Error& why) const {
    fmt::print(stderr, "simulated-engines: {}, {}, seed {}: {}\n", scenario.network.name,
               scenario.engine.name, scenario.seed, why.message);
    return false;
  }

  bool write() const {
    const std::string text = fmt::format(
        "{{\n \"seed\": {},\n \"in_flight\": [{}],\n \"virtual_ns\": {},\n \"networks\": "
        "[\n{}\n ],\n \"samples\": [\n{}\n ],\n \"failovers\": [\n{}\n ]\n}}\n",
        flags_.seed, fmt::join(flags_.in_flight, ", "), virtual_time_.ns,
        fmt::join(networks_, ",\n"), fmt::join(samples_, ",\n"), fmt::join(failovers_, ",\n"));
    if (flags_.json == "-") {
      fmt::print("{}", text);
      return true;
    }
    std::ofstream file(flags_.json, std::ios::binary);
    file << text;
    file.close();
    if (!file) fmt::print(stderr, "simulated-engines: cannot write {}\n", flags_.json);
    return static_cast<bool>(file);
  }

  Flags flags_;
  Duration virtual_time_;
  std::vector<std::string> networks_;
  std::vector<std::string> samples_;
  std::vector<std::string> failovers_;
};

int main_of(int argc, char** argv) {
  Flags flags;
  CLI::App app{"Measures Raft and Multi-Paxos side by side in virtual time."};
  app.add_option("--seed", flags.seed, "the same one gives the same numbers, on every machine");
  app.add_option("--seconds", flags.seconds,
                 "virtual ones, of each load; ten times that where messages take long")
      ->check(CLI::Range(0.001, 3600.0));
  app.add_option("--kills", flags.kills, "leaders that lose their power, per engine and network");
  app.add_option("--in-flight", flags.in_flight, "writes")->check(CLI::Range(1, 100'000));
  app.add_option("--only", flags.only, "networks whose name contains this: lan, wide, lost, ...");
  app.add_option("--json", flags.json, "where to write; -: standard output")->type_name("FILE");
  CLI11_PARSE(app, argc, argv);
  set_log_sink([](LogLevel, std::string_view line) { fmt::print(stderr, "{}\n", line); },
               LogLevel::kError);
  return Program(std::move(flags)).run();
}

}  // namespace
}  // namespace conclave::bench

int main(int argc, char** argv) { return conclave::bench::main_of(argc, argv); }
