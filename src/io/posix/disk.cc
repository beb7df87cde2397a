#include "io/posix/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace conclave::io {

namespace {

Failure failure(std::string_view action, const std::string& path, int error = errno) {
  ErrorCode code = ErrorCode::kIo;
  if (error == ENOSPC || error == EDQUOT) code = ErrorCode::kNoSpace;
  if (error == ENOENT) code = ErrorCode::kNotFound;
  return fail(code, fmt::format("{} {}: {}", action, path, std::generic_category().message(error)));
}

// A file descriptor, closed when it goes.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

Descriptor open_descriptor(const std::string& path, int flags) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  } while (fd < 0 && errno == EINTR);
  return Descriptor(fd);
}

// Direct writes want their memory aligned too. One buffer for each thread; longer writes go through
// the cache, where the system sends their parts to the medium side by side.
constexpr std::size_t kMaxDirectBytes = std::size_t{1} << 20;

char* aligned_copy(BytesView data) {
  struct alignas(kDirectBlockBytes) Buffer {
    std::array<char, kMaxDirectBytes> bytes;
  };
  thread_local const auto buffer = std::make_unique_for_overwrite<Buffer>();
  std::memcpy(buffer->bytes.data(), data.data(), data.size());  // which the standard's copy is not
  return buffer->bytes.data();
}

class PosixFile final : public File {
 public:
  PosixFile(Descriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<Bytes> read(std::uint64_t offset, std::size_t size) override {
    set_direct(false);
    Bytes bytes(size, '\0');
    std::size_t done = 0;
    while (done < size) {
      const ssize_t got =
          ::pread(fd_.get(), bytes.data() + done, size - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return failure("read", path_);
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    bytes.resize(done);
    return bytes;
  }

  Result<void> write(std::uint64_t offset, BytesView data) override {
    set_direct(false);
    return write_all(offset, data);
  }

  Result<void> write_direct(std::uint64_t offset, BytesView data) override {
    CHECK(offset % kDirectBlockBytes == 0);
    CHECK(data.size() % kDirectBlockBytes == 0);
    if (data.size() > kMaxDirectBytes || !set_direct(true)) return write(offset, data);
    return write_all(offset, {aligned_copy(data), data.size()});
  }

  // Never kNoSpace: after a failed sync the file's content is unknown, whatever the reason was.
  Result<void> sync() override {
    if (::fdatasync(fd_.get()) == 0) return {};
    auto why = failure("fdatasync", path_);
    why.error().code = ErrorCode::kIo;
    return why;
  }

  Result<void> preallocate(std::uint64_t size) override {
    if (size == 0) return {};
    int error = 0;
    do {
      error = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(size));
    } while (error == EINTR);
    if (error != 0) return failure("preallocate", path_, error);
    return {};
  }

  Result<void> truncate(std::uint64_t size) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return failure("truncate", path_);
    return {};
  }

  Result<std::uint64_t> size() override {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) return failure("stat", path_);
    return static_cast<std::uint64_t>(status.st_size);
  }

 private:
  Result<void> write_all(std::uint64_t offset, BytesView data) {
    while (!data.empty()) {
      const ssize_t put = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      // The block of this medium is larger, or this file system takes the flag and no writes.
      if (put < 0 && errno == EINVAL && is_direct_) {
        can_be_direct_ = false;
        set_direct(false);
        continue;
      }
      if (put < 0) return failure("write", path_);
      data.remove_prefix(static_cast<std::size_t>(put));
      offset += static_cast<std::uint64_t>(put);
    }
    return {};
  }

  // Whether it is as wanted now: not every file system has direct writes.
  bool set_direct(bool wanted) {
    if (wanted == is_direct_) return true;
    if (wanted && !can_be_direct_) return false;
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    const bool is_set = flags >= 0 && ::fcntl(fd_.get(), F_SETFL,
                                              wanted ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
    CHECK(is_set || wanted, "{}: direct writing cannot be ended", path_);
    if (wanted) can_be_direct_ = is_set;
    is_direct_ = is_set && wanted;
    return is_set;
  }

  Descriptor fd_;
  std::string path_;
  bool is_direct_ = false;
  bool can_be_direct_ = true;
};

class PosixDirectoryLock final : public DirectoryLock {
 public:
  explicit PosixDirectoryLock(Descriptor fd) : fd_(std::move(fd)) {}

 private:
  Descriptor fd_;
};

Result<void> create_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  const int error = errno;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return {};
  return failure("create directory", path, error);
}

// " by process 123", if the lock file says so.
std::string holder(const Descriptor& fd) {
  char text[16] = {};
  const ssize_t got = ::pread(fd.get(), text, sizeof text - 1, 0);
  const std::string pid(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  const auto digits = pid.substr(0, pid.find_first_not_of("0123456789"));
  return digits.empty() ? " by another process" : " by process " + digits;
}

}  // namespace

PosixDisk::PosixDisk(Loop& loop)
    : log_lane_(loop, "disk-log", LaneThread::Share::kEqual),
      snapshot_lane_(loop, "disk-snapshot", LaneThread::Share::kTenth),
      password_lane_(loop, "passwords", LaneThread::Share::kEqual) {}

PosixDisk::~PosixDisk() = default;

Result<std::unique_ptr<File>> PosixDisk::open(const std::string& path, OpenMode mode) {
  int flags = O_RDONLY;
  if (mode == OpenMode::kReadWrite) flags = O_RDWR;
  if (mode == OpenMode::kCreate) flags = O_RDWR | O_CREAT | O_TRUNC;
  Descriptor fd = open_descriptor(path, flags);
  if (!fd.valid()) return failure("open", path);
  return std::make_unique<PosixFile>(std::move(fd), path);
}

Result<void> PosixDisk::create_directories(const std::string& path) {
  for (std::size_t end = path.find('/', 1); end != std::string::npos;
       end = path.find('/', end + 1)) {
    TRY(create_directory(path.substr(0, end)));
  }
  return create_directory(path);
}

Result<std::vector<std::string>> PosixDisk::list(const std::string& directory) {
  const std::unique_ptr<DIR, decltype([](DIR* open) { ::closedir(open); })> open(
      ::opendir(directory.c_str()));
  if (open == nullptr) return failure("list", directory);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(open.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno != 0) return failure("list", directory);
  std::ranges::sort(names);
  return names;
}

Result<bool> PosixDisk::exists(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return failure("stat", path);
}

Result<void> PosixDisk::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return failure("rename", from + " to " + to);
}

Result<void> PosixDisk::remove(const std::string& path) {
  if (::remove(path.c_str()) == 0) return {};
  return failure("remove", path);
}

Result<void> PosixDisk::sync_directory(const std::string& directory) {
  const Descriptor fd = open_descriptor(directory, O_RDONLY | O_DIRECTORY);
  if (!fd.valid()) return failure("open directory", directory);
  if (::fsync(fd.get()) == 0) return {};
  return failure("fsync directory", directory);
}

Result<std::uint64_t> PosixDisk::free_bytes(const std::string& directory) {
  struct statvfs status {};
  if (::statvfs(directory.c_str(), &status) != 0) return failure("statvfs", directory);
  return std::uint64_t{status.f_bavail} * status.f_frsize;
}

Result<std::unique_ptr<DirectoryLock>> PosixDisk::lock(const std::string& directory) {
  const std::string path = directory + "/LOCK";
  Descriptor fd = open_descriptor(path, O_RDWR | O_CREAT);
  if (!fd.valid()) return failure("open", path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failure("lock", path);
    return fail(ErrorCode::kBusy, directory + " is in use" + holder(fd));
  }
  // For people: who holds it. The lock itself does not depend on what the file says.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0) return failure("truncate", path);
  if (::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0 && errno != ENOSPC) {
    return failure("write", path);
  }
  return std::make_unique<PosixDirectoryLock>(std::move(fd));
}

void PosixDisk::run(Lane lane, std::move_only_function<Result<void>()> job,
                    std::move_only_function<void(Result<void>)> done) {
  LaneThread& thread = lane == Lane::kLog        ? log_lane_
                       : lane == Lane::kSnapshot ? snapshot_lane_
                                                 : password_lane_;
  thread.run(std::move(job), std::move(done));
}

}  // namespace conclave::io
