// Any bytes as a log entry: refused or applied, and then deterministically.

#include <cstdint>

#include "base/check.h"
#include "store/store.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  const BytesView bytes(reinterpret_cast<const char*>(data), size);

  // As one command, taken from another member and put into a batch of ours.
  if (store::is_valid_command(bytes)) {
    store::BatchEncoder batch;
    batch.add(bytes);
    const Bytes entry = batch.finish(Epoch{1}, Stamp{1});
    store::Store a{store::Limits{}};
    store::Store b{store::Limits{}};
    CHECK(a.apply(LogIndex{1}, entry, NodeId{1}, 1).has_value());
    CHECK(b.apply(LogIndex{1}, entry, NodeId{0}, 0).has_value());
    CHECK(a.hash() == b.hash());
  }

  // As a whole entry.
  store::Store store{store::Limits{}};
  const bool has_header = store::decode_batch_header(bytes).has_value();
  const bool is_applied = store.apply(LogIndex{1}, bytes, NodeId{1}, 1).has_value();
  CHECK(has_header || !is_applied);
  return 0;
}
