#include "server/dev_plan.h"

#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace conclave::server {

namespace {

// As in etcd's Procfile for the first three: 2379, 22379, 32379; and on: 42379, 52379, 52389, ...
std::uint32_t usual_port(std::uint32_t number) {
  if (number == 0) return 2379;
  if (number <= 4) return 12379 + number * 10'000;
  return 52379 + (number - 4) * 10;
}

Result<void> check_port_free(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int failed = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::close(fd);
  if (failed == 0) return {};
  if (error == EADDRINUSE) {
    return fail(ErrorCode::kBusy,
                fmt::format("port {} is in use by another process; choose others with "
                            "--base-port, or stop it",
                            port));
  }
  return fail(ErrorCode::kIo,
              fmt::format("port {}: {}", port, std::generic_category().message(error)));
}

}  // namespace

Result<std::vector<DevMember>> plan_members(const DevOptions& options) {
  std::vector<DevMember> members;
  for (std::uint32_t i = 0; i < options.members; ++i) {
    const std::uint32_t port = options.base_port == 0 ? usual_port(i) : options.base_port + 10 * i;
    if (port + (options.zookeeper ? 2 : 1) > 65'535) {
      return fail(ErrorCode::kInvalid, "--base-port: the last member's port is beyond 65535");
    }
    DevMember member;
    member.name = "m" + std::to_string(i + 1);
    member.client_port = static_cast<std::uint16_t>(port);
    member.peer_port = static_cast<std::uint16_t>(port + 1);
    if (options.zookeeper) member.zookeeper_port = static_cast<std::uint16_t>(port + 2);
    member.data_dir = options.data_dir + "/" + member.name;
    member.consensus = options.consensus;
    member.witnesses = options.witnesses;
    member.log_path = options.data_dir + "/" + member.name + ".log";
    members.push_back(std::move(member));
  }
  return members;
}

std::vector<std::string> serve_arguments(const DevMember& member,
                                         const std::vector<DevMember>& all) {
  std::string cluster;
  for (const DevMember& each : all) {
    cluster += (cluster.empty() ? "" : ",") + each.name + "=" + each.peer_url();
  }
  return {"serve",
          "--name=" + member.name,
          "--data-dir=" + member.data_dir,
          "--listen-client-urls=" + member.client_url(),
          "--advertise-client-urls=" + member.client_url(),
          "--listen-peer-urls=" + member.peer_url(),
          "--initial-advertise-peer-urls=" + member.peer_url(),
          "--initial-cluster=" + cluster,
          "--initial-cluster-token=conclave-dev",
          "--consensus=" + member.consensus,
          "--witnesses=" + member.witnesses,
          "--listen-zookeeper=" + (member.zookeeper_port == 0 ? "" : member.zookeeper_address())};
}

Result<void> check_ports_free(const std::vector<DevMember>& members) {
  for (const DevMember& member : members) {
    TRY(check_port_free(member.client_port));
    TRY(check_port_free(member.peer_port));
    if (member.zookeeper_port != 0) TRY(check_port_free(member.zookeeper_port));
  }
  return {};
}

std::string endpoints_of(const std::vector<DevMember>& members) {
  std::string endpoints;
  for (const DevMember& member : members) {
    endpoints += (endpoints.empty() ? "" : ",") + member.client_address();
  }
  return endpoints;
}

std::string zookeeper_hosts_of(const std::vector<DevMember>& members) {
  std::string hosts;
  for (const DevMember& member : members) {
    if (member.zookeeper_port == 0) continue;
    hosts += (hosts.empty() ? "" : ",") + member.zookeeper_address();
  }
  return hosts;
}

}  // namespace conclave::server
