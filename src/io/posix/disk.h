#pragma once
// io::Disk with system calls: one thread per lane, flock for directory locks. Errors name the path
// and what the system said.
//
// Files are created for their owner only (0600, directories 0700), as etcd does: they hold
// everybody's data.

#include <memory>
#include <string>
#include <vector>

#include "io/disk.h"
#include "io/posix/lane.h"
#include "io/posix/loop.h"

namespace conclave::io {

class PosixDisk final : public Disk {
 public:
  explicit PosixDisk(Loop& loop);
  // Waits for the jobs that run right now; what was queued behind them never runs.
  ~PosixDisk() override;

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Result<void> create_directories(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& directory) override;
  Result<bool> exists(const std::string& path) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> remove(const std::string& path) override;
  Result<void> sync_directory(const std::string& directory) override;
  Result<std::uint64_t> free_bytes(const std::string& directory) override;
  // Takes flock on a file LOCK in the directory, which says whose it is. The kernel releases it
  // with the process.
  Result<std::unique_ptr<DirectoryLock>> lock(const std::string& directory) override;

  void run(Lane lane, std::move_only_function<Result<void>()> job,
           std::move_only_function<void(Result<void>)> done) override;

 private:
  LaneThread log_lane_;
  LaneThread snapshot_lane_;
  LaneThread password_lane_;
};

}  // namespace conclave::io
