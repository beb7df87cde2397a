#pragma once
// The certificates of one side of a member, ready for handshakes, and kept up to date with their
// files: those are read again when a handshake begins, once a second at most, so new ones count
// without a restart. New files that make no sense (half written, or a key that does not fit) leave
// the old ones in force, and the log says so.
//
// Every handshake is a full one. There are no session tickets, so that a certificate that is
// expired, revoked or not trusted any more is found out at the next connection.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "io/tls/openssl.h"
#include "io/tls/options.h"

namespace conclave::io {

enum class TlsRole : std::uint8_t { kServer, kClient };

// One set of certificates in one role. Connections that were made with it keep it.
struct TlsContext {
  OwnedContext context;
  std::vector<OwnedCrl> revoked;
  std::string allowed_common_name, allowed_hostname;
  std::string protocols;  // as ALPN writes them
};

// Sets `name`, which outlives the connection, to the common name in the certificate that the other
// side shows, before it is verified.
void remember_shown_name(SSL& connection, std::string& name);

class TlsCredentials {
 public:
  using ReadFile = std::function<Result<Bytes>(const std::string& path)>;

  // kInvalid names the file that is missing or makes no sense, or the cipher suite that is not
  // known.
  static Result<std::unique_ptr<TlsCredentials>> load(TlsOptions options, ReadFile read_file);

  // For a handshake that begins now. REQUIRES, of a server: options().has_certificate().
  std::shared_ptr<const TlsContext> context(TlsRole role, Instant now);

  const TlsOptions& options() const { return options_; }

 private:
  // What the files hold.
  struct Material {
    Bytes certificate, key, trusted_ca, crl;
    bool operator==(const Material&) const = default;
  };
  struct Contexts {
    std::shared_ptr<const TlsContext> server, client;
  };

  TlsCredentials(TlsOptions options, ReadFile read_file)
      : options_(std::move(options)), read_file_(std::move(read_file)) {}

  Result<Material> read() const;
  Result<std::shared_ptr<const TlsContext>> build(TlsRole role, const Material& material) const;
  Result<Contexts> build(const Material& material) const;
  void look_again(Instant now);
  void complain(const std::string& why);

  TlsOptions options_;
  ReadFile read_file_;
  Material material_;
  Contexts contexts_;
  std::optional<Instant> looked_;
  std::string last_complaint_;
};

}  // namespace conclave::io
