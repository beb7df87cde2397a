#pragma once
// A group's snapshots on this member: writing our own while the store goes on changing, reading
// pieces of it for followers, and receiving one. All disk work runs on io::Lane::kSnapshot; the
// loop only hands pieces over.
//
// A snapshot of ours takes its time: after each piece it pauses for some multiple of what that has
// taken, so that requests get most of the processor and of the disk; the less the sooner the next
// one is due.
//
// Jobs own what they touch, so this object may go while some are under way; their callbacks then do
// nothing.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "consensus/output.h"
#include "io/clock.h"
#include "io/disk.h"
#include "store/snapshot.h"
#include "store/store.h"
#include "wal/snapshot_file.h"

namespace conclave::node {

class Snapshots {
 public:
  struct Hooks {
    // Our own snapshot up to `meta.index` is durable.
    std::function<void(const consensus::SnapshotMeta& meta)> taken;
    // It could not be written. The owner may begin another one.
    std::function<void(const Error&)> failed;
    // How much of what makes the next one due has come, in percent: of what was applied since the
    // one at `begun` was begun, or, where that one does not let go of the log, since the last that
    // did.
    std::function<std::int64_t(LogIndex begun)> percent_to_next;
    // Those that are being sent: their files stay.
    std::function<std::vector<LogIndex>()> in_use;
    // It gets a snapshot without data.
    std::function<bool(NodeId member)> is_witness;
    // What the engine wanted to read; no bytes: that snapshot is gone.
    std::function<void(const consensus::SnapshotRead&, std::optional<Bytes>, bool last)> chunk_read;
    // A received chunk is stored (`ok`) or refused. With the last one comes the store that it
    // describes.
    std::function<void(const consensus::SnapshotMeta&, std::uint64_t end, bool ok,
                       std::optional<store::Store>)>
        chunk_stored;
  };

  Snapshots(GroupId group, wal::SnapshotDir directory, store::Limits limits, io::Clock& clock,
            io::Disk& disk, Hooks hooks);
  ~Snapshots();

  // Begins to write `store`'s state; REQUIRES: !writing(). It fails, with nothing written, if the
  // disk has less than `needs_free_bytes`. A failure (a full disk) is logged; the owner may try
  // again when it is no more failed_lately().
  void begin(store::Store& store, const consensus::SnapshotMeta& meta,
             std::uint64_t needs_free_bytes);
  bool writing() const { return writing_ != nullptr; }
  // In the last few seconds.
  bool failed_lately() const;
  // Gives up the one being written. Call before the store goes.
  void abort();

  // The size of a file, and bytes of it; kNotFound, or another failure to read.
  void size_of(LogIndex index, std::move_only_function<void(Result<std::uint64_t>)> done);
  void read_piece(LogIndex index, std::uint64_t offset, std::uint32_t max_bytes,
                  std::move_only_function<void(Result<Bytes>)> done);

  // Removes files of older snapshots that are not in use any more.
  void remove_unused();

  void read(const consensus::SnapshotRead& wanted);
  void write(consensus::SnapshotWrite chunk);

 private:
  struct Writing;
  void create_file(std::shared_ptr<Writing> writing);
  void write_next(std::shared_ptr<Writing> writing);
  void pause(std::shared_ptr<Writing> writing, Duration taken);
  void finish(std::shared_ptr<Writing> writing);
  void failed(const std::shared_ptr<Writing>& writing, const Error& error);
  // Runs `job`, then `done` if neither this object nor (if given) `writing` was given up meanwhile.
  void run(std::shared_ptr<Writing> writing, std::move_only_function<Result<void>()> job,
           std::move_only_function<void(Result<void>)> done);

  GroupId group_;
  wal::SnapshotDir directory_;
  store::Limits limits_;
  io::Clock& clock_;
  io::Disk& disk_;
  Hooks hooks_;
  std::shared_ptr<Writing> writing_;
  std::optional<Instant> failed_at_;
  std::shared_ptr<char> alive_;
};

}  // namespace conclave::node
