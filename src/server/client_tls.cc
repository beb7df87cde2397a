#include "server/client_tls.h"

#include <fmt/core.h>

#include <system_error>
#include <utility>

namespace conclave::server {

namespace {

namespace ssl = boost::asio::ssl;
using SslError = boost::system::error_code;

Result<void> load_file(const std::string& path, auto&& load) {
  if (path.empty()) return {};
  SslError error;
  load(path, error);
  if (!error) return {};
  const auto code = static_cast<unsigned long>(error.value());
  const std::string why = ERR_SYSTEM_ERROR(code)
                              ? std::generic_category().message(ERR_GET_REASON(code))
                              : error.message();
  return fail(ErrorCode::kInvalid, fmt::format("{}: {}", path, why));
}

}  // namespace

Result<std::unique_ptr<ssl::context>> make_client_context(const ClientTls& tls) {
  auto context = std::make_unique<ssl::context>(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  SslError error;
  if (tls.trusted_ca.empty()) context->set_default_verify_paths(error);
  TRY(load_file(tls.trusted_ca, [&](const std::string& path, SslError& failed) {
    context->load_verify_file(path, failed);
  }));
  TRY(load_file(tls.certificate, [&](const std::string& path, SslError& failed) {
    context->use_certificate_chain_file(path, failed);
  }));
  TRY(load_file(tls.key, [&](const std::string& path, SslError& failed) {
    context->use_private_key_file(path, ssl::context::pem, failed);
  }));
  context->set_verify_mode(tls.skips_verification ? ssl::verify_none : ssl::verify_peer, error);
  return context;
}

std::string handshake_failure(const std::string& why, const SSL& ssl) {
  const long verified = SSL_get_verify_result(&ssl);
  if (verified == X509_V_OK) return "TLS: " + why;
  return fmt::format("the server's certificate is refused: {}",
                     X509_verify_cert_error_string(verified));
}

}  // namespace conclave::server
