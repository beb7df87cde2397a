// What one client connection costs: a recorded exchange of Put (or Range) calls is replayed into a
// session whose calls are answered at once. The time per item is everything between the bytes of a
// request and the bytes of its response.

#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "etcd.pb.h"
#include "frontends/etcd/session.h"
#include "wire/http2_test_client.h"

namespace {

using namespace conclave;

constexpr int kValueBytes = 256;

api::Response answer(const api::Request& request) {
  const api::Header header{ClusterId{0x1234567890abcdef}, NodeId{0xfedcba0987654321}, 1'000'000,
                           Epoch{7}};
  if (const auto* range = std::get_if<api::RangeRequest>(&request.body)) {
    api::RangeResponse found;
    found.kvs.push_back({range->key, Bytes(kValueBytes, 'v'), 10, 20, 3, 0});
    found.count = 1;
    return {header, std::move(found)};
  }
  return {header, api::PutResponse{}};
}

// Answers every call; the bytes for the client are in effects.send.
void serve(api::Session& session, BytesView bytes, api::Session::Effects& effects) {
  session.on_bytes(bytes, effects);
  for (auto& call : effects.calls) session.on_response(call.id, answer(call.request), effects);
  effects.calls.clear();
}

Bytes put_message() {
  etcdserverpb::PutRequest put;
  put.set_key("bench/key/00001234");
  put.set_value(Bytes(kValueBytes, 'v'));
  return put.SerializeAsString();
}

Bytes range_message() {
  etcdserverpb::RangeRequest range;
  range.set_key("bench/key/00001234");
  return range.SerializeAsString();
}

// The client's bytes of `rounds` reads, each with `in_flight` calls.
std::vector<Bytes> record(BytesView path, BytesView message, int rounds, int in_flight) {
  wire::Http2TestClient client;
  auto session = etcd::make_session({}, "bench");
  const auto headers = wire::grpc_headers(path);
  const Bytes frame = wire::grpc_frame(message);
  std::vector<Bytes> reads;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < in_flight; ++i) client.request(headers, frame);
    reads.push_back(client.take_output());
    api::Session::Effects effects;
    serve(*session, reads.back(), effects);
    CHECK(client.receive(effects.send));
  }
  return reads;
}

void replay(benchmark::State& state, BytesView path, const Bytes& message) {
  const int in_flight = static_cast<int>(state.range(0));
  const std::vector<Bytes> reads = record(path, message, 20'000 / in_flight, in_flight);
  for (auto _ : state) {
    auto session = etcd::make_session({}, "bench");
    api::Session::Effects effects;
    for (const Bytes& read : reads) {
      serve(*session, read, effects);
      benchmark::DoNotOptimize(effects.send.data());
      effects.send.clear();
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(reads.size()) * in_flight);
}

void put(benchmark::State& state) { replay(state, "/etcdserverpb.KV/Put", put_message()); }
void range(benchmark::State& state) { replay(state, "/etcdserverpb.KV/Range", range_message()); }

BENCHMARK(put)->Arg(1)->Arg(16)->Arg(256);
BENCHMARK(range)->Arg(1)->Arg(16)->Arg(256);

}  // namespace

BENCHMARK_MAIN();
