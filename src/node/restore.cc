#include "node/restore.h"

#include <fmt/core.h>

#include <utility>

#include "base/limits.h"
#include "node/recovery.h"
#include "store/snapshot.h"
#include "wal/snapshot_file.h"

namespace conclave::node {
namespace {

// In the place of a first entry, of an epoch that nobody leads: the first leader's is a later one,
// in either engine.
constexpr LogIndex kRestoredIndex{1};
constexpr Epoch kRestoredEpoch{1};

Result<void> write_snapshot(const Options& options, store::Store& store, io::Disk& disk) {
  const wal::Identity identity{options.cluster, options.self};
  const auto snapshots = TRY(wal::SnapshotDir::open(disk, options.data_dir, identity));
  consensus::SnapshotMeta meta = initial_meta(options);
  meta.index = kRestoredIndex;
  meta.epoch = kRestoredEpoch;
  auto file = TRY(snapshots.create(kCoordinationGroup, meta));
  const auto content = store.begin_snapshot();
  for (Bytes piece = content->next(limits::kSnapshotWriteBytes); !piece.empty();
       piece = content->next(limits::kSnapshotWriteBytes)) {
    TRY(file.append(piece));
  }
  return file.finish();
}

}  // namespace

Result<void> restore(Options options, store::Store store, io::Disk& disk) {
  TRY(disk.create_directories(options.data_dir));
  if (!TRY(disk.list(options.data_dir)).empty()) {
    return fail(ErrorCode::kMismatch,
                fmt::format("{} is not empty: a snapshot is restored into a new data directory",
                            options.data_dir));
  }
  const auto lock = TRY(disk.lock(options.data_dir));
  const auto& first = options.initial_membership;
  store.begin_new_cluster(kRestoredIndex, kRestoredEpoch,
                          !(first && first->is_witness(options.self)));
  TRY(write_snapshot(options, store, disk));
  return create_identity(options, disk);  // the last: without it nobody starts from the rest
}

}  // namespace conclave::node
