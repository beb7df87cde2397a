#include "wal/segment.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "wal/coding.h"

namespace conclave::wal {
namespace {

constexpr BytesView kSegmentMagic = "CONCLWAL";
constexpr std::uint32_t kSegmentVersion = 1;
constexpr std::size_t kHeaderChecksumAt = 48;
constexpr std::size_t kFillPieceBytes = limits::kMiB;
constexpr std::size_t kWindowBytes = limits::kMiB;
constexpr std::size_t kDigits = 20;
constexpr const char* kSegmentSuffix = ".log";
constexpr const char* kSparePrefix = "spare-";

Result<void> fill_with_zeros(io::File& file, std::uint64_t bytes, bool paced) {
  const Bytes zeros(std::min<std::uint64_t>(bytes, kFillPieceBytes), '\0');
  for (std::uint64_t at = 0; at < bytes; at += zeros.size()) {
    const auto piece = std::min<std::uint64_t>(zeros.size(), bytes - at);
    TRY(file.write_direct(at, BytesView(zeros).substr(0, piece)));
    if (paced) TRY(file.sync());
  }
  return {};
}

Result<std::unique_ptr<io::File>> fill_file(io::Disk& disk, const SegmentRecipe& recipe,
                                            const std::string& path) {
  if (recipe.spare) return disk.open(path, io::OpenMode::kReadWrite);
  auto file = TRY(disk.open(path, io::OpenMode::kCreate));
  // Fails early, before a full disk has been filled to the brim with zeros.
  TRY(file->preallocate(recipe.bytes));
  TRY(fill_with_zeros(*file, recipe.bytes, recipe.paced));
  return file;
}

Result<void> give_name(io::Disk& disk, const SegmentRecipe& recipe, const std::string& path) {
  TRY(disk.rename(path, recipe.directory + "/" + segment_name(recipe.header.id)));
  return disk.sync_directory(recipe.directory);
}

// From the renaming on it is never kNoSpace, since it could not simply be tried again.
Result<std::unique_ptr<io::File>> make_under_name(io::Disk& disk, const SegmentRecipe& recipe,
                                                  const std::string& path) {
  auto file = TRY(fill_file(disk, recipe, path));
  TRY(file->write(0, encode_segment_header(recipe.header)));
  TRY(file->sync());
  if (auto named = give_name(disk, recipe, path); !named)
    return fail(ErrorCode::kIo, std::move(named).error().message);
  return file;
}

}  // namespace

std::string segment_name(std::uint64_t id) { return fmt::format("{:020}{}", id, kSegmentSuffix); }

std::optional<std::uint64_t> parse_segment_name(const std::string& name) {
  if (name.size() != kDigits + 4 || !name.ends_with(kSegmentSuffix)) return std::nullopt;
  std::uint64_t id = 0;
  for (const char c : name.substr(0, kDigits)) {
    if (c < '0' || c > '9') return std::nullopt;
    id = id * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (id == 0 || segment_name(id) != name) return std::nullopt;
  return id;
}

std::string spare_name(std::uint64_t old_id) {
  return fmt::format("{}{:020}", kSparePrefix, old_id);
}

bool is_spare_name(const std::string& name) { return name.starts_with(kSparePrefix); }

Bytes encode_segment_header(const SegmentHeader& header) {
  Bytes block(kSegmentMagic);
  put(block, kSegmentVersion);
  put(block, static_cast<std::uint32_t>(kBlockBytes));
  put(block, header.identity.cluster.value);
  put(block, header.identity.member.value);
  put(block, header.id);
  put(block, header.salt);
  put(block, checksum(block, 0));
  block.resize(kBlockBytes);
  return block;
}

Result<SegmentHeader> decode_segment_header(BytesView block, const Identity& expected) {
  if (block.size() < kBlockBytes || !block.starts_with(kSegmentMagic))
    return fail(ErrorCode::kCorrupt, "the segment header at offset 0 is not one");
  if (get<std::uint64_t>(block, kHeaderChecksumAt) !=
      checksum(block.substr(0, kHeaderChecksumAt), 0))
    return fail(ErrorCode::kCorrupt, "the segment header at offset 0 fails its checksum");
  const auto version = get<std::uint32_t>(block, 8);
  if (version != kSegmentVersion || get<std::uint32_t>(block, 12) != kBlockBytes)
    return fail(ErrorCode::kCorrupt,
                fmt::format("log version {} is unknown to this version ({}): the log was written "
                            "by a newer one",
                            version, kSegmentVersion));
  const Identity found{.cluster = ClusterId{get<std::uint64_t>(block, 16)},
                       .member = NodeId{get<std::uint64_t>(block, 24)}};
  if (found != expected)
    return fail(ErrorCode::kMismatch,
                fmt::format("it belongs to member {:x} of cluster {:x}, and this is member {:x} of "
                            "cluster {:x}: check --data-dir, --name and --initial-cluster-token",
                            found.member.value, found.cluster.value, expected.member.value,
                            expected.cluster.value));
  return SegmentHeader{.identity = found,
                       .id = get<std::uint64_t>(block, 32),
                       .salt = get<std::uint64_t>(block, 40)};
}

Result<std::unique_ptr<io::File>> make_segment(io::Disk& disk, const SegmentRecipe& recipe) {
  const std::string path = recipe.directory + "/" + recipe.spare.value_or(kUnfinishedName);
  auto file = make_under_name(disk, recipe, path);
  // Makes room for others; a failure to remove changes nothing, since the next attempt empties the
  // file.
  if (!file && !recipe.spare && file.error().code == ErrorCode::kNoSpace) (void)disk.remove(path);
  return file;
}

SegmentReader::SegmentReader(std::unique_ptr<io::File> file, std::uint64_t bytes)
    : file_(std::move(file)), bytes_(bytes) {}

Result<BytesView> SegmentReader::view(std::uint64_t offset, std::uint64_t size) {
  size = offset < bytes_ ? std::min(size, bytes_ - offset) : 0;
  if (offset < window_at_ || offset + size > window_at_ + window_.size()) {
    window_ = TRY(file_->read(offset, std::max<std::uint64_t>(size, kWindowBytes)));
    window_at_ = offset;
  }
  return BytesView(window_).substr(offset - window_at_, size);
}

Result<std::optional<Batch>> SegmentReader::batch_at(std::uint64_t offset,
                                                     const SegmentHeader& header) {
  const auto claim = claimed_batch(TRY(view(offset, kBatchHeaderBytes)), header.id);
  if (!claim || claim->body_bytes > bytes_ - offset - kBatchHeaderBytes) return std::nullopt;
  return parse_batch(TRY(view(offset, kBatchHeaderBytes + claim->body_bytes)), header.id,
                     header.salt);
}

}  // namespace conclave::wal
