#pragma once
// Snapshot files of one group: `directory`/snap/<group>-<index>.snap, each a sequence of
// checksummed chunks with the snapshot's meta in front and a footer behind
// (docs/formats/snapshot.md). Opaque content: the store's pieces.
//
// A file is written under a temporary name, synced and renamed, so that one with the final name is
// whole; a follower receives the same bytes and checks them before it renames. The newest two are
// kept, and those that are being sent.
//
// Threading: blocking; called at start-up, or inside jobs on io::Lane::kSnapshot.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "consensus/output.h"
#include "io/disk.h"
#include "wal/log.h"

namespace conclave::wal {

class SnapshotDir {
 public:
  // Creates `directory`/snap if needed and removes temporary files of an earlier run.
  static Result<SnapshotDir> open(io::Disk& disk, const std::string& directory,
                                  const Identity& identity);

  // The newest whole snapshot of a group, its content given to `piece` in order. A damaged newest
  // file is an error that names it (the log before it may be gone), except that a damaged file with
  // a whole newer one is ignored.
  Result<std::optional<consensus::SnapshotMeta>> load_newest(
      GroupId group, const std::function<Result<void>(BytesView)>& piece) const;

  // Writing our own.
  class Writer {
   public:
    struct State;
    explicit Writer(std::shared_ptr<State> state);

    Result<void> append(BytesView piece);
    // Footer, sync, rename, sync of the directory; older files stay (remove_unused). After a
    // failure of either call the half-written file is gone and the Writer of no more use.
    Result<void> finish();

   private:
    std::shared_ptr<State> state_;
  };
  Result<Writer> create(GroupId group, const consensus::SnapshotMeta& meta) const;
  // kNoSpace, with the numbers, if the disk has less.
  Result<void> require_free(std::uint64_t bytes) const;
  // All but the newest two and those `in_use`.
  Result<void> remove_unused(GroupId group, const std::vector<LogIndex>& in_use) const;

  // Sending: raw bytes of the file of snapshot `index`; the second member is true if they reach its
  // end. kNotFound if that snapshot is gone.
  Result<std::pair<Bytes, bool>> read_raw(GroupId group, LogIndex index, std::uint64_t offset,
                                          std::uint32_t max_bytes) const;
  Result<std::uint64_t> size_bytes(GroupId group, LogIndex index) const;
  // The same of a file that is not there: with the meta of snapshot `index`, and with what `derive`
  // makes of the begin of its content (its first chunk) in the place of all of it. A small one: it
  // is made for each call.
  using Derive = std::function<Result<Bytes>(BytesView begin)>;
  Result<std::pair<Bytes, bool>> read_derived(GroupId group, LogIndex index, std::uint64_t offset,
                                              std::uint32_t max_bytes, const Derive& derive) const;
  // Receiving: raw bytes, offset 0 first. After the last, verify_received checks every checksum,
  // the meta against `meta`, makes the file durable under its final name and gives its content to
  // `piece`; of older files, the newest two and those `in_use` stay. kCorrupt: it was removed.
  Result<void> write_raw(GroupId group, LogIndex index, std::uint64_t offset,
                         BytesView bytes) const;
  Result<void> verify_received(GroupId group, const consensus::SnapshotMeta& meta,
                               const std::function<Result<void>(BytesView)>& piece,
                               const std::vector<LogIndex>& in_use = {}) const;

  // Index of the newest whole snapshot of a group on disk, 0 if none.
  Result<LogIndex> newest_index(GroupId group) const;

 private:
  io::Disk* disk_ = nullptr;
  std::string directory_;
  Identity identity_;
};

}  // namespace conclave::wal
