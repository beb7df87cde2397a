#pragma once
// The framing of a snapshot file: header, chunks, footer (docs/formats/snapshot.md). Pure: bytes
// in, bytes out.
//
// Checksums form a chain: each is seeded with the one before it. So a chunk that is lost, repeated
// or from another file is found, and the last one speaks for the whole file.

#include <cstddef>
#include <cstdint>
#include <functional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/result.h"
#include "consensus/output.h"

namespace conclave::wal {

inline constexpr std::size_t kMaxSnapshotPieceBytes = limits::kMiB;

// Whose snapshot it is. Members of a cluster exchange snapshots, so the member is not part of it.
struct SnapshotOwner {
  ClusterId cluster;
  GroupId group;
  bool operator==(const SnapshotOwner&) const = default;
};

class SnapshotEncoder {
 public:
  // The methods return the bytes to append to the file; header() comes first, once.
  Bytes header(const SnapshotOwner& owner, const consensus::SnapshotMeta& meta);
  // REQUIRES: 0 < content.size() <= kMaxSnapshotPieceBytes.
  Bytes chunk(BytesView content);
  Bytes footer();

 private:
  std::uint64_t chain_ = 0;
  std::uint64_t chunks_ = 0;
  std::uint64_t content_bytes_ = 0;
};

// Reads `size` bytes at `offset`, fewer at the end.
using SnapshotSource = std::function<Result<Bytes>(std::uint64_t offset, std::size_t size)>;

// Reads a whole file and gives its content to `piece`, one chunk at a time. Errors: kCorrupt for
// anything the encoder did not write, kMismatch for another cluster's, those of `source` and
// `piece`. Only a success says that the file is whole: pieces are given before the footer has been
// seen.
Result<consensus::SnapshotMeta> decode_snapshot(
    const SnapshotSource& source, const SnapshotOwner& expected,
    const std::function<Result<void>(BytesView)>& piece);

// A file that was saved outside of any data directory: whose it was is told rather than asked, and
// up to 511 zeros may follow (docs/formats/snapshot.md, "Saved").
struct SavedSnapshot {
  SnapshotOwner owner;
  consensus::SnapshotMeta meta;
};
Result<SavedSnapshot> decode_saved_snapshot(const SnapshotSource& source,
                                            const std::function<Result<void>(BytesView)>& piece);

// What a file says of itself, and the content of its first chunk. Errors as above; that they are
// good says nothing about the rest of the file.
struct SnapshotBegin {
  consensus::SnapshotMeta meta;
  Bytes content;
};
Result<SnapshotBegin> decode_snapshot_begin(const SnapshotSource& source,
                                            const SnapshotOwner& expected);

}  // namespace conclave::wal
