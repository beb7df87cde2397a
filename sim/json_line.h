#pragma once
// The JSON of history lines: an object of strings, integers, booleans, null, and arrays of these.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace conclave::sim {

struct JsonValue;
using JsonArray = std::vector<JsonValue>;
struct JsonValue : std::variant<std::nullptr_t, bool, std::int64_t, std::string, JsonArray> {
  using variant::variant;
};
using JsonObject = std::map<std::string, JsonValue>;

// kInvalid if it is anything else; the message says why.
Result<JsonObject> parse_json_line(std::string_view line);

// In quotes, escaped.
void append_json_string(std::string& out, std::string_view text);

// Takes the fields of a line out of an object; what is left over afterwards is a mistake. All
// failures are kInvalid and name the field.
class JsonFields {
 public:
  explicit JsonFields(JsonObject object) : object_(std::move(object)) {}

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
  static Failure invalid(std::string why) { return fail(ErrorCode::kInvalid, std::move(why)); }

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

}  // namespace conclave::sim
