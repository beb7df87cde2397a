#pragma once
// Which members `conclave dev` starts, and with what flags.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/command_line.h"

namespace conclave::server {

struct DevMember {
  std::string name;
  std::uint16_t client_port = 0;
  std::uint16_t peer_port = 0;
  std::uint16_t zookeeper_port = 0;  // 0: its clients are not served
  std::string data_dir;
  std::string log_path;
  std::string consensus;
  std::string witnesses;

  std::string client_address() const { return "127.0.0.1:" + std::to_string(client_port); }
  std::string client_url() const { return "http://" + client_address(); }
  std::string zookeeper_address() const { return "127.0.0.1:" + std::to_string(zookeeper_port); }
  std::string peer_url() const { return "http://127.0.0.1:" + std::to_string(peer_port); }
};

// kInvalid if the ports would go beyond 65535. REQUIRES: options.data_dir is not empty.
Result<std::vector<DevMember>> plan_members(const DevOptions& options);

// The arguments of `conclave`, from "serve" on.
std::vector<std::string> serve_arguments(const DevMember& member,
                                         const std::vector<DevMember>& all);

// kBusy, naming the port, if another process listens on one of theirs.
Result<void> check_ports_free(const std::vector<DevMember>& members);

// "127.0.0.1:2379,127.0.0.1:22379,...", as etcdctl wants it.
std::string endpoints_of(const std::vector<DevMember>& members);
// The same for ZooKeeper's clients; empty if they are not served.
std::string zookeeper_hosts_of(const std::vector<DevMember>& members);

}  // namespace conclave::server
