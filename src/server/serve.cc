#include "server/serve.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "frontends/etcd/call_counts.h"
#include "frontends/etcd/session.h"
#include "frontends/native/service.h"
#include "frontends/zookeeper/admin_session.h"
#include "frontends/zookeeper/session.h"
#include "io/posix/clock.h"
#include "io/posix/disk.h"
#include "io/posix/loop.h"
#include "io/posix/network.h"
#include "io/tls/network.h"
#include "node/joining.h"
#include "node/node.h"
#include "node/recovery.h"
#include "server/config.h"
#include "server/flags.h"
#include "server/metrics.h"
#include "server/node_options.h"
#include "server/process_log.h"
#include "server/process_numbers.h"
#include "server/version.h"

namespace conclave::server {
namespace {

// As many open files as the system lets us have; clients get what the member itself does not need.
std::size_t client_files_allowed() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return limits::kMaxClientConnections;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::getrlimit(RLIMIT_NOFILE, &files);
  const std::size_t all = files.rlim_cur;
  const std::size_t left = all > limits::kOwnFiles ? all - limits::kOwnFiles : 1;
  return std::min(limits::kMaxClientConnections, left);
}

// With TLS a part of what clients get is for handshakes under way.
std::size_t handshakes_allowed(const Config& config, std::size_t files) {
  const bool has_tls = std::ranges::any_of(config.listen_client_urls, &Url::is_https) ||
                       std::ranges::any_of(config.zookeeper.listen, &Url::is_https) ||
                       std::ranges::any_of(config.zookeeper.admin, &Url::is_https);
  return has_tls ? std::min(limits::kMaxHandshakes, files / 4) : 0;
}

Result<Bytes> read_file(io::Disk& disk, const std::string& path) {
  const auto file = TRY(disk.open(path, io::OpenMode::kRead));
  const std::uint64_t size = TRY(file->size());
  if (size > limits::kMaxCertificateFileBytes)
    return fail(ErrorCode::kInvalid, path + ": it is too large");
  return file->read(0, static_cast<std::size_t>(size));
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
    if (const auto secured = secure(); !secured) {
      LOG(kError, "cannot start: {}", secured.error().message);
      return 1;
    }
    Result<node::Options> wanted = node_options(config_, is_new && !*known);
    if (!wanted) {
      LOG(kError, "cannot start: {}", wanted.error().message);
      return 1;
    }
    node::Options options = std::move(*wanted);
    options.max_client_connections = files_ - handshakes_;
    if (files_ < limits::kMaxClientConnections) {
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

  // Encrypted or not, as each address says.
  Result<void> secure() {
    using Made = Result<std::unique_ptr<io::Network>>;
    const auto made = [this](const io::TlsOptions& options, std::size_t handshakes) -> Made {
      auto credentials = TRY(io::TlsCredentials::load(
          options, [this](const std::string& path) { return read_file(disk_, path); }));
      return std::make_unique<io::TlsNetwork>(clock_, network_, std::move(credentials), handshakes);
    };
    peer_network_ = TRY(made(config_.peer_tls, limits::kMaxUngreetedPeers));
    client_network_ = TRY(made(config_.client_tls, handshakes_));
    return {};
  }

  void join(node::Options options) {
    joining_ = std::make_unique<node::Joining>(
        std::move(options), texts_of(config_.initial_advertise_peer_urls), clock_, *peer_network_,
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
    session_options.conclave_version = kConclaveVersion;
    session_options.service = &native_service_;
    session_options.certificates_name_users = config_.certificates_name_users;
    session_options.counts = &call_counts_;
    options.metrics_text = [this](const node::Stats& stats) {
      return metrics_text(stats, call_counts_);
    };
    auto started =
        node::Node::start(std::move(options), clock_, disk_,
                          node::Networks{.peers = *peer_network_, .clients = *client_network_},
                          etcd::make_sessions(std::move(session_options)), zookeeper_ports());
    if (!started) {
      LOG(kError, "cannot start: {}", started.error().message);
      return end(exit_code_of(started.error()));
    }
    node_ = std::move(*started);
    for (const Url& url : config_.listen_client_urls)
      LOG(kInfo, "serving clients on {}", url.to_string());
    for (const Url& url : config_.zookeeper.listen) {
      LOG(kInfo, "serving ZooKeeper's clients on {}{}", url.is_https() ? "tls://" : "",
          url.address().to_string());
    }
    for (const Url& url : config_.zookeeper.admin) {
      LOG(kInfo, "serving ZooKeeper's admin commands on {}", url.to_string());
    }
  }

  std::vector<node::ClientPort> zookeeper_ports() {
    if (config_.zookeeper.listen.empty()) return {};
    zookeeper::SessionOptions options;
    options.local_reads = config_.zookeeper.local_reads;
    options.enforce_quotas = config_.zookeeper.enforce_quota;
    options.reconfig = config_.zookeeper.reconfig;
    options.super_digest = config_.zookeeper.super_digest;
    options.max_per_address = config_.zookeeper.max_per_address;
    options.words.conclave_version = kConclaveVersion;
    options.words.max_per_address = config_.zookeeper.max_per_address;
    options.words.data_dir = config_.data_dir;
    options.words.allowed = config_.zookeeper.words;
    options.now = [this] { return clock_.now(); };
    options.process = [this, started = clock_.now()] {
      const ProcessNumbers numbers = process_numbers();
      return zookeeper::ProcessFacts{
          .uptime_ms = static_cast<std::uint64_t>((clock_.now() - started).ms()),
          .open_files = numbers.open_files,
          .max_files = numbers.max_files};
    };
    options.connections = std::make_shared<zookeeper::Connections>();
    options.words.address = config_.zookeeper.listen[0].address().to_string();
    std::vector<node::ClientPort> ports(1);
    for (const Url& url : config_.zookeeper.listen) {
      ports[0].listen.push_back(url.address());
      (url.is_https() ? options.words.secure_port : options.words.port) = url.port;
    }
    if (!config_.zookeeper.admin.empty()) {
      node::ClientPort& admin = ports.emplace_back();
      for (const Url& url : config_.zookeeper.admin) admin.listen.push_back(url.address());
      admin.make_session = zookeeper::make_admin_sessions(options);
    }
    ports[0].make_session = zookeeper::make_sessions(std::move(options));
    return ports;
  }

  void stop() {
    if (std::exchange(stopping_, true) || !node_) return end(exit_code_);  // asked twice: at once
    LOG(kInfo, "stopping");
    node_->stop([this] { loop_.stop(); });
  }

  const Config& config_;
  const std::size_t files_ = client_files_allowed();
  const std::size_t handshakes_ = handshakes_allowed(config_, files_);
  io::Loop loop_;
  io::PosixClock clock_;
  io::PosixDisk disk_;
  io::PosixNetwork network_;
  std::unique_ptr<io::Network> peer_network_, client_network_;
  std::unique_ptr<node::Joining> joining_;
  native::NativeService native_service_;
  etcd::CallCounts call_counts_;
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
    std::printf("conclave %s\n", kConclaveVersion);
    return 0;
  }
  start_process_log(config->log_level);
  for (const std::string& warning : config->warnings) LOG(kWarn, "{}", warning);
  return Serving(*config).run();
}

}  // namespace conclave::server
