// Arbitrary bytes as a peer's stream, cut at an arbitrary place: frames come out or an error, and
// the cut must not matter.

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "node/frame.h"

namespace {

std::string read_all(conclave::node::FrameReader& reader) {
  std::string seen;
  for (;;) {
    const auto frame = reader.next();
    if (!frame) return seen + "error";
    if (!*frame) return seen;
    seen += std::to_string(static_cast<int>((*frame)->type)) + std::string((*frame)->payload);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  conclave::node::FrameReader whole;
  whole.feed(bytes);
  const std::string expected = read_all(whole);

  conclave::node::FrameReader parts;
  const std::size_t cut = data[0] % bytes.size();
  parts.feed(bytes.substr(0, cut));
  std::string seen = read_all(parts);
  if (!seen.ends_with("error")) {
    parts.feed(bytes.substr(cut));
    seen += read_all(parts);
  }
  CHECK(seen == expected);
  return 0;
}
