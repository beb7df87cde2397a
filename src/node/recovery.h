#pragma once
// What a member finds in its data directory, put back together: who it is, its newest snapshot, and
// the log after it.
//
// The directory:
//   LOCK          held while a process uses it
//   member.json   who this member is and of which cluster (peer.v1.MemberIdentity), written once
//                 (an older one is written again, with an id for the directory)
//   wal/          the log of all groups        (wal/log.h)
//   snap/         snapshots of each group      (wal/snapshot_file.h)

#include <map>
#include <memory>

#include "base/result.h"
#include "consensus/output.h"
#include "io/clock.h"
#include "io/disk.h"
#include "node/options.h"
#include "store/store.h"
#include "wal/log.h"
#include "wal/snapshot_file.h"

namespace conclave::node {

struct Recovered {
  std::unique_ptr<io::DirectoryLock> lock;
  wal::SnapshotDir snapshots;
  std::unique_ptr<wal::Log> log;
  consensus::Saved saved;  // of the coordination group
  // The data directories that the log tells of, by member: known before the entries are applied.
  std::map<NodeId, std::uint64_t> directories;
  store::Store store;
};

// Whether the directory is some member's already.
Result<bool> has_identity(io::Disk& disk, const std::string& data_dir);

// What the log of a new cluster begins with.
consensus::SnapshotMeta initial_meta(const Options& options);
// Writes who this member is into a directory that says so nowhere yet, and gives the directory its
// id.
Result<void> create_identity(Options& options, io::Disk& disk);

// Opens the directory of `options`, or creates it for a new member, and completes `options` with
// what only the directory knows: its id and, of a member that joined a cluster, or if the flags may
// differ from it, who this member is. Blocks. Errors say what to do:
//   kBusy      another process uses the directory
//   kMismatch  it belongs to another cluster or member, or to another engine
//   kCorrupt   a file is damaged: its name and offset
Result<Recovered> recover(Options& options, io::Disk& disk, io::Clock& clock);

}  // namespace conclave::node
