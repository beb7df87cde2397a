// Any bytes as a snapshot file: an error or a whole snapshot, which when written again gives the
// same bytes. Every other input is the content of a right file with one change, so that what lies
// behind the checksums is reached too.

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "wal/snapshot_format.h"

namespace {

using namespace conclave;

const wal::SnapshotOwner kOwner{ClusterId{1}, GroupId{2}};

Bytes write(const consensus::SnapshotMeta& meta, const std::vector<Bytes>& chunks) {
  wal::SnapshotEncoder encoder;
  Bytes file = encoder.header(kOwner, meta);
  for (const auto& chunk : chunks) file += encoder.chunk(chunk);
  return file + encoder.footer();
}

void read(const Bytes& file) {
  std::vector<Bytes> chunks;
  const auto source = [&](std::uint64_t at, std::size_t size) -> Result<Bytes> {
    return at < file.size() ? file.substr(at, size) : Bytes{};
  };
  const auto meta = wal::decode_snapshot(source, kOwner, [&](BytesView piece) -> Result<void> {
    chunks.emplace_back(piece);
    return {};
  });
  if (meta) CHECK(write(*meta, chunks) == file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes input(reinterpret_cast<const char*>(data), size);
  read(input);
  if (size < 4) return 0;
  consensus::SnapshotMeta meta{.index = LogIndex{data[0]},
                               .epoch = Epoch{data[1]},
                               .membership = consensus::Membership::of_majority({NodeId{1}})};
  Bytes file = write(meta, {input.substr(0, size / 2 + 1), input});
  const std::size_t at = (std::size_t{data[2]} << 8 | data[3]) % file.size();
  file[at] = static_cast<char>(file[at] ^ data[0]);
  read(file);
  return 0;
}
