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
