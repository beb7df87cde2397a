#include "wire/grpc.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "base/check.h"

namespace conclave::wire {
namespace {

constexpr std::size_t kPrefixBytes = 5;  // compressed flag, 32-bit length, big-endian

std::uint8_t byte_at(BytesView bytes, std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); }

GrpcMessage refused(GrpcCode code, Bytes text) {
  GrpcMessage message;
  message.state = GrpcMessage::State::kRefused;
  message.refusal = {code, std::move(text)};
  return message;
}

}  // namespace

GrpcMessage front_message(BytesView body, std::size_t max_bytes) {
  if (body.size() < kPrefixBytes) return {};
  const std::size_t length = static_cast<std::size_t>(byte_at(body, 1)) << 24 |
                             static_cast<std::size_t>(byte_at(body, 2)) << 16 |
                             static_cast<std::size_t>(byte_at(body, 3)) << 8 | byte_at(body, 4);
  if (length > max_bytes) {
    return refused(
        GrpcCode::kResourceExhausted,
        fmt::format("grpc: received message larger than max ({} vs. {})", length, max_bytes));
  }
  if (byte_at(body, 0) > 1) {
    return refused(GrpcCode::kInternal,
                   fmt::format("grpc: received unexpected payload format {}", byte_at(body, 0)));
  }
  if (byte_at(body, 0) == 1) {
    return refused(GrpcCode::kInternal,
                   "grpc: compressed flag set with identity or empty encoding");
  }
  if (body.size() - kPrefixBytes < length) return {};
  GrpcMessage message;
  message.state = GrpcMessage::State::kComplete;
  message.payload = body.substr(kPrefixBytes, length);
  message.wire_bytes = kPrefixBytes + length;
  return message;
}

std::size_t begin_message(Bytes& out) {
  out.append(kPrefixBytes, '\0');
  return out.size();
}

void end_message(Bytes& out, std::size_t begin) {
  CHECK(begin >= kPrefixBytes);
  out.replace(begin - kPrefixBytes, kPrefixBytes, message_prefix(out.size() - begin));
}

Bytes message_prefix(std::size_t length) {
  CHECK(length <= std::numeric_limits<std::uint32_t>::max());
  Bytes prefix(kPrefixBytes, '\0');
  for (std::size_t i = 0; i < 4; ++i) {
    prefix[kPrefixBytes - 1 - i] = static_cast<char>(length >> (8 * i) & 0xff);
  }
  return prefix;
}

bool is_grpc_content_type(BytesView content_type) {
  constexpr BytesView kBase = "application/grpc";
  if (!content_type.starts_with(kBase)) return false;
  return content_type.size() == kBase.size() || content_type[kBase.size()] == '+' ||
         content_type[kBase.size()] == ';';
}

std::optional<GrpcStatus> check_encoding(std::optional<BytesView> grpc_encoding) {
  if (!grpc_encoding || *grpc_encoding == "identity") return std::nullopt;
  return GrpcStatus{
      GrpcCode::kUnimplemented,
      fmt::format("grpc: Decompressor is not installed for grpc-encoding \"{}\"", *grpc_encoding)};
}

std::optional<std::uint64_t> parse_grpc_timeout_ms(BytesView timeout) {
  constexpr std::size_t kMaxDigits = 8;
  if (timeout.size() < 2 || timeout.size() > kMaxDigits + 1) return std::nullopt;
  std::uint64_t value = 0;
  const char* unit = timeout.data() + timeout.size() - 1;
  const auto [end, error] = std::from_chars(timeout.data(), unit, value);
  if (error != std::errc{} || end != unit) return std::nullopt;
  switch (*unit) {
    case 'H':
      return value * 3'600'000;
    case 'M':
      return value * 60'000;
    case 'S':
      return value * 1'000;
    case 'm':
      return value;
    case 'u':
      return (value + 999) / 1'000;
    case 'n':
      return (value + 999'999) / 1'000'000;
    default:
      return std::nullopt;
  }
}

Bytes percent_encode(BytesView text) {
  Bytes out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c >= ' ' && c <= '~' && c != '%') {
      out.push_back(c);
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<std::uint8_t>(c));
    }
  }
  return out;
}

Bytes percent_decode(BytesView text) {
  Bytes out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* const digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace conclave::wire
