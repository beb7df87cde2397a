#include "sim/program/many.h"

#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <utility>

#include "base/check.h"

namespace conclave::sim {
namespace {

using RealTime = std::chrono::steady_clock;

// A run that takes longer than this hangs: nothing waits in a simulation.
constexpr std::chrono::seconds kHangs{300};
constexpr char kLineBreak = '\x01';  // inside a field

double seconds_since(RealTime::time_point start) {
  return std::chrono::duration<double>(RealTime::now() - start).count();
}

std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(line);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written <= 0) ::_exit(3);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// --- a worker: a process that runs every so many-th seed -----------------------------------------

// One line per event: B seed | E seed virtual-ns steps answered committed elections faults |
// F seed report.
void work(const Campaign& campaign, std::uint64_t begin, RealTime::time_point start, int out) {
  for (std::uint64_t i = begin; i < campaign.count; i += campaign.jobs) {
    if (campaign.minutes > 0 && seconds_since(start) > campaign.minutes * 60) return;
    const std::uint64_t seed = campaign.first + i;
    write_all(out, fmt::format("B\t{}\t{}\n", seed, i));
    const Plan plan = edited(plan_of(seed), campaign.edits);
    const RunResult result = run(plan, {});
    std::string faults;
    for (const auto& [name, count] : result.faults) faults += fmt::format("{}={},", name, count);
    if (result.finding) {
      std::string text = report(plan, campaign.edits, result);
      std::replace(text.begin(), text.end(), '\n', kLineBreak);
      write_all(out, fmt::format("F\t{}\t{}\n", seed, text));
    }
    write_all(out, fmt::format("E\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", seed, result.virtual_time.ns,
                               result.steps, result.answered, result.committed, result.elections,
                               faults));
  }
}

struct Worker {
  pid_t pid = -1;
  int in = -1;
  std::string buffer;
  bool running_seed = false;
  std::uint64_t seed = 0;
  std::uint64_t ordinal = 0;  // of the seed within the campaign
  RealTime::time_point since;
};

struct Totals {
  std::uint64_t runs = 0;
  std::uint64_t failures = 0;
  double virtual_seconds = 0;
  std::uint64_t steps = 0;
  std::pair<std::uint64_t, std::uint64_t> most_steps;  // of one run, and its seed
  std::uint64_t answered = 0;
  std::uint64_t committed = 0;
  std::uint64_t elections = 0;
  std::map<std::string, std::uint64_t> faults;
  std::vector<std::uint64_t> failed_seeds;
};

class Many {
 public:
  explicit Many(const Campaign& campaign) : campaign_(campaign), workers_(campaign.jobs) {}

  int run() {
    for (std::size_t i = 0; i < workers_.size(); ++i) spawn(workers_[i], i);
    while (
        std::any_of(workers_.begin(), workers_.end(), [](const Worker& w) { return w.pid > 0; })) {
      wait();
      if (campaign_.stop_at_failure && totals_.failures > 0) stop();
      for (Worker& worker : workers_) look_for_hang(worker);
      show_progress(false);
    }
    show_progress(true);
    sum_up();
    return totals_.failures == 0 ? 0 : 1;
  }

 private:
  void spawn(Worker& worker, std::uint64_t begin) {
    if (begin >= campaign_.count) return;
    int ends[2];
    CHECK(::pipe(ends) == 0, "pipe");
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
      ::close(ends[0]);
      work(campaign_, begin, start_, ends[1]);
      ::_exit(0);
    }
    ::close(ends[1]);
    worker = Worker{};
    worker.pid = pid;
    worker.in = ends[0];
  }

  void wait() {
    std::vector<pollfd> polled;
    for (const Worker& worker : workers_) polled.push_back({worker.in, POLLIN, 0});
    ::poll(polled.data(), polled.size(), 500);
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      if (workers_[i].pid > 0 && polled[i].revents != 0) hear(workers_[i]);
    }
  }

  void hear(Worker& worker) {
    char bytes[65536];
    const ssize_t size = ::read(worker.in, bytes, sizeof bytes);
    if (size <= 0) return ended(worker);
    worker.buffer.append(bytes, static_cast<std::size_t>(size));
    for (std::size_t end; (end = worker.buffer.find('\n')) != std::string::npos;) {
      const std::string line = worker.buffer.substr(0, end);
      worker.buffer.erase(0, end + 1);
      take(worker, split(line, '\t'));
    }
  }

  void take(Worker& worker, const std::vector<std::string>& fields) {
    if (fields[0] == "B") {
      worker.running_seed = true;
      worker.seed = std::stoull(fields[1]);
      worker.ordinal = std::stoull(fields[2]);
      worker.since = RealTime::now();
    } else if (fields[0] == "F") {
      std::string text = fields[2];
      std::replace(text.begin(), text.end(), kLineBreak, '\n');
      fail(std::stoull(fields[1]), text);
    } else if (fields[0] == "E") {
      worker.running_seed = false;
      ++totals_.runs;
      totals_.virtual_seconds += std::stod(fields[2]) / 1e9;
      const std::uint64_t steps = std::stoull(fields[3]);
      totals_.steps += steps;
      totals_.most_steps = std::max(totals_.most_steps, {steps, std::stoull(fields[1])});
      totals_.answered += std::stoull(fields[4]);
      totals_.committed += std::stoull(fields[5]);
      totals_.elections += std::stoull(fields[6]);
      if (fields.size() < 8) return;
      for (const std::string& fault : split(fields[7], ',')) {
        const std::size_t equals = fault.find('=');
        totals_.faults[fault.substr(0, equals)] += std::stoull(fault.substr(equals + 1));
      }
    }
  }

  void fail(std::uint64_t seed, const std::string& text) {
    ++totals_.failures;
    totals_.failed_seeds.push_back(seed);
    fmt::print("{}{}\n", clear_, text);
  }

  void stop() {
    for (Worker& worker : workers_) {
      if (worker.pid <= 0) continue;
      ::kill(worker.pid, SIGKILL);
      ::waitpid(worker.pid, nullptr, 0);
      ::close(worker.in);
      worker = Worker{};
    }
  }

  // The worker has no more to say: it is through, or it died in the middle of a seed.
  void ended(Worker& worker) {
    int status = 0;
    ::waitpid(worker.pid, &status, 0);
    ::close(worker.in);
    const Worker last = std::exchange(worker, Worker{});
    if (!last.running_seed) return;
    ++totals_.runs;
    fail(last.seed,
         fmt::format("seed {} FAILED: the process died ({} {})\n  conclave-sim --seed {}{}",
                     last.seed, WIFSIGNALED(status) ? "signal" : "exit code",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), last.seed,
                     campaign_.edits.to_flags()));
    spawn(worker, last.ordinal + campaign_.jobs);
  }

  void look_for_hang(Worker& worker) {
    if (worker.pid > 0 && worker.running_seed && RealTime::now() - worker.since > kHangs) {
      worker.since = RealTime::now();
      ::kill(worker.pid, SIGKILL);
    }
  }

  // On a terminal one line that changes, elsewhere one now and then.
  void show_progress(bool last) {
    const bool terminal = ::isatty(STDOUT_FILENO) != 0;
    const double elapsed = seconds_since(start_);
    if (!last && elapsed < shown_ + (terminal ? 0.5 : 30)) return;
    shown_ = elapsed;
    std::string left;
    if (campaign_.minutes > 0) {
      left = fmt::format(", {:.0f} s left", std::max(0.0, campaign_.minutes * 60 - elapsed));
    } else if (totals_.runs > 0) {
      const double each = elapsed / static_cast<double>(totals_.runs);
      left = fmt::format(", {:.0f} s left",
                         each * static_cast<double>(campaign_.count - totals_.runs));
    }
    fmt::print("{}{} runs, {:.2f} virtual hours, {} failed, {:.0f} s{}{}", clear_, totals_.runs,
               totals_.virtual_seconds / 3600, totals_.failures, elapsed, last ? "" : left,
               terminal && !last ? "" : "\n");
    std::fflush(stdout);
  }

  void sum_up() const {
    const double elapsed = seconds_since(start_);
    fmt::print(
        "{} runs: {:.1f} virtual hours ({:.0f} virtual seconds per second and job), {} steps, {} "
        "calls answered, {} entries committed, {} elections\n",
        totals_.runs, totals_.virtual_seconds / 3600,
        totals_.virtual_seconds / elapsed / campaign_.jobs, totals_.steps, totals_.answered,
        totals_.committed, totals_.elections);
    fmt::print("most steps: {} in seed {}\n", totals_.most_steps.first, totals_.most_steps.second);
    std::string faults;
    for (const auto& [name, count] : totals_.faults) {
      faults += fmt::format("{}{} {}", faults.empty() ? "" : ", ", count, name);
    }
    fmt::print("faults: {}\n", faults.empty() ? "none" : faults);
    if (!totals_.failed_seeds.empty()) {
      std::string seeds;
      for (const std::uint64_t seed : totals_.failed_seeds) seeds += fmt::format(" {}", seed);
      fmt::print("failed seeds:{}\n", seeds);
    }
    fmt::print("{} passed, {} failed\n", totals_.runs - totals_.failures, totals_.failures);
  }

  const Campaign& campaign_;
  const RealTime::time_point start_ = RealTime::now();
  const std::string clear_ = ::isatty(STDOUT_FILENO) != 0 ? "\r\033[K" : "";
  std::vector<Worker> workers_;
  Totals totals_;
  double shown_ = 0;
};

}  // namespace

std::string report(const Plan& plan, const Edits& edits, const RunResult& result) {
  if (!result.finding) {
    return fmt::format(
        "seed {} ok: {} members with {}, {:.1f} virtual s, {} calls answered, {} entries, {} "
        "elections, {} "
        "faults\n",
        plan.seed, plan.cluster.members, node::name_of(plan.cluster.engine),
        result.virtual_time.seconds(), result.answered, result.committed, result.elections,
        result.struck);
  }
  const Finding& finding = *result.finding;
  std::string text = fmt::format("seed {} FAILED after {:.3f} virtual s\n  {}: {}\n", plan.seed,
                                 result.virtual_time.seconds(), finding.check, finding.what);
  text += "what led there:\n";
  for (const std::string& line : result.led_there) text += "  " + line + "\n";
  if (!finding.around.empty()) text += "around it:\n";
  for (const std::string& line : finding.around) text += "  " + line + "\n";
  text += fmt::format(
      "again: conclave-sim --seed {}{}   (with --trace FILE for all of it, --shrink "
      "for a smaller one)\n",
      plan.seed, edits.to_flags());
  return text;
}

int run_many(const Campaign& campaign) { return Many(campaign).run(); }

std::optional<std::string> check_failed_by(const Plan& plan) {
  int ends[2];
  CHECK(::pipe(ends) == 0, "pipe");
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  CHECK(pid >= 0, "fork");
  if (pid == 0) {
    ::close(ends[0]);
    const RunResult result = run(plan, {});
    write_all(ends[1], result.finding ? result.finding->check : "ok");
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string answer;
  char bytes[256];
  for (ssize_t size; (size = ::read(ends[0], bytes, sizeof bytes)) > 0;) {
    answer.append(bytes, static_cast<std::size_t>(size));
  }
  ::close(ends[0]);
  ::waitpid(pid, nullptr, 0);
  if (answer == "ok") return std::nullopt;
  return answer.empty() ? "crash" : answer;
}

}  // namespace conclave::sim
