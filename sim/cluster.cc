#include "sim/cluster.h"

#include <utility>

#include "base/check.h"
#include "frontends/etcd/session.h"

namespace conclave::sim {
namespace {

constexpr std::uint16_t kPeerPort = 2380;

NodeId id_of(std::size_t member) { return NodeId{member + 1}; }

}  // namespace

Cluster::Cluster(std::uint64_t seed, const ClusterOptions& options)
    : options_(options), rng_(seed), fabric_(clock_, rng_.next()) {
  for (std::size_t i = 0; i < options.members; ++i) {
    Member member;
    member.disk = std::make_unique<Disk>(clock_, rng_.next());
    if (options.disk_bytes != 0) member.disk->set_capacity(options.disk_bytes);
    members_.push_back(std::move(member));
    client_addresses_.push_back({host(i), kClientPort});
  }
}

Cluster::~Cluster() {
  for (Member& member : members_) member.node.reset();
}

node::Options Cluster::options_for(std::size_t member) {
  node::Options options;
  options.name = host(member);
  options.cluster_token = "simulated";
  options.data_dir = "/data";
  options.cluster = ClusterId{1};
  options.self = id_of(member);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    options.members.push_back(node::PeerOptions{
        id_of(i), host(i), {"http://" + host(i) + ":2380"}, {io::Address{host(i), kPeerPort}}});
  }
  options.client_listen = {io::Address{host(member), kClientPort}};
  options.peer_listen = {io::Address{host(member), kPeerPort}};
  options.snapshot_entries = options_.snapshot_entries;
  options.segment_bytes = options_.segment_bytes;
  options.seed = rng_.next() ^ ++members_[member].runs;
  options.fatal = [this, member](const Error&) { members_[member].failed = true; };
  return options;
}

Result<void> Cluster::start(std::size_t member) {
  Member& starting = members_.at(member);
  CHECK(starting.node == nullptr);
  starting.failed = false;
  starting.node =
      TRY(node::Node::start(options_for(member), clock_, *starting.disk, fabric_.host(host(member)),
                            [](const std::string& peer) { return etcd::make_session({}, peer); }));
  return {};
}

void Cluster::crash(std::size_t member) {
  Member& crashing = members_.at(member);
  fabric_.reset(host(member));
  crashing.node.reset();
  crashing.disk->crash();
}

std::optional<std::size_t> Cluster::leader() const {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!running(i) || !node(i).group().engine().is_leader()) continue;
    const Epoch epoch = node(i).group().engine().epoch();
    if (!best || epoch > node(*best).group().engine().epoch()) best = i;
  }
  return best;
}

// A member that stopped by itself is gone, as its process would be.
void Cluster::reap() {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].failed && running(i)) crash(i);
  }
}

void Cluster::run_for(Duration duration) {
  run_until(duration, [] { return false; });
}

bool Cluster::run_until(Duration limit, const std::function<bool()>& done) {
  const Instant end = clock_.now() + limit;
  while (!done()) {
    if (clock_.now() >= end) return false;
    clock_.run_for(milliseconds(1));
    reap();
  }
  return true;
}

bool Cluster::converged() const {
  std::optional<std::pair<LogIndex, std::uint64_t>> common;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!running(i)) continue;
    const store::Store& store = node(i).group().store();
    const std::pair state{store.applied_index(), store.hash()};
    if (common && *common != state) return false;
    common = state;
  }
  return common.has_value();
}

}  // namespace conclave::sim
