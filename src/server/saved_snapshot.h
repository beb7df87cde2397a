#pragma once
// A snapshot that was saved to a file (docs/formats/snapshot.md, "Saved").

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "io/disk.h"
#include "store/store.h"
#include "wal/snapshot_format.h"

namespace conclave::server {

struct SavedSnapshot {
  wal::SnapshotOwner owner;
  consensus::SnapshotMeta meta;
  store::Store store;
  std::uint64_t file_bytes = 0;
  bool has_checksum = false;  // behind it; one that was copied from a data directory has none

  // Nothing was ever written to the state, of a cluster with a witness: it can only be that one's.
  bool is_witness() const;
};

// Reads all of it and checks every checksum in it, and the hash of the state. kCorrupt says what is
// wrong and where, kNotFound that there is no such file.
Result<SavedSnapshot> load_saved_snapshot(io::Disk& disk, const std::string& path);

// Writes a file with what Maintenance/Snapshot streams, piece by piece; under another name until
// finish() has found it whole.
class SnapshotDownload {
 public:
  static Result<SnapshotDownload> begin(io::Disk& disk, const std::string& path);
  // Takes more of the JSON gateway's answer.
  Result<void> add(std::string_view json);
  Result<SavedSnapshot> finish();
  // Removes what there is.
  void give_up();

 private:
  SnapshotDownload(io::Disk& disk, std::string path, std::unique_ptr<io::File> file);
  Result<void> add_line(std::string_view line);
  std::string temporary() const { return path_ + ".part"; }

  io::Disk* disk_;
  std::string path_;
  std::unique_ptr<io::File> file_;
  std::uint64_t written_ = 0;
  std::uint64_t synced_ = 0;
  std::string line_;  // the begin of one that has not come to its end
};

}  // namespace conclave::server
