#pragma once
// Whom a command asks, and as whom.

#include <string>
#include <vector>

#include "io/network.h"

namespace conclave::server {

// Paths of PEM files, as etcdctl's flags have them; empty: none.
struct ClientTls {
  std::string trusted_ca;  // --cacert; none: the system's
  std::string certificate, key;
  bool skips_verification = false;

  // Something was said: a server is meant to be spoken to with TLS.
  bool is_given() const {
    return !trusted_ca.empty() || !certificate.empty() || skips_verification;
  }
};

// An endpoint without a scheme is spoken to with TLS if `tls` says anything.
struct ClusterOptions {
  std::vector<io::Address> endpoints;
  ClientTls tls;
  std::string user;  // NAME:PASSWORD; empty: nobody
};

struct Login {
  std::string name;  // empty: nobody
  std::string password;
};

// Of NAME:PASSWORD: the name ends at the first colon.
inline Login login_of(const std::string& user) {
  const std::size_t colon = user.find(':');
  if (colon == std::string::npos) return {.name = user, .password = {}};
  return {.name = user.substr(0, colon), .password = user.substr(colon + 1)};
}

}  // namespace conclave::server
