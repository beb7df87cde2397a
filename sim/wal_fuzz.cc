// Opening a log whose segments hold any bytes: an error or a log, never a crash; and what was
// opened once opens again, with the same entries. The input is cut into segments; batches in it are
// given right checksums first, so that what lies behind them is reached.

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/log.h"
#include "sim/clock.h"
#include "sim/disk.h"
#include "wal/coding.h"
#include "wal/segment.h"

namespace {

using namespace conclave;

constexpr wal::Identity kIdentity{ClusterId{1}, NodeId{2}};
constexpr std::uint64_t kSalt = 77;
constexpr std::uint64_t kSegmentBytes = 4 * wal::kBlockBytes;

// Makes `block`, whatever it holds, the front of a batch if its first byte asks for it. The
// fuzzer's own bytes become the fields, small ones mostly, and the records.
Bytes shape(Bytes block, std::uint64_t segment) {
  block.resize(wal::kBlockBytes);
  if (block[0] % 4 == 0) return block;
  const auto sequence = static_cast<unsigned char>(block[1]);
  const auto body = static_cast<unsigned char>(block[2]) * 16u;
  Bytes header;
  wal::put(header, std::uint32_t{0x48434243});
  wal::put(header, static_cast<std::uint16_t>(block[0] % 4 == 3 ? 2 : 1));
  wal::put(header, static_cast<std::uint16_t>(block[3] % 2));
  wal::put(header, std::uint64_t{body});
  wal::put(header, std::uint64_t{sequence} % 16);
  wal::put(header, segment);
  wal::put(header, static_cast<std::uint32_t>(block[4] % 4));
  wal::put(header, std::uint32_t{0});
  wal::put(header, wal::checksum(BytesView(block).substr(wal::kBatchHeaderBytes, body),
                                 wal::checksum(header, kSalt)));
  return block.replace(0, wal::kBatchHeaderBytes, header);
}

void write_segment(sim::Disk& disk, std::uint64_t id, BytesView input) {
  Bytes file = wal::encode_segment_header({.identity = kIdentity, .id = id, .salt = kSalt});
  for (std::size_t at = 0; at < input.size(); at += 512)
    file += shape(Bytes(input.substr(at, 512)), id);
  file.resize(kSegmentBytes);
  const auto opened = disk.open("m/wal/" + wal::segment_name(id), io::OpenMode::kCreate);
  CHECK(opened.has_value());
  CHECK((*opened)->write(0, file).has_value());
}

Result<std::vector<consensus::Entry>> entries(sim::Disk& disk, sim::Clock& clock) {
  std::vector<consensus::Entry> found;
  const wal::Replay replay{
      [](GroupId, Bytes) {},
      [&](GroupId, consensus::Entry entry) { found.push_back(std::move(entry)); }};
  const auto log =
      TRY(wal::Log::open(disk, clock, "m", kIdentity, {.segment_bytes = kSegmentBytes}, replay));
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  set_log_sink([](LogLevel, std::string_view) {}, LogLevel::kError);
  const Bytes input(reinterpret_cast<const char*>(data), std::min<std::size_t>(size, 9 * 512));
  sim::Clock clock;
  sim::Disk disk(clock, 1);
  CHECK(disk.create_directories("m/wal").has_value());
  for (std::uint64_t id = 1; id <= 3; ++id) {
    const auto from = (id - 1) * 3 * 512;
    if (id > 1 && from >= input.size()) break;
    write_segment(disk, id, BytesView(input).substr(std::min(from, input.size()), 3 * 512));
  }
  const auto first = entries(disk, clock);
  disk.kill();
  const auto second = entries(disk, clock);
  CHECK(first.has_value() == second.has_value());
  // The second time the last batch comes once more, from its repetition.
  if (first) CHECK(std::equal(first->begin(), first->end(), second->begin()));
  return 0;
}
