#pragma once
// io::Network on TCP sockets (stream.h has the reading and writing). IPv4, IPv6 and host names;
// connect() resolves names without holding up the loop, listen() resolves while the caller waits
// and prefers IPv4, as etcd does.
//
// An empty host listens on every address of the machine, IPv4 and IPv6.

#include <memory>

#include "io/network.h"
#include "io/posix/loop.h"

namespace conclave::io {

struct StreamPool;

class PosixNetwork final : public Network {
 public:
  // REQUIRES: the network outlives its connections, listeners and connectors.
  explicit PosixNetwork(Loop& loop);
  ~PosixNetwork() override;

  // kBusy: the port is taken. kInvalid: not an address of this machine, or a name that cannot be
  // resolved. When the process runs out of file descriptors, accepting pauses for a moment and goes
  // on.
  Result<std::unique_ptr<Listener>> listen(
      const Address& address,
      std::move_only_function<void(std::unique_ptr<Connection>)> accepted) override;

  // Tries each address of the name in turn; gives up after 5 seconds in all.
  std::unique_ptr<Connector> connect(
      const Address& address,
      std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done) override;

 private:
  std::shared_ptr<StreamPool> pool_;
};

}  // namespace conclave::io
