#pragma once
// OpenSSL's objects with an owner, and its errors in words. Internal to io/tls.

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <utility>

#include "base/bytes.h"

namespace conclave::io {

template <auto free_it>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    free_it(object);
  }
};

using OwnedBio = std::unique_ptr<BIO, Freed<BIO_free>>;
using OwnedKey = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using OwnedCertificate = std::unique_ptr<X509, Freed<X509_free>>;
using OwnedCrl = std::unique_ptr<X509_CRL, Freed<X509_CRL_free>>;
using OwnedContext = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using OwnedSsl = std::unique_ptr<SSL, Freed<SSL_free>>;

// What was written to a BIO in memory.
inline Bytes text_of(BIO& bio) {
  const char* data = nullptr;
  const long size = BIO_get_mem_data(&bio, &data);
  return Bytes(data, static_cast<std::size_t>(size));
}

// What OpenSSL says went wrong on this thread; `otherwise` if it says nothing. Forgets it.
inline std::string openssl_error(std::string otherwise) {
  const unsigned long first = ERR_peek_error();
  ERR_clear_error();
  const char* reason = first == 0 ? nullptr : ERR_reason_error_string(first);
  return reason == nullptr ? std::move(otherwise) : std::string(reason);
}

}  // namespace conclave::io
