#include "wire/json.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include "base/check.h"

namespace conclave::wire {

namespace util = google::protobuf::util;

Bytes to_json(const google::protobuf::Message& message) {
  util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  Bytes out;
  CHECK(util::MessageToJsonString(message, &out, options).ok());
  return out;
}

Result<void> from_json(BytesView text, google::protobuf::Message& message) {
  message.Clear();
  if (text.find_first_not_of(" \t\r\n") == BytesView::npos) return {};
  util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = util::JsonStringToMessage({text.data(), text.size()}, &message, options);
  if (status.ok()) return {};
  return fail(ErrorCode::kInvalid, status.message().ToString());
}

void append_base64(BytesView bytes, Bytes& out) {
  constexpr BytesView kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::size_t begin = out.size();
  out.resize(begin + (bytes.size() + 2) / 3 * 4, '=');
  char* to = out.data() + begin;
  const auto byte = [&](std::size_t at) {
    return at < bytes.size() ? static_cast<std::uint8_t>(bytes[at]) : std::uint32_t{0};
  };
  for (std::size_t i = 0; i < bytes.size(); i += 3, to += 4) {
    const std::uint32_t bits = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    to[0] = kDigits[bits >> 18];
    to[1] = kDigits[bits >> 12 & 63];
    if (i + 1 < bytes.size()) to[2] = kDigits[bits >> 6 & 63];
    if (i + 2 < bytes.size()) to[3] = kDigits[bits & 63];
  }
}

Bytes json_string(BytesView text) {
  Bytes out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == '<' || c == '>' || c == '&') {
      // Go's encoder escapes the last three too, so that JSON can stand within HTML.
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

}  // namespace conclave::wire
