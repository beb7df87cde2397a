#include "server/text.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace conclave::server {

namespace {

struct Unit {
  std::string_view name;
  double ns;
};

// Longer names first where one begins with another.
constexpr std::array<Unit, 6> kUnits{
    {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}}};

Failure not_a_duration(std::string_view text) {
  return fail(ErrorCode::kInvalid, fmt::format("\"{}\" is not a duration like 90s or 1h30m", text));
}

}  // namespace

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  if (trim(text).empty()) return pieces;
  while (true) {
    const auto end = text.find(separator);
    pieces.push_back(trim(text.substr(0, end)));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

std::string in_hex(BytesView bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

Result<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range) {
    return fail(ErrorCode::kInvalid, fmt::format("\"{}\" is too large", text));
  }
  if (error != std::errc() || stop != end) {
    return fail(ErrorCode::kInvalid, fmt::format("\"{}\" is not a whole number", text));
  }
  return number;
}

Result<Duration> parse_duration(std::string_view text) {
  if (text == "0") return Duration{};
  std::string_view rest = text;
  double total_ns = 0;
  if (rest.empty()) return not_a_duration(text);
  while (!rest.empty()) {
    double count = 0;
    const auto [stop, error] =
        std::from_chars(rest.data(), rest.data() + rest.size(), count, std::chars_format::fixed);
    if (error != std::errc() || !(count >= 0)) return not_a_duration(text);
    rest.remove_prefix(static_cast<std::size_t>(stop - rest.data()));
    const auto name = rest.substr(0, rest.find_first_of("0123456789."));
    double unit_ns = 0;
    for (const Unit& unit : kUnits) {
      if (unit.name == name) unit_ns = unit.ns;
    }
    if (unit_ns == 0) return not_a_duration(text);
    rest.remove_prefix(name.size());
    total_ns += count * unit_ns;
  }
  if (!(total_ns < static_cast<double>(std::numeric_limits<std::int64_t>::max()))) {
    return not_a_duration(text);
  }
  return nanoseconds(std::llround(total_ns));
}

Result<bool> parse_bool(std::string_view text) {
  const std::string lower = lower_case(text);
  if (lower == "1" || lower == "t" || lower == "true") return true;
  if (lower == "0" || lower == "f" || lower == "false") return false;
  return fail(ErrorCode::kInvalid, fmt::format("\"{}\" is neither true nor false", text));
}

}  // namespace conclave::server
