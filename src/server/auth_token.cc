#include "server/auth_token.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "server/text.h"

namespace conclave::server {
namespace {

Failure invalid(const std::string& text, const std::string& why) {
  return fail(ErrorCode::kInvalid, fmt::format("--auth-token: \"{}\": {}", text, why));
}

bool is_method(std::string_view method) {
  constexpr std::array<std::string_view, 4> kKinds = {"RS", "PS", "ES", "HS"};
  constexpr std::array<std::string_view, 3> kSizes = {"256", "384", "512"};
  return method.size() == 5 && std::ranges::find(kKinds, method.substr(0, 2)) != kKinds.end() &&
         std::ranges::find(kSizes, method.substr(2)) != kSizes.end();
}

}  // namespace

Result<JwtOptions> parse_auth_token(const std::string& text) {
  JwtOptions options;
  std::string_view rest = text;
  const auto take = [&rest] {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return part;
  };
  if (take() != "jwt") return invalid(text, "expected simple or jwt,...");
  while (!rest.empty()) {
    const std::string_view part = take();
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) return invalid(text, "expected key=value after jwt,");
    const std::string_view key = part.substr(0, equals);
    const std::string value(part.substr(equals + 1));
    if (key == "sign-method") {
      options.method = value;
    } else if (key == "pub-key") {
      options.public_key_file = value;
    } else if (key == "priv-key") {
      options.private_key_file = value;
    } else if (key == "ttl") {
      const auto ttl = parse_duration(value);
      if (!ttl || ttl->ns <= 0) return invalid(text, "ttl is no duration such as 5m");
      options.ttl = *ttl;
    } else {
      return invalid(text, fmt::format("unknown key {}", key));
    }
  }
  if (!is_method(options.method)) {
    return invalid(text, "sign-method is to be RS, PS, ES or HS with 256, 384 or 512");
  }
  const bool is_secret = options.method.starts_with("HS");
  const bool has_key =
      !options.private_key_file.empty() || (!is_secret && !options.public_key_file.empty());
  if (!has_key) return invalid(text, is_secret ? "priv-key is missing" : "no key is given");
  return options;
}

}  // namespace conclave::server
