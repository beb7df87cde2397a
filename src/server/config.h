#pragma once
// What `conclave serve` was asked to do: flags, environment and configuration file, checked and
// typed.
//
// Precedence, as in etcd: a configuration file alone, if there is one; else a flag, then
// CONCLAVE_X, then ETCD_X, then the default. Nothing here has side effects but reading the
// configuration file.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/time.h"
#include "io/tls/options.h"
#include "node/options.h"
#include "server/url.h"

namespace conclave::server {

struct AutoCompaction {
  enum class Mode { kOff, kPeriodic, kRevision };
  Mode mode = Mode::kOff;
  Duration period;              // kPeriodic: history younger than this is kept
  std::uint64_t revisions = 0;  // kRevision: this many of the newest are kept
};

// For the clients of ZooKeeper (docs/operations.md).
struct ZooKeeperConfig {
  std::vector<Url> listen;  // https: with TLS; none: it is not served
  std::vector<Url> admin;   // its admin server; the same
  bool local_reads = false;
  std::vector<std::string> words;  // that are answered
  std::string advertise;           // "host:port"; empty: nothing
  bool enforce_quota = false;
  bool reconfig = false;
  std::string super_digest;
  std::uint64_t max_per_address = 0;  // 0: no limit
};

struct Config {
  enum class Wanted { kServe, kHelp, kVersion };  // the rest is only meaningful for kServe
  enum class ClusterState { kNew, kExisting };

  Wanted wanted = Wanted::kServe;
  std::string name;
  std::string data_dir;
  ZooKeeperConfig zookeeper;
  // Each has at least one URL and is sorted.
  std::vector<Url> listen_client_urls;
  std::vector<Url> listen_peer_urls;
  std::vector<Url> advertise_client_urls;
  std::vector<Url> initial_advertise_peer_urls;
  // Contains this member, with its initial_advertise_peer_urls; no URL belongs to two members.
  std::map<std::string, std::vector<Url>> initial_cluster;
  ClusterState initial_cluster_state = ClusterState::kNew;
  std::string initial_cluster_token;
  bool strict_reconfig_check = true;
  Duration heartbeat_interval;
  Duration election_timeout;             // at least 5 heartbeats
  std::uint64_t snapshot_count = 0;      // entries; 0: by the log's size
  std::int64_t quota_backend_bytes = 0;  // 0: etcd's default of 2 GiB; below 0: no quota
  std::size_t max_request_bytes = 0;
  std::size_t max_txn_ops = 0;
  AutoCompaction auto_compaction;
  Duration watch_progress_interval;
  std::optional<node::Consensus> consensus;  // if it was said
  // What the cluster begins with, if that is not a majority of its members: the weights of those
  // that do not weigh 1, and the weights that elect and write (0: more than half).
  std::map<std::string, std::uint32_t> weights;
  std::set<std::string> witnesses;  // names
  std::uint64_t election_quorum = 0;
  std::uint64_t write_quorum = 0;
  // For the URLs with https; the files have not been looked at.
  io::TlsOptions client_tls;
  io::TlsOptions peer_tls;
  // Who shows no token is the user that the certificate names. As with etcd, for this an authority
  // alone is not enough: --client-cert-auth has to be given.
  bool certificates_name_users = false;
  std::string auth_token;  // "simple", or "jwt,..." (server/auth_token.h)
  Duration auth_token_ttl;
  std::uint32_t bcrypt_cost = 0;
  LogLevel log_level = LogLevel::kInfo;

  std::vector<std::string> warnings;  // for the log, once there is one
};

using Environment = std::map<std::string, std::string>;

// The process's environment.
Environment environment();

// `arguments` are those after `conclave serve`. kInvalid says which flag, which value and why.
Result<Config> parse_config(const std::vector<std::string>& arguments,
                            const Environment& environment);

}  // namespace conclave::server
