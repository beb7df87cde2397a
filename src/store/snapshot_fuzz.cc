// Any bytes as a snapshot's content: refused, or loaded into a store that can be used and written
// again.

#include <cstdint>

#include "base/check.h"
#include "store/snapshot.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  BytesView bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.empty()) return 0;
  const std::size_t cut = static_cast<std::uint8_t>(bytes.front()) + std::size_t{1};
  bytes.remove_prefix(1);

  store::SnapshotLoader loader(store::Limits{});
  for (; !bytes.empty(); bytes.remove_prefix(std::min(cut, bytes.size()))) {
    if (!loader.feed(bytes.substr(0, cut)).has_value()) break;
  }
  auto loaded = loader.finish();
  if (!loaded.has_value()) return 0;

  api::Request all;
  all.body = api::RangeRequest{.key = Bytes(1, '\0'), .range_end = Bytes(1, '\0')};
  loaded->read(all);
  const auto writer = loaded->begin_snapshot();
  store::SnapshotLoader again(store::Limits{});
  for (Bytes piece = writer->next(cut); !piece.empty(); piece = writer->next(cut)) {
    CHECK(again.feed(piece).has_value());
  }
  CHECK(again.finish().has_value());
  return 0;
}
