#include "frontends/etcd/snapshot_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "etcd.pb.h"
#include "wire/json.h"

namespace conclave::etcd {
namespace {

constexpr std::uint64_t kSector = 512;

// A line around the base64 of its blob. Fields with default values are left out.
Bytes line_begin(std::uint64_t remaining_bytes) {
  if (remaining_bytes == 0) return R"({"result":{"blob":")";
  return fmt::format(R"({{"result":{{"remaining_bytes":"{}","blob":")", remaining_bytes);
}
constexpr BytesView kLineEnd = "\"}}\n";

std::uint64_t line_bytes(std::uint64_t remaining_bytes, std::uint64_t blob_bytes) {
  return line_begin(remaining_bytes).size() + (blob_bytes + 2) / 3 * 4 + kLineEnd.size();
}

}  // namespace

SnapshotStream::SnapshotStream(const api::SnapshotResponse& snapshot)
    : snapshot_(snapshot), padding_bytes_((kSector - snapshot.size_bytes % kSector) % kSector) {}

std::uint64_t SnapshotStream::piece_at(std::uint64_t offset) const {
  return std::min<std::uint64_t>(kPieceBytes, snapshot_.size_bytes - offset);
}

std::optional<api::Body> SnapshotStream::next() const {
  const std::uint64_t bytes = piece_at(offset_);
  if (bytes == 0) return std::nullopt;
  return api::SnapshotPieceRequest{
      .index = snapshot_.index, .offset = offset_, .max_bytes = static_cast<std::uint32_t>(bytes)};
}

std::optional<SnapshotStream::Message> SnapshotStream::take(api::SnapshotPieceResponse piece) {
  if (piece.bytes.size() != piece_at(offset_)) return std::nullopt;
  offset_ += piece.bytes.size();
  const bool is_last = offset_ == snapshot_.size_bytes;
  if (is_last) piece.bytes.append(padding_bytes_, '\0');
  hash_.add(piece.bytes);
  const std::uint64_t remaining = is_last ? 0 : snapshot_.size_bytes + padding_bytes_ - offset_;
  return Message{.remaining_bytes = remaining, .blob = std::move(piece.bytes)};
}

std::uint64_t SnapshotStream::json_bytes() const {
  std::uint64_t total = line_bytes(0, wire::Sha256::kBytes);
  for (std::uint64_t at = 0; at < snapshot_.size_bytes; at += kPieceBytes) {
    const std::uint64_t bytes = piece_at(at);
    const std::uint64_t left = snapshot_.size_bytes - at - bytes;
    total += left == 0 ? line_bytes(0, bytes + padding_bytes_)
                       : line_bytes(left + padding_bytes_, bytes);
  }
  return total;
}

Bytes SnapshotStream::json_line(const Message& message) {
  Bytes line = line_begin(message.remaining_bytes);
  wire::append_base64(message.blob, line);
  line += kLineEnd;
  return line;
}

Bytes SnapshotStream::protobuf(const Message& message) {
  etcdserverpb::SnapshotResponse proto;
  proto.set_remaining_bytes(message.remaining_bytes);
  proto.set_blob(message.blob);
  return proto.SerializeAsString();
}

}  // namespace conclave::etcd
