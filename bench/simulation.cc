#include "bench/simulation.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/rng.h"
#include "node/group.h"
#include "sim/cluster.h"

namespace conclave::bench {
namespace {

using sim::Cluster;

constexpr Duration kShortestClientWay = microseconds(50);
constexpr Duration kLongestClientWay = microseconds(150);
// An append with its fsync on an SSD.
constexpr sim::JobLatency kLogLatency{.shortest = microseconds(200), .longest = microseconds(800)};
constexpr Duration kElectsWithin = seconds(30);
constexpr Duration kDrainsWithin = seconds(30);
constexpr std::size_t kValueBytes = 256;

constexpr Duration kSettles = seconds(1);  // a few heartbeats on the network to be measured
constexpr std::size_t kFailoverInFlight = 16;
constexpr Duration kProbeEvery = milliseconds(10);
constexpr Duration kFailsOverWithin = seconds(60);

sim::ClusterOptions options_of(const Scenario& scenario) {
  sim::ClusterOptions options;
  options.members = scenario.network.members;
  options.engine = scenario.engine.consensus;
  options.election_quorum = scenario.engine.election_quorum;
  options.write_quorum = scenario.engine.write_quorum;
  options.segment_bytes = 8 << 20;
  return options;
}

Bytes key_of(std::size_t client) { return Bytes(fmt::format("bench/{}", client)); }

api::Body put(std::size_t client) {
  api::PutRequest request;
  request.key = key_of(client);
  request.value = Bytes(kValueBytes, 'v');
  return request;
}

api::Body body_of(Operation operation, std::size_t client) {
  if (operation == Operation::kWrite) return put(client);
  api::RangeRequest request;
  request.key = key_of(client);
  request.serializable = operation == Operation::kSerializableRead;
  return request;
}

bool is_error(const api::Answer& answer) { return std::holds_alternative<api::Error>(answer); }

// A cluster with a leader, on the network of the scenario.
class World {
 public:
  explicit World(const Scenario& scenario) : cluster_(scenario.seed, options_of(scenario)) {
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      cluster_.disk(i).set_latency(io::Lane::kLog, kLogLatency);
      CHECK(cluster_.start(i).has_value());
    }
    const bool ready = cluster_.run_until(kElectsWithin, [this] { return all_connected(); });
    CHECK(ready, "no leader, or not everybody is connected");
    leader_ = *cluster_.leader();
    const auto written = cluster_.ask(leader_, put(0), kElectsWithin);
    CHECK(written && !is_error(*written), "the first write failed");
    settle_in_places(scenario);
    shape(scenario.network);
    cluster_.run_for(kSettles);
  }

  Cluster& cluster() { return cluster_; }
  std::size_t leader() const { return leader_; }
  std::size_t member_in(std::size_t place) const {
    const auto found = std::find(places_.begin(), places_.end(), place);
    CHECK(found != places_.end(), "nobody is in place {}", place);
    return static_cast<std::size_t>(found - places_.begin());
  }
  Duration virtual_time() { return cluster_.clock().now() - Instant{}; }
  api::Revision revision() const { return cluster_.node(leader_).group().store().revision(); }

 private:
  bool all_connected() const {
    if (!cluster_.leader()) return false;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (cluster_.node(i).stats().peers_connected + 1 != cluster_.size()) return false;
    }
    return true;
  }

  void settle_in_places(const Scenario& scenario) {
    std::size_t next = 0;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (i != leader_ && next == scenario.leader_place) ++next;
      places_.push_back(i == leader_ ? scenario.leader_place : next++);
    }
  }

  void shape(const Network& network) {
    cluster_.fabric().set_faults(network.links);
    if (network.rtt_ms.empty()) return;
    for (std::size_t from = 0; from < cluster_.size(); ++from) {
      for (std::size_t to = 0; to < cluster_.size(); ++to) {
        if (from == to) continue;
        const std::int64_t rtt_ms = network.rtt_ms.at(places_[from]).at(places_[to]);
        sim::LinkFaults link = network.links;
        link.shortest = microseconds(rtt_ms * 500);
        link.longest = microseconds(rtt_ms * 510);
        cluster_.fabric().set_link_faults(Cluster::host(from), Cluster::host(to), link);
      }
    }
  }

  Cluster cluster_;
  std::size_t leader_ = 0;
  std::vector<std::size_t> places_;  // by member
};

// Clients of one member, each of which asks anew as soon as it has its answer. Lives until its
// cluster runs no more.
class Clients {
 public:
  Clients(Cluster& cluster, std::size_t member, const Load& load, std::uint64_t seed)
      : cluster_(cluster), member_(member), load_(load), rng_(seed) {}

  void start() {
    for (std::size_t client = 0; client < load_.in_flight; ++client) ask(client);
  }
  // No more questions; answers still count.
  void stop() { stopped_ = true; }
  void measure(bool on) { measuring_ = on; }

  std::uint64_t in_flight() const { return in_flight_; }
  std::uint64_t acknowledged() const { return acknowledged_; }
  std::uint64_t failed() const { return failed_; }
  // Of those that were measured, by length.
  std::vector<Duration> latencies() const {
    std::vector<Duration> sorted = latencies_;
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }

 private:
  Duration draw_way() {
    return nanoseconds(
        static_cast<std::int64_t>(rng_.between(static_cast<std::uint64_t>(kShortestClientWay.ns),
                                               static_cast<std::uint64_t>(kLongestClientWay.ns))));
  }

  void ask(std::size_t client) {
    if (stopped_) return;
    ++in_flight_;
    const Instant asked = cluster_.clock().now();
    cluster_.clock().after(draw_way(), [this, client, asked] { arrive(client, asked); });
  }

  void arrive(std::size_t client, Instant asked) {
    if (!cluster_.running(member_)) return;
    cluster_.ask(member_, body_of(load_.operation, client),
                 [this, client, asked](const api::Answer& answer) {
                   const bool ok = !is_error(answer);
                   cluster_.clock().after(draw_way(),
                                          [this, client, asked, ok] { hear(client, asked, ok); });
                 });
  }

  void hear(std::size_t client, Instant asked, bool ok) {
    --in_flight_;
    ++(ok ? acknowledged_ : failed_);
    if (ok && measuring_) latencies_.push_back(cluster_.clock().now() - asked);
    ask(client);
  }

  Cluster& cluster_;
  std::size_t member_;
  Load load_;
  Rng rng_;
  bool stopped_ = false;
  bool measuring_ = false;
  std::uint64_t in_flight_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t failed_ = 0;
  std::vector<Duration> latencies_;
};

struct Traffic {
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
};

Traffic traffic_of(const Cluster& cluster) {
  Traffic traffic;
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    const node::Stats stats = cluster.node(i).stats();
    traffic.messages += stats.peer_messages_sent;
    traffic.bytes += stats.peer_bytes_sent;
  }
  return traffic;
}

// The least of `sorted` that so many per cent do not exceed.
Duration percentile(const std::vector<Duration>& sorted, std::size_t percent) {
  if (sorted.empty()) return {};
  const std::size_t rank = (sorted.size() * percent + 99) / 100;
  return sorted.at(std::max<std::size_t>(rank, 1) - 1);
}

// Each acknowledged write is a revision; one whose answer was an error may be.
Result<void> verify(const Clients& clients, const Load& load, api::Revision growth) {
  if (clients.in_flight() != 0) {
    return fail(ErrorCode::kInvalid, fmt::format("{} were never answered", clients.in_flight()));
  }
  const bool writes = load.operation == Operation::kWrite;
  const std::uint64_t least = writes ? clients.acknowledged() : 0;
  const std::uint64_t most = writes ? least + clients.failed() : 0;
  const auto grown = static_cast<std::uint64_t>(growth);
  if (grown >= least && grown <= most) return {};
  return fail(ErrorCode::kInvalid, fmt::format("{} writes were acknowledged, but the revision grew "
                                               "by {}",
                                               clients.acknowledged(), growth));
}

}  // namespace

Result<LoadResult> measure_load(const Scenario& scenario, const Load& load) {
  World world(scenario);
  Cluster& cluster = world.cluster();
  const api::Revision revision = world.revision();
  const std::size_t asked = world.member_in(load.asked_place.value_or(scenario.leader_place));
  Clients clients(cluster, asked, load, scenario.seed);
  clients.start();
  cluster.run_for(load.warm_up);

  const Traffic before = traffic_of(cluster);
  const std::uint64_t failed_before = clients.failed();
  clients.measure(true);
  cluster.run_for(load.measured);
  clients.measure(false);
  const Traffic after = traffic_of(cluster);

  LoadResult result;
  result.failed = clients.failed() - failed_before;
  clients.stop();
  cluster.run_until(kDrainsWithin, [&clients] { return clients.in_flight() == 0; });
  result.leader_changed = cluster.leader() != world.leader();
  TRY(verify(clients, load, world.revision() - revision));
  const std::vector<Duration> latencies = clients.latencies();
  result.acknowledged = latencies.size();
  result.p50 = percentile(latencies, 50);
  result.p99 = percentile(latencies, 99);
  result.messages = after.messages - before.messages;
  result.bytes = after.bytes - before.bytes;
  result.in_all = clients.acknowledged();
  result.virtual_time = world.virtual_time();
  return result;
}

namespace {

// Asks each of the others again and again until one acknowledges a write.
class Probe {
 public:
  explicit Probe(Cluster& cluster) : cluster_(cluster) {}

  void ask() {
    if (acknowledged()) return;
    for (std::size_t member = 0; member < cluster_.size(); ++member) {
      if (!cluster_.running(member)) continue;
      cluster_.ask(member, put(member), [this](const api::Answer& answer) {
        if (!is_error(answer) && !acknowledged()) at_ = cluster_.clock().now();
      });
    }
    cluster_.clock().after(kProbeEvery, [this] { ask(); });
  }
  bool acknowledged() const { return at_.has_value(); }
  Instant at() const { return *at_; }

 private:
  Cluster& cluster_;
  std::optional<Instant> at_;
};

void lose_leader(World& world, Loss loss) {
  Cluster& cluster = world.cluster();
  if (loss == Loss::kKill) return cluster.kill(world.leader());
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (i == world.leader()) continue;
    cluster.fabric().cut(Cluster::host(world.leader()), Cluster::host(i));
    cluster.fabric().cut(Cluster::host(i), Cluster::host(world.leader()));
  }
  cluster.crash(world.leader());
}

}  // namespace

Result<FailoverResult> measure_failover(const Scenario& scenario, Loss loss) {
  World world(scenario);
  Cluster& cluster = world.cluster();
  Load load;
  load.in_flight = kFailoverInFlight;
  Clients clients(cluster, world.leader(), load, scenario.seed);
  clients.start();
  // Not always at the same distance from a heartbeat.
  Rng rng(scenario.seed);
  cluster.run_for(milliseconds(static_cast<std::int64_t>(rng.between(500, 700))));
  clients.stop();
  const Instant lost = cluster.clock().now();
  lose_leader(world, loss);
  Probe probe(cluster);
  probe.ask();
  if (!cluster.run_until(kFailsOverWithin, [&probe] { return probe.acknowledged(); })) {
    return fail(ErrorCode::kInvalid, "no write was acknowledged after the leader was lost");
  }
  return FailoverResult{.until_acknowledged = probe.at() - lost,
                        .virtual_time = world.virtual_time()};
}

}  // namespace conclave::bench
