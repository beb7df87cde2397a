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
#include <nghttp2/nghttp2.h>
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
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr std::string_view kPlace = "########";
constexpr std::uint64_t kMaxNumbers = 100'000'000;  // what fits into a place
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int32_t kWindow = (1 << 30) - 1;  // h2load's
constexpr std::size_t kFlushBytes = 256 * 1024;
constexpr std::int64_t kPatience = 180 * kSecond;  // without an answer, or for a wanted count
constexpr std::int64_t kRetryAfter = kSecond / 5;

volatile std::sig_atomic_t interrupted = 0;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench-load: %s\n", what.c_str());
  std::exit(1);
}

std::int64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

struct Options {
  std::string to;
  std::string path;
  std::string body;
  std::size_t connections = 8;
  std::size_t streams = 32;
  std::uint64_t requests = 0;
  double seconds = 0;
  double rate = 0;
  std::uint64_t first = 0;
  std::uint64_t numbers = 1;
  bool each = false;
  std::uint64_t seed = 1;
  bool retry = false;
  bool hold = false;
  std::uint32_t field = 0;
};

// The numbers that go into bodies: uniformly random ones of [first, first + count), or, with
// `each`, every one of them once and then again, in an order that is not theirs.
class Numbers {
 public:
  explicit Numbers(const Options& options)
      : first_(options.first),
        count_(options.numbers),
        each_(options.each),
        state_(options.seed * 0x9e3779b97f4a7c15 + 1) {
    while (std::gcd(step_, count_) != 1) ++step_;
  }

  std::uint64_t next() {
    if (each_) return first_ + (taken_++ % count_) * (step_ % count_) % count_;
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return first_ + (state_ >> 11U) % count_;
  }

 private:
  std::uint64_t first_;
  std::uint64_t count_;
  bool each_;
  std::uint64_t state_;
  std::uint64_t taken_ = 0;
  std::uint64_t step_ = 7'368'787;
};

// The file, and where the places in it are.
class Body {
 public:
  explicit Body(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    text_.assign(std::istreambuf_iterator<char>(file), {});
    if (!file || text_.empty()) fail("cannot read " + path);
    for (auto at = text_.find(kPlace); at != std::string::npos;
         at = text_.find(kPlace, at + kPlace.size())) {
      places_.push_back(at);
    }
  }

  void write_to(std::string& out, Numbers& numbers) const {
    out = text_;
    for (const std::size_t place : places_) {
      std::uint64_t number = numbers.next();
      for (std::size_t digit = kPlace.size(); digit-- > 0; number /= 10) {
        out[place + digit] = static_cast<char>('0' + number % 10);
      }
    }
  }

 private:
  std::string text_;
  std::vector<std::size_t> places_;
};

// gRPC messages in a stream of bytes, and how many top-level fields with one number are in them.
class Messages {
 public:
  void add(std::string_view bytes, std::uint32_t field, std::uint64_t& messages,
           std::uint64_t& fields) {
    rest_.append(bytes);
    std::size_t at = 0;
    while (rest_.size() - at >= 5) {
      std::uint32_t length = 0;
      std::memcpy(&length, rest_.data() + at + 1, 4);
      length = ntohl(length);
      if (rest_.size() - at - 5 < length) break;
      ++messages;
      fields += count(std::string_view(rest_).substr(at + 5, length), field);
      at += 5 + length;
    }
    rest_.erase(0, at);
  }

 private:
  static std::uint64_t varint(std::string_view message, std::size_t& at) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at >= message.size()) fail("an answer is no protobuf message");
      const auto byte = static_cast<std::uint8_t>(message[at++]);
      value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    fail("an answer is no protobuf message");
  }

  static std::uint64_t count(std::string_view message, std::uint32_t field) {
    std::uint64_t found = 0;
    for (std::size_t at = 0; at < message.size();) {
      const std::uint64_t tag = varint(message, at);
      if (tag >> 3U == field) ++found;
      switch (tag & 7U) {
        case 0:
          varint(message, at);
          break;
        case 1:
          at += 8;
          break;
        case 2: {
          const std::uint64_t length = varint(message, at);
          at += length;
          break;
        }
        case 5:
          at += 4;
          break;
        default:
          fail("an answer is no protobuf message");
      }
    }
    return found;
  }

  std::string rest_;
};

struct Stream {
  std::string body;
  std::size_t sent = 0;
  std::int64_t began_ns = 0;
  bool ok = false;
  Messages messages;
};

class Connection;

// What all connections share.
struct Run {
  explicit Run(const Options& wanted) : options(wanted), body(wanted.body), numbers(wanted) {}

  bool more(std::int64_t now) const {
    if (interrupted != 0) return false;
    if (options.requests != 0) return started < options.requests;
    return now < began_ns + static_cast<std::int64_t>(options.seconds * 1e9);
  }

  const Options& options;
  Body body;
  Numbers numbers;
  std::int64_t began_ns = 0;
  std::int64_t ended_ns = 0;
  std::uint64_t started = 0;
  std::uint64_t answered = 0;
  std::uint64_t refused = 0;
  std::uint64_t retried = 0;
  std::vector<std::uint32_t> latencies_us;
  std::uint64_t messages = 0;
  std::uint64_t fields = 0;
};

class Connection {
 public:
  Connection(Run& run, int socket) : run_(run), socket_(socket), streams_(run.options.streams) {
    for (Stream& each : streams_) free_.push_back(&each);
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    const std::array<nghttp2_settings_entry, 2> settings{
        {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, static_cast<std::uint32_t>(kWindow)}}};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindow);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    nghttp2_session_del(session_);
    close(socket_);
  }

  bool has_free() const { return !free_.empty(); }

  // REQUIRES has_free(). Goes out with the next flush().
  void start(std::int64_t began_ns) {
    Stream* const stream = free_.back();
    free_.pop_back();
    *stream = Stream{std::move(stream->body), 0, began_ns, false, {}};
    run_.body.write_to(stream->body, run_.numbers);
    submit(stream);
    ++run_.started;
  }

  void submit(Stream* stream) {
    nghttp2_data_provider source{};
    source.source.ptr = stream;
    source.read_callback = read_body;
    const Options& options = run_.options;
    const std::array<nghttp2_nv, 6> headers{header(":method", "POST"),
                                            header(":scheme", "http"),
                                            header(":path", options.path),
                                            header(":authority", options.to),
                                            header("content-type", "application/grpc"),
                                            header("te", "trailers")};
    if (nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &source, stream) <
        0) {
      fail("no more streams on a connection");
    }
  }

  // Sends again what was refused long enough ago. What goes out, goes with the next flush().
  void retry(std::int64_t now) {
    while (!refused_.empty() && refused_.front().first <= now) {
      submit(refused_.front().second);
      refused_.pop_front();
    }
  }

  void receive() {
    std::array<std::uint8_t, 65536> buffer;
    while (true) {
      const ssize_t count = recv(socket_, buffer.data(), buffer.size(), 0);
      if (count == 0) fail("the server closed a connection");
      if (count < 0) {
        if (errno == EAGAIN) return;
        fail(std::string("recv: ") + std::strerror(errno));
      }
      const ssize_t used =
          nghttp2_session_mem_recv(session_, buffer.data(), static_cast<std::size_t>(count));
      if (used < 0) fail(nghttp2_strerror(static_cast<int>(used)));
      if (static_cast<std::size_t>(count) < buffer.size()) return;
    }
  }

  void flush() {
    while (true) {
      while (out_.size() - out_sent_ < kFlushBytes) {
        const std::uint8_t* data = nullptr;
        const ssize_t count = nghttp2_session_mem_send(session_, &data);
        if (count < 0) fail(nghttp2_strerror(static_cast<int>(count)));
        if (count == 0) break;
        out_.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(count));
      }
      if (out_.size() == out_sent_) return;
      const ssize_t sent =
          send(socket_, out_.data() + out_sent_, out_.size() - out_sent_, MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno == EAGAIN) return;
        fail(std::string("send: ") + std::strerror(errno));
      }
      out_sent_ += static_cast<std::size_t>(sent);
      if (out_sent_ == out_.size()) {
        out_.clear();
        out_sent_ = 0;
      }
    }
  }

 private:
  static nghttp2_nv header(std::string_view name, std::string_view value) {
    return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
            reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
            value.size(), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
  }

  static ssize_t read_body(nghttp2_session*, std::int32_t, std::uint8_t* out, std::size_t length,
                           std::uint32_t* flags, nghttp2_data_source* source, void* self) {
    auto& stream = *static_cast<Stream*>(source->ptr);
    const std::size_t count = std::min(length, stream.body.size() - stream.sent);
    const bool holds = static_cast<Connection*>(self)->run_.options.hold;
    if (count == 0 && holds) return NGHTTP2_ERR_DEFERRED;
    std::memcpy(out, stream.body.data() + stream.sent, count);
    stream.sent += count;
    if (stream.sent == stream.body.size() && !holds) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(count);
  }

  static int on_header(nghttp2_session* session, const nghttp2_frame* frame,
                       const std::uint8_t* name, std::size_t name_length, const std::uint8_t* value,
                       std::size_t value_length, std::uint8_t, void*) {
    const std::string_view is(reinterpret_cast<const char*>(name), name_length);
    if (is != "grpc-status") return 0;
    auto* const stream =
        static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, frame->hd.stream_id));
    if (stream != nullptr) stream->ok = value_length == 1 && value[0] == '0';
    return 0;
  }

  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id,
                     const std::uint8_t* data, std::size_t length, void* self) {
    Run& run = static_cast<Connection*>(self)->run_;
    auto* const stream = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
    if (!run.options.hold || stream == nullptr) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data), length);
    stream->messages.add(bytes, run.options.field, run.messages, run.fields);
    return 0;
  }

  static int on_close(nghttp2_session* session, std::int32_t id, std::uint32_t error, void* self) {
    auto& connection = *static_cast<Connection*>(self);
    Run& run = connection.run_;
    auto* const stream = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
    if (run.options.hold) fail("the server ended a stream that was to stay open");
    const std::int64_t now = now_ns();
    run.ended_ns = now;
    const bool refused = !stream->ok || error != 0;
    if (refused && run.options.retry) {
      ++run.retried;
      stream->sent = 0;
      connection.refused_.emplace_back(now + kRetryAfter, stream);
      return 0;
    }
    ++run.answered;
    if (refused) ++run.refused;
    run.latencies_us.push_back(static_cast<std::uint32_t>((now - stream->began_ns) / 1000));
    connection.free_.push_back(stream);
    if (run.options.rate == 0 && run.more(now)) connection.start(now);
    return 0;
  }

  Run& run_;
  int socket_;
  nghttp2_session* session_ = nullptr;
  std::vector<Stream> streams_;
  std::vector<Stream*> free_;
  std::deque<std::pair<std::int64_t, Stream*>> refused_;  // and when they are sent again
  std::string out_;
  std::size_t out_sent_ = 0;
};

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
           : run_.options.retry   ? kRetryAfter
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

int main(int argc, char** argv) {
  Options options;
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
  check(options);
  std::signal(SIGINT, [](int) { interrupted = 1; });
  Client client(options);
  options.hold ? client.hold() : client.run_load();
  return 0;
}
