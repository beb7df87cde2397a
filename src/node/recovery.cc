#include "node/recovery.h"

#include <fmt/core.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/rng.h"
#include "node/engine.h"
#include "peer.pb.h"
#include "store/snapshot.h"

namespace conclave::node {
namespace {

constexpr std::uint32_t kIdentityFormat = 2;
constexpr std::uint32_t kFormatWithoutDirectory = 1;

using PeerList = google::protobuf::RepeatedPtrField<peer::v1::MemberIdentity::Peer>;

void write_peers(const std::vector<PeerOptions>& members, PeerList& to) {
  for (const PeerOptions& member : members) {
    auto* peer = to.Add();
    peer->set_id(member.id.value);
    peer->set_name(member.name);
    for (const std::string& url : member.peer_urls) peer->add_peer_urls(url);
  }
}

peer::v1::MemberIdentity identity_of(const Options& options) {
  peer::v1::MemberIdentity identity;
  identity.set_format(kIdentityFormat);
  identity.set_cluster(options.cluster.value);
  identity.set_member(options.self.value);
  identity.set_name(options.name);
  identity.set_cluster_token(options.cluster_token);
  identity.set_engine(std::string(name_of(options.engine)));
  if (options.initial_membership) {
    identity.set_initial_membership(consensus::encode(*options.initial_membership));
  }
  identity.set_is_witness(options.is_witness);
  identity.set_directory(options.directory);
  if (options.founders.empty()) {
    write_peers(options.members, *identity.mutable_initial_members());
    return identity;
  }
  for (const NodeId id : options.founders) identity.add_initial_members()->set_id(id.value);
  write_peers(options.members, *identity.mutable_joined_members());
  identity.set_joined_at(options.joined_at.value);
  return identity;
}

Result<void> write_identity(const peer::v1::MemberIdentity& identity, const Options& options,
                            io::Disk& disk, const std::string& path) {
  google::protobuf::util::JsonPrintOptions print;
  print.add_whitespace = true;
  print.preserve_proto_field_names = true;
  std::string json;
  if (!MessageToJsonString(identity, &json, print).ok()) {
    return fail(ErrorCode::kInvalid, "the member's identity cannot be written as JSON");
  }
  const std::string temporary = path + ".tmp";
  auto file = TRY(disk.open(temporary, io::OpenMode::kCreate));
  TRY(file->write(0, json));
  TRY(file->sync());
  TRY(disk.rename(temporary, path));
  return disk.sync_directory(options.data_dir);
}

Result<peer::v1::MemberIdentity> read_identity(io::Disk& disk, const std::string& path) {
  auto file = TRY(disk.open(path, io::OpenMode::kRead));
  const std::uint64_t size = TRY(file->size());
  const Bytes json = TRY(file->read(0, size));
  peer::v1::MemberIdentity identity;
  if (!google::protobuf::util::JsonStringToMessage(json, &identity).ok()) {
    return fail(
        ErrorCode::kCorrupt,
        path + " cannot be read: restore it, or move the directory away and replace this member");
  }
  return identity;
}

Result<void> check_identity(const peer::v1::MemberIdentity& found, const Options& options) {
  const auto refuse = [&](const std::string& why) {
    return fail(ErrorCode::kMismatch, fmt::format("data directory {}: {}", options.data_dir, why));
  };
  if (found.format() != kIdentityFormat && found.format() != kFormatWithoutDirectory) {
    return refuse(fmt::format("format {} is not known to this version", found.format()));
  }
  const auto engine = consensus_of(found.engine());
  if (!engine) {
    return refuse(fmt::format("consensus {} is not known to this version", found.engine()));
  }
  if (!options.any_engine && *engine != options.engine) {
    return refuse(fmt::format("created with --consensus {}, not {}", found.engine(),
                              name_of(options.engine)));
  }
  if (found.name() != options.name) {
    return refuse(fmt::format("belongs to member \"{}\", not \"{}\"", found.name(), options.name));
  }
  // The ids of a member that joined follow from no flags. And a member is its addresses and the
  // cluster's token: flags that only name other members than the cluster began with are flags that
  // somebody kept up to date.
  const bool may_differ = options.members_may_differ || found.joined_members_size() > 0;
  if (found.member() == options.self.value || may_differ) return {};
  return refuse(fmt::format(
      "belongs to member {:x} of cluster {:x} (token \"{}\"), but the flags describe member {:x} "
      "of cluster {:x} (token \"{}\"). Use the directory of this cluster, or the flags with which "
      "it was created; if this member's addresses have changed since, say "
      "--initial-cluster-state existing",
      found.member(), found.cluster(), found.cluster_token(), options.self.value,
      options.cluster.value, options.cluster_token));
}

Result<std::vector<PeerOptions>> read_peers(const PeerList& from, const Options& options) {
  std::vector<PeerOptions> members;
  for (const peer::v1::MemberIdentity::Peer& peer : from) {
    const PeerUrls urls =
        TRY(options.parse_peer_urls({peer.peer_urls().begin(), peer.peer_urls().end()}));
    members.push_back(PeerOptions{.id = NodeId{peer.id()},
                                  .name = peer.name(),
                                  .peer_urls = urls.urls,
                                  .addresses = urls.addresses});
  }
  return members;
}

// What the directory says outranks what the flags say.
Result<void> take_identity(const peer::v1::MemberIdentity& found, Options& options) {
  const bool same =
      found.cluster() == options.cluster.value && found.member() == options.self.value;
  const bool joined = found.joined_members_size() > 0;
  options.directory = found.directory();
  options.is_witness = found.is_witness();
  options.engine = *consensus_of(found.engine());
  const auto flags = std::exchange(options.initial_membership, std::nullopt);
  if (!found.initial_membership().empty()) {
    options.initial_membership = TRY(consensus::decode_membership(found.initial_membership()));
  }
  if (flags && flags != options.initial_membership) {
    LOG(kWarn,
        "--weights, --witnesses and quorums are of a new cluster: this one keeps "
        "those it was created with");
  }
  if (same && !joined) return {};
  options.cluster = ClusterId{found.cluster()};
  options.self = NodeId{found.member()};
  options.members =
      TRY(read_peers(joined ? found.joined_members() : found.initial_members(), options));
  if (!joined) return {};
  options.joined_at = LogIndex{found.joined_at()};
  options.founders.clear();
  for (const auto& founder : found.initial_members()) {
    options.founders.push_back(NodeId{founder.id()});
  }
  return {};
}

std::string identity_path(const Options& options) { return options.data_dir + "/member.json"; }

// Random, and another one than any other draw of this run.
std::uint64_t draw_directory(const Options& options) {
  constexpr std::uint64_t kPurpose = 0x6469726563746f72;
  return Rng(options.seed ^ options.self.value ^ kPurpose).next() | 1;
}

Result<void> establish_identity(Options& options, io::Disk& disk) {
  const std::string path = identity_path(options);
  if (TRY(disk.exists(path))) {
    peer::v1::MemberIdentity found = TRY(read_identity(disk, path));
    TRY(check_identity(found, options));
    if (found.format() == kFormatWithoutDirectory) {
      found.set_format(kIdentityFormat);
      found.set_directory(draw_directory(options));
      TRY(write_identity(found, options, disk, path));
    }
    return take_identity(found, options);
  }
  if (TRY(disk.exists(options.data_dir + "/wal"))) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("{} holds a log but no member.json: restore that file, or move the "
                            "directory away and replace this member",
                            options.data_dir));
  }
  LOG(kInfo, "new member {} ({:x}) of cluster {:x} in {}", options.name, options.self.value,
      options.cluster.value, options.data_dir);
  return create_identity(options, disk);
}

// A witness's log is small, and so may its disk be.
std::uint64_t segment_bytes(const Options& options) {
  if (!options.is_witness) return options.segment_bytes;
  return std::min<std::uint64_t>(options.segment_bytes, limits::kWitnessSegmentBytes);
}

}  // namespace

consensus::SnapshotMeta initial_meta(const Options& options) {
  if (options.initial_membership) {
    return consensus::SnapshotMeta{
        .index = {}, .epoch = {}, .membership = *options.initial_membership};
  }
  std::vector<NodeId> ids = options.founders;
  if (ids.empty()) {
    for (const PeerOptions& member : options.members) ids.push_back(member.id);
  }
  return consensus::SnapshotMeta{
      .index = {}, .epoch = {}, .membership = consensus::Membership::of_majority(std::move(ids))};
}

Result<void> create_identity(Options& options, io::Disk& disk) {
  options.directory = draw_directory(options);
  const auto& first = options.initial_membership;
  options.is_witness = options.is_witness || (first && first->is_witness(options.self));
  return write_identity(identity_of(options), options, disk, identity_path(options));
}

Result<bool> has_identity(io::Disk& disk, const std::string& data_dir) {
  return disk.exists(data_dir + "/member.json");
}

Result<Recovered> recover(Options& options, io::Disk& disk, io::Clock& clock) {
  TRY(disk.create_directories(options.data_dir));
  auto lock = TRY(disk.lock(options.data_dir));
  TRY(establish_identity(options, disk));

  const wal::Identity identity{options.cluster, options.self};
  auto snapshots = TRY(wal::SnapshotDir::open(disk, options.data_dir, identity));
  const store::Limits limits{.max_txn_ops = options.max_txn_ops};
  consensus::Saved saved;
  saved.snapshot = initial_meta(options);
  store::SnapshotLoader loader(limits);
  const auto meta = TRY(snapshots.load_newest(kCoordinationGroup,
                                              [&](BytesView piece) { return loader.feed(piece); }));
  if (meta) saved.snapshot = *meta;
  store::Store store = meta ? TRY(loader.finish()) : store::Store(limits);

  std::map<NodeId, std::uint64_t> directories;
  wal::Replay replay{
      .on_hard_state =
          [&](GroupId group, Bytes state) {
            if (group == kCoordinationGroup) saved.hard_state = std::move(state);
          },
      .on_entry =
          [&](GroupId group, consensus::Entry entry) {
            if (group != kCoordinationGroup) return;
            const Bytes command = Engine::command_in(options.engine, entry);
            for (const auto& told : store::told_directories(command)) directories.insert(told);
            Engine::absorb(options.engine, saved, std::move(entry));
          },
  };
  auto log = TRY(wal::Log::open(disk, clock, options.data_dir, identity,
                                wal::Options{.segment_bytes = segment_bytes(options)}, replay));
  LOG(kInfo, "recovered: snapshot at index {}, {} log entries after it", saved.snapshot.index.value,
      saved.entries.size());
  return Recovered{.lock = std::move(lock),
                   .snapshots = std::move(snapshots),
                   .log = std::move(log),
                   .saved = std::move(saved),
                   .directories = std::move(directories),
                   .store = std::move(store)};
}

}  // namespace conclave::node
