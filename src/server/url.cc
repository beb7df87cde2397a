#include "server/url.h"

#include <fmt/core.h>

#include <algorithm>

#include "server/text.h"

namespace conclave::server {

namespace {

Failure bad_url(std::string_view text, std::string_view why) {
  return fail(ErrorCode::kInvalid, fmt::format("\"{}\": {}", text, why));
}

Result<void> check_scheme(std::string_view text, std::string_view scheme) {
  if (scheme == "http" || scheme == "https") return {};
  if (scheme == "unix" || scheme == "unixs") {
    return bad_url(text, "unix sockets are not supported, use http or https");
  }
  return bad_url(text, "the scheme must be http or https");
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_';
}

bool is_ipv6_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' ||
         c == '.' || c == '%' || is_host_character(c);
}

// The host of "host:port", brackets taken off.
Result<std::string> parse_host(std::string_view text, std::string_view host) {
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() && bracketed) return bad_url(text, "the address in brackets is missing");
  if (!bracketed && host.find(':') != std::string_view::npos) {
    return bad_url(text, "an IPv6 address must stand in brackets: http://[::1]:2379");
  }
  const auto allowed = bracketed ? is_ipv6_character : is_host_character;
  if (!std::ranges::all_of(host, allowed)) {
    return bad_url(text, "the host contains a character that no host name has");
  }
  return lower_case(host);
}

}  // namespace

std::string Url::to_string() const { return scheme + "://" + address().to_string(); }

Result<Url> parse_url(std::string_view text) {
  const auto scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) {
    return bad_url(text, "not a URL like http://127.0.0.1:2379");
  }
  const std::string scheme = lower_case(text.substr(0, scheme_end));
  TRY(check_scheme(text, scheme));

  std::string_view rest = text.substr(scheme_end + 3);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#") != std::string_view::npos) {
    return bad_url(text, "a path or query is not allowed here");
  }
  if (rest.find('@') != std::string_view::npos) {
    return bad_url(text, "a user name or password is not allowed here");
  }
  const auto colon = rest.rfind(':');
  if (colon == std::string_view::npos || rest.ends_with(']')) {
    return bad_url(text, "the port is missing: it must have the form http://host:port");
  }
  const auto port = parse_number(rest.substr(colon + 1));
  if (!port || *port > 65535) return bad_url(text, "the port must be a number up to 65535");
  return Url{scheme, TRY(parse_host(text, rest.substr(0, colon))),
             static_cast<std::uint16_t>(*port)};
}

Result<std::vector<Url>> parse_urls(std::string_view text) {
  std::vector<Url> urls;
  for (const std::string_view each : split(text, ',')) urls.push_back(TRY(parse_url(each)));
  if (urls.empty()) return fail(ErrorCode::kInvalid, "at least one URL is needed");
  std::ranges::sort(urls);
  return urls;
}

std::string join(const std::vector<Url>& urls) {
  std::string joined;
  for (const Url& url : urls) joined += (joined.empty() ? "" : ",") + url.to_string();
  return joined;
}

}  // namespace conclave::server
