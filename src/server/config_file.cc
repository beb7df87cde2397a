#include <fmt/core.h>
#include <yaml-cpp/yaml.h>

#include "server/settings.h"

namespace conclave::server {

namespace {

using Keys = std::map<std::string, std::string>;

Result<std::string> text_of(const YAML::Node& value, const std::string& key) {
  if (value.IsNull()) return std::string();
  if (value.IsScalar()) return value.Scalar();
  if (!value.IsSequence()) {
    return fail(ErrorCode::kInvalid, key + " must be a value or a list of values");
  }
  std::string joined;
  for (const YAML::Node& each : value) {
    if (!each.IsScalar()) return fail(ErrorCode::kInvalid, key + " must be a list of values");
    joined += (joined.empty() ? "" : ",") + each.Scalar();
  }
  return joined;
}

// `client-transport-security: {cert-file: x}` is --cert-file x, and --peer-cert-file x for the
// peers'.
Result<void> add_section(const YAML::Node& section, const std::string& prefix, Keys& keys) {
  if (section.IsNull()) return {};
  if (!section.IsMap()) return fail(ErrorCode::kInvalid, "a section must hold keys and values");
  for (const auto& each : section) {
    const std::string key = prefix + each.first.Scalar();
    keys[key] = TRY(text_of(each.second, key));
  }
  return {};
}

Result<Keys> read_keys(const YAML::Node& root) {
  Keys keys;
  if (root.IsNull()) return keys;
  if (!root.IsMap()) return fail(ErrorCode::kInvalid, "keys and values are expected");
  for (const auto& each : root) {
    const std::string key = each.first.Scalar();
    if (key == "client-transport-security") {
      TRY(add_section(each.second, "", keys));
    } else if (key == "peer-transport-security") {
      TRY(add_section(each.second, "peer-", keys));
    } else {
      keys[key] = TRY(text_of(each.second, key));
    }
  }
  return keys;
}

}  // namespace

Result<Keys> read_yaml(const std::string& path) {
  const auto failed = [&](std::string_view why) {
    return fail(ErrorCode::kInvalid, fmt::format("configuration file {}: {}", path, why));
  };
  try {
    Result<Keys> keys = read_keys(YAML::LoadFile(path));
    if (!keys) return failed(keys.error().message);
    return keys;
  } catch (const YAML::BadFile&) {
    return failed("cannot be read");
  } catch (const YAML::Exception& error) {
    return failed(error.what());
  }
}

}  // namespace conclave::server
