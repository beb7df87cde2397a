#include "wal/snapshot_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "wal/snapshot_format.h"

namespace conclave::wal {
namespace {

constexpr std::size_t kKept = 2;
// Synced as it grows: one sync of a whole large file would make those of the log wait behind it.
constexpr std::uint64_t kSyncEveryBytes = limits::kMiB;
// Freed piece by piece for the same reason.
constexpr std::uint64_t kFreeAtOnceBytes = 8 * limits::kMiB;

constexpr const char* kWhole = ".snap";
constexpr const char* kWriting = ".writing";
constexpr const char* kReceiving = ".receiving";
constexpr const char* kRemoved = ".removed";

std::string file_name(GroupId group, LogIndex index, const char* suffix) {
  return fmt::format("{}-{:020}{}", group.value, index.value, suffix);
}

struct FileName {
  GroupId group;
  LogIndex index;
};

// nullopt for names of other kinds.
std::optional<FileName> parse_file_name(const std::string& name, const char* suffix) {
  FileName parsed;
  const char* const end = name.data() + name.size();
  const auto group = std::from_chars(name.data(), end, parsed.group.value);
  if (group.ec != std::errc{} || group.ptr == end) return std::nullopt;
  const auto index = std::from_chars(group.ptr + 1, end, parsed.index.value);
  if (index.ec != std::errc{}) return std::nullopt;
  if (name != file_name(parsed.group, parsed.index, suffix)) return std::nullopt;
  return parsed;
}

// Indexes of a group's files of one kind, oldest first.
Result<std::vector<LogIndex>> indexes(io::Disk& disk, const std::string& directory, GroupId group,
                                      const char* suffix) {
  std::vector<LogIndex> found;
  for (const auto& name : TRY(disk.list(directory))) {
    const auto parsed = parse_file_name(name, suffix);
    if (parsed && parsed->group == group) found.push_back(parsed->index);
  }
  std::ranges::sort(found);
  return found;
}

Result<void> cut_and_remove(io::Disk& disk, const std::string& path) {
  auto file = TRY(disk.open(path, io::OpenMode::kReadWrite));
  for (std::uint64_t size = TRY(file->size()); size > kFreeAtOnceBytes;) {
    size -= kFreeAtOnceBytes;
    TRY(file->truncate(size));
    TRY(file->sync());
  }
  file.reset();
  return disk.remove(path);
}

// Under another name first, durably: what is half gone must not look like a damaged snapshot. What
// an earlier failure left half gone goes too.
Result<void> remove_all_but(io::Disk& disk, const std::string& directory, GroupId group,
                            const char* suffix, std::size_t kept,
                            const std::vector<LogIndex>& in_use = {}) {
  const auto path = [&](LogIndex index, const char* kind) {
    return directory + "/" + file_name(group, index, kind);
  };
  const auto found = TRY(indexes(disk, directory, group, suffix));
  for (std::size_t i = 0; i + kept < found.size(); ++i) {
    if (std::ranges::find(in_use, found[i]) != in_use.end()) continue;
    TRY(disk.rename(path(found[i], suffix), path(found[i], kRemoved)));
  }
  const auto removed = TRY(indexes(disk, directory, group, kRemoved));
  if (removed.empty()) return {};
  TRY(disk.sync_directory(directory));
  for (const LogIndex index : removed) TRY(cut_and_remove(disk, path(index, kRemoved)));
  return disk.sync_directory(directory);
}

// Gives a synced file its final name, durably.
Result<void> publish(io::Disk& disk, const std::string& directory, GroupId group, LogIndex index,
                     const char* temporary_suffix) {
  TRY(disk.rename(directory + "/" + file_name(group, index, temporary_suffix),
                  directory + "/" + file_name(group, index, kWhole)));
  return disk.sync_directory(directory);
}

SnapshotSource source_of(io::File& file) {
  return [&file](std::uint64_t offset, std::size_t size) { return file.read(offset, size); };
}

Failure with_path(const std::string& path, const Error& error, const std::string& advice = {}) {
  return fail(error.code, path + ": " + error.message + advice);
}

}  // namespace

struct SnapshotDir::Writer::State {
  io::Disk* disk = nullptr;
  std::string directory;
  GroupId group;
  LogIndex index;
  std::unique_ptr<io::File> file;
  SnapshotEncoder encoder;
  Bytes chunk;  // what the next chunk will hold
  std::uint64_t written = 0;
  std::uint64_t synced = 0;
  bool failed = false;

  Result<void> put(BytesView bytes);
  Result<void> put_chunk();
  Result<void> append(BytesView piece);
  Result<void> finish();
  Result<void> note(Result<void> result);
};

Result<void> SnapshotDir::Writer::State::put(BytesView bytes) {
  TRY(file->write(written, bytes));
  written += bytes.size();
  if (written - synced < kSyncEveryBytes) return {};
  synced = written;
  return file->sync();
}

Result<void> SnapshotDir::Writer::State::put_chunk() {
  if (chunk.empty()) return {};
  TRY(put(encoder.chunk(chunk)));
  chunk.clear();
  return {};
}

Result<void> SnapshotDir::Writer::State::append(BytesView piece) {
  while (!piece.empty()) {
    const auto taken = std::min(piece.size(), kMaxSnapshotPieceBytes - chunk.size());
    chunk.append(piece.substr(0, taken));
    piece.remove_prefix(taken);
    if (chunk.size() == kMaxSnapshotPieceBytes) TRY(put_chunk());
  }
  return {};
}

Result<void> SnapshotDir::Writer::State::finish() {
  TRY(put_chunk());
  TRY(put(encoder.footer()));
  TRY(file->sync());
  file.reset();
  return publish(*disk, directory, group, index, kWriting);
}

// After a failure the half-written file goes at once: on a full disk others need the room.
Result<void> SnapshotDir::Writer::State::note(Result<void> result) {
  if (result) return result;
  failed = true;
  file.reset();
  (void)disk->remove(directory + "/" + file_name(group, index, kWriting));
  return result;
}

SnapshotDir::Writer::Writer(std::shared_ptr<State> state) : state_(std::move(state)) {}

Result<void> SnapshotDir::Writer::append(BytesView piece) {
  CHECK(!state_->failed, "append to a snapshot that has failed");
  return state_->note(state_->append(piece));
}

Result<void> SnapshotDir::Writer::finish() {
  CHECK(!state_->failed, "finish of a snapshot that has failed");
  return state_->note(state_->finish());
}

Result<SnapshotDir> SnapshotDir::open(io::Disk& disk, const std::string& directory,
                                      const Identity& identity) {
  SnapshotDir dir;
  dir.disk_ = &disk;
  dir.directory_ = directory + "/snap";
  dir.identity_ = identity;
  TRY(disk.create_directories(dir.directory_));
  TRY(disk.sync_directory(directory));
  for (const auto& name : TRY(disk.list(dir.directory_))) {
    if (parse_file_name(name, kWriting) || parse_file_name(name, kReceiving) ||
        parse_file_name(name, kRemoved))
      TRY(disk.remove(dir.directory_ + "/" + name));
  }
  // A killed process may have renamed a file without living to sync the directory.
  TRY(disk.sync_directory(dir.directory_));
  return dir;
}

Result<std::optional<consensus::SnapshotMeta>> SnapshotDir::load_newest(
    GroupId group, const std::function<Result<void>(BytesView)>& piece) const {
  const auto index = TRY(newest_index(group));
  if (!index) return std::nullopt;
  const std::string path = directory_ + "/" + file_name(group, index, kWhole);
  const auto file = TRY(disk_->open(path, io::OpenMode::kRead));
  auto meta = decode_snapshot(source_of(*file), {identity_.cluster, group}, piece);
  if (meta && meta->index == index) return std::move(*meta);
  if (meta)
    return with_path(path, {ErrorCode::kCorrupt, "it holds another index than its name says"});
  if (meta.error().code != ErrorCode::kCorrupt) return with_path(path, meta.error());
  return with_path(
      path, meta.error(),
      ". To restore this member: move its data directory away, replace it (`conclave member "
      "replace`) and start it again; it will receive its state from the others");
}

Result<SnapshotDir::Writer> SnapshotDir::create(GroupId group,
                                                const consensus::SnapshotMeta& meta) const {
  // What an earlier attempt of this run left behind.
  TRY(remove_all_but(*disk_, directory_, group, kWriting, 0));
  auto writing = std::make_shared<Writer::State>();
  auto& state = *writing;
  state.disk = disk_;
  state.directory = directory_;
  state.group = group;
  state.index = meta.index;
  state.file = TRY(disk_->open(directory_ + "/" + file_name(group, meta.index, kWriting),
                               io::OpenMode::kCreate));
  TRY(state.note(state.put(state.encoder.header({identity_.cluster, group}, meta))));
  return Writer(std::move(writing));
}

Result<void> SnapshotDir::require_free(std::uint64_t bytes) const {
  if (bytes == 0) return {};
  const std::uint64_t free = TRY(disk_->free_bytes(directory_));
  if (free >= bytes) return {};
  return fail(ErrorCode::kNoSpace,
              fmt::format("{} bytes of the disk are free, and {} would be needed", free, bytes));
}

Result<void> SnapshotDir::remove_unused(GroupId group, const std::vector<LogIndex>& in_use) const {
  return remove_all_but(*disk_, directory_, group, kWhole, kKept, in_use);
}

Result<std::pair<Bytes, bool>> SnapshotDir::read_raw(GroupId group, LogIndex index,
                                                     std::uint64_t offset,
                                                     std::uint32_t max_bytes) const {
  const auto file =
      TRY(disk_->open(directory_ + "/" + file_name(group, index, kWhole), io::OpenMode::kRead));
  auto bytes = TRY(file->read(offset, max_bytes));
  const bool last = offset + bytes.size() >= TRY(file->size());
  return std::pair(std::move(bytes), last);
}

Result<std::uint64_t> SnapshotDir::size_bytes(GroupId group, LogIndex index) const {
  const auto file =
      TRY(disk_->open(directory_ + "/" + file_name(group, index, kWhole), io::OpenMode::kRead));
  return file->size();
}

Result<std::pair<Bytes, bool>> SnapshotDir::read_derived(GroupId group, LogIndex index,
                                                         std::uint64_t offset,
                                                         std::uint32_t max_bytes,
                                                         const Derive& derive) const {
  const auto file =
      TRY(disk_->open(directory_ + "/" + file_name(group, index, kWhole), io::OpenMode::kRead));
  const SnapshotOwner owner{identity_.cluster, group};
  const SnapshotBegin begin = TRY(decode_snapshot_begin(source_of(*file), owner));
  const Bytes content = TRY(derive(begin.content));
  SnapshotEncoder encoder;
  Bytes whole = encoder.header(owner, begin.meta);
  for (std::size_t at = 0; at < content.size(); at += kMaxSnapshotPieceBytes) {
    whole += encoder.chunk(BytesView(content).substr(at, kMaxSnapshotPieceBytes));
  }
  whole += encoder.footer();
  if (offset > whole.size()) return fail(ErrorCode::kInvalid, "beyond the end of the snapshot");
  Bytes bytes = whole.substr(offset, max_bytes);
  const bool last = offset + bytes.size() == whole.size();
  return std::pair(std::move(bytes), last);
}

Result<void> SnapshotDir::write_raw(GroupId group, LogIndex index, std::uint64_t offset,
                                    BytesView bytes) const {
  // Other attempts have been given up when a new one starts.
  if (offset == 0) TRY(remove_all_but(*disk_, directory_, group, kReceiving, 0));
  const std::string path = directory_ + "/" + file_name(group, index, kReceiving);
  const auto file =
      TRY(disk_->open(path, offset == 0 ? io::OpenMode::kCreate : io::OpenMode::kReadWrite));
  const auto size = TRY(file->size());
  if (size != offset)
    return fail(
        ErrorCode::kInvalid,
        fmt::format("{}: received bytes at offset {}, but {} are there", path, offset, size));
  TRY(file->write(offset, bytes));
  if ((offset + bytes.size()) / kSyncEveryBytes != offset / kSyncEveryBytes) TRY(file->sync());
  return {};
}

Result<void> SnapshotDir::verify_received(GroupId group, const consensus::SnapshotMeta& meta,
                                          const std::function<Result<void>(BytesView)>& piece,
                                          const std::vector<LogIndex>& in_use) const {
  const std::string path = directory_ + "/" + file_name(group, meta.index, kReceiving);
  auto file = TRY(disk_->open(path, io::OpenMode::kReadWrite));
  const auto check = [&]() -> Result<void> {
    const auto found = TRY(decode_snapshot(source_of(*file), {identity_.cluster, group}, piece));
    if (found.index == meta.index && found.epoch == meta.epoch &&
        found.membership == meta.membership)
      return {};
    return fail(ErrorCode::kCorrupt, "the file's meta is not what was announced");
  };
  if (auto checked = check(); !checked) {
    file.reset();
    TRY(disk_->remove(path));
    return with_path(path, checked.error());
  }
  TRY(file->sync());
  file.reset();
  TRY(publish(*disk_, directory_, group, meta.index, kReceiving));
  return remove_unused(group, in_use);
}

Result<LogIndex> SnapshotDir::newest_index(GroupId group) const {
  const auto found = TRY(indexes(*disk_, directory_, group, kWhole));
  return found.empty() ? LogIndex{} : found.back();
}

}  // namespace conclave::wal
