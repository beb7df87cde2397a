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
#include "node/node.h"
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

void set_members(const Config& config, node::Options& options) {
  std::vector<NodeId> ids;
  for (const auto& [name, urls] : config.initial_cluster) {
    const NodeId id = member_id(urls, config.initial_cluster_token);
    ids.push_back(id);
    if (name == config.name) options.self = id;
    options.members.push_back(node::PeerOptions{
        .id = id, .name = name, .peer_urls = texts_of(urls), .addresses = addresses_of(urls)});
  }
  options.cluster = cluster_id(std::move(ids));
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

node::Options options_of(const Config& config) {
  node::Options options;
  options.name = config.name;
  options.cluster_token = config.initial_cluster_token;
  options.data_dir = config.data_dir;
  options.members_may_differ = config.initial_cluster_state == Config::ClusterState::kExisting;
  options.client_urls = texts_of(config.advertise_client_urls);
  options.client_listen = addresses_of(config.listen_client_urls);
  options.peer_listen = addresses_of(config.listen_peer_urls);
  set_members(config, options);
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
  options.version = kEtcdVersion;
  options.seed = random_seed();
  options.metrics_text = metrics_text;
  return options;
}

int serve(const Config& config) {
  io::Loop loop;
  io::PosixClock clock(loop);
  io::PosixDisk disk(loop);
  io::PosixNetwork network(loop);

  int exit_code = 0;
  node::Options options = options_of(config);
  options.max_client_connections = client_connections_allowed();
  if (options.max_client_connections < limits::kMaxClientConnections) {
    LOG(kWarn, "the limit of open files allows {} client connections (ulimit -Hn)",
        options.max_client_connections);
  }
  options.fatal = [&](const Error&) {
    exit_code = 1;
    loop.stop();
  };
  etcd::SessionOptions session_options;
  session_options.max_request_bytes = config.max_request_bytes;
  session_options.etcd_version = kEtcdVersion;
  session_options.conclave_version = kVersion;
  auto make_session = [session_options](const std::string& peer) {
    return etcd::make_session(session_options, peer);
  };

  auto started = node::Node::start(std::move(options), clock, disk, network, make_session);
  if (!started) {
    LOG(kError, "cannot start: {}", started.error().message);
    return 1;
  }
  std::unique_ptr<node::Node> node = std::move(*started);
  for (const Url& url : config.listen_client_urls)
    LOG(kInfo, "serving clients on {}", url.to_string());

  bool stopping = false;
  const auto stop = [&] {
    if (std::exchange(stopping, true)) return loop.stop();  // asked twice: at once
    LOG(kInfo, "stopping");
    node->stop([&] { loop.stop(); });
  };
  loop.on_signal(SIGTERM, stop);
  loop.on_signal(SIGINT, stop);
  loop.run();
  return exit_code;
}

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
  return serve(*config);
}

}  // namespace conclave::server
