// Micro-benchmarks of the write-ahead log (Google Benchmark) on a real disk, with its fsyncs: what
// an append takes from the call to its `done`, and how fast a log is read again.
//
//   log_bench --benchmark_filter=append       in a directory of its own below the current one
//
// "Time" is what passes; "CPU" is that of the loop's thread alone, so without the disk's thread.

#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "base/check.h"
#include "io/posix/clock.h"
#include "io/posix/disk.h"
#include "wal/log.h"

namespace conclave::wal {
namespace {

constexpr GroupId kGroup{1};
constexpr Identity kIdentity{ClusterId{1}, NodeId{1}};
constexpr std::uint64_t kReplayed = 100'000;  // entries
const Bytes kData(300, 'e');

class Directory {
 public:
  Directory() {
    std::string name = "log-bench-XXXXXX";
    CHECK(::mkdtemp(name.data()) != nullptr, "no directory can be made here");
    path_ = name;
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Opened {
  explicit Opened(const std::string& directory) {
    auto opened = Log::open(disk, clock, directory, kIdentity, {},
                            {.on_hard_state = [](GroupId, Bytes) {},
                             .on_entry = [this](GroupId, consensus::Entry) { ++replayed; }});
    CHECK(opened.has_value(), "{}", opened.error().message);
    log = *std::move(opened);
  }

  // Returns when it is durable.
  void append(std::size_t count) {
    std::vector<consensus::Entry> entries;
    for (std::size_t i = 0; i < count; ++i) {
      entries.push_back({.index = LogIndex{++last}, .epoch = Epoch{1}, .data = kData});
    }
    log->append(kGroup, std::nullopt, std::move(entries), [this](Result<void> done) {
      CHECK(done.has_value(), "{}", done.error().message);
      loop.stop();
    });
    loop.run();
  }

  io::Loop loop;
  io::PosixClock clock{loop};
  io::PosixDisk disk{loop};
  std::unique_ptr<Log> log;
  std::uint64_t last = 0;
  std::uint64_t replayed = 0;
};

void append(benchmark::State& state) {
  const Directory directory;
  Opened opened(directory.path());
  const auto count = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    opened.append(count);
    opened.log->release(kGroup, LogIndex{opened.last});
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(count));
}
BENCHMARK(append)->ArgName("entries")->Arg(1)->Arg(16)->Arg(256)->UseRealTime()->Unit(
    benchmark::kMicrosecond);

void replay(benchmark::State& state) {
  const Directory directory;
  {
    Opened opened(directory.path());
    while (opened.last < kReplayed) opened.append(1000);
  }
  for (auto _ : state) {
    // A start writes the last batch once more (docs/formats/log.md).
    const Opened opened(directory.path());
    CHECK(opened.replayed >= kReplayed, "{} of {}", opened.replayed, kReplayed);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kReplayed));
}
BENCHMARK(replay)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace conclave::wal

BENCHMARK_MAIN();
