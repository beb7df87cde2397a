#pragma once
// The options of the small commands. (`conclave serve` has etcd's command line: config.h.)

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "server/cluster_options.h"

namespace conclave::server {

// Print and stop: the help text that was asked for, or what is wrong with the arguments.
struct Usage {
  int exit_code = 0;
  std::string text;
};

// Prints to standard output, or standard error if it is an error; returns the exit code.
int print(const Usage& usage);

struct StatusOptions {
  ClusterOptions cluster;
  bool json = false;
};

struct ReplaceOptions {
  std::string member;  // its name, or its id in hexadecimal
  ClusterOptions cluster;
};

struct SnapshotSaveOptions {
  std::string file;
  ClusterOptions cluster;          // its endpoints are tried in turn
  bool stale = false;              // what a member has, without asking the others
  std::uint32_t patience_s = 600;  // for the file to be written
};

struct SnapshotStatusOptions {
  std::string file;
  bool json = false;
};

struct DevOptions {
  unsigned members = 3;
  std::string data_dir;  // empty: a temporary one
  std::string consensus = "raft";
  std::string witnesses;        // names, separated by commas
  bool zookeeper = false;       // serve its clients too
  std::uint16_t base_port = 0;  // 0: the ports of etcd's own example, 2379, 22379, 32379...
};

struct ImportOptions {
  ClusterOptions source;
  ClusterOptions target;
  std::string prefix;  // empty: all keys
  bool merge = false;
  bool resume = false;
  bool until_caught_up = false;
  bool without_users = false;
  unsigned patience_seconds = 60;
};

struct ImportZooKeeperOptions {
  ClusterOptions source;  // its hosts; without a user
  std::string chroot;     // "/app"; empty: all of it
  std::string auth;       // SCHEME:CREDENTIALS; empty: nobody
  ClusterOptions target;
  std::string into;  // where in the target; empty: at the same place
  bool merge = false;
  bool resume = false;
  bool skip_unreadable = false;
  bool follow = false;
  unsigned most_passes = 20;
  unsigned patience_seconds = 60;
};

// `arguments` are those after the command's name.
std::expected<StatusOptions, Usage> parse_status_options(std::vector<std::string> arguments);
std::expected<ReplaceOptions, Usage> parse_replace_options(std::vector<std::string> arguments);
std::expected<SnapshotSaveOptions, Usage> parse_snapshot_save_options(
    std::vector<std::string> arguments);
std::expected<SnapshotStatusOptions, Usage> parse_snapshot_status_options(
    std::vector<std::string> arguments);
std::expected<ImportOptions, Usage> parse_import_options(std::vector<std::string> arguments);
std::expected<ImportZooKeeperOptions, Usage> parse_import_zookeeper_options(
    std::vector<std::string> arguments);
std::expected<DevOptions, Usage> parse_dev_options(std::vector<std::string> arguments);

}  // namespace conclave::server
