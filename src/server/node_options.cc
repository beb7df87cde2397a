#include "server/node_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <random>
#include <utility>

#include "node/engine.h"
#include "server/auth_options.h"
#include "server/identity.h"
#include "server/version.h"

namespace conclave::server {
namespace {

constexpr std::uint64_t kDefaultQuotaBytes = 2ull << 30;  // etcd's

std::uint64_t random_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

std::vector<io::Address> addresses_of(const std::vector<Url>& urls) {
  std::vector<io::Address> addresses;
  for (const Url& url : urls) addresses.push_back(url.address());
  return addresses;
}

Result<node::PeerUrls> parse_peer_urls(const std::vector<std::string>& texts) {
  if (texts.empty()) return fail(ErrorCode::kInvalid, "no peer URL");
  std::vector<Url> urls;
  for (const std::string& text : texts) urls.push_back(TRY(parse_url(text)));
  std::ranges::sort(urls);
  return node::PeerUrls{texts_of(urls), addresses_of(urls)};
}

// What the log of a new cluster begins with, and what members must agree on to form one. A cluster
// that is there has its quorums already.
Result<std::string> set_quorums(const Config& config, node::Options& options) {
  for (const auto& [name, weight] : config.weights) {
    if (config.initial_cluster.contains(name)) continue;
    return fail(ErrorCode::kInvalid,
                fmt::format("--weights: \"{}\" is not a member of the initial cluster", name));
  }
  for (const std::string& name : config.witnesses) {
    if (config.initial_cluster.contains(name)) continue;
    return fail(ErrorCode::kInvalid,
                fmt::format("--witnesses: \"{}\" is not a member of the initial cluster", name));
  }
  std::vector<consensus::Vote> votes;
  for (const node::PeerOptions& member : options.members) {
    const auto weight = config.weights.find(member.name);
    votes.push_back({member.id, weight == config.weights.end() ? 1 : weight->second});
  }
  consensus::Quorum quorum = consensus::Quorum::weighted(votes);
  if (config.election_quorum != 0 || config.write_quorum != 0) {
    const auto or_majority = [&](std::uint64_t given) {
      return given != 0 ? given : quorum.write_threshold();
    };
    quorum = TRY(consensus::Quorum::flexible(std::move(votes), or_majority(config.election_quorum),
                                             or_majority(config.write_quorum)));
  }
  // In the form that it keeps when members change.
  quorum = quorum.with_votes(quorum.votes());
  consensus::Membership membership{
      .voters = std::move(quorum), .outgoing = {}, .learners = {}, .successor = {}};
  for (const node::PeerOptions& member : options.members) {
    if (config.witnesses.contains(member.name)) membership.witnesses.push_back(member.id);
  }
  std::ranges::sort(membership.witnesses);
  TRY(node::check_first_membership(options.engine, membership));
  std::string rule = options.engine == node::Consensus::kRaft ? "" : "paxos\n";
  const bool asked = config.election_quorum != 0 || config.write_quorum != 0;
  if (!asked && config.weights.empty() && membership.witnesses.empty()) return rule;
  rule += consensus::encode(membership);
  options.initial_membership = std::move(membership);
  return rule;
}

Result<void> set_members(const Config& config, bool founds, node::Options& options) {
  std::vector<NodeId> ids;
  for (const auto& [name, urls] : config.initial_cluster) {
    const NodeId id = member_id(urls, config.initial_cluster_token);
    ids.push_back(id);
    if (name == config.name) options.self = id;
    options.members.push_back(node::PeerOptions{
        .id = id, .name = name, .peer_urls = texts_of(urls), .addresses = addresses_of(urls)});
  }
  // A cluster that is there has its quorums already, and what is in the data directory counts.
  const Result<std::string> rule = set_quorums(config, options);
  if (founds && !rule) return Failure(rule.error());
  options.cluster = cluster_id(std::move(ids), rule.value_or(""));
  return {};
}

// Ticks are a tenth of a heartbeat, so that jitter and hints can be finer than heartbeats; never
// below a millisecond.
void set_times(const Config& config, node::Options& options) {
  const std::int64_t tick_ms = std::max<std::int64_t>(config.heartbeat_interval.ms() / 10, 1);
  options.tick = milliseconds(tick_ms);
  options.heartbeat_ticks = static_cast<std::uint32_t>(config.heartbeat_interval.ms() / tick_ms);
  options.election_ticks = static_cast<std::uint32_t>(config.election_timeout.ms() / tick_ms);
  options.request_timeout = seconds(5) + config.election_timeout * 2;
}

}  // namespace

Result<node::Options> node_options(const Config& config, bool founds) {
  node::Options options;
  options.name = config.name;
  options.cluster_token = config.initial_cluster_token;
  options.data_dir = config.data_dir;
  options.members_may_differ = config.initial_cluster_state == Config::ClusterState::kExisting;
  options.client_urls = texts_of(config.advertise_client_urls);
  options.zookeeper_address = config.zookeeper.advertise;
  options.client_listen = addresses_of(config.listen_client_urls);
  options.peer_listen = addresses_of(config.listen_peer_urls);
  options.parse_peer_urls = parse_peer_urls;
  options.strict_reconfig_check = config.strict_reconfig_check;
  options.engine = config.consensus.value_or(node::Consensus::kRaft);
  options.any_engine = !config.consensus;
  TRY(set_members(config, founds, options));
  set_times(config, options);
  options.max_request_bytes = config.max_request_bytes;
  options.max_txn_ops = config.max_txn_ops;
  if (config.quota_backend_bytes >= 0) {
    options.quota_bytes = config.quota_backend_bytes == 0
                              ? kDefaultQuotaBytes
                              : static_cast<std::uint64_t>(config.quota_backend_bytes);
  }
  options.snapshot_entries = config.snapshot_count;
  options.compact_period = config.auto_compaction.period;
  options.compact_keep_revisions = config.auto_compaction.revisions;
  options.watch_progress_interval = config.watch_progress_interval;
  options.auth = TRY(auth_options(config.auth_token, config.auth_token_ttl, config.bcrypt_cost));
  options.version = kEtcdVersion;
  options.seed = random_seed();
  return options;
}

std::vector<std::string> texts_of(const std::vector<Url>& urls) {
  std::vector<std::string> texts;
  for (const Url& url : urls) texts.push_back(url.to_string());
  return texts;
}

}  // namespace conclave::server
