#include "server/flags.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include <vector>

namespace conclave::server {

namespace {

constexpr std::string_view kNoDiscovery = "members are named by --initial-cluster";
constexpr std::string_view kNoProxy = "there is no proxy mode";
constexpr std::string_view kNoBackend = "there is no backend database to tune";
constexpr std::string_view kNoKeepalive = "connections are kept alive by TCP";
constexpr std::string_view kNoOldLogger = "there is one log, with one level";
constexpr std::string_view kAlwaysChecked = "members compare their state all the time";

using enum Support;

constexpr auto kFlags = std::to_array<Flag>({
    // Member
    {"name", kUsed, false, "default", "Name of this member, unique in its cluster."},
    {"data-dir", kUsed, false, "", "Where everything is kept; ${name}.conclave if not given."},
    {"listen-client-urls", kUsed, false, "http://localhost:2379", "URLs to listen on for clients."},
    {"listen-peer-urls", kUsed, false, "http://localhost:2380",
     "URLs to listen on for the other members."},
    {"listen-zookeeper", kUsed, false, "",
     "Addresses to listen on for ZooKeeper's clients, as host:port,... or tls://host:port."},
    {"zookeeper-advertise", kUsed, false, "",
     "host:port where ZooKeeper's clients reach this member, for /zookeeper/config."},
    {"zookeeper-reads", kUsed, false, "linearizable",
     "Or 'session': from the member's own state, never older than what the session has seen."},
    {"zookeeper-words", kUsed, false, "conf,cons,envi,isro,mntr,ruok,srvr,stat,wchs",
     "ZooKeeper's four-letter words that are answered, as word,...; * for all."},
    {"zookeeper-admin", kUsed, false, "",
     "Addresses of ZooKeeper's admin server (HTTP), as host:8080,... or tls://host:port."},
    {"zookeeper-enforce-quota", kUsed, true, "false",
     "Refuse what exceeds the hard limits of ZooKeeper's quotas; the same on all members."},
    {"zookeeper-reconfig", kUsed, true, "false",
     "Let ZooKeeper's clients that may write /zookeeper/config change the members."},
    {"zookeeper-super-digest", kUsed, false, "",
     "Whom ZooKeeper's ACLs do not bind, as user:base64(SHA-1 of user:password)."},
    {"zookeeper-max-connections-per-address", kUsed, false, "0",
     "Most connections of ZooKeeper's clients from one address; 0 for no limit."},
    {"heartbeat-interval", kUsed, false, "100", "Milliseconds between a leader's heartbeats."},
    {"election-timeout", kUsed, false, "1000",
     "Milliseconds without a leader before an election; at least 5 heartbeats, at most 50000."},
    {"snapshot-count", kUsed, false, "0",
     "Log entries between snapshots; 0 decides by the log's size."},
    {"quota-backend-bytes", kUsed, false, "0",
     "Data size from which writes are refused with NOSPACE; 0 is 2 GiB, below 0 no limit."},
    {"max-txn-ops", kUsed, false, "128", "Most operations in a transaction."},
    {"max-request-bytes", kUsed, false, "1572864", "Largest request of a client."},
    {"config-file", kUsed, false, "",
     "YAML file with these names as keys; other flags and the environment are then ignored."},
    // Clustering
    {"advertise-client-urls", kUsed, false, "http://localhost:2379",
     "URLs at which clients reach this member."},
    {"initial-advertise-peer-urls", kUsed, false, "http://localhost:2380",
     "URLs at which the other members reach this one."},
    {"initial-cluster", kUsed, false, "",
     "The members a new cluster starts with, as name=URL,...; this member alone if not given."},
    {"initial-cluster-state", kUsed, false, "new",
     "'new' to start a cluster, 'existing' to join one."},
    {"initial-cluster-token", kUsed, false, "etcd-cluster",
     "Tells clusters apart: members with another token are refused."},
    {"strict-reconfig-check", kUsed, true, "true",
     "Refuse to add or remove a voter if too few would be started and reachable."},
    {"auto-compaction-mode", kUsed, false, "periodic",
     "'periodic' keeps history by age, 'revision' by number of revisions."},
    {"auto-compaction-retention", kUsed, false, "0",
     "How much history to keep: hours, or a duration like 5m; or revisions. 0 keeps all."},
    {"experimental-watch-progress-notify-interval", kUsed, false, "10m",
     "How often a quiet watch that asked for it is told how far it is."},
    {"consensus", kUsed, false, "raft", "Consensus engine of a new cluster: raft or paxos."},
    {"weights", kUsed, false, "",
     "Votes of a new cluster's members, as name=weight,...; 1 for those not named."},
    {"witnesses", kUsed, false, "",
     "Members of a new cluster that vote and keep no data, as name,...: they serve no clients."},
    {"election-quorum", kUsed, false, "0",
     "With paxos: the votes that elect a leader of a new cluster. 0: more than half."},
    {"write-quorum", kUsed, false, "0",
     "With paxos: the votes that make a write permanent. Both together: more than all."},
    // TLS, for URLs with https
    {"cert-file", kUsed, false, "", "Certificate for clients: PEM, intermediates behind it."},
    {"key-file", kUsed, false, "", "Its key: PEM, without a password."},
    {"client-cert-auth", kUsed, true, "false", "Demand a certificate of every client."},
    {"trusted-ca-file", kUsed, false, "",
     "Whose certificates of clients are believed: PEM. As in etcd, one is then demanded."},
    {"client-crl-file", kUsed, false, "", "Certificates of clients that were revoked."},
    {"client-cert-allowed-hostname", kUsed, false, "",
     "The certificate of a client must be valid for this host name."},
    {"auto-tls", kUsed, true, "false", "Make up a certificate for clients, if none is given."},
    {"peer-cert-file", kUsed, false, "",
     "Certificate among the members, shown both when calling and when called."},
    {"peer-key-file", kUsed, false, "", "Its key."},
    {"peer-client-cert-auth", kUsed, true, "false", "Demand a certificate of members that call."},
    {"peer-trusted-ca-file", kUsed, false, "",
     "Whose certificates of members are believed. As in etcd, one is then demanded."},
    {"peer-cert-allowed-cn", kUsed, false, "",
     "The certificate of another member must have this common name."},
    {"peer-cert-allowed-hostname", kUsed, false, "",
     "The certificate of another member must be valid for this host name."},
    {"peer-auto-tls", kUsed, true, "false",
     "Make up a certificate, if none is given; members then believe each other's."},
    {"peer-crl-file", kUsed, false, "", "Certificates of members that were revoked."},
    {"cipher-suites", kUsed, false, "",
     "Cipher suites for clients and members, by their standard names; the best if not given."},
    // Users
    {"auth-token", kUsed, false, "simple",
     "What clients show after a password: 'simple', or "
     "jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=5m."},
    {"auth-token-ttl", kUsed, false, "300",
     "Seconds that a simple token lasts after its last use."},
    {"bcrypt-cost", kUsed, false, "10",
     "Cost of hashing a password, 4 to 31: one more takes twice as long."},
    // Logging
    {"log-level", kUsed, false, "info", "Lowest level that is logged: debug, info, warn, error."},
    {"debug", kUsed, true, "false", "The same as --log-level=debug."},
    {"help", kUsed, true, "false", "Prints this text."},
    {"version", kUsed, true, "false", "Prints the version."},

    // What else etcd knows.
    {"experimental-peer-skip-client-san-verification", kAccepted, true, "false",
     "where a member calls from is not compared with its certificate"},
    {"logger", kAccepted, false, "", "there is one log format"},
    {"pre-vote", kAccepted, true, "false", "pre-vote is always on"},
    {"max-snapshots", kIgnored, false, "5", "the newest snapshots are kept"},
    {"max-wals", kIgnored, false, "5", "log files go once a snapshot covers them"},
    {"initial-election-tick-advance", kIgnored, true, "true", "elections start when due"},
    {"enable-v2", kIgnored, true, "false", "the v2 API is not served"},
    {"log-outputs", kIgnored, false, "default", "the log goes to standard error"},
    {"log-package-levels", kIgnored, false, "", kNoOldLogger},
    {"max-concurrent-streams", kIgnored, false, "4294967295", "the limit is fixed"},
    {"backend-batch-interval", kIgnored, false, "", kNoBackend},
    {"backend-batch-limit", kIgnored, false, "0", kNoBackend},
    {"grpc-keepalive-min-time", kIgnored, false, "5s", kNoKeepalive},
    {"grpc-keepalive-interval", kIgnored, false, "2h", kNoKeepalive},
    {"grpc-keepalive-timeout", kIgnored, false, "20s", kNoKeepalive},
    {"enable-pprof", kIgnored, true, "false", "there is no profile server"},
    {"metrics", kIgnored, false, "basic", "all metrics are exported"},
    {"discovery-fallback", kIgnored, false, "proxy", kNoDiscovery},
    {"discovery-proxy", kIgnored, false, "", kNoDiscovery},
    {"proxy-failure-wait", kIgnored, false, "5000", kNoProxy},
    {"proxy-refresh-interval", kIgnored, false, "30000", kNoProxy},
    {"proxy-dial-timeout", kIgnored, false, "1000", kNoProxy},
    {"proxy-write-timeout", kIgnored, false, "5000", kNoProxy},
    {"proxy-read-timeout", kIgnored, false, "0", kNoProxy},
    {"experimental-initial-corrupt-check", kIgnored, true, "false", kAlwaysChecked},
    {"experimental-corrupt-check-time", kIgnored, false, "0s", kAlwaysChecked},
    {"experimental-backend-bbolt-freelist-type", kIgnored, false, "array", kNoBackend},
    {"experimental-enable-lease-checkpoint", kIgnored, true, "false",
     "leases run in the cluster's own time"},
    {"experimental-compaction-batch-limit", kIgnored, false, "1000", "steps are always small"},
    {"experimental-warning-apply-duration", kIgnored, false, "100ms", "the threshold is fixed"},
    {"wal-dir", kRefused, false, "", "the log is kept in --data-dir"},
    {"discovery", kRefused, false, "", kNoDiscovery},
    {"discovery-srv", kRefused, false, "", kNoDiscovery},
    {"discovery-srv-name", kRefused, false, "", kNoDiscovery},
    {"cors", kRefused, false, "*", "requests of all origins are answered"},
    {"host-whitelist", kRefused, false, "*", "requests are not filtered by host name"},
    {"listen-metrics-urls", kRefused, false, "", "metrics are served on the client URLs"},
    {"proxy", kRefused, false, "off", kNoProxy},
    {"experimental-enable-v2v3", kRefused, false, "", "the v2 API is not served"},
    {"force-new-cluster", kRefused, true, "false", "it would give up what a quorum agreed on"},
    {"unsafe-no-fsync", kRefused, true, "false", "what is acknowledged is on disk"},
});

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({replaced, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

std::string names_with(Support support) {
  std::string names;
  std::size_t column = 0;
  for (const Flag& flag : kFlags) {
    if (flag.support != support) continue;
    if (column + flag.name.size() > 90) column = 0;
    names += column == 0 ? "\n   " : "";
    names += fmt::format(" --{}", flag.name);
    column += flag.name.size() + 3;
  }
  return names + "\n";
}

}  // namespace

std::span<const Flag> all_flags() { return kFlags; }

const Flag* find_flag(std::string_view name) {
  const auto found = std::ranges::find(kFlags, name, &Flag::name);
  return found == kFlags.end() ? nullptr : &*found;
}

std::string suggestion(std::string_view unknown) {
  const Flag* nearest = nullptr;
  std::size_t best = std::max<std::size_t>(2, unknown.size() / 3) + 1;
  for (const Flag& flag : kFlags) {
    const std::size_t distance = edit_distance(unknown, flag.name);
    if (distance >= best) continue;
    best = distance;
    nearest = &flag;
  }
  return nearest == nullptr ? "" : fmt::format(" (did you mean --{}?)", nearest->name);
}

std::string serve_help() {
  std::string text =
      "Usage: conclave serve [flags]\n\n"
      "Runs one member of a cluster. The flags are etcd's, where etcd has the flag. Each can also\n"
      "be given as an environment variable, CONCLAVE_DATA_DIR or ETCD_DATA_DIR for --data-dir;\n"
      "a flag wins over the environment.\n\n";
  for (const Flag& flag : kFlags) {
    if (flag.support != kUsed) continue;
    const std::string value = flag.boolean ? "" : fmt::format(" '{}'", flag.fallback);
    text += fmt::format("  --{}{}\n      {}\n", flag.name, value, flag.help);
  }
  text += "\nFlags of etcd that are accepted and have no effect:";
  text += names_with(kAccepted) + names_with(kIgnored).substr(1);
  text += "\nFlags of etcd that are refused, unless they have etcd's default value:";
  return text + names_with(kRefused);
}

}  // namespace conclave::server
