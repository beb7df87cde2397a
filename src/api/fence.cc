#include "api/fence.h"

#include <algorithm>
#include <charconv>

#include "base/limits.h"

namespace conclave::api {
namespace {

bool is_printable(char c) { return c >= ' ' && c <= '~'; }

}  // namespace

std::expected<Fence, std::string> parse_fence(BytesView text) {
  const std::size_t slash = text.rfind('/');
  if (slash == BytesView::npos) return std::unexpected("expected <key>/<token>");
  Fence fence{Bytes(text.substr(0, slash)), 0};
  if (fence.key.empty()) return std::unexpected("the key is empty");
  if (fence.key.size() > limits::kMaxFenceKeyBytes) return std::unexpected("the key is too long");
  if (!std::ranges::all_of(fence.key, is_printable)) {
    return std::unexpected("the key is not printable ASCII");
  }
  const BytesView number = text.substr(slash + 1);
  const char* end_of_number = number.data() + number.size();
  const auto [end, error] = std::from_chars(number.data(), end_of_number, fence.token);
  if (error != std::errc{} || end != end_of_number || fence.token <= 0) {
    return std::unexpected("the token is not a revision");
  }
  return fence;
}

std::optional<Bytes> to_text(const Fence& fence) {
  const bool fits = !fence.key.empty() && fence.key.size() <= limits::kMaxFenceKeyBytes;
  if (!fits || fence.key.front() == ' ') return std::nullopt;  // HTTP drops spaces at the front
  if (!std::ranges::all_of(fence.key, is_printable)) return std::nullopt;
  return fence.key + '/' + std::to_string(fence.token);
}

}  // namespace conclave::api
