#pragma once
// One answer to Maintenance/Snapshot on its way: a snapshot file in pieces, with zeros up to a
// multiple of 512 bytes, then the SHA-256 of it all. The zeros are for etcdctl, which wants to see
// that what it got ends like a database of etcd's with its checksum. The next piece is asked for
// when the client has taken the last ones, so that no more than a few are in memory.

#include <optional>

#include "api/request.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "wire/sha256.h"

namespace conclave::etcd {

class SnapshotStream {
 public:
  // Of the file, in one message.
  static constexpr std::uint32_t kPieceBytes = 128 * limits::kKiB;
  // On a connection; beyond it "too many requests".
  static constexpr std::size_t kMaxStreams = 8;
  static_assert(kPieceBytes <= limits::kMaxBackupPieceBytes);
  // What may wait for the client before the next piece is asked for.
  static constexpr std::size_t kMaxUnsent = 4 * kPieceBytes;

  explicit SnapshotStream(const api::SnapshotResponse& snapshot);

  // What to ask the node for next; nullopt: all of the file is here.
  std::optional<api::Body> next() const;

  struct Message {
    std::uint64_t remaining_bytes = 0;  // of file and zeros, after this
    Bytes blob;
  };
  // Takes the answer. nullopt: it is not what was asked for, and the stream has to fail.
  std::optional<Message> take(api::SnapshotPieceResponse piece);
  // The last message, with the checksum.
  Message checksum() { return {.remaining_bytes = 0, .blob = hash_.finish()}; }

  // How long all messages are together as lines of the JSON gateway.
  std::uint64_t json_bytes() const;
  static Bytes json_line(const Message& message);
  static Bytes protobuf(const Message& message);

 private:
  std::uint64_t piece_at(std::uint64_t offset) const;

  api::SnapshotResponse snapshot_;
  std::uint64_t padding_bytes_;
  std::uint64_t offset_ = 0;
  wire::Sha256 hash_;
};

}  // namespace conclave::etcd
