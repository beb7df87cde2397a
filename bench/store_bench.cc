// Micro-benchmarks of the store (Google Benchmark): what one request costs beside network, log and
// consensus.
//
//   store_bench --benchmark_filter=...      store_bench --memory: resident bytes of a million keys

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstring>
#include <fstream>

#include "base/rng.h"
#include "store/snapshot.h"
#include "store/store.h"

namespace conclave::store {
namespace {

constexpr NodeId kSelf{1};
constexpr std::uint64_t kIncarnation = 1;
constexpr std::uint64_t kKeys = 1'000'000;
constexpr std::size_t kBatch = 100;

// 64 bytes that begin alike, as keys of one service do.
Bytes key_of(std::uint64_t n) {
  return fmt::format("/registry/services/endpoints/namespace-{:03}/name-{:016}", n % 7, n);
}
const Bytes kValue(256, 'v');

api::Request put_request(std::uint64_t n, const Bytes& value = kValue) {
  return {.body = api::PutRequest{.key = key_of(n), .value = value}, .id = {}, .timeout_ms = {}};
}

void apply_entry(Store& store, BytesView entry) {
  auto result = store.apply(store.applied_index().next(), entry, kSelf, kIncarnation);
  benchmark::DoNotOptimize(result);
}

// `puts` of them over random keys below `keys`, in entries of `batch` each.
std::vector<Bytes> random_puts(Rng& rng, std::uint64_t keys, std::size_t puts, std::size_t batch) {
  std::vector<Bytes> entries;
  BatchEncoder encoder;
  for (std::size_t i = 1; i <= puts; ++i) {
    encoder.add(encode_command({kSelf, kIncarnation, i}, put_request(rng.below(keys))));
    if (i % batch == 0) entries.push_back(encoder.finish(Epoch{1}, Stamp{1}));
  }
  return entries;
}

Store filled(std::uint64_t keys, const Bytes& value = kValue) {
  Store store{Limits{}};
  // A permutation of the keys: an odd multiplier modulo a power of two, and those below `keys` of
  // it.
  std::uint64_t power = 1;
  while (power < keys) power *= 2;
  BatchEncoder batch;
  for (std::uint64_t i = 0; i < power; ++i) {
    const std::uint64_t n = (i * 0x9e3779b1) % power;
    if (n < keys) batch.add(encode_command({}, put_request(n, value)));
    if (batch.size_bytes() > 100'000) apply_entry(store, batch.finish(Epoch{1}, Stamp{1}));
  }
  apply_entry(store, batch.finish(Epoch{1}, Stamp{1}));
  return store;
}

Store& million() {
  static Store store = filled(kKeys);
  return store;
}

// More than caches hold, with short values, as they all have to be put first.
Store& ten_million() {
  static Store store = filled(10 * kKeys, Bytes(16, 'v'));
  return store;
}

// Makes room for the versions to come.
void compact(Store& store) {
  BatchEncoder batch;
  batch.add(encode_command(
      {}, {.body = api::CompactRequest{.revision = store.revision()}, .id = {}, .timeout_ms = {}}));
  apply_entry(store, batch.finish(Epoch{1}, Stamp{1}));
}

void reclaim_all(Store& store) {
  while (store.reclaim(100'000)) {
  }
}

void encode_put(benchmark::State& state) {
  const api::Request request = put_request(5);
  for (auto _ : state) benchmark::DoNotOptimize(encode_command({kSelf, kIncarnation, 1}, request));
}
BENCHMARK(encode_put);

// Decode, apply and answer, per put over one of the first `keys` of a store; old versions are
// compacted and reclaimed on the way.
void apply_puts(benchmark::State& state, Store& store, std::uint64_t keys, std::size_t batch) {
  Rng rng(2);
  std::uint64_t rounds = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const std::vector<Bytes> entries = random_puts(rng, keys, kBatch, batch);
    state.ResumeTiming();
    for (const Bytes& entry : entries) apply_entry(store, entry);
    state.PauseTiming();
    if (++rounds % 100 == 0) {
      compact(store);
      reclaim_all(store);
    }
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}

void apply_put(benchmark::State& state) { apply_puts(state, million(), kKeys, kBatch); }
BENCHMARK(apply_put);

void apply_put_alone(benchmark::State& state) { apply_puts(state, million(), kKeys, 1); }
BENCHMARK(apply_put_alone);

void apply_put_of_one_key(benchmark::State& state) { apply_puts(state, million(), 1, kBatch); }
BENCHMARK(apply_put_of_one_key);

void apply_put_of_ten_million(benchmark::State& state) {
  apply_puts(state, ten_million(), 10 * kKeys, kBatch);
}
BENCHMARK(apply_put_of_ten_million);

// A store with few keys.
void apply_put_of_few(benchmark::State& state) {
  const auto keys = static_cast<std::uint64_t>(state.range(0));
  Store store = filled(keys);
  apply_puts(state, store, keys, kBatch);
}
BENCHMARK(apply_put_of_few)->Arg(100)->Arg(1000)->Arg(10'000);

// Per version that is freed.
void reclaim(benchmark::State& state) {
  constexpr std::size_t kPuts = 100'000;
  Store& store = million();
  Rng rng(8);
  for (auto _ : state) {
    state.PauseTiming();
    for (const Bytes& entry : random_puts(rng, kKeys, kPuts, kBatch)) apply_entry(store, entry);
    compact(store);
    state.ResumeTiming();
    reclaim_all(store);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kPuts));
}
BENCHMARK(reclaim)->Unit(benchmark::kMillisecond);

void apply_put_with_request_id(benchmark::State& state) {
  Store& store = million();
  Rng rng(3);
  std::uint64_t sequence = 0;
  for (auto _ : state) {
    state.PauseTiming();
    BatchEncoder batch;
    for (std::size_t i = 0; i < kBatch; ++i) {
      api::Request request = put_request(rng.below(kKeys));
      request.id = api::RequestId{fmt::format("client-{}", rng.below(1000)), ++sequence};
      batch.add(encode_command({kSelf, kIncarnation, i}, request));
    }
    const Bytes entry = batch.finish(Epoch{1}, Stamp{1});
    state.ResumeTiming();
    apply_entry(store, entry);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(apply_put_with_request_id)->Iterations(2000);

// Compare-and-swap, the most common transaction.
void apply_txn(benchmark::State& state) {
  Store& store = million();
  Rng rng(4);
  for (auto _ : state) {
    state.PauseTiming();
    BatchEncoder batch;
    for (std::size_t i = 0; i < kBatch; ++i) {
      const Bytes key = key_of(rng.below(kKeys));
      api::TxnRequest txn;
      txn.compare.push_back({.result = api::CompareResult::kGreater,
                             .target = api::CompareTarget::kMod,
                             .key = key,
                             .range_end = {},
                             .value = {}});
      txn.success.push_back({api::PutRequest{.key = key, .value = kValue}});
      txn.failure.push_back({api::RangeRequest{.key = key, .range_end = {}}});
      batch.add(encode_command({kSelf, kIncarnation, i},
                               {.body = std::move(txn), .id = {}, .timeout_ms = {}}));
    }
    const Bytes entry = batch.finish(Epoch{1}, Stamp{1});
    state.ResumeTiming();
    apply_entry(store, entry);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(apply_txn)->Iterations(2000);

void get(benchmark::State& state) {
  const Store& store = million();
  Rng rng(5);
  std::vector<api::Request> requests;
  for (int i = 0; i < 10'000; ++i) {
    requests.push_back({.body = api::RangeRequest{.key = key_of(rng.below(kKeys)), .range_end = {}},
                        .id = {},
                        .timeout_ms = {}});
  }
  std::size_t next = 0;
  for (auto _ : state) benchmark::DoNotOptimize(store.read(requests[next++ % requests.size()]));
}
BENCHMARK(get);

void range_of_100(benchmark::State& state) {
  const Store& store = million();
  Rng rng(6);
  for (auto _ : state) {
    const Bytes key = key_of(7 * rng.below(kKeys / 8));
    const Bytes end = key.substr(0, 48) + fmt::format("{:016}", std::stoull(key.substr(48)) + 700);
    const api::Request request{
        .body = api::RangeRequest{.key = key, .range_end = end}, .id = {}, .timeout_ms = {}};
    const api::Response response = store.read(request);
    if (std::get<api::RangeResponse>(response.answer).count != 100)
      state.SkipWithError("not 100 keys");
  }
}
BENCHMARK(range_of_100);

// Of ZooKeeper's clients: a session, and a node below which it works on nodes of kValue.
class Znodes {
 public:
  Znodes() : store_(Limits{}) {
    store_.want_znode_news(true);
    store_.want_znode_changes(false);  // as long as nobody watches
    run({api::zk::OpenSession{.timeout_ms = 30'000,
                              .ttl_s = 30,
                              .id = kSession,
                              .password = Bytes(api::zk::kPasswordBytes, 'p')}});
    run({api::zk::Create{.path = kParent, .data = {}, .acl = open_acl()}});
  }

  using Op = decltype(api::zk::WriteRequest::op);
  void run(const std::vector<Op>& ops) { run(entry(ops)); }
  void run(BytesView entry) { apply_entry(store_, entry); }

  static Bytes entry(const std::vector<Op>& ops) {
    BatchEncoder batch;
    for (const Op& op : ops) batch.add(encode_command({kSelf, kIncarnation, 1}, request(op)));
    return batch.finish(Epoch{1}, Stamp{1});
  }
  // As a member that enforces no quotas asks for them.
  static api::Request request(const Op& op) {
    return {.body =
                api::zk::WriteRequest{
                    .caller = {kSession, 1, {{"ip", "127.0.0.1"}}},
                    .time_ms = 1'700'000'000'000,
                    .op = op,
                    .quotas = api::zk::Quotas::kCounted,
                },
            .id = {},
            .timeout_ms = {}};
  }

  static std::vector<Op> creates(std::uint64_t from) {
    std::vector<Op> ops;
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      ops.push_back(api::zk::Create{.path = path(from + i), .data = kValue, .acl = open_acl()});
    }
    return ops;
  }
  static Bytes path(std::uint64_t n) { return fmt::format("{}/{}", kParent, n); }
  // As the store says: a benchmark of refusals measures something else.
  std::uint64_t nodes() const { return store_.znode_counts().nodes; }

  static constexpr const char* kParent = "/bench";

 private:
  static constexpr api::zk::SessionId kSession = 0x1234567890abcdef;
  static std::vector<api::zk::Acl> open_acl() {
    return {{api::zk::kAllPermissions, {"world", "anyone"}}};
  }

  Store store_;
};

void encode_znode_create(benchmark::State& state) {
  const api::Request request = Znodes::request(Znodes::creates(0)[0]);
  for (auto _ : state) benchmark::DoNotOptimize(encode_command({kSelf, kIncarnation, 1}, request));
}
BENCHMARK(encode_znode_create);

// Decode, apply and answer: kBatch nodes, each below the same one.
void apply_znode_create(benchmark::State& state) {
  Znodes znodes;
  const std::uint64_t before = znodes.nodes();
  std::uint64_t created = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const Bytes entry = Znodes::entry(Znodes::creates(created));
    created += kBatch;
    state.ResumeTiming();
    znodes.run(entry);
  }
  if (znodes.nodes() != before + created) state.SkipWithError("not all were created");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(apply_znode_create)->Iterations(1000);

void apply_znode_set(benchmark::State& state) {
  constexpr std::uint64_t kNodes = 100'000;
  Znodes znodes;
  for (std::uint64_t n = 0; n < kNodes; n += kBatch) znodes.run(Znodes::creates(n));
  Rng rng(7);
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<Znodes::Op> ops;
    for (std::size_t i = 0; i < kBatch; ++i) {
      ops.push_back(api::zk::SetData{.path = Znodes::path(rng.below(kNodes)), .data = kValue});
    }
    const Bytes entry = Znodes::entry(ops);
    state.ResumeTiming();
    znodes.run(entry);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(apply_znode_set)->Iterations(1000);

void apply_znode_delete(benchmark::State& state) {
  Znodes znodes;
  const std::uint64_t before = znodes.nodes();
  std::uint64_t created = 0;
  for (auto _ : state) {
    state.PauseTiming();
    znodes.run(Znodes::creates(created));
    std::vector<Znodes::Op> ops;
    for (std::size_t i = 0; i < kBatch; ++i) {
      ops.push_back(api::zk::Delete{.path = Znodes::path(created++)});
    }
    const Bytes entry = Znodes::entry(ops);
    state.ResumeTiming();
    znodes.run(entry);
  }
  if (znodes.nodes() != before) state.SkipWithError("not all were deleted");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}
BENCHMARK(apply_znode_delete)->Iterations(1000);

void count_all(benchmark::State& state) {
  const Store& store = million();
  const api::Request request{
      .body =
          api::RangeRequest{.key = Bytes(1, '\0'), .range_end = Bytes(1, '\0'), .count_only = true},
      .id = {},
      .timeout_ms = {}};
  for (auto _ : state) benchmark::DoNotOptimize(store.read(request));
}
BENCHMARK(count_all)->Unit(benchmark::kMillisecond);

void snapshot_write(benchmark::State& state) {
  Store& store = million();
  std::int64_t bytes = 0;
  for (auto _ : state) {
    const auto writer = store.begin_snapshot();
    for (Bytes piece = writer->next(512 << 10); !piece.empty(); piece = writer->next(512 << 10)) {
      bytes += static_cast<std::int64_t>(piece.size());
    }
  }
  state.SetBytesProcessed(bytes);
}
BENCHMARK(snapshot_write)->Unit(benchmark::kMillisecond);

void snapshot_load(benchmark::State& state) {
  Store& store = million();
  Bytes all;
  {
    const auto writer = store.begin_snapshot();
    for (Bytes piece = writer->next(512 << 10); !piece.empty(); piece = writer->next(512 << 10))
      all += piece;
  }
  for (auto _ : state) {
    SnapshotLoader loader(Limits{});
    for (std::size_t at = 0; at < all.size(); at += 512 << 10) {
      if (!loader.feed(BytesView(all).substr(at, 512 << 10))) state.SkipWithError("refused");
    }
    benchmark::DoNotOptimize(loader.finish());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(all.size()));
}
BENCHMARK(snapshot_load)->Unit(benchmark::kMillisecond);

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

int report_memory() {
  const std::uint64_t before = resident_bytes();
  const Store store = filled(kKeys);
  const std::uint64_t after = resident_bytes();
  fmt::print(
      "{} keys of {} bytes with values of {}: {:.1f} MB resident, {:.1f} MB by size_bytes()\n",
      store.key_count(), key_of(1).size(), kValue.size(), static_cast<double>(after - before) / 1e6,
      static_cast<double>(store.size_bytes()) / 1e6);
  return 0;
}

}  // namespace
}  // namespace conclave::store

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--memory") == 0) return conclave::store::report_memory();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
