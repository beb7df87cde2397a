#pragma once
// Files. Implemented with system calls (io/posix) and on simulated, faulty media (sim).
//
// Two ways to use it. At start-up the file calls below are simply made, and block. While the member
// serves, they are made inside a job that run() hands to a lane's thread; the loop never waits for
// a disk. Jobs of one lane run in order, one at a time; a slow snapshot does not delay the log,
// which has a lane of its own.
//
// Errors: kNoSpace when the disk is full, kNotFound for a missing file, kIo for the rest. After a
// failed write or sync the content of that file is unknown until it has been read again.
//
// Threading: file calls may come from the loop or from a lane; a File is used by one of them at a
// time.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace conclave::io {

// The largest block that a medium in use wants to be written whole.
inline constexpr std::size_t kDirectBlockBytes = 4096;

// An open file; closed by the destructor.
class File {
 public:
  virtual ~File() = default;

  // Exactly `size` bytes at `offset`, fewer only at the end of the file.
  virtual Result<Bytes> read(std::uint64_t offset, std::size_t size) = 0;
  virtual Result<void> write(std::uint64_t offset, BytesView data) = 0;
  // write(), but past the system's cache where the file system allows that: for what is synced at
  // once and hardly ever read. Into blocks that were written before it takes about half of the time
  // and of the CPU. REQUIRES: `offset` and the size are multiples of kDirectBlockBytes.
  virtual Result<void> write_direct(std::uint64_t offset, BytesView data) {
    return write(offset, data);
  }
  // Data (and the size, if it changed) is on the medium when this returns: fdatasync.
  virtual Result<void> sync() = 0;
  // Reserves [0, size) so that later writes inside it cannot fail with kNoSpace; new bytes read as
  // zero.
  virtual Result<void> preallocate(std::uint64_t size) = 0;
  virtual Result<void> truncate(std::uint64_t size) = 0;
  virtual Result<std::uint64_t> size() = 0;
};

enum class OpenMode : std::uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // created or emptied
};

// kPasswords touches no file: what is slow there (hashes of passwords) shall hold up no other lane.
enum class Lane : std::uint8_t { kLog, kSnapshot, kPasswords };

// Held for as long as it lives.
class DirectoryLock {
 public:
  virtual ~DirectoryLock() = default;
};

class Disk {
 public:
  virtual ~Disk() = default;

  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  virtual Result<void> create_directories(const std::string& path) = 0;
  // Names (not paths) in a directory, sorted.
  virtual Result<std::vector<std::string>> list(const std::string& directory) = 0;
  virtual Result<bool> exists(const std::string& path) = 0;
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> remove(const std::string& path) = 0;
  // Makes creations, renames and removals in `directory` durable.
  virtual Result<void> sync_directory(const std::string& directory) = 0;
  // Bytes free on the file system of `directory`.
  virtual Result<std::uint64_t> free_bytes(const std::string& directory) = 0;
  // kBusy if another process (or another lock of this one) holds it.
  virtual Result<std::unique_ptr<DirectoryLock>> lock(const std::string& directory) = 0;

  // Runs `job` on the lane's thread, then `done` on the loop with what it returned. When the
  // process stops first, neither may happen.
  virtual void run(Lane lane, std::move_only_function<Result<void>()> job,
                   std::move_only_function<void(Result<void>)> done) = 0;
};

}  // namespace conclave::io
