#include "server/tls_config.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "server/text.h"

namespace conclave::server {

namespace {

// The flags of one side: etcd's names are not as regular as one would like.
struct Names {
  std::string_view who, cert, key, cert_auth, trusted_ca, crl, allowed_cn, allowed_hostname,
      auto_tls;
};

constexpr Names kClient{.who = "client",
                        .cert = "cert-file",
                        .key = "key-file",
                        .cert_auth = "client-cert-auth",
                        .trusted_ca = "trusted-ca-file",
                        .crl = "client-crl-file",
                        .allowed_cn = "",
                        .allowed_hostname = "client-cert-allowed-hostname",
                        .auto_tls = "auto-tls"};
constexpr Names kPeer{.who = "peer",
                      .cert = "peer-cert-file",
                      .key = "peer-key-file",
                      .cert_auth = "peer-client-cert-auth",
                      .trusted_ca = "peer-trusted-ca-file",
                      .crl = "peer-crl-file",
                      .allowed_cn = "peer-cert-allowed-cn",
                      .allowed_hostname = "peer-cert-allowed-hostname",
                      .auto_tls = "peer-auto-tls"};

Failure invalid(const Settings& settings, std::string_view name, std::string_view why) {
  return fail(ErrorCode::kInvalid, fmt::format("{}: {}", settings.called(name), why));
}

Result<bool> boolean(const Settings& settings, std::string_view name) {
  const auto value = parse_bool(settings.text(name));
  if (!value) return invalid(settings, name, value.error().message);
  return *value;
}

std::string optional_text(const Settings& settings, std::string_view name) {
  return name.empty() ? "" : settings.text(name);
}

Result<void> check(const Settings& settings, const Names& names, const io::TlsOptions& tls) {
  const io::TlsFiles& files = tls.files;
  if (files.certificate.empty() != files.key.empty()) {
    return invalid(settings, names.cert,
                   fmt::format("it needs {}, and that needs it", settings.called(names.key)));
  }
  if (!tls.allowed_common_name.empty() && !tls.allowed_hostname.empty()) {
    return invalid(
        settings, names.allowed_cn,
        fmt::format("there can be only one of it and {}", settings.called(names.allowed_hostname)));
  }
  if (tls.self_signed && tls.require_certificate) {
    return invalid(
        settings, names.auto_tls,
        fmt::format("with it nobody has a certificate that could be verified: not with {} "
                    "or {}",
                    settings.called(names.cert_auth), settings.called(names.trusted_ca)));
  }
  for (const std::string_view name : {names.crl, names.allowed_cn, names.allowed_hostname}) {
    if (tls.require_certificate || optional_text(settings, name).empty()) continue;
    return invalid(settings, name,
                   fmt::format("it needs {}: nobody is asked for a certificate without it",
                               settings.called(names.cert_auth)));
  }
  return {};
}

Result<void> check_urls(const Names& names, const std::vector<Url>& urls, const io::TlsOptions& tls,
                        std::vector<std::string>& warnings) {
  for (const Url& url : urls) {
    if (url.is_https() && !tls.has_certificate()) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("TLS key/cert (--{}, --{}) must be provided for {} url {} with HTTPS "
                              "scheme",
                              names.cert, names.key, names.who, url.to_string()));
    }
    if (!url.is_https() && (tls.has_certificate() || tls.require_certificate)) {
      warnings.push_back(
          fmt::format("{} is not encrypted, and asks nobody for a certificate: the "
                      "TLS flags of the {} side are not for URLs with http",
                      url.to_string(), names.who));
    }
  }
  return {};
}

Result<io::TlsOptions> read_side(const Settings& settings, const Names& names,
                                 const std::vector<Url>& listens,
                                 std::vector<std::string>& warnings) {
  io::TlsOptions tls;
  tls.who = names.who;
  tls.files.certificate = settings.text(names.cert);
  tls.files.key = settings.text(names.key);
  tls.files.trusted_ca = settings.text(names.trusted_ca);
  tls.files.crl = settings.text(names.crl);
  tls.require_certificate =
      TRY(boolean(settings, names.cert_auth)) || !tls.files.trusted_ca.empty();
  tls.allowed_common_name = optional_text(settings, names.allowed_cn);
  tls.allowed_hostname = settings.text(names.allowed_hostname);
  tls.self_signed = TRY(boolean(settings, names.auto_tls));
  if (tls.self_signed && !tls.files.certificate.empty()) {
    warnings.push_back(
        fmt::format("{} is ignored: a certificate is given", settings.called(names.auto_tls)));
    tls.self_signed = false;
  }
  tls.self_signed_hosts = {"localhost", "127.0.0.1", "::1"};
  for (const Url& url : listens) {
    if (!url.host.empty()) tls.self_signed_hosts.push_back(url.host);
  }
  const std::string suites = settings.text("cipher-suites");
  for (const std::string_view suite : split(suites, ',')) tls.cipher_suites.emplace_back(suite);
  TRY(check(settings, names, tls));
  TRY(check_urls(names, listens, tls, warnings));
  return tls;
}

}  // namespace

Result<void> read_tls(const Settings& settings, Config& config) {
  config.client_tls = TRY(read_side(settings, kClient, config.listen_client_urls, config.warnings));
  // Whoever can do both is no gRPC client, and what is not gRPC is only served over HTTP/1.1.
  config.client_tls.protocols = {"http/1.1", "h2"};
  const auto check_addresses = [&](std::string_view flag,
                                   const std::vector<Url>& addresses) -> Result<void> {
    const bool wants_tls = std::ranges::any_of(addresses, &Url::is_https);
    if (!wants_tls || config.client_tls.has_certificate()) return {};
    return invalid(settings, flag,
                   fmt::format("tls:// needs {} and {}", settings.called(kClient.cert),
                               settings.called(kClient.key)));
  };
  TRY(check_addresses("listen-zookeeper", config.zookeeper.listen));
  TRY(check_addresses("zookeeper-admin", config.zookeeper.admin));
  config.certificates_name_users = TRY(boolean(settings, kClient.cert_auth));
  config.peer_tls = TRY(read_side(settings, kPeer, config.listen_peer_urls, config.warnings));
  return {};
}

}  // namespace conclave::server
