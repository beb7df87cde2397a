#pragma once
// For tests: an authority that signs certificates.

#include <string>
#include <vector>

#include "base/check.h"
#include "io/tls/certificates.h"

namespace conclave::io {

struct TestRequest {
  std::string common_name = {};
  std::string alternative_names = {};  // as OpenSSL writes them: "DNS:a,IP:1.2.3.4"; empty: none
  long valid_seconds = 3600;
};

class TestAuthority {
 public:
  TestAuthority() : key_(EVP_EC_gen("P-256")), certificate_(make({.common_name = "ca"}, *key_)) {
    add_extension(*certificate_, NID_basic_constraints, "critical,CA:TRUE");
    sign(*certificate_);
  }

  Bytes pem() const { return pem_of(*certificate_); }

  KeyPair issue(const TestRequest& request) {
    const OwnedKey key(EVP_EC_gen("P-256"));
    const OwnedCertificate made = make(request, *key);
    if (!request.alternative_names.empty()) {
      add_extension(*made, NID_subject_alt_name, request.alternative_names);
    }
    sign(*made);
    const OwnedBio text(BIO_new(BIO_s_mem()));
    CHECK(PEM_write_bio_PrivateKey(text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr));
    return {.certificate = pem_of(*made), .key = text_of(*text)};
  }

  // PEM of a list with this certificate in it.
  Bytes revoke(BytesView certificate_pem) {
    const auto revoked = parse_certificates(certificate_pem);
    const OwnedCrl crl(X509_CRL_new());
    X509_REVOKED* const entry = X509_REVOKED_new();
    ASN1_TIME* const now = X509_gmtime_adj(nullptr, 0);
    X509_REVOKED_set_serialNumber(
        entry, const_cast<ASN1_INTEGER*>(X509_get0_serialNumber(revoked->front().get())));
    X509_REVOKED_set_revocationDate(entry, now);
    X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(certificate_.get()));
    X509_CRL_set1_lastUpdate(crl.get(), now);
    X509_CRL_add0_revoked(crl.get(), entry);
    CHECK(X509_CRL_sign(crl.get(), key_.get(), EVP_sha256()) != 0);
    ASN1_TIME_free(now);
    const OwnedBio text(BIO_new(BIO_s_mem()));
    CHECK(PEM_write_bio_X509_CRL(text.get(), crl.get()) == 1);
    return text_of(*text);
  }

 private:
  static Bytes pem_of(X509& certificate) {
    const OwnedBio text(BIO_new(BIO_s_mem()));
    CHECK(PEM_write_bio_X509(text.get(), &certificate) == 1);
    return text_of(*text);
  }
  static void add_extension(X509& certificate, int kind, const std::string& value) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
    CHECK(extension != nullptr);
    X509_add_ext(&certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  OwnedCertificate make(const TestRequest& request, EVP_PKEY& key) {
    OwnedCertificate made(X509_new());
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(made.get()), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -7200);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), request.valid_seconds);
    X509_set_pubkey(made.get(), &key);
    const auto* const name = reinterpret_cast<const unsigned char*>(request.common_name.c_str());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_UTF8, name, -1, -1,
                               0);
    return made;
  }
  void sign(X509& certificate) {
    X509_set_issuer_name(&certificate, X509_get_subject_name(certificate_.get()));
    CHECK(X509_sign(&certificate, key_.get(), EVP_sha256()) != 0);
  }

  std::uint64_t serial_ = 0;
  OwnedKey key_;
  OwnedCertificate certificate_;
};

}  // namespace conclave::io
