#pragma once
// The first half of reading a configuration: which flag got which text, from where. What the texts
// mean is config.cc's business.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/config.h"

namespace conclave::server {

class Settings {
 public:
  // From flags and environment; or from the file alone, if they name one.
  static Result<Settings> gather(const std::vector<std::string>& arguments,
                                 const Environment& environment);

  bool given(std::string_view name) const;
  // The text given, or the flag's default. REQUIRES: the flag is in the table.
  std::string text(std::string_view name) const;

  bool from_file() const { return !file_.empty(); }
  // How a person knows this setting: "--name", or "name in conclave.yml".
  std::string called(std::string_view name) const;
  std::vector<std::string> take_warnings() { return std::move(warnings_); }

 private:
  Result<void> read_arguments(const std::vector<std::string>& arguments);
  Result<void> read_environment(const Environment& environment);
  Result<void> read_file(const std::string& path);
  Result<void> set(std::string_view name, std::string value);
  Result<void> check_support();

  std::map<std::string, std::string, std::less<>> values_;
  std::string file_;
  std::vector<std::string> warnings_;
};

// The top-level keys of a YAML file, as texts: a list becomes its elements joined by commas. etcd's
// two sections for TLS become its TLS flags. In config_file.cc.
Result<std::map<std::string, std::string>> read_yaml(const std::string& path);

}  // namespace conclave::server
