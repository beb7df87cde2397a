#include "server/settings.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "server/flags.h"

namespace conclave::server {

namespace {

std::string variable_name(std::string_view prefix, std::string_view flag) {
  std::string name(prefix);
  for (const char c : flag) {
    const bool letter = c >= 'a' && c <= 'z';
    name += c == '-' ? '_' : letter ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return name;
}

// Values that mean the same to a flag as its default.
bool is_default(const Flag& flag, std::string_view value) {
  return value.empty() || value == flag.fallback ||
         (flag.name == "log-outputs" && value == "stderr");
}

}  // namespace

Result<Settings> Settings::gather(const std::vector<std::string>& arguments,
                                  const Environment& environment) {
  Settings settings;
  TRY(settings.read_arguments(arguments));
  // A question about the program is answered whatever else the environment says.
  if (settings.text("help") != "false" || settings.text("version") != "false") return settings;
  const bool flags_given = settings.values_.size() > (settings.given("config-file") ? 1U : 0U);
  TRY(settings.read_environment(environment));
  if (const std::string path = settings.text("config-file"); !path.empty()) {
    settings.values_.clear();
    settings.warnings_.clear();
    if (flags_given) {
      settings.warnings_.push_back("--config-file is given: all other flags are ignored");
    }
    TRY(settings.read_file(path));
  }
  TRY(settings.check_support());
  return settings;
}

bool Settings::given(std::string_view name) const { return values_.contains(name); }

std::string Settings::text(std::string_view name) const {
  const auto found = values_.find(name);
  if (found != values_.end()) return found->second;
  const Flag* flag = find_flag(name);
  CHECK(flag != nullptr, "no flag {}", name);
  return std::string(flag->fallback);
}

std::string Settings::called(std::string_view name) const {
  return from_file() ? fmt::format("{} in {}", name, file_) : fmt::format("--{}", name);
}

// As Go's flag package: -name and --name, =value or the next argument, and a boolean never takes
// the next one.
Result<void> Settings::read_arguments(const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string_view argument = arguments[i];
    if (argument.size() < 2 || argument[0] != '-') {
      return fail(ErrorCode::kInvalid, fmt::format("\"{}\" is not a flag", argument));
    }
    argument.remove_prefix(argument.starts_with("--") ? 2 : 1);
    const auto equals = argument.find('=');
    std::string_view name = argument.substr(0, equals);
    if (name == "h") name = "help";
    const Flag* flag = find_flag(name);
    if (flag == nullptr) {
      return fail(ErrorCode::kInvalid, fmt::format("unknown flag --{}{}", name, suggestion(name)));
    }
    if (equals != std::string_view::npos) {
      values_[std::string(name)] = argument.substr(equals + 1);
    } else if (flag->boolean) {
      values_[std::string(name)] = "true";
    } else if (++i < arguments.size()) {
      values_[std::string(name)] = arguments[i];
    } else {
      return fail(ErrorCode::kInvalid, fmt::format("--{} needs a value", name));
    }
  }
  return {};
}

Result<void> Settings::read_environment(const Environment& environment) {
  const auto from_flags = values_;
  for (const auto& [variable, value] : environment) {
    const bool ours = variable.starts_with("CONCLAVE_");
    if ((!ours && !variable.starts_with("ETCD_")) || value.empty()) continue;
    const auto flag = std::ranges::find_if(all_flags(), [&](const Flag& each) {
      return variable == variable_name(ours ? "CONCLAVE_" : "ETCD_", each.name) &&
             each.name != "help" && each.name != "version";  // ETCD_VERSION is a habit of images
    });
    if (flag == all_flags().end()) {
      warnings_.push_back(fmt::format("environment variable {} is not known", variable));
    } else if (from_flags.contains(flag->name)) {
      warnings_.push_back(
          fmt::format("environment variable {} is ignored: --{} is given", variable, flag->name));
    } else {
      // CONCLAVE_ comes before ETCD_, here as in the alphabet.
      values_.try_emplace(std::string(flag->name), value);
    }
  }
  return {};
}

Result<void> Settings::read_file(const std::string& path) {
  file_ = path;
  const auto keys = TRY(read_yaml(path));
  for (const auto& [key, value] : keys) {
    if (find_flag(key) == nullptr || key == "config-file") {
      return fail(ErrorCode::kInvalid,
                  fmt::format("unknown key {} in {}{}", key, path, suggestion(key)));
    }
    if (!value.empty()) values_[key] = value;
  }
  return {};
}

// Answers for what etcd has and this server has not.
Result<void> Settings::check_support() {
  for (const auto& [name, value] : values_) {
    const Flag& flag = *find_flag(name);
    if (flag.support == Support::kUsed || flag.support == Support::kAccepted) continue;
    if (is_default(flag, value)) continue;
    if (flag.support == Support::kRefused) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("{} is not supported: {}", called(name), flag.help));
    }
    warnings_.push_back(fmt::format("{} has no effect: {}", called(name), flag.help));
  }
  return {};
}

}  // namespace conclave::server
