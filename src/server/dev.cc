#include "server/dev.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include "server/child_process.h"
#include "server/dev_plan.h"
#include "server/http_client.h"

namespace conclave::server {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::chrono::seconds kStartLimit{30};
constexpr std::chrono::seconds kStopLimit{10};
constexpr milliseconds kPollInterval{100};
constexpr std::size_t kShownLogLines = 5;

template <class... Values>
void say(fmt::format_string<Values...> format, Values&&... values) {
  fmt::print(stdout, format, std::forward<Values>(values)...);
  std::fflush(stdout);
}

// Turns SIGINT, SIGTERM and SIGCHLD into something one can wait for.
class Signals {
 public:
  Signals() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int each : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&wanted, each);
    ::sigprocmask(SIG_BLOCK, &wanted, &before_);
    fd_ = ::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~Signals() {
    ::close(fd_);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Waits until a signal comes or the time is over. True once somebody wants us to stop.
  bool stop_within(milliseconds limit) {
    pollfd readable{fd_, POLLIN, 0};
    ::poll(&readable, 1, static_cast<int>(limit.count()));
    signalfd_siginfo info{};
    bool stop = false;
    while (::read(fd_, &info, sizeof info) == sizeof info) stop |= info.ssi_signo != SIGCHLD;
    return stop;
  }

 private:
  sigset_t before_{};
  int fd_ = -1;
};

// The directory of data and logs: the one that was named, or a temporary one that goes with this
// object.
class Directory {
 public:
  static Result<Directory> open(const std::string& wanted) {
    std::error_code error;
    if (!wanted.empty()) {
      std::filesystem::create_directories(wanted, error);
      if (error) return fail(ErrorCode::kIo, fmt::format("{}: {}", wanted, error.message()));
      return Directory(wanted, false);
    }
    std::string name = std::filesystem::temp_directory_path(error) / "conclave-dev-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) return fail(ErrorCode::kIo, "cannot create " + name);
    return Directory(name, true);
  }
  Directory(Directory&& other) noexcept
      : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, false)) {}
  Directory& operator=(Directory&&) = delete;
  ~Directory() {
    std::error_code ignored;
    if (temporary_) std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  bool temporary() const { return temporary_; }

 private:
  Directory(std::string path, bool temporary) : path_(std::move(path)), temporary_(temporary) {}

  std::string path_;
  bool temporary_;
};

struct Member {
  DevMember plan;
  ChildProcess process;
};

// What the shell has set for some other cluster must not reach these members.
Environment clean_environment() {
  Environment variables = environment();
  std::erase_if(variables, [](const auto& variable) {
    return variable.first.starts_with("ETCD_") || variable.first.starts_with("CONCLAVE_");
  });
  return variables;
}

class DevCluster {
 public:
  // Members that run already when a later one cannot be started are killed by the destructor.
  Result<void> start(const std::vector<DevMember>& plan) {
    for (const DevMember& member : plan) {
      auto arguments = serve_arguments(member, plan);
      arguments.insert(arguments.begin(), "conclave");
      auto process = TRY(ChildProcess::start(
          {"/proc/self/exe", std::move(arguments), clean_environment(), member.log_path}));
      members_.push_back({member, std::move(process)});
    }
    return {};
  }

  ~DevCluster() {
    signal_all(SIGKILL);
    while (any_running()) {
      std::this_thread::sleep_for(milliseconds(1));
      reap_all();
    }
  }

  bool any_running() const {
    return std::ranges::any_of(members_, [](const Member& m) { return m.process.running(); });
  }

  // True once every member that runs reports health, and at least one runs.
  bool healthy() const {
    for (const Member& member : members_) {
      if (!member.process.running()) continue;
      const auto answer =
          HttpClient().request({"127.0.0.1", member.plan.client_port}, HttpMethod::kGet, "/health",
                               "", conclave::seconds(1));
      if (!answer || answer->status != 200) return false;
    }
    return any_running();
  }

  void report_deaths() {
    for (Member& member : members_) {
      if (!member.process.reap()) continue;
      say("{} {}.\n", member.plan.name, member.process.how_it_ended());
      show_log(member);
    }
  }

  void show_logs() const {
    for (const Member& member : members_) show_log(member);
  }

  void stop(Signals& signals) {
    signal_all(SIGTERM);
    const auto deadline = Clock::now() + kStopLimit;
    while (true) {
      reap_all();
      if (!any_running()) return;
      const bool impatient = signals.stop_within(kPollInterval);
      if (!impatient && Clock::now() < deadline) continue;
      for (const Member& member : members_) {
        if (member.process.running()) say("{} does not stop: killing it\n", member.plan.name);
      }
      signal_all(SIGKILL);
    }
  }

  const std::vector<Member>& members() const { return members_; }

 private:
  static void show_log(const Member& member) {
    say("The end of {}:\n", member.plan.log_path);
    for (const auto& line : member.process.last_lines(kShownLogLines)) say("    {}\n", line);
  }

  void reap_all() {
    for (Member& member : members_) member.process.reap();
  }

  void signal_all(int signal) {
    for (const Member& member : members_) member.process.signal(signal);
  }

  std::vector<Member> members_;
};

enum class Outcome { kReady, kStopped, kFailed };

Outcome wait_until_healthy(DevCluster& cluster, Signals& signals) {
  const auto deadline = Clock::now() + kStartLimit;
  while (true) {
    if (signals.stop_within(kPollInterval)) return Outcome::kStopped;
    cluster.report_deaths();
    if (!cluster.any_running()) {
      say("No member runs.\n");
      return Outcome::kFailed;
    }
    if (cluster.healthy()) return Outcome::kReady;
    if (Clock::now() > deadline) {
      say("The cluster is not healthy after {} seconds.\n", kStartLimit.count());
      cluster.show_logs();
      return Outcome::kFailed;
    }
  }
}

void introduce(const DevCluster& cluster, const std::string& endpoints,
               const std::string& zookeeper_hosts, const Directory& directory) {
  say("Members, with data and logs in {}{}:\n", directory.path(),
      directory.temporary() ? " (removed at the end)" : "");
  for (const Member& member : cluster.members()) {
    say("  {}  {}  process {}\n", member.plan.name, member.plan.client_url(), member.process.pid());
  }
  if (!zookeeper_hosts.empty()) say("ZooKeeper's clients: {}\n", zookeeper_hosts);
  say("\nTry:\n"
      "  etcdctl --endpoints={0} put greeting hello\n"
      "  etcdctl --endpoints={0} get greeting\n"
      "  conclave status --endpoints {0}\n"
      "  kill -9 {1}   (one member; the others go on)\n"
      "Ctrl-C stops the cluster.\n",
      endpoints, cluster.members().front().process.pid());
}

// Until somebody stops us or there is nobody left.
Outcome watch(DevCluster& cluster, Signals& signals) {
  while (cluster.any_running()) {
    if (signals.stop_within(milliseconds(1000))) return Outcome::kStopped;
    cluster.report_deaths();
  }
  say("No member runs any more.\n");
  return Outcome::kFailed;
}

Result<Outcome> run(DevOptions options) {
  Signals signals;
  const Directory directory = TRY(Directory::open(options.data_dir));
  options.data_dir = directory.path();
  const auto plan = TRY(plan_members(options));
  TRY(check_ports_free(plan));
  DevCluster cluster;
  TRY(cluster.start(plan));
  Outcome outcome = wait_until_healthy(cluster, signals);
  if (outcome == Outcome::kReady) {
    introduce(cluster, endpoints_of(plan), zookeeper_hosts_of(plan), directory);
    outcome = watch(cluster, signals);
  }
  if (outcome == Outcome::kStopped) say("Stopping.\n");
  cluster.stop(signals);
  return outcome;
}

}  // namespace

int run_dev(const std::vector<std::string>& arguments) {
  auto options = parse_dev_options(arguments);
  if (!options) return print(options.error());
  const auto outcome = run(std::move(*options));
  if (!outcome) {
    fmt::print(stderr, "conclave dev: {}\n", outcome.error().message);
    return outcome.error().code == ErrorCode::kInvalid ? 2 : 1;
  }
  return *outcome == Outcome::kStopped ? 0 : 1;
}

}  // namespace conclave::server
