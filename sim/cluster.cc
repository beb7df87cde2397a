#include "sim/cluster.h"

#include <fmt/core.h>

#include <utility>

#include "base/check.h"
#include "frontends/etcd/session.h"
#include "frontends/native/service.h"
#include "frontends/zookeeper/session.h"
#include "node/group.h"
#include "node/recovery.h"

namespace conclave::sim {
namespace {

constexpr std::uint16_t kPeerPort = 2380;
constexpr Duration kLongestUptime = seconds(30 * 24 * 3600);

// "http://host:port" as peer_url() writes it.
Result<node::PeerUrls> parse_peer_urls(const std::vector<std::string>& urls) {
  constexpr std::string_view kScheme = "http://";
  node::PeerUrls parsed{.urls = urls, .addresses = {}};
  for (const std::string& url : urls) {
    if (!url.starts_with(kScheme)) return fail(ErrorCode::kInvalid, url);
    parsed.addresses.push_back(
        {url.substr(kScheme.size(), url.rfind(':') - kScheme.size()), kPeerPort});
  }
  if (urls.empty()) return fail(ErrorCode::kInvalid, "no URL");
  return parsed;
}

NodeId id_of(std::size_t member) { return NodeId{member + 1}; }

// As the server's but for the price of a hash.
node::AuthOptions cheap_auth(std::uint64_t seed) {
  node::AuthOptions auth;
  auth.hash_password = [](BytesView password) { return "hash of " + Bytes(password); };
  auth.password_matches = [](BytesView password, BytesView hash) {
    return hash == "hash of " + Bytes(password);
  };
  constexpr std::uint64_t kPurpose = 0x736563726574;
  auth.random_bytes = [rng = Rng(seed ^ kPurpose)](std::size_t count) mutable {
    Bytes bytes;
    while (bytes.size() < count) bytes += static_cast<char>(rng.next());
    return bytes;
  };
  return auth;
}

}  // namespace

Cluster::Cluster(std::uint64_t seed, const ClusterOptions& options)
    : options_(options), rng_(seed), fabric_(clock_, rng_.next()) {
  std::set<std::string> hosts;
  for (std::size_t i = 0; i < options.members; ++i) hosts.insert(host(add_host()));
  fabric_.set_faults({}, hosts);
}

Cluster::~Cluster() {
  for (Member& member : members_) {
    member.joining.reset();
    member.node.reset();
  }
}

std::size_t Cluster::add_host() {
  const std::size_t number = members_.size();
  Member member;
  member.host = host(number);
  member.clock = std::make_unique<MemberClock>(clock_, draw_clock_origin());
  member.disk = std::make_unique<Disk>(*member.clock, rng_.next());
  if (options_.disk_bytes != 0) member.disk->set_capacity(options_.disk_bytes);
  members_.push_back(std::move(member));
  client_addresses_.push_back({host(number), kClientPort});
  return number;
}

std::optional<std::size_t> Cluster::member_at(const std::string& name) const {
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].host == name) return i;
  }
  return std::nullopt;
}

// How long the machine has been up.
Instant Cluster::draw_clock_origin() {
  return Instant{static_cast<std::int64_t>(rng_.between(
      static_cast<std::uint64_t>(seconds(1).ns), static_cast<std::uint64_t>(kLongestUptime.ns)))};
}

node::Options Cluster::options_for(std::size_t member) {
  node::Options options;
  options.name = host(member);
  options.cluster_token = "simulated";
  options.data_dir = "/data";
  options.cluster = ClusterId{1};
  options.self = id_of(member);
  for (std::size_t i = 0; i < options_.members; ++i) {
    options.members.push_back(
        node::PeerOptions{id_of(i), host(i), {peer_url(i)}, {io::Address{host(i), kPeerPort}}});
  }
  options.engine = options_.engine;
  options.initial_membership = first_membership(options_);
  options.parse_peer_urls = parse_peer_urls;
  options.client_listen = {io::Address{host(member), kClientPort}};
  options.zookeeper_address = fmt::format("{}:{}", host(member), kZooKeeperPort);
  options.peer_listen = {io::Address{host(member), kPeerPort}};
  options.snapshot_entries = options_.snapshot_entries;
  options.snapshot_log_bytes = options_.snapshot_log_bytes;
  options.keep_entries = options_.keep_entries;
  options.segment_bytes = options_.segment_bytes;
  options.max_append_bytes = options_.max_append_bytes;
  options.max_inflight_appends = options_.max_inflight_appends;
  options.snapshot_chunk_bytes = options_.snapshot_chunk_bytes;
  if (options_.changing_flags && members_[member].runs > 0) change_flags(options);
  options.seed = rng_.next() ^ ++members_[member].runs;
  options.auth = cheap_auth(options.seed);
  options.fatal = [this, member](const Error& why) { members_[member].failure = why; };
  return options;
}

std::optional<consensus::Membership> Cluster::first_membership(const ClusterOptions& options) {
  const bool by_majority = options.weights.empty() && options.election_quorum == 0;
  if (by_majority && options.witnesses.empty()) return std::nullopt;
  std::vector<consensus::Vote> votes;
  for (std::size_t i = 0; i < options.members; ++i) {
    votes.push_back({id_of(i), i < options.weights.size() ? options.weights[i] : 1});
  }
  consensus::Quorum quorum = consensus::Quorum::weighted(votes);
  if (options.election_quorum != 0) {
    auto flexible = consensus::Quorum::flexible(std::move(votes), options.election_quorum,
                                                options.write_quorum);
    CHECK(flexible.has_value(), "{}", flexible.error().message);
    quorum = std::move(*flexible);
  }
  consensus::Membership membership{
      .voters = std::move(quorum), .outgoing = {}, .learners = {}, .successor = {}};
  for (const std::size_t witness : options.witnesses) {
    membership.witnesses.push_back(id_of(witness));
  }
  return membership;
}

// What an operator may change from one start to the next.
void Cluster::change_flags(node::Options& options) {
  options.snapshot_entries = rng_.one_in(3) ? 0 : rng_.between(5, 300);
  options.keep_entries = rng_.below(200);
  options.segment_bytes = 16'384ull << rng_.below(7);
  options.max_append_bytes = 1 + rng_.below(1 << 16);
  options.max_inflight_appends = 1 + rng_.below(64);
  options.snapshot_chunk_bytes = static_cast<std::uint32_t>(rng_.between(512, 1 << 16));
  options.heartbeat_ticks = static_cast<std::uint32_t>(rng_.between(5, 20));
  options.election_ticks = static_cast<std::uint32_t>(rng_.between(80, 150));
}

Result<void> Cluster::start(std::size_t member) { return start_with(member, options_for(member)); }

Result<bool> Cluster::has_data(std::size_t member) const {
  return node::has_identity(*members_.at(member).disk, "/data");
}

Result<void> Cluster::start_existing(std::size_t member) {
  Member& starting = members_.at(member);
  node::Options options = options_for(member);
  options.members_may_differ = true;
  const Result<bool> known = has_data(member);
  if (!known) return not_started(member, known.error());
  if (*known) return start_with(member, std::move(options));
  const auto from = leader();
  if (!from) return not_started(member, Error{ErrorCode::kIo, "nobody leads"});
  options.members.clear();
  for (const api::Member& listed : node(*from).group().store().members()) {
    const node::PeerUrls urls = TRY(parse_peer_urls(listed.peer_urls));
    options.members.push_back({listed.id, listed.name, urls.urls, urls.addresses});
  }
  starting.stopped_because.reset();
  starting.joining = std::make_unique<node::Joining>(
      std::move(options), std::vector{peer_url(member)}, *starting.clock,
      fabric_.host(host(member)), [this, member](Result<node::Options> joined) {
        if (!joined) {
          members_[member].stopped_because = joined.error();
          return;
        }
        const Result<void> started = start_with(member, std::move(*joined));
        CHECK(started || members_[member].stopped_because);
      });
  return {};
}

void Cluster::ask(std::size_t member, api::Body body,
                  std::move_only_function<void(api::Answer)> answered) {
  api::Request request{.body = std::move(body), .id = {}, .timeout_ms = {}};
  request.identity.user = "root";  // of no account while there are no users
  members_.at(member).node->ask(std::move(request),
                                [answered = std::move(answered)](api::Response response) mutable {
                                  answered(std::move(response.answer));
                                });
}

std::optional<api::Answer> Cluster::ask(std::size_t member, api::Body body, Duration limit) {
  // Shared with the callback, which may come after this function has given up.
  const auto answer = std::make_shared<std::optional<api::Answer>>();
  ask(member, std::move(body), [answer](api::Answer given) { *answer = std::move(given); });
  run_until(limit, [&] { return answer->has_value(); });
  return std::move(*answer);
}

Result<void> Cluster::start_with(std::size_t member, node::Options options) {
  Member& starting = members_.at(member);
  CHECK(starting.node == nullptr);
  starting.failure.reset();
  starting.stopped = false;
  starting.stopped_because.reset();
  static const native::NativeService kNative;
  etcd::SessionOptions sessions;
  sessions.service = &kNative;
  Result<std::unique_ptr<node::Node>> node = node::Node::start(
      std::move(options), *starting.clock, *starting.disk,
      node::Networks{.peers = fabric_.host(host(member)), .clients = fabric_.host(host(member))},
      etcd::make_sessions(std::move(sessions)), zookeeper_ports(member));
  if (!node) return not_started(member, node.error());
  starting.node = std::move(*node);
  return {};
}

std::vector<node::ClientPort> Cluster::zookeeper_ports(std::size_t member) const {
  zookeeper::SessionOptions sessions;
  sessions.local_reads = options_.local_zookeeper_reads;
  sessions.reconfig = true;
  sessions.super_digest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";  // of kZooKeeperSuper
  std::vector<node::ClientPort> ports(1);
  ports[0].listen = {io::Address{host(member), kZooKeeperPort}};
  ports[0].make_session = zookeeper::make_sessions(std::move(sessions));
  return ports;
}

Failure Cluster::not_started(std::size_t member, const Error& why) {
  members_.at(member).stopped_because = why;
  end_process(member);
  disk(member).stopped() ? disk(member).crash() : disk(member).kill();
  return Failure(why);
}

// Whatever it asked of clock and network will not happen.
void Cluster::end_process(std::size_t member) {
  Member& ending = members_.at(member);
  fabric_.end_process(host(member));
  ending.joining.reset();
  ending.node.reset();
  ending.clock->end_run();
}

void Cluster::crash(std::size_t member) {
  ++counts_.crashes;
  end_process(member);
  disk(member).crash();
  members_.at(member).clock->end_run(draw_clock_origin());
}

void Cluster::kill(std::size_t member) {
  ++counts_.kills;
  end_process(member);
  disk(member).kill();
}

void Cluster::lose_disk(std::size_t member) {
  crash(member);
  disk(member).lose_everything();
}

void Cluster::stop(std::size_t member) {
  Member& stopping = members_.at(member);
  stopping.node->stop([&stopping] { stopping.stopped = true; });
}

void Cluster::pause(std::size_t member) {
  if (paused(member) || !running(member)) return;
  ++counts_.pauses;
  members_.at(member).clock->pause();
  fabric_.pause(host(member), true);
}

// It may find its timers first or what arrived meanwhile.
void Cluster::resume(std::size_t member) {
  if (!paused(member)) return;
  const bool timers_first = rng_.one_in(2);
  if (timers_first) members_.at(member).clock->resume();
  fabric_.pause(host(member), false);
  if (!timers_first) members_.at(member).clock->resume();
}

void Cluster::set_clock_rate(std::size_t member, std::int64_t ppm) {
  ++counts_.clock_rates;
  members_.at(member).clock->set_rate(ppm);
}

void Cluster::set_wall_rate(std::size_t member, std::int64_t ppm) {
  members_.at(member).clock->set_wall_rate(ppm);
}

void Cluster::jump_wall(std::size_t member, std::int64_t ms) {
  ++counts_.wall_jumps;
  members_.at(member).clock->jump_wall(ms);
}

FaultCounts Cluster::fault_counts() const {
  FaultCounts counts{.network = fabric_.fault_counts(), .disk = {}, .process = counts_};
  for (const Member& member : members_) counts.disk += member.disk->fault_counts();
  return counts;
}

FaultCounts& FaultCounts::operator+=(const FaultCounts& more) {
  network += more.network;
  disk += more.disk;
  process += more.process;
  return *this;
}

CountRows FaultCounts::rows() const {
  CountRows rows = rows_of(process);
  for (const CountRows& more : {rows_of(network), rows_of(disk)}) {
    rows.insert(rows.end(), more.begin(), more.end());
  }
  return rows;
}

bool Cluster::is_witness(std::size_t member) const { return node(member).group().is_witness(); }

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
    if (!running(i)) continue;
    if (std::exchange(members_[i].stopped, false)) {
      end_process(i);
      disk(i).kill();
      continue;
    }
    if (disk(i).stopped())
      members_[i].failure = Error{ErrorCode::kIo, "power cut between two disk calls"};
    if (!members_[i].failure) continue;
    const Error why = *std::exchange(members_[i].failure, std::nullopt);
    members_[i].stopped_because = why;
    crash(i);
    if (on_stopped) on_stopped(i, why);
  }
}

void Cluster::step() {
  clock_.step();
  reap();
  if (after_step) after_step();
}

void Cluster::run_for(Duration duration) {
  run_until(duration, [] { return false; });
}

bool Cluster::run_until(Duration limit, const std::function<bool()>& done) {
  bool over = false;
  const io::Clock::TimerId deadline = clock_.after(limit, [&over] { over = true; });
  while (!over && !done()) step();
  clock_.cancel(deadline);
  return !over;
}

bool Cluster::converged() const {
  std::optional<LogIndex> applied;
  std::array<std::optional<std::uint64_t>, 2> hashes;  // of full members, of witnesses
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!running(i)) continue;
    const store::Store& store = node(i).group().store();
    std::optional<std::uint64_t>& hash = hashes.at(is_witness(i) ? 1 : 0);
    if (applied && *applied != store.applied_index()) return false;
    if (hash && *hash != store.hash()) return false;
    applied = store.applied_index();
    hash = store.hash();
  }
  return applied.has_value();
}

}  // namespace conclave::sim
