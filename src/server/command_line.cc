#include "server/command_line.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include "server/text.h"
#include "server/url.h"

namespace conclave::server {

namespace {

constexpr unsigned kMostMembers = 9;

// CLI11 throws for help as well as for mistakes; nullopt if neither happened.
std::optional<Usage> parse(CLI::App& app, std::vector<std::string> arguments) {
  std::ranges::reverse(arguments);  // CLI11 takes them from the back
  try {
    app.parse(arguments);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const int code = app.exit(error, out, err);
    return Usage{code == 0 ? 0 : 2, out.str() + err.str()};
  }
}

// Of the flag `flag`: host:port,..., each with `scheme` unless it says one.
std::expected<std::vector<io::Address>, Usage> parse_endpoints(std::string_view flag,
                                                               std::string_view text,
                                                               std::string_view scheme) {
  const auto wrong = [flag](const std::string& why) {
    return std::unexpected(Usage{2, fmt::format("{}: {}\n", flag, why)});
  };
  std::vector<io::Address> endpoints;
  for (const std::string_view each : split(text, ',')) {
    const bool has_scheme = each.find("://") != std::string_view::npos;
    const auto url =
        parse_url(has_scheme ? std::string(each) : fmt::format("{}://{}", scheme, each));
    if (!url) return wrong(url.error().message);
    endpoints.push_back(url->address());
  }
  if (endpoints.empty()) return wrong("at least one endpoint is needed");
  return endpoints;
}

// The flags of commands that ask a cluster, named as etcdctl names them.
struct ClusterFlags {
  std::string endpoints = "127.0.0.1:2379";
  ClientTls tls;
  std::string user;

  void add_to(CLI::App& app, const std::string& what_for) {
    app.add_option("--endpoints", endpoints, what_for)->capture_default_str();
    add_tls_to(app, "", "servers");
  }

  // `prefix` is that of the names; `servers` says whose certificates.
  void add_tls_to(CLI::App& app, const std::string& prefix, const std::string& servers) {
    app.add_option(
        "--" + prefix + "cacert", tls.trusted_ca,
        "Whose certificates of " + servers + " are believed (PEM); the system's if not given.");
    CLI::Option* const cert =
        app.add_option("--" + prefix + "cert", tls.certificate,
                       "This client's certificate for " + servers + " (PEM).");
    CLI::Option* const key = app.add_option("--" + prefix + "key", tls.key, "Its key (PEM).");
    cert->needs(key);
    key->needs(cert);
    app.add_flag("--" + prefix + "insecure-skip-tls-verify", tls.skips_verification,
                 "Believe every certificate: whoever answers may be somebody else.");
  }

  void add_user_to(CLI::App& app) {
    app.add_option("--user", user,
                   "NAME:PASSWORD of a user with the role root, where users are enabled.")
        ->envname("CONCLAVE_USER");
  }

  std::expected<ClusterOptions, Usage> options(std::string_view flag = "--endpoints") const {
    auto parsed = parse_endpoints(flag, endpoints, tls.is_given() ? "https" : "http");
    if (!parsed) return std::unexpected(parsed.error());
    return ClusterOptions{.endpoints = std::move(*parsed), .tls = tls, .user = user};
  }
};

}  // namespace

int print(const Usage& usage) {
  fmt::print(usage.exit_code == 0 ? stdout : stderr, "{}", usage.text);
  return usage.exit_code;
}

std::expected<StatusOptions, Usage> parse_status_options(std::vector<std::string> arguments) {
  CLI::App app("Shows every member of a cluster: role, term, log position, lag and size.",
               "conclave status");
  ClusterFlags flags;
  StatusOptions options;
  flags.add_to(app, "Where to ask, as host:port,...; the other members are found from there.");
  app.add_flag("--json", options.json, "A JSON array, one object per member.");
  if (auto usage = parse(app, std::move(arguments))) return std::unexpected(*usage);
  auto cluster = flags.options();
  if (!cluster) return std::unexpected(cluster.error());
  options.cluster = std::move(*cluster);
  return options;
}

std::expected<ReplaceOptions, Usage> parse_replace_options(std::vector<std::string> arguments) {
  CLI::App app("Changes the members of a cluster. (For the rest: etcdctl member.)",
               "conclave member");
  app.require_subcommand(1);
  CLI::App* replace = app.add_subcommand(
      "replace",
      "Puts a new member in the place of one that lost its disk, at the same address and in one\n"
      "step. Start it afterwards with an empty data directory and the flags that this prints.");
  ClusterFlags flags;
  ReplaceOptions options;
  replace->add_option("member", options.member, "Name or id of the member.")->required();
  flags.add_to(*replace, "Members that run, as host:port,...");
  flags.add_user_to(*replace);
  if (auto usage = parse(app, std::move(arguments))) return std::unexpected(*usage);
  auto cluster = flags.options();
  if (!cluster) return std::unexpected(cluster.error());
  options.cluster = std::move(*cluster);
  return options;
}

std::expected<SnapshotSaveOptions, Usage> parse_snapshot_save_options(
    std::vector<std::string> arguments) {
  CLI::App app(
      "Saves everything that a cluster holds to a file, and checks it. What was acknowledged\n"
      "before is in it, or it fails. The file appears when it is whole.",
      "conclave snapshot save");
  ClusterFlags flags;
  SnapshotSaveOptions options;
  app.add_option("file", options.file, "Where to.")->required();
  flags.add_to(app, "Members to ask, as host:port,...; the first that can gives it.");
  flags.add_user_to(app);
  app.add_flag(
      "--stale", options.stale,
      "Takes what the member has, which may be old, without asking the others: for what is "
      "left of a cluster that lost its majority.");
  app.add_option("--patience", options.patience_s,
                 "Seconds that a member may take to write its copy before it sends it.")
      ->capture_default_str()
      ->check(CLI::Range(1U, 86'400U));
  if (auto usage = parse(app, std::move(arguments))) return std::unexpected(*usage);
  auto cluster = flags.options();
  if (!cluster) return std::unexpected(cluster.error());
  options.cluster = std::move(*cluster);
  return options;
}

std::expected<SnapshotStatusOptions, Usage> parse_snapshot_status_options(
    std::vector<std::string> arguments) {
  CLI::App app("Checks a saved snapshot, all of it, and says what is in it.",
               "conclave snapshot status");
  SnapshotStatusOptions options;
  app.add_option("file", options.file, "The snapshot.")->required();
  app.add_flag("--json", options.json, "A JSON object; the first four names are etcdctl's.");
  if (auto usage = parse(app, std::move(arguments))) return std::unexpected(*usage);
  return options;
}

std::expected<ImportOptions, Usage> parse_import_options(std::vector<std::string> arguments) {
  CLI::App app(
      "Copies a live etcd (keys, leases, users and roles) into a Conclave cluster and follows it\n"
      "until it is told to cut over: by Ctrl-C or SIGTERM, or by \"cutover\" and Enter. It then\n"
      "waits until the target has everything that was written to the source before, compares all\n"
      "of both, and ends with 0 if they are equal. A second Ctrl-C stops it at once; --resume "
      "goes\n"
      "on later.\n"
      "Exit codes: 0 handed over, 1 failed, 2 wrong arguments, 3 source and target differ,\n"
      "130 stopped.",
      "conclave import etcd");
  ClusterFlags source;
  ClusterFlags target;
  ImportOptions options;
  app.add_option("--endpoint,--endpoints", source.endpoints,
                 "Members of the etcd, as http://host:port,... or https://...")
      ->required();
  app.add_option("--to", target.endpoints, "Members of the Conclave cluster, the same way.")
      ->required();
  app.add_option("--prefix", options.prefix,
                 "Only keys with this prefix. (Leases and users: all.)");
  app.add_flag("--merge", options.merge,
               "Let the target have other keys. Those of the source win; the others stay.");
  app.add_flag("--without-users", options.without_users, "Leave users and roles behind.");
  app.add_flag("--resume", options.resume,
               "Go on with an import that was begun before, if there is one.");
  app.add_flag("--until-caught-up", options.until_caught_up,
               "Cut over as soon as the target has caught up.");
  app.add_option("--patience", options.patience_seconds,
                 "Seconds for which it goes on trying while a cluster does not answer.")
      ->capture_default_str();
  app.add_option("--user", source.user,
                 "NAME:PASSWORD, if the source wants one: with the role root.")
      ->envname("CONCLAVE_IMPORT_USER");
  app.add_option("--to-user", target.user,
                 "NAME:PASSWORD, if the target wants one; that of --user if neither this nor "
                 "--to-cert is given, and users are copied.")
      ->envname("CONCLAVE_IMPORT_TO_USER");
  source.add_tls_to(app, "", "the source");
  target.add_tls_to(app, "to-", "the target");
  if (auto usage = parse(app, std::move(arguments))) return std::unexpected(*usage);
  auto from = source.options("--endpoint");
  if (!from) return std::unexpected(from.error());
  auto to = target.options("--to");
  if (!to) return std::unexpected(to.error());
  options.source = std::move(*from);
  options.target = std::move(*to);
  const bool is_named = !options.target.user.empty() || !options.target.tls.certificate.empty();
  if (!is_named && !options.without_users) {
    options.target.user = options.source.user;
  }
  return options;
}

namespace {

// Of a znode that is not the root.
bool is_path(std::string_view text) {
  return text.starts_with('/') && !text.ends_with('/') && text.find("//") == text.npos;
}

// host:2181,host:2182/app: what is behind the hosts.
std::expected<std::string, Usage> take_chroot(std::string& connect) {
  const std::size_t scheme = connect.rfind("://");
  const std::size_t slash = connect.find('/', scheme == std::string::npos ? 0 : scheme + 3);
  if (slash == std::string::npos) return std::string();
  std::string chroot = connect.substr(slash);
  connect.resize(slash);
  if (chroot == "/") return std::string();
  if (!is_path(chroot) || chroot.find(',') != std::string::npos) {
    return std::unexpected(Usage{
        2, fmt::format("--connect: {}: this is no path; it is said once, behind the last host\n",
                       chroot)});
  }
  return chroot;
}

// As ZooKeeper's clients are told them: the port is 2181 if none is said.
std::expected<std::vector<io::Address>, Usage> parse_hosts(std::string_view text, bool tls) {
  std::vector<io::Address> hosts;
  for (std::string_view each : split(text, ',')) {
    const bool is_tls = each.starts_with("tls://");
    if (is_tls) each.remove_prefix(6);
    const bool has_port = each.find(':') != std::string_view::npos && !each.ends_with(']');
    const std::string_view scheme = is_tls || tls ? "https" : "http";
    const auto url = parse_url(fmt::format("{}://{}{}", scheme, each, has_port ? "" : ":2181"));
    if (!url) return std::unexpected(Usage{2, "--connect: " + url.error().message + "\n"});
    hosts.push_back(url->address());
  }
  if (hosts.empty()) return std::unexpected(Usage{2, "--connect: at least one host is needed\n"});
  return hosts;
}

}  // namespace

std::expected<ImportZooKeeperOptions, Usage> parse_import_zookeeper_options(
    std::vector<std::string> arguments) {
  CLI::App app(
      "Copies a live ZooKeeper's tree into a Conclave cluster: data, ACLs, versions, times, and\n"
      "the counters of sequential names, so that these go on where they are. Not ephemeral nodes,\n"
      "not /zookeeper (quotas), and not which nodes are containers or have a TTL: a ZooKeeper\n"
      "does not tell that, and they become plain ones. Zxids are the cluster's own.\n"
      "\n"
      "The source may be written to meanwhile: the tree is looked at again, and what has changed "
      "is\n"
      "copied, until a pass finds nothing new. The copy is then the source's tree as it was at "
      "one\n"
      "moment, which is said, and is compared with what the cluster has.\n"
      "\n"
      "Exit codes: 0 copied and compared, 1 failed, or nodes could not be read, 2 wrong "
      "arguments,\n"
      "3 source and target differ, as when the source is written to without a pause, 130 stopped.\n"
      "After 1, 3 and 130, --resume goes on.",
      "conclave import zookeeper");
  ClusterFlags target;
  ImportZooKeeperOptions options;
  std::string connect;
  app.add_option(
         "--connect", connect,
         "The ZooKeeper, as its clients are told it: host:2181,host:2181/app copies what is "
         "at /app and below. tls://host:2281 with TLS.")
      ->required();
  app.add_option("--to", target.endpoints,
                 "Members of the Conclave cluster, as http://host:port,... or https://...: their "
                 "client URLs, not the port that ZooKeeper's clients use.")
      ->capture_default_str();
  app.add_option("--into", options.into,
                 "Where in the cluster: / puts what is below /app there at the top. If not given, "
                 "the same place.");
  app.add_option("--source-auth", options.auth,
                 "digest:USER:PASSWORD: who asks, for nodes that not everybody may read.")
      ->envname("CONCLAVE_IMPORT_SOURCE_AUTH");
  app.add_flag("--skip-unreadable", options.skip_unreadable,
               "Nodes that cannot be read, and what is below them, are no failure; the top is.");
  app.add_flag("--merge", options.merge,
               "Let the target have other nodes. Those of the source win; the others stay.");
  app.add_flag(
      "--resume", options.resume,
      "Go on with an import that was begun before, if there is one, of the same place of "
      "the same ensemble. What it copied is brought up to date or removed; what clients of "
      "the target wrote since is not: it is an error.");
  app.add_flag("--follow", options.follow,
               "Go on copying what changes until told to cut over: by Ctrl-C or SIGTERM, or by "
               "\"cutover\" and Enter.");
  app.add_option(
         "--passes", options.most_passes,
         "After so many passes that found something new it gives up. (--follow: once told.)")
      ->capture_default_str()
      ->check(CLI::Range(2U, 1'000'000U));
  app.add_option("--patience", options.patience_seconds,
                 "Seconds for which it goes on trying while a cluster does not answer.")
      ->capture_default_str();
  app.add_option("--to-user", target.user,
                 "NAME:PASSWORD of a user with the role root, where users are enabled.")
      ->envname("CONCLAVE_IMPORT_TO_USER");
  ClusterFlags source;
  source.add_tls_to(app, "", "the source");
  target.add_tls_to(app, "to-", "the target");
  if (auto usage = parse(app, std::move(arguments))) return std::unexpected(*usage);
  auto chroot = take_chroot(connect);
  if (!chroot) return std::unexpected(chroot.error());
  options.chroot = std::move(*chroot);
  auto hosts = parse_hosts(connect, source.tls.is_given());
  if (!hosts) return std::unexpected(hosts.error());
  options.source = {.endpoints = std::move(*hosts), .tls = source.tls, .user = {}};
  if (!options.auth.empty() && options.auth.find(':') == std::string::npos) {
    return std::unexpected(Usage{2, "--source-auth: it is SCHEME:CREDENTIALS\n"});
  }
  const bool is_place = options.into.empty() || options.into == "/" || is_path(options.into);
  if (!is_place) return std::unexpected(Usage{2, "--into: this is no path\n"});
  auto to = target.options("--to");
  if (!to) return std::unexpected(to.error());
  options.target = std::move(*to);
  return options;
}

std::expected<DevOptions, Usage> parse_dev_options(std::vector<std::string> arguments) {
  CLI::App app(
      "Runs a cluster on this machine to try things on, until Ctrl-C. A member that dies is\n"
      "not started again.",
      "conclave dev");
  DevOptions options;
  app.add_option("--members", options.members, "How many members, 1 to 9.")
      ->capture_default_str()
      ->check(CLI::Range(1U, kMostMembers));
  app.add_option("--data-dir", options.data_dir,
                 "Where data and logs are kept; a temporary directory, removed at exit, if not "
                 "given.");
  app.add_option("--consensus", options.consensus, "The engine: raft or paxos.")
      ->capture_default_str()
      ->check(CLI::IsMember({"raft", "paxos"}));
  app.add_option("--witnesses", options.witnesses,
                 "Members that vote and keep no data, as m3 or m4,m5. They serve no clients.");
  app.add_flag("--zookeeper", options.zookeeper,
               "Serve ZooKeeper's clients too, on each member's client port + 2.");
  app.add_option("--base-port", options.base_port,
                 "First member's client port; its peers use the next one, the second member "
                 "10 more, and so on. If not given: 2379, 22379, 32379, ...")
      ->check(CLI::Range(1, 65'000));
  if (auto usage = parse(app, std::move(arguments))) return std::unexpected(*usage);
  return options;
}

}  // namespace conclave::server
