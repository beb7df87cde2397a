#pragma once
// The table of flags: ours, and all of etcd's, so that an etcd command line is either understood,
// or told by name what does not work. Names are without dashes; the same names are the keys of the
// configuration file and, in upper case after CONCLAVE_ or ETCD_, the environment variables.

#include <span>
#include <string>
#include <string_view>

namespace conclave::server {

enum class Support {
  kUsed,
  kAccepted,  // nothing to do: what it asks for is what happens anyway
  kIgnored,   // no effect, and a warning says so, unless the value is etcd's default
  kRefused,   // an error, unless the value is etcd's default
};

struct Flag {
  std::string_view name;
  Support support;
  bool boolean;               // `--flag` alone means true
  std::string_view fallback;  // the value when it is not given
  std::string_view help;      // what it does; why not, if it is not kUsed
};

// Ours first, in the order of the help text.
std::span<const Flag> all_flags();

// nullptr if there is none.
const Flag* find_flag(std::string_view name);

// " (did you mean --x?)" for the nearest name, or empty if nothing is near.
std::string suggestion(std::string_view unknown);

// The text of `conclave serve --help`.
std::string serve_help();

}  // namespace conclave::server
