#pragma once
// Certificates: read from PEM text, made up, and asked for the names in them. Pure, but for the
// date in a certificate that is made up.

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "io/tls/openssl.h"

namespace conclave::io {

// All certificates of a PEM text, in order. kInvalid if there is none, or one that cannot be read.
Result<std::vector<OwnedCertificate>> parse_certificates(BytesView pem);
// kInvalid also for an encrypted key: nobody is there to type its password.
Result<OwnedKey> parse_private_key(BytesView pem);
// One or more lists as PEM, or one as DER. kInvalid if any of them is damaged.
Result<std::vector<OwnedCrl>> parse_crls(BytesView text);

// The subject's common name; empty if it has none.
std::string common_name_of(const X509& certificate);

// How a host name is looked for in a certificate: in its alternative names alone, the common name
// does not count; a wildcard stands for one whole label.
inline constexpr unsigned kHostNameFlags =
    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
// Whether it is valid for a host name (so looked for) or an IP address.
bool is_valid_for(const X509& certificate, const std::string& host);
// Before a client's handshake: it tells the name that it wants, if it is a name, and holds the
// server's certificate to it.
void expect_host(SSL& ssl, const std::string& host);

// Whether its issuer has revoked it, in any of these lists.
bool is_revoked(const X509& certificate, const std::vector<OwnedCrl>& lists);

struct KeyPair {
  Bytes certificate, key;  // PEM
};

// A certificate for `hosts` (names and addresses) that nobody has signed but itself; for a year.
Result<KeyPair> make_self_signed(const std::vector<std::string>& hosts);

}  // namespace conclave::io
