#include "sim/json_line.h"

#include <charconv>

namespace conclave::sim {
namespace {

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
    if (take('[')) return JsonValue(TRY(array()));
    if (take_word("null")) return JsonValue(nullptr);
    if (take_word("true")) return JsonValue(true);
    if (take_word("false")) return JsonValue(false);
    std::int64_t number = 0;
    const auto [end, error] =
        std::from_chars(text_.data() + at_, text_.data() + text_.size(), number);
    if (error != std::errc())
      return invalid("expected a string, an integer, an array, true, false or null");
    at_ = static_cast<std::size_t>(end - text_.data());
    return JsonValue(number);
  }

  // After its '['.
  Result<JsonArray> array() {
    JsonArray values;
    if (take(']')) return values;
    if (++depth_ > kMaxDepth) return invalid("arrays are nested too deeply");
    do {
      values.push_back(TRY(value()));
    } while (take(','));
    --depth_;
    if (!take(']')) return invalid("expected ',' or ']'");
    return values;
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

  static constexpr int kMaxDepth = 8;

  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Result<JsonObject> parse_json_line(std::string_view line) { return LineParser(line).object(); }

void append_json_string(std::string& out, std::string_view text) {
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

}  // namespace conclave::sim
