#pragma once
// io::Network with TLS: a network around another one. Addresses with `tls` are encrypted, the
// others go through it untouched. What it hands over has its handshake behind it, and certificates
// verified; so whoever uses it need not know.
//
// A handshake has a time limit. There are so many at a time, of which the oldest goes when one more
// comes; and in a turn of the loop only a few of them are taken a step further, since a step may
// cost a signature: so neither a thousand callers at once nor a thousand that stall hold anybody
// else up.
//
// No system calls: it stands on Clock, Network, and on OpenSSL for bytes.

#include <memory>

#include "io/clock.h"
#include "io/network.h"
#include "io/tls/credentials.h"

namespace conclave::io {

class TlsNetwork final : public Network {
 public:
  // REQUIRES: clock and network outlive it; it outlives its connections, listeners and connectors.
  TlsNetwork(Clock& clock, Network& network, std::unique_ptr<TlsCredentials> credentials,
             std::size_t max_handshakes);
  ~TlsNetwork() override;

  // As the network below. Those who fail in the handshake are logged, some of them each second.
  // REQUIRES, with `tls`: there is a certificate.
  Result<std::unique_ptr<Listener>> listen(
      const Address& address,
      std::move_only_function<void(std::unique_ptr<Connection>)> accepted) override;

  // As the network below; with `tls` the other side must show a certificate for address.host, and
  // the handshake has 5 seconds of its own.
  std::unique_ptr<Connector> connect(
      const Address& address,
      std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done) override;

  std::size_t handshakes() const;  // under way

 private:
  class Core;
  class TlsConnection;
  class TlsListener;
  class TlsConnector;

  std::unique_ptr<Core> core_;
};

}  // namespace conclave::io
