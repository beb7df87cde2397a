#include "io/tls/certificates.h"

#include <openssl/rand.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::io {

namespace {

constexpr long kSecondsOfYear = 365L * 24 * 3600;

OwnedBio reader_of(BytesView text) {
  return OwnedBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

int no_password(char*, int, int, void*) { return -1; }

bool is_address(const std::string& host) {
  ASN1_OCTET_STRING* const address = a2i_IPADDRESS(host.c_str());
  ASN1_OCTET_STRING_free(address);
  ERR_clear_error();
  return address != nullptr;
}

bool add_extension(X509& certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, &certificate, &certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  const bool added = extension != nullptr && X509_add_ext(&certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

std::string alternative_names(const std::vector<std::string>& hosts) {
  std::string names;
  for (const std::string& host : hosts) {
    names += (names.empty() ? "" : ",") + std::string(is_address(host) ? "IP:" : "DNS:") + host;
  }
  return names;
}

bool fill_in(X509& certificate, EVP_PKEY& key, const std::vector<std::string>& hosts) {
  std::uint64_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) return false;
  X509_NAME* const name = X509_get_subject_name(&certificate);
  const auto* const organization = reinterpret_cast<const unsigned char*>("conclave");
  return X509_set_version(&certificate, X509_VERSION_3) == 1 &&
         ASN1_INTEGER_set_uint64(X509_get_serialNumber(&certificate), serial >> 1) == 1 &&
         X509_gmtime_adj(X509_getm_notBefore(&certificate), -60) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(&certificate), kSecondsOfYear) != nullptr &&
         X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, organization, -1, -1, 0) == 1 &&
         X509_set_issuer_name(&certificate, name) == 1 &&
         X509_set_pubkey(&certificate, &key) == 1 &&
         add_extension(certificate, NID_subject_alt_name, alternative_names(hosts)) &&
         add_extension(certificate, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
         add_extension(certificate, NID_ext_key_usage, "serverAuth,clientAuth") &&
         X509_sign(&certificate, &key, EVP_sha256()) != 0;
}

}  // namespace

Result<std::vector<OwnedCertificate>> parse_certificates(BytesView pem) {
  std::vector<OwnedCertificate> certificates;
  const OwnedBio reader = reader_of(pem);
  while (X509* next = PEM_read_bio_X509_AUX(reader.get(), nullptr, no_password, nullptr)) {
    certificates.emplace_back(next);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string why = openssl_error("it cannot be read");
  if (!at_end) return fail(ErrorCode::kInvalid, "a certificate in it is damaged: " + why);
  if (certificates.empty()) return fail(ErrorCode::kInvalid, "no PEM certificate is in it");
  return certificates;
}

Result<OwnedKey> parse_private_key(BytesView pem) {
  const OwnedBio reader = reader_of(pem);
  OwnedKey key(PEM_read_bio_PrivateKey(reader.get(), nullptr, no_password, nullptr));
  if (!key) {
    return fail(ErrorCode::kInvalid,
                "no PEM key without a password is in it: " + openssl_error("it cannot be read"));
  }
  return key;
}

Result<std::vector<OwnedCrl>> parse_crls(BytesView text) {
  std::vector<OwnedCrl> lists;
  const OwnedBio reader = reader_of(text);
  while (X509_CRL* next = PEM_read_bio_X509_CRL(reader.get(), nullptr, no_password, nullptr)) {
    lists.emplace_back(next);
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) return fail(ErrorCode::kInvalid, "a certificate revocation list in it is damaged");
  if (lists.empty()) lists.emplace_back(d2i_X509_CRL_bio(reader_of(text).get(), nullptr));
  ERR_clear_error();
  if (!lists.front()) return fail(ErrorCode::kInvalid, "no certificate revocation list is in it");
  return lists;
}

std::string common_name_of(const X509& certificate) {
  X509_NAME* const subject = X509_get_subject_name(&certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return {};
  unsigned char* text = nullptr;
  const int size =
      ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  ERR_clear_error();
  if (size < 0) return {};
  std::string name(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return name;
}

bool is_valid_for(const X509& certificate, const std::string& host) {
  X509* const asked = const_cast<X509*>(&certificate);  // OpenSSL's word for it
  const int valid = is_address(host)
                        ? X509_check_ip_asc(asked, host.c_str(), 0)
                        : X509_check_host(asked, host.data(), host.size(), kHostNameFlags, nullptr);
  ERR_clear_error();
  return valid == 1;
}

void expect_host(SSL& ssl, const std::string& host) {
  X509_VERIFY_PARAM* const wanted = SSL_get0_param(&ssl);
  const bool is_address = X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1;
  if (is_address) return;
  ERR_clear_error();
  X509_VERIFY_PARAM_set_hostflags(wanted, kHostNameFlags);
  CHECK(X509_VERIFY_PARAM_set1_host(wanted, host.data(), host.size()) == 1);
  SSL_set_tlsext_host_name(&ssl, host.c_str());
}

bool is_revoked(const X509& certificate, const std::vector<OwnedCrl>& lists) {
  auto* const serial = const_cast<ASN1_INTEGER*>(X509_get0_serialNumber(&certificate));
  return std::ranges::any_of(lists, [&](const OwnedCrl& list) {
    X509_REVOKED* entry = nullptr;
    return X509_NAME_cmp(X509_get_issuer_name(&certificate), X509_CRL_get_issuer(list.get())) ==
               0 &&
           X509_CRL_get0_by_serial(list.get(), &entry, serial) == 1;
  });
}

Result<KeyPair> make_self_signed(const std::vector<std::string>& hosts) {
  const OwnedKey key(EVP_EC_gen("P-256"));
  const OwnedCertificate certificate(X509_new());
  const OwnedBio key_text(BIO_new(BIO_s_mem()));
  const OwnedBio certificate_text(BIO_new(BIO_s_mem()));
  if (!key || !certificate || !fill_in(*certificate, *key, hosts) ||
      PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1 ||
      PEM_write_bio_X509(certificate_text.get(), certificate.get()) != 1) {
    return fail(ErrorCode::kInvalid,
                "cannot make a certificate: " + openssl_error("OpenSSL does not say why"));
  }
  return KeyPair{.certificate = text_of(*certificate_text), .key = text_of(*key_text)};
}

}  // namespace conclave::io
