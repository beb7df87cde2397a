#pragma once
// What is to be known for TLS on one side of a member, as an operator says it.

#include <string>
#include <vector>

namespace conclave::io {

// Paths of PEM files; empty: none.
struct TlsFiles {
  std::string certificate;  // this side's own, with its intermediates behind it
  std::string key;
  std::string trusted_ca;  // whose certificates are believed; none: the system's
  std::string crl;         // certificates that were revoked
};

struct TlsOptions {
  std::string who;  // "client" or "peer": for logs
  TlsFiles files;
  // Of those who connect: a certificate is demanded. What else is said about certificates then
  // holds for it too.
  bool require_certificate = false;
  // If not empty, a certificate of the other side must have it as its common name, or be valid for
  // this host name.
  std::string allowed_common_name;
  std::string allowed_hostname;
  // Own certificate made up at the start, for these hosts; nobody's is verified.
  bool self_signed = false;
  std::vector<std::string> self_signed_hosts;
  // As TLS's standard names them; empty: the ones with forward secrecy and AEAD.
  std::vector<std::string> cipher_suites;
  std::vector<std::string> protocols;  // ALPN, the preferred one first; empty: not spoken

  bool has_certificate() const { return self_signed || !files.certificate.empty(); }
};

}  // namespace conclave::io
