// A source of gRPC requests that knows no server and shares no code with one: a body from a file,
// in which each "########" becomes a number, is posted over and over on a few HTTP/2 connections.
// h2load, which is used wherever one body will do, has only one. What it reports is exact: a
// request counts only when its trailers say grpc-status 0.
//
//   bench-load --to 127.0.0.1:2379 --path /etcdserverpb.KV/Put --body put.bin --numbers 1000000
//
// With --rate requests start when they are due, whatever became of the ones before, and their time
// counts from then. With --hold streams stay open after their body, and what the server sends on
// them is counted; "messages N" or "field N" on the standard input is answered with the
// CLOCK_MONOTONIC nanoseconds and both counts once there are so many.
//
// SIGINT ends it early: nothing more is started, and it reports when all has been answered.
//
// One thread; ends with 1 and a line on the standard error when it cannot do what it was asked.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "load_connection.h"
#include "load_requests.h"

namespace bench_load {
namespace {

constexpr std::int64_t kPatience = 180 * kSecond;  // without an answer, or for a wanted count
constexpr std::int64_t kLookAgain = kSecond / 20;  // whether refused requests are to be sent again

int connect_to(const std::string& to) {
  const auto colon = to.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  std::uint16_t port = 0;
  if (colon != std::string::npos) {
    std::from_chars(to.data() + colon + 1, to.data() + to.size(), port);
  }
  address.sin_port = htons(port);
  if (port == 0 || inet_pton(AF_INET, to.substr(0, colon).c_str(), &address.sin_addr) != 1) {
    fail("--to: neither an IPv4 address nor a port: " + to);
  }
  const int connected = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(connected, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    fail("connect to " + to + ": " + std::strerror(errno));
  }
  const int on = 1;
  setsockopt(connected, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(connected, F_SETFL, O_NONBLOCK);
  return connected;
}

class Client {
 public:
  explicit Client(const Options& options) : run_(options), poll_(epoll_create1(0)) {
    for (std::size_t i = 0; i < options.connections; ++i) {
      const int socket = connect_to(options.to);
      connections_.push_back(std::make_unique<Connection>(run_, socket));
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT | static_cast<std::uint32_t>(EPOLLET);
      event.data.u64 = i;
      epoll_ctl(poll_, EPOLL_CTL_ADD, socket, &event);
    }
  }

  void run_load() {
    run_.began_ns = now_ns();
    if (run_.options.rate == 0) fill();
    flush_all();
    while (run_.answered < run_.started || run_.more(now_ns())) {
      if (run_.options.retry) retry();
      poll(run_.options.rate != 0 ? start_what_is_due()
           : run_.options.retry   ? kLookAgain
                                  : kSecond);
      if (now_ns() - std::max(run_.ended_ns, run_.began_ns) > kPatience) fail("no more answers");
    }
    report();
  }

  // Until the standard input ends.
  void hold() {
    fill();
    flush_all();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = connections_.size();
    epoll_ctl(poll_, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    while (poll(kSecond)) answer();
  }

 private:
  void fill() {
    for (const auto& connection : connections_) {
      while (connection->has_free() && (run_.options.hold || run_.more(run_.began_ns))) {
        connection->start(now_ns());
      }
    }
  }

  void retry() {
    for (const auto& connection : connections_) {
      connection->retry(now_ns());
      connection->flush();
    }
  }

  void flush_all() {
    for (const auto& connection : connections_) connection->flush();
  }

  // Nanoseconds until the next one is due; or for ever, if one waits for a stream to become free.
  std::int64_t start_what_is_due() {
    while (true) {
      const std::int64_t now = now_ns();
      if (!run_.more(now)) return kSecond;
      const auto since =
          static_cast<std::int64_t>(static_cast<double>(run_.started) / run_.options.rate * 1e9);
      const std::int64_t due = run_.began_ns + since;
      if (due > now) return due - now;
      Connection* const connection = next_free();
      if (connection == nullptr) return kSecond;
      connection->start(due);
      connection->flush();
    }
  }

  Connection* next_free() {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      turn_ = (turn_ + 1) % connections_.size();
      if (connections_[turn_]->has_free()) return connections_[turn_].get();
    }
    return nullptr;
  }

  // False when the standard input has ended.
  bool poll(std::int64_t patience_ns) {
    std::array<epoll_event, 64> events;
    const timespec patience{patience_ns / kSecond, patience_ns % kSecond};
    const int count =
        epoll_pwait2(poll_, events.data(), static_cast<int>(events.size()), &patience, nullptr);
    for (int i = 0; i < count; ++i) {
      const std::size_t number = events[static_cast<std::size_t>(i)].data.u64;
      if (number == connections_.size()) {
        if (!read_command()) return false;
        continue;
      }
      if ((events[static_cast<std::size_t>(i)].events & ~EPOLLOUT) != 0) {
        connections_[number]->receive();
      }
      connections_[number]->flush();
    }
    return true;
  }

  bool read_command() {
    std::array<char, 256> buffer;
    const ssize_t count = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count <= 0) return false;
    std::array<char, 16> what{};
    unsigned long long until = 0;
    const std::string line(buffer.data(), static_cast<std::size_t>(count));
    if (std::sscanf(line.c_str(), "%15s %llu", what.data(), &until) != 2) fail("what? " + line);
    waits_for_ = std::string_view(what.data()) == "field" ? &run_.fields : &run_.messages;
    until_ = until;
    asked_ns_ = now_ns();
    return true;
  }

  void answer() {
    if (waits_for_ == nullptr) return;
    if (*waits_for_ < until_) {
      if (now_ns() - asked_ns_ < kPatience) return;
      fail(std::to_string(*waits_for_) + " came in time, not " + std::to_string(until_));
    }
    std::printf("%lld %llu %llu\n", static_cast<long long>(now_ns()),
                static_cast<unsigned long long>(run_.messages),
                static_cast<unsigned long long>(run_.fields));
    std::fflush(stdout);
    waits_for_ = nullptr;
  }

  void report() {
    std::vector<std::uint32_t>& us = run_.latencies_us;
    if (us.empty()) fail("no request was answered");
    std::sort(us.begin(), us.end());
    const auto at = [&us](double share) {
      const auto index = static_cast<std::size_t>(share * static_cast<double>(us.size()));
      return us[std::min(index, us.size() - 1)];
    };
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    const double cpu_s = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    std::printf(
        "{\"requests\": %llu, \"refused\": %llu, \"retried\": %llu, \"seconds\": %.6f, \"p50_us\": "
        "%u, "
        "\"p99_us\": %u, \"p999_us\": %u, \"longest_us\": %u, \"client_cpu_seconds\": %.3f}\n",
        static_cast<unsigned long long>(run_.answered),
        static_cast<unsigned long long>(run_.refused),
        static_cast<unsigned long long>(run_.retried),
        static_cast<double>(run_.ended_ns - run_.began_ns) / 1e9, at(0.5), at(0.99), at(0.999),
        us.back(), cpu_s);
  }

  Run run_;
  int poll_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::size_t turn_ = 0;
  const std::uint64_t* waits_for_ = nullptr;
  std::uint64_t until_ = 0;
  std::int64_t asked_ns_ = 0;
};

void check(const Options& options) {
  if (options.connections == 0 || options.streams == 0) fail("nothing may be in flight");
  if (!options.hold && (options.requests == 0) == (options.seconds <= 0)) {
    fail("one of --requests and --seconds");
  }
  if (options.numbers == 0 || options.first + options.numbers > kMaxNumbers) {
    fail("numbers have at most eight digits");
  }
}

}  // namespace
}  // namespace bench_load

int main(int argc, char** argv) {
  bench_load::Options options;
  CLI::App app{"gRPC requests, over and over."};
  app.add_option("--to", options.to, "IPv4 address and port.")->required();
  app.add_option("--path", options.path, "The method.")->required();
  app.add_option("--body", options.body, "File: framed messages.")->required();
  app.add_option("--connections", options.connections)->capture_default_str();
  app.add_option("--streams", options.streams, "Of each, at a time.")->capture_default_str();
  app.add_option("--requests", options.requests, "How many; or:");
  app.add_option("--seconds", options.seconds, "How long requests are started.");
  app.add_option("--rate", options.rate, "Per second, started when due; 0: as many as go.");
  app.add_option("--first", options.first, "The least number for the body.");
  app.add_option("--numbers", options.numbers, "How many there are.")->capture_default_str();
  app.add_flag("--each", options.each, "Each number once, instead of random ones.");
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_flag("--retry", options.retry, "Send what is refused again, until it is not.");
  app.add_flag("--hold", options.hold, "Keep streams open, count what comes.");
  app.add_option("--field", options.field, "Top-level field that --hold counts.");
  CLI11_PARSE(app, argc, argv);
  bench_load::check(options);
  std::signal(SIGINT, [](int) { bench_load::interrupted = 1; });
  bench_load::Client client(options);
  options.hold ? client.hold() : client.run_load();
  return 0;
}