#pragma once
// What a member is told at its start. Plain values; flags and files are the server's business.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/request.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/time.h"
#include "consensus/membership.h"
#include "io/network.h"

namespace conclave::node {

struct Stats;

// The engines there are.
enum class Consensus : std::uint8_t { kRaft, kPaxos };

// As in flags and in member.json.
constexpr std::string_view name_of(Consensus consensus) {
  switch (consensus) {
    case Consensus::kRaft:
      return "raft";
    case Consensus::kPaxos:
      return "paxos";
  }
  return "";
}
// nullopt: there is no such engine.
constexpr std::optional<Consensus> consensus_of(std::string_view name) {
  for (const Consensus each : {Consensus::kRaft, Consensus::kPaxos}) {
    if (name == name_of(each)) return each;
  }
  return std::nullopt;
}

struct PeerOptions {
  NodeId id;
  std::string name;
  std::vector<std::string> peer_urls;
  std::vector<io::Address> addresses;  // tried in turn
};

// Peer URLs, checked: in their one spelling, sorted.
struct PeerUrls {
  std::vector<std::string> urls;
  std::vector<io::Address> addresses;
};

// What users and their passwords need from outside. The first two take long, and run on a thread of
// their own.
struct AuthOptions {
  std::function<Bytes(BytesView password)> hash_password;  // none: there are no passwords
  std::function<bool(BytesView password, BytesView hash)> password_matches;
  std::function<Bytes(std::size_t count)> random_bytes;  // that nobody can guess
  Duration token_lasts = seconds(300);                   // since its last use
  // Instead of simple tokens (node/tokens.h); both or neither. `wall_s`: seconds since 1970.
  std::function<Bytes(const api::Identity& who, std::uint64_t wall_s)> make_token;
  std::function<std::optional<api::Identity>(BytesView token, std::uint64_t wall_s)> read_token;
};

struct Options {
  std::string name;
  std::string cluster_token;
  std::string data_dir;
  ClusterId cluster;
  NodeId self;
  // The initial cluster, this member among them. Of a member that joined: the members at the time,
  // with what it knows of the founders in `founders`.
  std::vector<PeerOptions> members;
  // The initial cluster is only a hint for a directory that exists already (--initial-cluster-state
  // existing): what is in member.json counts.
  bool members_may_differ = false;
  // This member joins, or joined, a cluster that was there (node/joining.h): the voters that the
  // log begins with, and the log index at which `members` were all there are.
  std::vector<NodeId> founders;
  LogIndex joined_at;
  Consensus engine = Consensus::kRaft;
  bool any_engine = false;  // `engine` is only for a new cluster: otherwise the cluster's
  // What the log begins with, if that is not a majority of the first members.
  std::optional<consensus::Membership> initial_membership;
  // This member votes and keeps no data. Of one that has joined; of a founder, recover() takes it
  // from initial_membership.
  bool is_witness = false;
  std::uint64_t directory = 0;  // the data directory's id: recover() fills it in
  std::function<Result<PeerUrls>(const std::vector<std::string>&)> parse_peer_urls;
  std::vector<std::string> client_urls;  // advertised
  std::string zookeeper_address;         // advertised to ZooKeeper's clients; empty: none
  std::vector<io::Address> client_listen;
  std::vector<io::Address> peer_listen;

  Duration tick = milliseconds(10);
  std::uint32_t heartbeat_ticks = 10;
  std::uint32_t election_ticks = 100;
  Duration request_timeout = seconds(7);  // etcd: 5 s + twice the election timeout

  // Refuse to add or remove a voter if too few of the voters would be started and reachable.
  bool strict_reconfig_check = true;

  std::size_t max_client_connections = limits::kMaxClientConnections;
  std::size_t max_request_bytes = limits::kMaxRequestBytes;
  std::size_t max_txn_ops = limits::kMaxTxnOps;
  std::uint64_t quota_bytes = 0;                         // of the store; 0: none
  std::uint64_t snapshot_entries = 0;                    // 0: by size only
  std::uint64_t snapshot_log_bytes = 64 * limits::kMiB;  // at least; a quarter of a larger store
  // Entries kept in memory after they are applied, for followers that are a little behind; fewer
  // if they are large.
  std::uint64_t keep_entries = 100'000;
  // The leader compacts by itself: history older than the period goes, or all but the newest
  // revisions. 0: not.
  Duration compact_period;
  std::uint64_t compact_keep_revisions = 0;
  std::uint64_t segment_bytes = 64 * limits::kMiB;
  // How the engine cuts what it sends to others.
  std::size_t max_append_bytes = limits::kMaxAppendBytes;
  std::size_t max_inflight_appends = limits::kMaxInflightAppends;
  std::uint32_t snapshot_chunk_bytes = limits::kSnapshotChunkBytes;

  AuthOptions auth;

  std::string version;     // what Status reports
  std::uint64_t seed = 0;  // of the engine's jitter and of this run's incarnation

  std::function<std::string(const Stats&)> metrics_text;
  // The member cannot go on (its log failed, its state is corrupt). Called once; it does nothing
  // afterwards.
  std::function<void(const Error&)> fatal;

  // How often a watch that asked for it is told that nothing happened.
  Duration watch_progress_interval = seconds(600);
};

}  // namespace conclave::node
