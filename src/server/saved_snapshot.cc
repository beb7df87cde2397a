#include "server/saved_snapshot.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "etcd.pb.h"
#include "store/snapshot.h"
#include "wire/json.h"
#include "wire/sha256.h"

namespace conclave::server {
namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::size_t kReadBytes = limits::kMiB;
constexpr std::uint64_t kSyncEveryBytes = 8 * limits::kMiB;
constexpr std::size_t kMaxLineBytes = 8 * limits::kMiB;

Failure with_path(const std::string& path, const Error& error, const std::string& more = {}) {
  return fail(error.code, path + ": " + error.message + more);
}

// Whether the last 32 bytes are the SHA-256 of those before.
Result<bool> ends_with_checksum(io::File& file, std::uint64_t size) {
  if (size < wire::Sha256::kBytes) return false;
  const std::uint64_t content = size - wire::Sha256::kBytes;
  wire::Sha256 hash;
  for (std::uint64_t at = 0; at < content; at += kReadBytes) {
    hash.add(TRY(file.read(at, std::min<std::uint64_t>(kReadBytes, content - at))));
  }
  return hash.finish() == TRY(file.read(content, wire::Sha256::kBytes));
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

bool SavedSnapshot::is_witness() const {
  return !meta.membership.witnesses.empty() && store.revision() <= 1 && store.lease_count() == 0;
}

Result<SavedSnapshot> load_saved_snapshot(io::Disk& disk, const std::string& path) {
  const auto file = TRY(disk.open(path, io::OpenMode::kRead));
  const std::uint64_t size = TRY(file->size());
  const bool has_checksum = TRY(ends_with_checksum(*file, size));
  const std::uint64_t content = has_checksum ? size - wire::Sha256::kBytes : size;
  const auto read = [&](std::uint64_t offset, std::size_t bytes) -> Result<Bytes> {
    if (offset >= content) return Bytes{};
    return file->read(offset, std::min<std::uint64_t>(bytes, content - offset));
  };
  store::SnapshotLoader loader{store::Limits{}};
  auto decoded =
      wal::decode_saved_snapshot(read, [&](BytesView piece) { return loader.feed(piece); });
  if (!decoded) {
    const bool should_have = !has_checksum && size % kSector == wire::Sha256::kBytes;
    return with_path(path, decoded.error(),
                     should_have ? "; nor does the SHA-256 at its end match" : "");
  }
  auto store = loader.finish();
  if (!store) return with_path(path, store.error());
  if (decoded->owner.group != kCoordinationGroup || decoded->meta.index != store->applied_index()) {
    return fail(ErrorCode::kCorrupt, path + ": its header and its content contradict each other");
  }
  return SavedSnapshot{.owner = decoded->owner,
                       .meta = std::move(decoded->meta),
                       .store = std::move(*store),
                       .file_bytes = size,
                       .has_checksum = has_checksum};
}

SnapshotDownload::SnapshotDownload(io::Disk& disk, std::string path, std::unique_ptr<io::File> file)
    : disk_(&disk), path_(std::move(path)), file_(std::move(file)) {}

Result<SnapshotDownload> SnapshotDownload::begin(io::Disk& disk, const std::string& path) {
  auto file = TRY(disk.open(path + ".part", io::OpenMode::kCreate));
  return SnapshotDownload(disk, path, std::move(file));
}

Result<void> SnapshotDownload::add(std::string_view json) {
  line_ += json;
  std::size_t begin = 0;
  for (std::size_t end; (end = line_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    TRY(add_line(std::string_view(line_).substr(begin, end - begin)));
  }
  line_.erase(0, begin);
  if (line_.size() > kMaxLineBytes) {
    return fail(ErrorCode::kCorrupt, "the answer is not a snapshot");
  }
  return {};
}

Result<void> SnapshotDownload::add_line(std::string_view line) {
  constexpr std::string_view kBegin = "{\"result\":";
  if (!line.starts_with(kBegin) || !line.ends_with('}')) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("the answer is not a snapshot: {}", line.substr(0, 200)));
  }
  line.remove_prefix(kBegin.size());
  line.remove_suffix(1);
  etcdserverpb::SnapshotResponse part;
  TRY(wire::from_json(line, part));
  TRY(file_->write(written_, part.blob()));
  written_ += part.blob().size();
  if (written_ - synced_ < kSyncEveryBytes) return {};
  synced_ = written_;
  return file_->sync();
}

Result<SavedSnapshot> SnapshotDownload::finish() {
  TRY(file_->sync());
  file_.reset();
  SavedSnapshot saved = TRY(load_saved_snapshot(*disk_, temporary()));
  if (!saved.has_checksum) return fail(ErrorCode::kCorrupt, "it came without its checksum");
  TRY(disk_->rename(temporary(), path_));
  TRY(disk_->sync_directory(directory_of(path_)));
  return saved;
}

void SnapshotDownload::give_up() {
  file_.reset();
  (void)disk_->remove(temporary());
}

}  // namespace conclave::server
