#include "wal/snapshot_format.h"

#include <fmt/core.h>

#include <optional>
#include <utility>

#include "base/check.h"
#include "wal/coding.h"

namespace conclave::wal {
namespace {

constexpr BytesView kMagic = "CONCSNAP";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kFixedHeaderBytes = 48;  // up to the membership
constexpr std::size_t kChecksumBytes = 8;
constexpr std::size_t kChunkHeaderBytes = 12;
constexpr std::size_t kFooterBytes = 28;
constexpr std::uint32_t kFooterMark = 0;  // in the place of a chunk's length
constexpr std::size_t kMaxPaddingBytes = 511;
constexpr std::size_t kMaxMembershipBytes = limits::kMiB;

Failure damaged(std::uint64_t offset, const std::string& what) {
  return fail(ErrorCode::kCorrupt, fmt::format("damaged at offset {}: {}", offset, what));
}

class Decoder {
 public:
  // Without `expected` anybody's will do, and padding may follow.
  Decoder(const SnapshotSource& source, const std::optional<SnapshotOwner>& expected)
      : source_(source), expected_(expected) {}

  Result<consensus::SnapshotMeta> header();
  // False when the footer was read instead of a chunk.
  Result<bool> chunk(const std::function<Result<void>(BytesView)>& piece);
  const SnapshotOwner& owner() const { return owner_; }

 private:
  Result<Bytes> take(std::size_t size);
  Result<void> footer(BytesView head);

  const SnapshotSource& source_;
  const std::optional<SnapshotOwner> expected_;
  SnapshotOwner owner_;
  std::uint64_t offset_ = 0;
  std::uint64_t chain_ = 0;
  std::uint64_t chunks_ = 0;
  std::uint64_t content_bytes_ = 0;
};

Result<Bytes> Decoder::take(std::size_t size) {
  auto bytes = TRY(source_(offset_, size));
  if (bytes.size() != size) return damaged(offset_, "the file ends too early");
  offset_ += size;
  return bytes;
}

Result<consensus::SnapshotMeta> Decoder::header() {
  auto header = TRY(take(kFixedHeaderBytes));
  if (!header.starts_with(kMagic)) return damaged(0, "this is not a snapshot file");
  const std::size_t membership_bytes = get<std::uint32_t>(header, 12);
  if (membership_bytes > kMaxMembershipBytes) return damaged(0, "the header makes no sense");
  header += TRY(take(membership_bytes));
  chain_ = checksum(header, 0);
  if (get<std::uint64_t>(TRY(take(kChecksumBytes)), 0) != chain_)
    return damaged(0, "the header fails its checksum");
  if (const auto version = get<std::uint32_t>(header, 8); version != kVersion)
    return fail(ErrorCode::kCorrupt,
                fmt::format("snapshot version {} is unknown to this version ({}): it was written "
                            "by a newer one",
                            version, kVersion));
  owner_ = {.cluster = ClusterId{get<std::uint64_t>(header, 16)},
            .group = GroupId{get<std::uint64_t>(header, 24)}};
  if (expected_ && owner_ != *expected_)
    return fail(
        ErrorCode::kMismatch,
        fmt::format("it belongs to group {} of cluster {:x}, not to group {} of cluster {:x}",
                    owner_.group.value, owner_.cluster.value, expected_->group.value,
                    expected_->cluster.value));
  return consensus::SnapshotMeta{
      .index = LogIndex{get<std::uint64_t>(header, 32)},
      .epoch = Epoch{get<std::uint64_t>(header, 40)},
      .membership = TRY(consensus::decode_membership(BytesView(header).substr(kFixedHeaderBytes)))};
}

Result<bool> Decoder::chunk(const std::function<Result<void>(BytesView)>& piece) {
  const auto at = offset_;
  const auto head = TRY(take(kChunkHeaderBytes));
  const std::size_t size = get<std::uint32_t>(head, 0);
  if (size == kFooterMark) {
    TRY(footer(head));
    return false;
  }
  if (size > kMaxSnapshotPieceBytes) return damaged(at, "the chunk's length makes no sense");
  const auto content = TRY(take(size));
  chain_ = checksum(content, chain_);
  if (get<std::uint64_t>(head, 4) != chain_) return damaged(at, "a chunk fails its checksum");
  ++chunks_;
  content_bytes_ += size;
  TRY(piece(content));
  return true;
}

Result<void> Decoder::footer(BytesView head) {
  const auto at = offset_ - head.size();
  const Bytes whole = Bytes(head) + TRY(take(kFooterBytes - kChunkHeaderBytes));
  const BytesView counts = BytesView(whole).substr(0, kFooterBytes - kChecksumBytes);
  if (get<std::uint64_t>(whole, kFooterBytes - kChecksumBytes) != checksum(counts, chain_))
    return damaged(at, "the footer fails its checksum");
  if (get<std::uint64_t>(whole, 4) != chunks_ || get<std::uint64_t>(whole, 12) != content_bytes_)
    return damaged(at, "the footer counts something else");
  const std::size_t most = expected_ ? 0 : kMaxPaddingBytes;
  const Bytes behind = TRY(source_(offset_, most + 1));
  const bool is_padding = behind.find_first_not_of('\0') == Bytes::npos;
  if (behind.size() > most || !is_padding) return damaged(offset_, "bytes behind the footer");
  return {};
}

}  // namespace

Bytes SnapshotEncoder::header(const SnapshotOwner& owner, const consensus::SnapshotMeta& meta) {
  const Bytes membership = consensus::encode(meta.membership);
  CHECK(membership.size() <= kMaxMembershipBytes);
  Bytes bytes(kMagic);
  put(bytes, kVersion);
  put(bytes, static_cast<std::uint32_t>(membership.size()));
  put(bytes, owner.cluster.value);
  put(bytes, owner.group.value);
  put(bytes, meta.index.value);
  put(bytes, meta.epoch.value);
  bytes += membership;
  chain_ = checksum(bytes, 0);
  put(bytes, chain_);
  return bytes;
}

Bytes SnapshotEncoder::chunk(BytesView content) {
  CHECK(!content.empty());
  CHECK(content.size() <= kMaxSnapshotPieceBytes);
  chain_ = checksum(content, chain_);
  ++chunks_;
  content_bytes_ += content.size();
  Bytes bytes;
  bytes.reserve(kChunkHeaderBytes + content.size());
  put(bytes, static_cast<std::uint32_t>(content.size()));
  put(bytes, chain_);
  bytes.append(content);
  return bytes;
}

Bytes SnapshotEncoder::footer() {
  Bytes bytes;
  put(bytes, kFooterMark);
  put(bytes, chunks_);
  put(bytes, content_bytes_);
  put(bytes, checksum(bytes, chain_));
  return bytes;
}

Result<consensus::SnapshotMeta> decode_snapshot(
    const SnapshotSource& source, const SnapshotOwner& expected,
    const std::function<Result<void>(BytesView)>& piece) {
  Decoder decoder(source, expected);
  auto meta = TRY(decoder.header());
  while (TRY(decoder.chunk(piece))) {
  }
  return meta;
}

Result<SavedSnapshot> decode_saved_snapshot(const SnapshotSource& source,
                                            const std::function<Result<void>(BytesView)>& piece) {
  Decoder decoder(source, std::nullopt);
  SavedSnapshot saved{.owner = {}, .meta = TRY(decoder.header())};
  saved.owner = decoder.owner();
  while (TRY(decoder.chunk(piece))) {
  }
  return saved;
}

Result<SnapshotBegin> decode_snapshot_begin(const SnapshotSource& source,
                                            const SnapshotOwner& expected) {
  Decoder decoder(source, expected);
  SnapshotBegin begin{.meta = TRY(decoder.header()), .content = {}};
  const auto take = [&begin](BytesView content) -> Result<void> {
    begin.content = content;
    return {};
  };
  (void)TRY(decoder.chunk(take));
  return begin;
}

}  // namespace conclave::wal
