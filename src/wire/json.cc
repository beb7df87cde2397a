#include "wire/json.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "base/check.h"

namespace conclave::wire {

namespace util = google::protobuf::util;

constexpr BytesView kBase64Digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

Bytes to_json(const google::protobuf::Message& message) {
  util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  Bytes out;
  CHECK(util::MessageToJsonString(message, &out, options).ok());
  return out;
}

namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Struct;
using google::protobuf::Value;

Result<void> check_names(const Struct& object, const Descriptor& type);

// Strings in place of an enum must be one of its names; the text is that of etcd's gateway.
Result<void> check_names(const Value& value, const FieldDescriptor& field) {
  if (value.has_list_value()) {
    for (const Value& item : value.list_value().values()) TRY(check_names(item, field));
  } else if (value.has_struct_value() && field.message_type() != nullptr) {
    TRY(check_names(value.struct_value(), *field.message_type()));
  } else if (field.enum_type() != nullptr && value.kind_case() == Value::kStringValue &&
             field.enum_type()->FindValueByName(value.string_value()) == nullptr) {
    const auto& type = *field.enum_type();
    const Descriptor* outer = type.containing_type();
    return fail(ErrorCode::kInvalid,
                fmt::format("unknown value {} for enum {}.{}{}", json_string(value.string_value()),
                            type.file()->package(), outer == nullptr ? "" : outer->name() + "_",
                            type.name()));
  }
  return {};
}

Result<void> check_names(const Struct& object, const Descriptor& type) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    for (const std::string& name : {field.name(), field.json_name()}) {
      const auto found = object.fields().find(name);
      if (found != object.fields().end()) TRY(check_names(found->second, field));
    }
  }
  return {};
}

}  // namespace

Result<void> from_json(BytesView text, google::protobuf::Message& message) {
  message.Clear();
  if (text.find_first_not_of(" \t\r\n") == BytesView::npos) return {};
  const google::protobuf::StringPiece json(text.data(), text.size());
  if (util::JsonStringToMessage(json, &message).ok()) return {};
  // Unknown fields are no reason, but protobuf would skip unknown names of enums with them.
  Struct object;
  if (util::JsonStringToMessage(json, &object).ok()) {
    TRY(check_names(object, *message.GetDescriptor()));
  }
  message.Clear();
  util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = util::JsonStringToMessage(json, &message, options);
  if (status.ok()) return {};
  return fail(ErrorCode::kInvalid, status.message().ToString());
}

void append_base64(BytesView bytes, Bytes& out) {
  const std::size_t begin = out.size();
  out.resize(begin + (bytes.size() + 2) / 3 * 4, '=');
  char* to = out.data() + begin;
  const auto byte = [&](std::size_t at) {
    return at < bytes.size() ? static_cast<std::uint8_t>(bytes[at]) : std::uint32_t{0};
  };
  for (std::size_t i = 0; i < bytes.size(); i += 3, to += 4) {
    const std::uint32_t bits = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    to[0] = kBase64Digits[bits >> 18];
    to[1] = kBase64Digits[bits >> 12 & 63];
    if (i + 1 < bytes.size()) to[2] = kBase64Digits[bits >> 6 & 63];
    if (i + 2 < bytes.size()) to[3] = kBase64Digits[bits & 63];
  }
}

std::optional<Bytes> from_base64(BytesView text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  const BytesView digits = text.substr(0, text.size() - padding);
  Bytes bytes;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char c : digits) {
    const std::size_t value = kBase64Digits.find(c);
    if (value == BytesView::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count & 0xff));
  }
  const bool has_rest = (bits & ((1U << count) - 1)) != 0;
  return has_rest ? std::nullopt : std::optional(std::move(bytes));
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
