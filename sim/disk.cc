#include "sim/disk.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::sim {
namespace {

constexpr std::uint64_t kAllocationBytes = 4096;
constexpr std::uint64_t kUnlimitedFree = std::uint64_t{1} << 50;

std::uint64_t allocated(std::uint64_t size) {
  return (size + kAllocationBytes - 1) / kAllocationBytes * kAllocationBytes;
}

Failure no_space(const std::string& path) {
  return fail(ErrorCode::kNoSpace, fmt::format("write {}: No space left on device", path));
}

}  // namespace

class Disk::OpenFile final : public io::File {
 public:
  OpenFile(Disk& disk, std::shared_ptr<Disk::Run> run, std::shared_ptr<Medium> medium,
           std::string path)
      : disk_(disk), run_(std::move(run)), medium_(std::move(medium)), path_(std::move(path)) {}

  Result<Bytes> read(std::uint64_t offset, std::size_t size) override {
    TRY(begin(DiskCall::kRead));
    return medium_->read(offset, size);
  }

  Result<void> write(std::uint64_t offset, BytesView data) override {
    TRY(disk_.enter(*run_, path_));
    if (auto met = disk_.meet_fault(DiskCall::kWrite, path_); !met) {
      medium_->write(offset, data.substr(0, disk_.rng_.below(data.size() + 1)), disk_.rng_);
      return met;
    }
    const auto room = allocated(medium_->size()) + disk_.room();
    const auto fitting = offset < room ? std::min<std::uint64_t>(data.size(), room - offset) : 0;
    medium_->write(misdirected(offset, fitting), data.substr(0, fitting), disk_.rng_);
    if (fitting < data.size()) return no_space(path_);
    return {};
  }

  Result<void> sync() override {
    TRY(disk_.enter(*run_, path_));
    if (auto met = disk_.meet_fault(DiskCall::kSync, path_); !met) {
      medium_->fail_sync(disk_.rng_);
      return met;
    }
    medium_->sync();
    return {};
  }

  Result<void> preallocate(std::uint64_t size) override {
    TRY(begin(DiskCall::kPreallocate));
    if (size <= medium_->size()) return {};
    if (allocated(size) - allocated(medium_->size()) > disk_.room()) return no_space(path_);
    medium_->resize(size);
    return {};
  }

  Result<void> truncate(std::uint64_t size) override {
    TRY(begin(DiskCall::kWrite));
    medium_->resize(size);
    return {};
  }

  Result<std::uint64_t> size() override {
    TRY(begin(DiskCall::kRead));
    return medium_->size();
  }

 private:
  Result<void> begin(DiskCall call) {
    TRY(disk_.enter(*run_, path_));
    return disk_.meet_fault(call, path_);
  }

  std::uint64_t misdirected(std::uint64_t offset, std::uint64_t size) {
    const auto scripted = disk_.take_scripted(DiskCall::kWrite, path_, true);
    if (!scripted) return offset;
    const auto last = medium_->size() > size ? medium_->size() - size : 0;
    return std::min(offset + scripted->misdirect_by, last);
  }

  Disk& disk_;
  std::shared_ptr<Disk::Run> run_;
  std::shared_ptr<Medium> medium_;
  std::string path_;
};

class Disk::HeldLock final : public io::DirectoryLock {
 public:
  HeldLock(std::shared_ptr<Disk::Run> run, std::string directory)
      : run_(std::move(run)), directory_(std::move(directory)) {}
  ~HeldLock() override { run_->locks.erase(directory_); }

 private:
  std::shared_ptr<Disk::Run> run_;
  std::string directory_;
};

Disk::Disk(io::Clock& clock, std::uint64_t seed) : clock_(clock), rng_(seed) {}

Disk::~Disk() { run_->alive = false; }

Result<void> Disk::enter(const Run& run, const std::string& path) {
  const bool too_late = calls_++ >= stop_at_;
  if (too_late || !run.alive) return fail(ErrorCode::kIo, path + ": the process has ended");
  return {};
}

std::optional<Disk::Scripted> Disk::take_scripted(DiskCall call, const std::string& path,
                                                  bool misdirected) {
  const auto found = std::ranges::find_if(scripted_, [&](const Scripted& fault) {
    return fault.call == call && (fault.misdirect_by != 0) == misdirected &&
           path.find(fault.path_part) != std::string::npos;
  });
  if (found == scripted_.end()) return std::nullopt;
  auto fault = std::move(*found);
  scripted_.erase(found);
  return fault;
}

Result<void> Disk::meet_fault(DiskCall call, const std::string& path) {
  if (const auto scripted = take_scripted(call, path, false))
    return fail(scripted->code, path + ": simulated failure");
  std::uint32_t rate = 0;
  if (call == DiskCall::kRead) rate = faults_.reads;
  if (call == DiskCall::kWrite) rate = faults_.writes;
  if (call == DiskCall::kSync) rate = faults_.syncs;
  if (rate != 0 && rng_.below(1'000'000) < rate)
    return fail(ErrorCode::kIo, path + ": simulated failure");
  return {};
}

Result<void> Disk::begin(DiskCall call, const std::string& path) {
  TRY(enter(*run_, path));
  return meet_fault(call, path);
}

std::uint64_t Disk::used_bytes() const {
  std::uint64_t used = 0;
  for (const auto& [path, file] : names_.files()) used += allocated(file->size());
  return used;
}

std::uint64_t Disk::room() const {
  if (capacity_ == 0) return kUnlimitedFree;
  const auto used = used_bytes();
  return used < capacity_ ? capacity_ - used : 0;
}

Result<std::unique_ptr<io::File>> Disk::open(const std::string& path, io::OpenMode mode) {
  TRY(begin(DiskCall::kNames, path));
  auto file = names_.find(path);
  if (mode == io::OpenMode::kCreate) {
    if (!names_.is_directory(Names::parent_of(path)))
      return fail(ErrorCode::kNotFound, path + ": its directory does not exist");
    if (file == nullptr) file = names_.create(path);
    file->resize(0);
  }
  if (file == nullptr) return fail(ErrorCode::kNotFound, path + ": no such file");
  return std::make_unique<OpenFile>(*this, run_, std::move(file), path);
}

Result<void> Disk::create_directories(const std::string& path) {
  TRY(begin(DiskCall::kNames, path));
  names_.make_directories(path);
  return {};
}

Result<std::vector<std::string>> Disk::list(const std::string& directory) {
  TRY(begin(DiskCall::kRead, directory));
  if (!names_.is_directory(directory))
    return fail(ErrorCode::kNotFound, directory + ": no such directory");
  return names_.list(directory);
}

Result<bool> Disk::exists(const std::string& path) {
  TRY(begin(DiskCall::kRead, path));
  return names_.find(path) != nullptr || names_.is_directory(path);
}

Result<void> Disk::rename(const std::string& from, const std::string& to) {
  TRY(begin(DiskCall::kNames, from));
  if (!names_.rename(from, to)) return fail(ErrorCode::kNotFound, from + ": no such file");
  return {};
}

Result<void> Disk::remove(const std::string& path) {
  TRY(begin(DiskCall::kNames, path));
  if (!names_.remove(path)) return fail(ErrorCode::kNotFound, path + ": no such file");
  return {};
}

Result<void> Disk::sync_directory(const std::string& directory) {
  TRY(begin(DiskCall::kSyncDirectory, directory));
  if (!names_.is_directory(directory))
    return fail(ErrorCode::kNotFound, directory + ": no such directory");
  names_.sync_directory(directory);
  return {};
}

Result<std::uint64_t> Disk::free_bytes(const std::string& directory) {
  TRY(begin(DiskCall::kRead, directory));
  return room();
}

Result<std::unique_ptr<io::DirectoryLock>> Disk::lock(const std::string& directory) {
  TRY(begin(DiskCall::kNames, directory));
  if (!names_.is_directory(directory))
    return fail(ErrorCode::kNotFound, directory + ": no such directory");
  if (!run_->locks.insert(directory).second)
    return fail(ErrorCode::kBusy, directory + " is in use");
  return std::make_unique<HeldLock>(run_, directory);
}

void Disk::run(io::Lane lane, std::move_only_function<Result<void>()> job,
               std::move_only_function<void(Result<void>)> done) {
  lane_of(lane).waiting.push_back({std::move(job), std::move(done)});
  if (!lane_of(lane).busy) start_next(lane);
}

void Disk::start_next(io::Lane lane) {
  Lane& queue = lane_of(lane);
  queue.busy = !queue.waiting.empty();
  if (!queue.busy) return;
  auto task = std::make_shared<Task>(std::move(queue.waiting.front()));
  queue.waiting.pop_front();
  const auto whole = rng_.between(static_cast<std::uint64_t>(queue.latency.shortest.ns),
                                  static_cast<std::uint64_t>(queue.latency.longest.ns));
  const auto before = static_cast<std::int64_t>(rng_.below(whole + 1));
  const auto after = static_cast<std::int64_t>(whole) - before;
  clock_.after(nanoseconds(before), [this, run = run_, task, lane, after]() {
    if (!run->alive) return;
    auto result = std::make_shared<Result<void>>(task->job());
    clock_.after(nanoseconds(after), [this, run, task, lane, result] {
      if (run->alive) finish(lane, *task, std::move(*result));
    });
  });
}

void Disk::finish(io::Lane lane, Task& task, Result<void> result) {
  if (stopped()) return;
  start_next(lane);
  task.done(std::move(result));
}

void Disk::end_run() {
  run_->alive = false;
  run_ = std::make_shared<Run>();
  stop_at_ = ~std::uint64_t{0};
  for (auto& lane : lanes_) {
    lane.busy = false;
    std::exchange(lane.waiting, {}).clear();
  }
}

void Disk::crash() {
  end_run();
  names_.lose_power(rng_);
}

void Disk::kill() { end_run(); }

void Disk::fail_next(DiskCall call, const std::string& path_part, ErrorCode code) {
  scripted_.push_back({.call = call, .path_part = path_part, .code = code, .misdirect_by = 0});
}

void Disk::misdirect_next_write(const std::string& path_part, std::uint64_t by) {
  CHECK(by != 0);
  scripted_.push_back({.call = DiskCall::kWrite,
                       .path_part = path_part,
                       .code = ErrorCode::kIo,
                       .misdirect_by = by});
}

void Disk::rot(const std::string& path, std::uint64_t offset) {
  const auto file = names_.find(path);
  CHECK(file != nullptr, "{}", path);
  file->flip_bit(offset, static_cast<unsigned>(rng_.below(8)));
}

}  // namespace conclave::sim
