#include "sim/history.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <map>
#include <utility>
#include <variant>

namespace conclave::sim {
namespace {

using JsonValue = std::variant<std::nullptr_t, bool, std::int64_t, std::string>;
using JsonObject = std::map<std::string, JsonValue>;

Failure invalid(std::string why) { return fail(ErrorCode::kInvalid, std::move(why)); }

void append_utf8(std::string& out, unsigned code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xe0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// Reads one flat JSON object: strings, integers, booleans and null. All that a history line is made
// of.
class LineParser {
 public:
  explicit LineParser(std::string_view text) : text_(text) {}

  Result<JsonObject> object() {
    JsonObject fields;
    if (!take('{')) return invalid("expected '{'");
    if (!take('}')) {
      do {
        std::string name = TRY(string());
        if (!take(':')) return invalid("expected ':' after \"" + name + "\"");
        JsonValue field = TRY(value());
        if (!fields.emplace(name, std::move(field)).second)
          return invalid("\"" + name + "\" is given twice");
      } while (take(','));
      if (!take('}')) return invalid("expected ',' or '}'");
    }
    skip_space();
    if (at_ != text_.size()) return invalid("text after the object");
    return fields;
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  bool take(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Result<JsonValue> value() {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '"') return JsonValue(TRY(string()));
    if (take_word("null")) return JsonValue(nullptr);
    if (take_word("true")) return JsonValue(true);
    if (take_word("false")) return JsonValue(false);
    std::int64_t number = 0;
    const auto [end, error] =
        std::from_chars(text_.data() + at_, text_.data() + text_.size(), number);
    if (error != std::errc()) return invalid("expected a string, an integer, true, false or null");
    at_ = static_cast<std::size_t>(end - text_.data());
    return JsonValue(number);
  }

  Result<std::string> string() {
    if (!take('"')) return invalid("expected a string");
    std::string out;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      TRY(escape(out));
    }
    return invalid("a string does not end");
  }

  Result<void> escape(std::string& out) {
    if (at_ >= text_.size()) return invalid("a string does not end");
    const char c = text_[at_++];
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out += c;
        return {};
      case 'n':
        out += '\n';
        return {};
      case 't':
        out += '\t';
        return {};
      case 'r':
        out += '\r';
        return {};
      case 'b':
        out += '\b';
        return {};
      case 'f':
        out += '\f';
        return {};
      case 'u':
        break;
      default:
        return invalid("unknown escape in a string");
    }
    unsigned code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (error != std::errc() || end != digits.data() + 4) return invalid("bad \\u escape");
    at_ += 4;
    append_utf8(out, code);
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// Takes the fields of an operation out of an object; what is left over afterwards is a mistake.
class Fields {
 public:
  explicit Fields(JsonObject object) : object_(std::move(object)) {}

  bool has(const std::string& name) const { return object_.contains(name); }

  template <class T>
  Result<T> required(const std::string& name) {
    const auto found = object_.find(name);
    if (found == object_.end()) return invalid("\"" + name + "\" is missing");
    return take<T>(found);
  }
  // Absent and null are the same.
  template <class T>
  Result<std::optional<T>> optional(const std::string& name) {
    const auto found = object_.find(name);
    if (found == object_.end()) return std::optional<T>();
    if (std::holds_alternative<std::nullptr_t>(found->second)) {
      object_.erase(found);
      return std::optional<T>();
    }
    return std::optional<T>(TRY(take<T>(found)));
  }
  Result<void> finish() const {
    if (!object_.empty()) return invalid("\"" + object_.begin()->first + "\" has no place here");
    return {};
  }

 private:
  template <class T>
  Result<T> take(JsonObject::iterator found) {
    T* value = std::get_if<T>(&found->second);
    if (value == nullptr) return invalid("\"" + found->first + "\" is of the wrong type");
    T taken = std::move(*value);
    object_.erase(found);
    return taken;
  }

  JsonObject object_;
};

Result<OpKind> kind_of(const std::string& name) {
  if (name == "put") return OpKind::kPut;
  if (name == "get") return OpKind::kGet;
  if (name == "delete") return OpKind::kDelete;
  if (name == "cas") return OpKind::kCas;
  return invalid("unknown op \"" + name + "\"");
}

const char* name_of(OpKind kind) {
  switch (kind) {
    case OpKind::kPut:
      return "put";
    case OpKind::kGet:
      return "get";
    case OpKind::kDelete:
      return "delete";
    case OpKind::kCas:
      return "cas";
  }
  return "";
}

Result<void> read_cas(Fields& fields, Operation& op) {
  op.value = TRY(fields.required<std::string>("value"));
  op.expect = TRY(fields.optional<std::string>("expect"));
  if (op.is_unknown()) return {};
  op.succeeded = TRY(fields.required<bool>("ok"));
  op.actual_known = fields.has("actual");
  op.actual = TRY(fields.optional<std::string>("actual"));
  if (op.succeeded && op.actual_known) return invalid("\"actual\" belongs to a cas that failed");
  return {};
}

void append_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_cell(std::string& out, std::string_view name, const Cell& cell) {
  out += ",\"";
  out += name;
  out += "\":";
  if (cell) {
    append_string(out, *cell);
  } else {
    out += "null";
  }
}

void append_number(std::string& out, std::string_view name, std::int64_t number) {
  out += ",\"";
  out += name;
  out += "\":";
  out += std::to_string(number);
}

}  // namespace

std::string to_json(const Operation& op) {
  std::string out = "{\"client\":" + std::to_string(op.client);
  out += ",\"op\":\"";
  out += name_of(op.kind);
  out += "\",\"key\":";
  append_string(out, op.key);
  const bool has_result = op.kind != OpKind::kGet || !op.is_unknown();
  if (op.kind != OpKind::kDelete && has_result) append_cell(out, "value", op.value);
  if (op.kind == OpKind::kCas) {
    append_cell(out, "expect", op.expect);
    if (!op.is_unknown()) out += op.succeeded ? ",\"ok\":true" : ",\"ok\":false";
    if (op.actual_known) append_cell(out, "actual", op.actual);
  }
  append_number(out, "call", op.called_ns);
  if (op.returned_ns) append_number(out, "return", *op.returned_ns);
  if (op.revision != 0) append_number(out, "rev", op.revision);
  if (op.store_revision != 0) append_number(out, "at", op.store_revision);
  return out + "}";
}

Result<Operation> parse_operation(std::string_view line) {
  LineParser parser(line);
  Fields fields(TRY(parser.object()));
  Operation op;
  op.client = static_cast<std::uint64_t>(TRY(fields.required<std::int64_t>("client")));
  const std::string kind = TRY(fields.required<std::string>("op"));
  op.kind = TRY(kind_of(kind));
  op.key = TRY(fields.required<std::string>("key"));
  op.called_ns = TRY(fields.required<std::int64_t>("call"));
  op.returned_ns = TRY(fields.optional<std::int64_t>("return"));
  op.revision = TRY(fields.optional<std::int64_t>("rev")).value_or(0);
  op.store_revision = TRY(fields.optional<std::int64_t>("at")).value_or(0);
  if (op.returned_ns && *op.returned_ns < op.called_ns)
    return invalid("returned before it was called");

  if (op.kind == OpKind::kPut) op.value = TRY(fields.required<std::string>("value"));
  if (op.kind == OpKind::kGet) {
    if (!op.is_unknown() && !fields.has("value")) return invalid("\"value\" is missing");
    op.value = TRY(fields.optional<std::string>("value"));
  }
  if (op.kind == OpKind::kCas) TRY(read_cas(fields, op));
  TRY(fields.finish());
  return op;
}

Result<History> parse_history(std::string_view text) {
  History history;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view content = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (content.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto op = parse_operation(content);
    if (!op) return invalid("line " + std::to_string(line) + ": " + op.error().message);
    history.push_back(std::move(*op));
  }
  return history;
}

std::string to_json_lines(const History& history) {
  std::string out;
  for (const Operation& op : history) {
    out += to_json(op);
    out += '\n';
  }
  return out;
}

}  // namespace conclave::sim
