#pragma once
// URLs as members listen on and advertise them: a scheme, a host and a port, nothing else.

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/network.h"

namespace conclave::server {

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // a name in lower case, or an address; IPv6 without brackets
  std::uint16_t port = 0;

  auto operator<=>(const Url&) const = default;
  std::string to_string() const;
  io::Address address() const { return {host, port, is_https()}; }
  bool is_https() const { return scheme == "https"; }
};

// kInvalid says what is wrong with it. Unix sockets are known and refused by name.
Result<Url> parse_url(std::string_view text);

// Comma-separated; spaces around each are dropped. At least one; sorted, as etcd compares them as
// sets.
Result<std::vector<Url>> parse_urls(std::string_view text);

std::string join(const std::vector<Url>& urls);

}  // namespace conclave::server
