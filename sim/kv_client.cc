#include "sim/kv_client.h"

#include <fmt/core.h>

#include <map>
#include <sstream>
#include <utility>

namespace conclave::sim {

struct KvClient::State : io::ConnectionHandler {
  State(KvClientOptions client_options, io::Clock& its_clock, io::Network& its_network)
      : options(std::move(client_options)),
        clock(its_clock),
        network(its_network),
        rng(options.seed) {}
  ~State() override { clock.cancel(timer); }

  // --- the connection ---

  void connect() {
    const io::Address& address = options.members[rng.below(options.members.size())];
    connector = network.connect(address, [this](Result<std::unique_ptr<io::Connection>> result) {
      connector.reset();
      if (!result) return again();
      connection = std::move(*result);
      connection->start(this);
      ask();
    });
  }
  void again() {
    connection.reset();
    buffer.clear();
    clock.cancel(timer);
    timer = clock.after(milliseconds(20), [this] { connect(); });
  }
  void on_bytes(BytesView bytes) override {
    buffer.append(bytes);
    const std::size_t end = buffer.find('\n');
    if (end == Bytes::npos) return;
    const std::string line = buffer.substr(0, end);
    buffer.erase(0, end + 1);
    hear(line);
  }
  void on_drained() override {}
  void on_closed(const Error&) override { give_up(); }

  // The answer will never be known.
  void give_up() {
    if (asked) {
      record(std::nullopt);
      asked = false;
    }
    again();
  }

  // --- asking ---

  void ask() {
    if (history.size() >= options.operations) {
      finished = true;
      connection.reset();
      return;
    }
    current = Operation{};
    current.client = options.id;
    current.key = fmt::format("k{}", rng.below(options.keys));
    current.called_ns = clock.now().ns;
    const std::string line = choose();
    asked = true;
    ++calls;
    connection->send(fmt::format("{} {}\n", calls, line));
    clock.cancel(timer);
    timer = clock.after(options.timeout, [this] { give_up(); });
  }

  std::string choose() {
    const std::uint64_t dice = rng.below(10);
    const std::string value = fmt::format("v{}-{}", options.id, history.size());
    if (dice < 4) {
      current.kind = OpKind::kGet;
      return "get " + current.key;
    }
    if (dice < 7) {
      current.kind = OpKind::kPut;
      current.value = value;
      return "put " + current.key + " " + value;
    }
    if (dice < 8) {
      current.kind = OpKind::kDelete;
      return "delete " + current.key;
    }
    current.kind = OpKind::kCas;
    current.value = value;
    const auto seen = last_seen.find(current.key);
    if (seen != last_seen.end()) current.expect = seen->second;
    return "cas " + current.key + " " + current.expect.value_or("-") + " " + value;
  }

  // --- hearing ---

  void hear(const std::string& line) {
    std::istringstream words(line);
    std::uint64_t call = 0;
    std::string verdict;
    words >> call >> verdict;
    if (!asked || call != calls) return;
    std::int64_t revision = 0;
    std::int64_t extra = 0;
    words >> revision;
    asked = false;
    if (verdict == "error") {
      // Refused before it could happen (no leader, too busy), or unknown: the history treats both
      // as unknown.
      record(std::nullopt);
      return again();
    }
    current.store_revision = revision;
    if (verdict == "value") {
      std::string value;
      words >> extra >> value;
      current.value = value;
      current.revision = extra;
      last_seen[current.key] = value;
    } else if (verdict == "absent") {
      last_seen.erase(current.key);
    } else if (verdict == "kept") {
      current.succeeded = false;
    } else if (verdict == "deleted") {
      words >> extra;
      if (extra > 0) current.revision = revision;
    } else {
      current.revision = revision;
    }
    record(clock.now().ns);
    clock.cancel(timer);
    timer =
        clock.after(microseconds(static_cast<std::int64_t>(rng.below(2'000))), [this] { ask(); });
  }

  void record(std::optional<std::int64_t> returned_ns) {
    current.returned_ns = returned_ns;
    history.push_back(current);
  }

  KvClientOptions options;
  io::Clock& clock;
  io::Network& network;
  Rng rng;
  std::unique_ptr<io::Network::Connector> connector;
  std::unique_ptr<io::Connection> connection;
  io::Clock::TimerId timer = 0;
  Bytes buffer;
  bool asked = false;
  bool finished = false;
  std::uint64_t calls = 0;
  Operation current;
  std::map<std::string, std::string> last_seen;
  History history;
};

KvClient::KvClient(KvClientOptions options, io::Clock& clock, io::Network& network)
    : state_(std::make_unique<State>(std::move(options), clock, network)) {
  state_->connect();
}
KvClient::~KvClient() = default;
bool KvClient::done() const { return state_->finished; }
const History& KvClient::history() const { return state_->history; }

}  // namespace conclave::sim
