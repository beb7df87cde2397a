#include "server/serve.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <random>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "frontends/etcd/session.h"
#include "io/posix/clock.h"
#include "io/posix/disk.h"
#include "io/posix/loop.h"
#include "io/posix/network.h"
#include "node/engine.h"
#include "node/joining.h"
#include "node/node.h"
#include "node/recovery.h"
#include "server/config.h"
#include "server/flags.h"
#include "server/identity.h"
#include "server/metrics.h"
#include "server/process_log.h"
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

std::vector<std::string> texts_of(const std::vector<Url>& urls) {
  std::vector<std::string> texts;
  for (const Url& url : urls) texts.push_back(url.to_string());
  return texts;
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

// As many open files as the system lets us have; clients get what the member itself does not need.
std::size_t client_connections_allowed() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return limits::kMaxClientConnections;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::getrlimit(RLIMIT_NOFILE, &files);
  const std::size_t all = files.rlim_cur;
  const std::size_t left = all > limits::kOwnFiles ? all - limits::kOwnFiles : 1;
  return std::min(limits::kMaxClientConnections, left);
}

// `founds`: it is one of the first members of a new cluster, at its first start.
Result<node::Options> options_of(const Config& config, bool founds) {
  node::Options options;
  options.name = config.name;
  options.cluster_token = config.initial_cluster_token;
  options.data_dir = config.data_dir;
  options.members_may_differ = config.initial_cluster_state == Config::ClusterState::kExisting;
  options.client_urls = texts_of(config.advertise_client_urls);
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
  options.version = kEtcdVersion;
  options.seed = random_seed();
  options.metrics_text = metrics_text;
  return options;
}

// One run of a member, from asking to join, where that is needed, to its end.
class Serving {
 public:
  explicit Serving(const Config& config)
      : config_(config), clock_(loop_), disk_(loop_), network_(loop_) {}

  int run() {
    const auto known = node::has_identity(disk_, config_.data_dir);
    if (!known) {
      LOG(kError, "cannot start: {}", known.error().message);
      return 1;
    }
    const bool is_new = config_.initial_cluster_state == Config::ClusterState::kNew;
    Result<node::Options> wanted = options_of(config_, is_new && !*known);
    if (!wanted) {
      LOG(kError, "cannot start: {}", wanted.error().message);
      return 1;
    }
    node::Options options = std::move(*wanted);
    options.max_client_connections = client_connections_allowed();
    if (options.max_client_connections < limits::kMaxClientConnections) {
      LOG(kWarn, "the limit of open files allows {} client connections (ulimit -Hn)",
          options.max_client_connections);
    }
    options.fatal = [this](const Error& error) { end(exit_code_of(error)); };
    loop_.on_signal(SIGTERM, [this] { stop(); });
    loop_.on_signal(SIGINT, [this] { stop(); });
    if (*known || is_new) {
      start(std::move(options));
    } else {
      join(std::move(options));
    }
    loop_.run();
    return exit_code_;
  }

 private:
  // etcd's: a member that was removed has done what it was asked.
  static int exit_code_of(const Error& error) { return error.code == ErrorCode::kRemoved ? 0 : 1; }

  void end(int exit_code) {
    exit_code_ = exit_code;
    loop_.stop();
  }

  void join(node::Options options) {
    joining_ = std::make_unique<node::Joining>(
        std::move(options), texts_of(config_.initial_advertise_peer_urls), clock_, network_,
        [this](Result<node::Options> joined) {
          if (joined) return start(std::move(*joined));
          LOG(kError, "{}", joined.error().message);
          end(1);
        });
  }

  void start(node::Options options) {
    etcd::SessionOptions session_options;
    session_options.max_request_bytes = config_.max_request_bytes;
    session_options.etcd_version = kEtcdVersion;
    session_options.conclave_version = kVersion;
    auto make_session = [session_options](const std::string& peer) {
      return etcd::make_session(session_options, peer);
    };
    auto started = node::Node::start(std::move(options), clock_, disk_, network_, make_session);
    if (!started) {
      LOG(kError, "cannot start: {}", started.error().message);
      return end(exit_code_of(started.error()));
    }
    node_ = std::move(*started);
    for (const Url& url : config_.listen_client_urls)
      LOG(kInfo, "serving clients on {}", url.to_string());
  }

  void stop() {
    if (std::exchange(stopping_, true) || !node_) return end(exit_code_);  // asked twice: at once
    LOG(kInfo, "stopping");
    node_->stop([this] { loop_.stop(); });
  }

  const Config& config_;
  io::Loop loop_;
  io::PosixClock clock_;
  io::PosixDisk disk_;
  io::PosixNetwork network_;
  std::unique_ptr<node::Joining> joining_;
  std::unique_ptr<node::Node> node_;
  bool stopping_ = false;
  int exit_code_ = 0;
};

}  // namespace

int run_serve(const std::vector<std::string>& arguments) {
  const Result<Config> config = parse_config(arguments, environment());
  if (!config) {
    std::fprintf(stderr, "conclave serve: %s\n", config.error().message.c_str());
    return 2;
  }
  if (config->wanted == Config::Wanted::kHelp) {
    std::fputs(serve_help().c_str(), stdout);
    return 0;
  }
  if (config->wanted == Config::Wanted::kVersion) {
    std::printf("conclave %s\n", kVersion);
    return 0;
  }
  start_process_log(config->log_level);
  for (const std::string& warning : config->warnings) LOG(kWarn, "{}", warning);
  return Serving(*config).run();
}

}  // namespace conclave::server
