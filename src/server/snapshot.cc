#include "server/snapshot.h"

#include <fmt/core.h>

#include <utility>

#include "base/log.h"
#include "io/posix/disk.h"
#include "io/posix/loop.h"
#include "node/restore.h"
#include "server/cluster_status.h"
#include "server/command_line.h"
#include "server/config.h"
#include "server/http_client.h"
#include "server/identity.h"
#include "server/node_options.h"
#include "server/saved_snapshot.h"
#include "server/version.h"

namespace conclave::server {
namespace {

constexpr const char* kHelp =
    R"(Saves everything that a cluster holds, and begins new clusters with it.

usage: conclave snapshot <command> [flags]

  save FILE     save a snapshot of a running cluster
  status FILE   check a saved snapshot and say what is in it
  restore FILE  write the data directory of a member of a new cluster

`conclave snapshot <command> --help` tells more.
)";

constexpr const char* kRestoreHelp =
    R"(Writes the data directory of one member of a new cluster that begins with a snapshot.

usage: conclave snapshot restore FILE [flags]

Run it for each member of the new cluster, with the same file and with the flags that the member is
then started with (`conclave serve`). Those that count here:

  --data-dir                     a directory that does not exist yet, or is empty
  --name                         the member's name
  --initial-cluster              all members, as name=URL,...
  --initial-advertise-peer-urls  the member's own part of it
  --initial-cluster-token        tells clusters apart
  --consensus                    raft or paxos, whatever the snapshot was made with
  --weights, --witnesses, --election-quorum, --write-quorum

Keys keep their revisions, leases their remaining time. The new cluster has an id of its own;
members, alarms and the request ids of the old one are not in it.
)";

// With a member that sends its copy.
constexpr Duration kPatience = seconds(60);

int failed(std::string_view command, const Error& error) {
  fmt::print(stderr, "conclave snapshot {}: {}\n", command, error.message);
  return 1;
}

Result<SavedSnapshot> save_from(const HttpClient& http, const io::Address& endpoint,
                                const SnapshotSaveOptions& options, io::Disk& disk) {
  SnapshotDownload download = TRY(SnapshotDownload::begin(disk, options.file));
  const std::string_view request = options.stale ? R"({"serializable":true})" : "{}";
  const auto run = [&]() -> Result<SavedSnapshot> {
    const HttpAnswer answer =
        TRY(http.stream(endpoint, "/v3/maintenance/snapshot", request, seconds(options.patience_s),
                        kPatience, [&](std::string_view json) { return download.add(json); }));
    if (answer.status != 200) return fail(ErrorCode::kIo, error_of(answer.body));
    return download.finish();
  };
  auto saved = run();
  if (!saved) download.give_up();
  return saved;
}

int run_save(const std::vector<std::string>& arguments) {
  const auto options = parse_snapshot_save_options(arguments);
  if (!options) return print(options.error());
  io::Loop loop;
  io::PosixDisk disk(loop);
  int exit_code = 1;
  const auto& [endpoints, tls, user] = options->cluster;
  const auto http = log_in(tls, user, endpoints);
  if (!http) return failed("save", http.error());
  for (const io::Address& endpoint : endpoints) {
    const auto saved = save_from(*http, endpoint, *options, disk);
    if (!saved) {
      exit_code = failed(
          "save", Error{saved.error().code, endpoint.to_string() + ": " + saved.error().message});
      continue;
    }
    fmt::print("Snapshot of {} saved to {}: revision {}, {} keys, {} bytes\n", endpoint.to_string(),
               options->file, saved->store.revision(), saved->store.key_count(), saved->file_bytes);
    if (options->stale) {
      fmt::print(stderr,
                 "conclave snapshot save: warning: the other members were not asked: writes that "
                 "were acknowledged may be missing\n");
    }
    return 0;
  }
  return exit_code;
}

void print_status(const SavedSnapshot& saved, bool json) {
  const store::Store& store = saved.store;
  const char* const format =
      json ? "{{\"hash\": {}, \"revision\": {}, \"totalKey\": {}, \"totalSize\": {}, "
             "\"compactRevision\": {}, \"leases\": {}, \"index\": {}, "
             "\"cluster\": \"{:x}\", \"checksum\": {}}}\n"
           : "hash              {:x}\nrevision          {}\nkeys              {}\n"
             "size              {} bytes\ncompact revision  {}\nleases            {}\n"
             "log index         {}\ncluster           {:x}\nSHA-256 behind    {}\n";
  const std::uint64_t hash = store.hash();
  fmt::print(fmt::runtime(format), static_cast<std::uint32_t>(hash ^ hash >> 32), store.revision(),
             store.key_count(), saved.file_bytes, store.compact_revision(), store.lease_count(),
             saved.meta.index.value, saved.owner.cluster.value, saved.has_checksum);
}

int run_file_status(const std::vector<std::string>& arguments) {
  const auto options = parse_snapshot_status_options(arguments);
  if (!options) return print(options.error());
  io::Loop loop;
  io::PosixDisk disk(loop);
  const auto saved = load_saved_snapshot(disk, options->file);
  if (!saved) return failed("status", saved.error());
  print_status(*saved, options->json);
  return 0;
}

Result<void> restore(const std::string& file, const Config& config, io::Disk& disk) {
  node::Options options = TRY(node_options(config, true));
  SavedSnapshot saved = TRY(load_saved_snapshot(disk, file));
  if (saved.is_witness()) {
    return fail(ErrorCode::kInvalid,
                file + ": this is a witness's file, which has no data: take another member's");
  }
  options.cluster = restored_cluster_id(options.cluster, saved.owner.cluster, saved.meta.index,
                                        saved.store.hash());
  fmt::print("Restoring revision {} with {} keys into {}, as member {} ({:x}) of cluster {:x}\n",
             saved.store.revision(), saved.store.key_count(), options.data_dir, options.name,
             options.self.value, options.cluster.value);
  return node::restore(std::move(options), std::move(saved.store), disk);
}

int run_restore(const std::vector<std::string>& arguments) {
  const bool has_file = !arguments.empty() && !arguments[0].starts_with('-');
  // The flags are those of the member: what its environment says counts too.
  const std::vector<std::string> flags(arguments.begin() + (has_file ? 1 : 0), arguments.end());
  const auto config = parse_config(flags, environment());
  if (!config) {
    failed("restore", config.error());
    return 2;
  }
  if (config->wanted == Config::Wanted::kHelp) {
    fmt::print("{}", kRestoreHelp);
    return 0;
  }
  if (config->wanted == Config::Wanted::kVersion) {
    fmt::print("conclave {}\n", kConclaveVersion);
    return 0;
  }
  for (const std::string& warning : config->warnings) {
    fmt::print(stderr, "conclave snapshot restore: {}\n", warning);
  }
  if (!has_file) {
    failed("restore", {ErrorCode::kInvalid, "the first argument has to be the snapshot's file"});
    return 2;
  }
  if (config->initial_cluster_state == Config::ClusterState::kExisting) {
    failed("restore", {ErrorCode::kInvalid,
                       "--initial-cluster-state: a snapshot is restored into a new cluster"});
    return 2;
  }
  io::Loop loop;
  io::PosixDisk disk(loop);
  const auto restored = restore(arguments[0], *config, disk);
  return restored ? 0 : failed("restore", restored.error());
}

}  // namespace

int run_snapshot(const std::vector<std::string>& arguments) {
  const std::string command = arguments.empty() ? "help" : arguments[0];
  const std::vector<std::string> rest(arguments.begin() + (arguments.empty() ? 0 : 1),
                                      arguments.end());
  if (command == "save") return run_save(rest);
  if (command == "status") return run_file_status(rest);
  if (command == "restore") return run_restore(rest);
  if (command == "help" || command == "--help" || command == "-h") {
    fmt::print("{}", kHelp);
    return arguments.empty() ? 2 : 0;
  }
  fmt::print(stderr, "conclave snapshot: unknown command \"{}\"\n\n{}", command, kHelp);
  return 2;
}

}  // namespace conclave::server
