#include "server/config.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "base/limits.h"
#include "frontends/zookeeper/digest.h"
#include "server/auth_token.h"
#include "server/passwords.h"
#include "server/settings.h"
#include "server/text.h"
#include "server/tls_config.h"

namespace conclave::server {

namespace {

constexpr std::int64_t kMaxElectionMs = 50'000;  // etcd's
constexpr std::uint64_t kMaxTokenTtlSeconds = 10ull * 365 * 24 * 3600;
constexpr std::uint64_t kMostWeight = 1'000;
constexpr std::uint64_t kMaxSizeFlag = std::uint64_t{1} << 31;

// Adds to an error which setting it is about.
template <class T>
Result<T> of(const Settings& settings, std::string_view name, Result<T> result) {
  if (!result) {
    result.error().message = fmt::format("{}: {}", settings.called(name), result.error().message);
  }
  return result;
}

Failure invalid(const Settings& settings, std::string_view name, std::string_view why) {
  return fail(ErrorCode::kInvalid, fmt::format("{}: {}", settings.called(name), why));
}

Result<std::uint64_t> number(const Settings& settings, std::string_view name) {
  return of(settings, name, parse_number(settings.text(name)));
}

Result<std::size_t> positive(const Settings& settings, std::string_view name) {
  const std::uint64_t value = TRY(number(settings, name));
  if (value == 0 || value > kMaxSizeFlag) {
    return invalid(settings, name, fmt::format("{} is not between 1 and 2^31", value));
  }
  return static_cast<std::size_t>(value);
}

Result<std::vector<Url>> urls(const Settings& settings, std::string_view name) {
  return of(settings, name, parse_urls(settings.text(name)));
}

Result<void> read_addresses(const Settings& settings, Config& config) {
  config.listen_client_urls = TRY(urls(settings, "listen-client-urls"));
  config.listen_peer_urls = TRY(urls(settings, "listen-peer-urls"));
  // The default would send clients to a place where, most likely, nobody listens. etcd asks only on
  // the command line.
  if (settings.given("listen-client-urls") && !settings.given("advertise-client-urls") &&
      !settings.from_file()) {
    return fail(ErrorCode::kInvalid,
                "--advertise-client-urls is required when --listen-client-urls is set explicitly");
  }
  config.advertise_client_urls = TRY(urls(settings, "advertise-client-urls"));
  config.initial_advertise_peer_urls = TRY(urls(settings, "initial-advertise-peer-urls"));
  return {};
}

// "a=http://h1:2380,b=http://h2:2380"; a name may come several times, with one URL each.
Result<void> read_initial_cluster(const Settings& settings, Config& config) {
  constexpr std::string_view kFlag = "initial-cluster";
  const std::string members = settings.text(kFlag);
  for (const std::string_view member : split(members, ',')) {
    const auto equals = member.find('=');
    const std::string name(trim(member.substr(0, equals)));
    if (equals == std::string_view::npos || name.empty()) {
      return invalid(settings, kFlag,
                     fmt::format("\"{}\" does not have the form name=http://host:port", member));
    }
    const auto url = of(settings, kFlag, parse_url(trim(member.substr(equals + 1))));
    config.initial_cluster[name].push_back(TRY(url));
  }
  if (config.initial_cluster.empty()) {
    config.initial_cluster[config.name] = config.initial_advertise_peer_urls;
  }
  for (auto& [name, members_urls] : config.initial_cluster) std::ranges::sort(members_urls);
  return {};
}

// As etcd: a member whose idea of itself differs from the cluster's would never be reached.
Result<void> check_initial_cluster(const Settings& settings, const Config& config) {
  constexpr std::string_view kFlag = "initial-cluster";
  std::map<Url, std::string> owners;
  for (const auto& [name, members_urls] : config.initial_cluster) {
    for (const Url& url : members_urls) {
      if (owners.emplace(url, name).second) continue;
      return invalid(settings, kFlag, fmt::format("{} is there twice", url.to_string()));
    }
  }
  const auto self = config.initial_cluster.find(config.name);
  if (self == config.initial_cluster.end()) {
    return invalid(settings, kFlag,
                   fmt::format("this member's name \"{}\" is not in it", config.name));
  }
  if (self->second != config.initial_advertise_peer_urls) {
    return invalid(settings, kFlag,
                   fmt::format("it has {}={}, but --initial-advertise-peer-urls is {}", config.name,
                               join(self->second), join(config.initial_advertise_peer_urls)));
  }
  return {};
}

Result<void> read_weights(const Settings& settings, Config& config) {
  constexpr std::string_view kFlag = "weights";
  const std::string weights = settings.text(kFlag);
  if (weights.empty()) return {};
  for (const std::string_view member : split(weights, ',')) {
    const auto equals = member.find('=');
    const std::string name(trim(member.substr(0, equals)));
    const bool has_weight = equals != std::string_view::npos;
    const auto weight = parse_number(has_weight ? trim(member.substr(equals + 1)) : "");
    if (!weight || *weight == 0 || *weight > kMostWeight) {
      return invalid(settings, kFlag,
                     fmt::format("\"{}\" does not have the form name=weight, with a weight from 1 "
                                 "to {}",
                                 member, kMostWeight));
    }
    if (!config.weights.emplace(name, static_cast<std::uint32_t>(*weight)).second) {
      return invalid(settings, kFlag, fmt::format("\"{}\" is there twice", name));
    }
  }
  return {};
}

Result<void> read_witnesses(const Settings& settings, Config& config) {
  constexpr std::string_view kFlag = "witnesses";
  const std::string witnesses = settings.text(kFlag);
  if (witnesses.empty()) return {};
  for (const std::string_view member : split(witnesses, ',')) {
    const std::string name(trim(member));
    if (name.empty()) return invalid(settings, kFlag, "a name is missing");
    if (!config.witnesses.insert(name).second) {
      return invalid(settings, kFlag, fmt::format("\"{}\" is there twice", name));
    }
  }
  return {};
}

// Whether the quorums make sense together is only known with the members' ids: see serve.cc.
Result<void> read_quorums(const Settings& settings, Config& config) {
  const std::string engine = settings.text("consensus");
  const auto known = node::consensus_of(engine);
  if (!known) {
    return invalid(settings, "consensus",
                   fmt::format("\"{}\" is not known; raft and paxos are", engine));
  }
  if (settings.given("consensus")) config.consensus = *known;
  TRY(read_weights(settings, config));
  TRY(read_witnesses(settings, config));
  config.election_quorum = TRY(number(settings, "election-quorum"));
  config.write_quorum = TRY(number(settings, "write-quorum"));
  return {};
}

Result<void> read_cluster(const Settings& settings, Config& config) {
  TRY(read_initial_cluster(settings, config));
  TRY(check_initial_cluster(settings, config));
  config.initial_cluster_token = settings.text("initial-cluster-token");
  const std::string state = settings.text("initial-cluster-state");
  if (state != "new" && state != "existing") {
    return invalid(settings, "initial-cluster-state",
                   fmt::format("\"{}\" is neither new nor existing", state));
  }
  if (state == "existing") config.initial_cluster_state = Config::ClusterState::kExisting;
  config.strict_reconfig_check = TRY(
      of(settings, "strict-reconfig-check", parse_bool(settings.text("strict-reconfig-check"))));
  return read_quorums(settings, config);
}

Result<void> read_timing(const Settings& settings, Config& config) {
  const auto heartbeat_ms =
      static_cast<std::int64_t>(TRY(positive(settings, "heartbeat-interval")));
  const auto election_ms = static_cast<std::int64_t>(TRY(positive(settings, "election-timeout")));
  if (election_ms < 5 * heartbeat_ms) {
    return invalid(settings, "election-timeout",
                   fmt::format("{} ms is less than 5 times the heartbeat interval of {} ms",
                               election_ms, heartbeat_ms));
  }
  if (election_ms > kMaxElectionMs) {
    return invalid(settings, "election-timeout",
                   fmt::format("{} ms is more than {} ms", election_ms, kMaxElectionMs));
  }
  config.heartbeat_interval = milliseconds(heartbeat_ms);
  config.election_timeout = milliseconds(election_ms);
  return {};
}

Result<void> read_limits(const Settings& settings, Config& config) {
  config.snapshot_count = TRY(number(settings, "snapshot-count"));
  config.max_request_bytes = TRY(positive(settings, "max-request-bytes"));
  if (config.max_request_bytes > limits::kLargestMaxRequestBytes) {
    return invalid(settings, "max-request-bytes",
                   fmt::format("{} is more than the {} bytes that members can send to each other",
                               config.max_request_bytes, limits::kLargestMaxRequestBytes));
  }
  config.max_txn_ops = TRY(positive(settings, "max-txn-ops"));
  const std::string quota = settings.text("quota-backend-bytes");
  const char* end = quota.data() + quota.size();
  const auto [stop, error] = std::from_chars(quota.data(), end, config.quota_backend_bytes);
  if (error != std::errc() || stop != end) {
    return invalid(settings, "quota-backend-bytes",
                   fmt::format("\"{}\" is not a whole number", quota));
  }
  return {};
}

Result<void> read_auth(const Settings& settings, Config& config) {
  config.auth_token = settings.text("auth-token");
  if (config.auth_token != "simple") {
    TRY(of(settings, "auth-token", parse_auth_token(config.auth_token)));
  }
  const std::uint64_t ttl_s = TRY(positive(settings, "auth-token-ttl"));
  if (ttl_s > kMaxTokenTtlSeconds) {
    return invalid(settings, "auth-token-ttl",
                   fmt::format("{} s is more than {} s", ttl_s, kMaxTokenTtlSeconds));
  }
  config.auth_token_ttl = seconds(static_cast<std::int64_t>(ttl_s));
  const std::uint64_t cost = TRY(positive(settings, "bcrypt-cost"));
  if (cost < kMinBcryptCost || cost > kMaxBcryptCost) {
    return invalid(settings, "bcrypt-cost",
                   fmt::format("{} is not from {} to {}", cost, kMinBcryptCost, kMaxBcryptCost));
  }
  config.bcrypt_cost = static_cast<std::uint32_t>(cost);
  return {};
}

Result<void> read_auto_compaction(const Settings& settings, Config& config) {
  constexpr std::string_view kRetention = "auto-compaction-retention";
  const std::string mode = settings.text("auto-compaction-mode");
  const std::string retention = settings.text(kRetention);
  AutoCompaction& wanted = config.auto_compaction;
  if (mode == "revision") {
    wanted.revisions = TRY(number(settings, kRetention));
    if (wanted.revisions != 0) wanted.mode = AutoCompaction::Mode::kRevision;
  } else if (mode == "periodic") {
    const auto hours = parse_number(retention);
    wanted.period =
        TRY(of(settings, kRetention, parse_duration(hours ? retention + "h" : retention)));
    if (wanted.period != Duration{}) wanted.mode = AutoCompaction::Mode::kPeriodic;
  } else {
    return invalid(settings, "auto-compaction-mode",
                   fmt::format("\"{}\" is neither periodic nor revision", mode));
  }
  return {};
}

Result<void> read_watch_progress(const Settings& settings, Config& config) {
  constexpr std::string_view kInterval = "experimental-watch-progress-notify-interval";
  config.watch_progress_interval =
      TRY(of(settings, kInterval, parse_duration(settings.text(kInterval))));
  if (config.watch_progress_interval > Duration{}) return {};
  return invalid(settings, kInterval, "it must be more than 0");
}

// "host:port,tls://host:port".
Result<std::vector<Url>> read_addresses(const Settings& settings, std::string_view flag) {
  constexpr std::string_view kTls = "tls://";
  std::vector<Url> addresses;
  const std::string text = settings.text(flag);
  for (std::string_view each : split(text, ',')) {
    const bool is_tls = each.starts_with(kTls);
    if (is_tls) each.remove_prefix(kTls.size());
    const auto url = parse_url(fmt::format("{}://{}", is_tls ? "https" : "http", each));
    if (!url) {
      return invalid(settings, flag, fmt::format("\"{}\" does not have the form host:port", each));
    }
    addresses.push_back(*url);
  }
  return addresses;
}

Result<void> read_zookeeper(const Settings& settings, ZooKeeperConfig& config) {
  config.listen = TRY(read_addresses(settings, "listen-zookeeper"));
  config.admin = TRY(read_addresses(settings, "zookeeper-admin"));
  if (!config.admin.empty() && config.listen.empty()) {
    return invalid(settings, "zookeeper-admin", "it needs --listen-zookeeper");
  }
  config.advertise = settings.text("zookeeper-advertise");
  if (!config.advertise.empty() && !parse_url("http://" + config.advertise)) {
    return invalid(settings, "zookeeper-advertise",
                   fmt::format("\"{}\" does not have the form host:port", config.advertise));
  }
  const std::string reads = settings.text("zookeeper-reads");
  if (reads != "linearizable" && reads != "session") {
    return invalid(settings, "zookeeper-reads",
                   fmt::format("\"{}\" is neither linearizable nor session", reads));
  }
  config.local_reads = reads == "session";
  const std::string words = settings.text("zookeeper-words");
  for (const std::string_view word : split(words, ',')) config.words.emplace_back(word);
  constexpr std::string_view kEnforce = "zookeeper-enforce-quota";
  config.enforce_quota = TRY(of(settings, kEnforce, parse_bool(settings.text(kEnforce))));
  constexpr std::string_view kReconfig = "zookeeper-reconfig";
  config.reconfig = TRY(of(settings, kReconfig, parse_bool(settings.text(kReconfig))));
  if (config.reconfig && config.advertise.empty()) {
    return invalid(settings, kReconfig,
                   "it needs --zookeeper-advertise, without which /zookeeper/config says nothing");
  }
  config.max_per_address = TRY(number(settings, "zookeeper-max-connections-per-address"));
  constexpr std::string_view kSuper = "zookeeper-super-digest";
  config.super_digest = settings.text(kSuper);
  if (!config.super_digest.empty() && !zookeeper::is_digest_id(config.super_digest)) {
    return invalid(settings, kSuper, "it must be a user's name, a colon, and 28 letters of base64");
  }
  return {};
}

Result<void> read_log_level(const Settings& settings, Config& config) {
  static const std::map<std::string, LogLevel> kLevels{
      {"debug", LogLevel::kDebug}, {"info", LogLevel::kInfo},    {"warn", LogLevel::kWarn},
      {"error", LogLevel::kError}, {"dpanic", LogLevel::kError}, {"panic", LogLevel::kError},
      {"fatal", LogLevel::kError}};
  const auto level = kLevels.find(settings.text("log-level"));
  if (level == kLevels.end()) {
    return invalid(
        settings, "log-level",
        fmt::format("\"{}\" is not debug, info, warn or error", settings.text("log-level")));
  }
  const bool debug = TRY(of(settings, "debug", parse_bool(settings.text("debug"))));
  config.log_level = debug ? LogLevel::kDebug : level->second;
  return {};
}

Result<void> read_member(const Settings& settings, Config& config) {
  config.name = settings.text("name");
  if (config.name.empty()) return invalid(settings, "name", "it is empty");
  if (config.name.find_first_of(",=/") != std::string::npos) {
    return invalid(settings, "name",
                   fmt::format("\"{}\" has a comma, equals sign or slash in it", config.name));
  }
  config.data_dir = settings.text("data-dir");
  if (config.data_dir.empty()) config.data_dir = config.name + ".conclave";
  return {};
}

Result<Config::Wanted> read_wanted(const Settings& settings) {
  if (TRY(of(settings, "help", parse_bool(settings.text("help"))))) return Config::Wanted::kHelp;
  if (TRY(of(settings, "version", parse_bool(settings.text("version"))))) {
    return Config::Wanted::kVersion;
  }
  return Config::Wanted::kServe;
}

}  // namespace

Environment environment() {
  Environment variables;
  for (char** each = ::environ; *each != nullptr; ++each) {
    const std::string_view entry = *each;
    const auto equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    variables.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return variables;
}

Result<Config> parse_config(const std::vector<std::string>& arguments,
                            const Environment& environment) {
  Settings settings = TRY(Settings::gather(arguments, environment));
  Config config;
  config.wanted = TRY(read_wanted(settings));
  if (config.wanted != Config::Wanted::kServe) return config;
  TRY(read_member(settings, config));
  TRY(read_addresses(settings, config));
  TRY(read_cluster(settings, config));
  TRY(read_timing(settings, config));
  TRY(read_limits(settings, config));
  TRY(read_auth(settings, config));
  TRY(read_auto_compaction(settings, config));
  TRY(read_watch_progress(settings, config));
  TRY(read_zookeeper(settings, config.zookeeper));
  TRY(read_log_level(settings, config));
  config.warnings = settings.take_warnings();
  TRY(read_tls(settings, config));
  return config;
}

}  // namespace conclave::server
