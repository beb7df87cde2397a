#include "io/tls/credentials.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "io/tls/certificates.h"

namespace conclave::io {

namespace {

constexpr Duration kLookAgain = seconds(1);
constexpr const char* kCiphers12 = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr const char* kCiphers13 =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

// What OpenSSL cannot know: the names that were asked for, and what was revoked.
int check_names(const TlsContext& wanted, X509_STORE_CTX* store) {
  const X509* const shown = X509_STORE_CTX_get0_cert(store);
  const bool common_name_ok =
      wanted.allowed_common_name.empty() || common_name_of(*shown) == wanted.allowed_common_name;
  const bool hostname_ok =
      wanted.allowed_hostname.empty() || is_valid_for(*shown, wanted.allowed_hostname);
  if (!common_name_ok || !hostname_ok) return X509_V_ERR_APPLICATION_VERIFICATION;
  const STACK_OF(X509)* const chain = X509_STORE_CTX_get0_chain(store);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    if (is_revoked(*sk_X509_value(chain, i), wanted.revoked)) return X509_V_ERR_CERT_REVOKED;
  }
  return X509_V_OK;
}

// A name that a stranger has chosen, fit for the log.
std::string printable(std::string name) {
  constexpr std::size_t kMaxShown = 64;
  if (name.size() > kMaxShown) name.resize(kMaxShown);
  std::ranges::replace_if(
      name, [](char c) { return c < ' ' || c > '~'; }, '?');
  return name;
}

int verify(X509_STORE_CTX* store, void* wanted) {
  const auto* const connection = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* const shown = static_cast<std::string*>(SSL_get_app_data(connection));
  if (shown != nullptr) *shown = printable(common_name_of(*X509_STORE_CTX_get0_cert(store)));
  const int verified = X509_verify_cert(store);
  if (verified != 1) return verified;
  const int names = check_names(*static_cast<const TlsContext*>(wanted), store);
  X509_STORE_CTX_set_error(store, names);
  return names == X509_V_OK ? 1 : 0;
}

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned offered_size, void* wanted) {
  const std::string& ours = static_cast<const TlsContext*>(wanted)->protocols;
  unsigned char* out = nullptr;
  const int found =
      SSL_select_next_proto(&out, chosen_size, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned>(ours.size()), offered, offered_size);
  if (found != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = out;
  return SSL_TLSEXT_ERR_OK;
}

Failure in_file(const std::string& path, const std::string& why) {
  return fail(ErrorCode::kInvalid, path + ": " + why);
}

std::string alpn_text(const std::vector<std::string>& protocols) {
  std::string text;
  for (const std::string& each : protocols) text += static_cast<char>(each.size()) + each;
  return text;
}

// OpenSSL's name for the one that standards and Go use; Go leaves out the hash of ChaCha's.
Result<std::string> openssl_suite(const std::string& name) {
  for (const std::string& spelling : {name, name + "_SHA256"}) {
    const std::string known = OPENSSL_cipher_name(spelling.c_str());
    if (known != "(NONE)") return known;
  }
  return fail(ErrorCode::kInvalid, fmt::format("\"{}\" is not a cipher suite of TLS", name));
}

Result<void> set_suites(SSL_CTX& context, const std::vector<std::string>& names) {
  std::string suites12;
  std::string suites13;
  for (const std::string& name : names) {
    const std::string suite = TRY(openssl_suite(name));
    std::string& list = suite.starts_with("TLS_") ? suites13 : suites12;
    list += (list.empty() ? "" : ":") + suite;
  }
  if (suites12.empty()) suites12 = kCiphers12;
  if (suites13.empty()) suites13 = kCiphers13;
  if (SSL_CTX_set_cipher_list(&context, suites12.c_str()) == 1 &&
      SSL_CTX_set_ciphersuites(&context, suites13.c_str()) == 1) {
    return {};
  }
  return fail(ErrorCode::kInvalid,
              "none of these cipher suites can be used: " + openssl_error("they are not known"));
}

Result<void> set_certificate(SSL_CTX& context, const TlsFiles& files, BytesView certificate,
                             BytesView key) {
  const auto chain = parse_certificates(certificate);
  if (!chain) return in_file(files.certificate, chain.error().message);
  const auto private_key = parse_private_key(key);
  if (!private_key) return in_file(files.key, private_key.error().message);
  if (SSL_CTX_use_certificate(&context, chain->front().get()) != 1) {
    return in_file(files.certificate, openssl_error("it cannot be used"));
  }
  for (std::size_t i = 1; i < chain->size(); ++i)
    SSL_CTX_add1_chain_cert(&context, (*chain)[i].get());
  // The second question is not superfluous: keys of each kind have a place of their own.
  if (SSL_CTX_use_PrivateKey(&context, private_key->get()) != 1 ||
      SSL_CTX_check_private_key(&context) != 1) {
    return in_file(files.key, "it does not fit the certificate in " + files.certificate + ": " +
                                  openssl_error("the two differ"));
  }
  return {};
}

Result<void> set_trust(SSL_CTX& context, const std::string& path, BytesView pem) {
  if (path.empty()) {
    SSL_CTX_set_default_verify_paths(&context);
    return {};
  }
  const auto authorities = parse_certificates(pem);
  if (!authorities) return in_file(path, authorities.error().message);
  for (const OwnedCertificate& each : *authorities) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(&context), each.get());
    SSL_CTX_add_client_CA(&context, each.get());
  }
  return {};
}

void set_verification(SSL_CTX& context, const TlsOptions& options, TlsRole role) {
  const int demanded = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  const bool verifies =
      role == TlsRole::kClient ? !options.self_signed : options.require_certificate;
  SSL_CTX_set_verify(&context, verifies ? demanded : SSL_VERIFY_NONE, nullptr);
}

void set_behaviour(SSL_CTX& context) {
  // Without the finite-field groups, whose work anybody could ask for without any of his own.
  CHECK(SSL_CTX_set1_groups_list(&context, "X25519:P-256:P-384") == 1);
  SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION);
  SSL_CTX_set_options(&context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_num_tickets(&context, 0);
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(&context, SSL_MODE_RELEASE_BUFFERS);  // an idle connection holds none
}

void warn_if_expired(const std::string& who, SSL_CTX& context) {
  const X509* const own = SSL_CTX_get0_certificate(&context);
  if (own == nullptr || X509_cmp_current_time(X509_get0_notAfter(own)) > 0) return;
  LOG(kWarn, "{} TLS: the certificate of this member has expired: others will refuse it", who);
}

}  // namespace

void remember_shown_name(SSL& connection, std::string& name) {
  SSL_set_app_data(&connection, &name);
}

Result<std::unique_ptr<TlsCredentials>> TlsCredentials::load(TlsOptions options,
                                                             ReadFile read_file) {
  std::unique_ptr<TlsCredentials> made(
      new TlsCredentials(std::move(options), std::move(read_file)));
  if (made->options_.self_signed) {
    KeyPair pair = TRY(make_self_signed(made->options_.self_signed_hosts));
    made->material_.certificate = std::move(pair.certificate);
    made->material_.key = std::move(pair.key);
  } else {
    made->material_ = TRY(made->read());
  }
  made->contexts_ = TRY(made->build(made->material_));
  warn_if_expired(made->options_.who, *made->contexts_.client->context);
  return made;
}

Result<TlsCredentials::Material> TlsCredentials::read() const {
  const auto content = [this](const std::string& path) -> Result<Bytes> {
    if (path.empty()) return Bytes();
    return read_file_(path);
  };
  const TlsFiles& files = options_.files;
  Material material;
  material.certificate = TRY(content(files.certificate));
  material.key = TRY(content(files.key));
  material.trusted_ca = TRY(content(files.trusted_ca));
  material.crl = TRY(content(files.crl));
  return material;
}

Result<std::shared_ptr<const TlsContext>> TlsCredentials::build(TlsRole role,
                                                                const Material& material) const {
  auto made = std::make_shared<TlsContext>();
  made->context.reset(
      SSL_CTX_new(role == TlsRole::kServer ? TLS_server_method() : TLS_client_method()));
  if (!made->context) return fail(ErrorCode::kInvalid, openssl_error("OpenSSL has no memory"));
  SSL_CTX& context = *made->context;
  set_behaviour(context);
  TRY(set_suites(context, options_.cipher_suites));
  if (options_.has_certificate()) {
    TRY(set_certificate(context, options_.files, material.certificate, material.key));
  }
  TRY(set_trust(context, options_.files.trusted_ca, material.trusted_ca));
  set_verification(context, options_, role);
  if (!options_.files.crl.empty()) {
    auto revoked = parse_crls(material.crl);
    if (!revoked) return in_file(options_.files.crl, revoked.error().message);
    made->revoked = std::move(*revoked);
  }
  made->allowed_common_name = options_.allowed_common_name;
  made->allowed_hostname = options_.allowed_hostname;
  made->protocols = alpn_text(options_.protocols);
  SSL_CTX_set_cert_verify_callback(&context, verify, made.get());
  if (role == TlsRole::kServer && !made->protocols.empty()) {
    SSL_CTX_set_alpn_select_cb(&context, choose_protocol, made.get());
  }
  return made;
}

Result<TlsCredentials::Contexts> TlsCredentials::build(const Material& material) const {
  Contexts contexts;
  contexts.server = TRY(build(TlsRole::kServer, material));
  contexts.client = TRY(build(TlsRole::kClient, material));
  return contexts;
}

std::shared_ptr<const TlsContext> TlsCredentials::context(TlsRole role, Instant now) {
  if (!looked_ || now - *looked_ >= kLookAgain) look_again(now);
  return role == TlsRole::kServer ? contexts_.server : contexts_.client;
}

void TlsCredentials::look_again(Instant now) {
  looked_ = now;
  if (options_.self_signed) return;
  Result<Material> found = read();
  if (!found) return complain(found.error().message);
  if (*found == material_) return last_complaint_.clear();
  Result<Contexts> built = build(*found);
  if (!built) return complain(built.error().message);
  last_complaint_.clear();
  material_ = std::move(*found);
  contexts_ = std::move(*built);
  LOG(kInfo, "{} TLS: the certificates have changed: the new ones are used from now on",
      options_.who);
  warn_if_expired(options_.who, *contexts_.client->context);
}

void TlsCredentials::complain(const std::string& why) {
  if (why == last_complaint_) return;
  LOG(kError, "{} TLS: the certificates have changed, and the old ones stay in use: {}",
      options_.who, why);
  last_complaint_ = why;
}

}  // namespace conclave::io
