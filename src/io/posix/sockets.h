#pragma once
// What listening and connecting share. Internal to io/posix.

#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "io/network.h"
#include "io/posix/stream.h"

namespace conclave::io {

// The io::Connection that a stream's user holds.
std::unique_ptr<Connection> make_connection(std::shared_ptr<StreamPool> pool,
                                            Stream::Socket socket);

// Accepts until destroyed; see PosixNetwork::listen.
Result<std::unique_ptr<Listener>> listen_on(
    std::shared_ptr<StreamPool> pool, const Address& address,
    std::move_only_function<void(std::unique_ptr<Connection>)> accepted);

// See PosixNetwork::connect.
std::unique_ptr<Network::Connector> connect_to(
    std::shared_ptr<StreamPool> pool, const Address& address,
    std::move_only_function<void(Result<std::unique_ptr<Connection>>)> done);

}  // namespace conclave::io
