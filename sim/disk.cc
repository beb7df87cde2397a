#include "sim/disk.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"

namespace conclave::sim {
namespace {

constexpr std::uint64_t kAllocationBytes = 4096;
constexpr std::uint64_t kUnlimitedFree = std::uint64_t{1} << 50;

std::uint64_t allocated(std::uint64_t size) {
  return (size + kAllocationBytes - 1) / kAllocationBytes * kAllocationBytes;
}

constexpr Instant kNever{std::numeric_limits<std::int64_t>::max()};

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
    const auto held = allocated(medium_->size());
    const bool needs_room = offset + data.size() > held;
    const auto room = needs_room ? held + disk_.draw_room() : held;
    const auto fitting = offset < room ? std::min<std::uint64_t>(data.size(), room - offset) : 0;
    disk_.note_write(medium_, path_, offset, fitting);
    medium_->write(drawn_place(offset, fitting), data.substr(0, fitting), disk_.rng_);
    if (fitting < data.size()) return disk_.no_space(path_);
    return {};
  }

  Result<void> sync() override {
    TRY(disk_.enter(*run_, path_));
    if (auto met = disk_.meet_fault(DiskCall::kSync, path_); !met) {
      medium_->fail_sync(disk_.rng_);
      return met;
    }
    medium_->sync();
    disk_.misplace_if_due(*medium_);
    return {};
  }

  Result<void> preallocate(std::uint64_t size) override {
    TRY(begin(DiskCall::kPreallocate));
    if (size <= medium_->size()) return {};
    const auto needed = allocated(size) - allocated(medium_->size());
    if (needed > 0 && needed > disk_.draw_room()) return disk_.no_space(path_);
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

  std::uint64_t drawn_place(std::uint64_t offset, std::uint64_t size) {
    const auto last = medium_->size() > size ? medium_->size() - size : 0;
    if (!disk_.of_million(disk_.faults_.misdirected) || last == 0) return offset;
    ++disk_.counts_.misdirected;
    return disk_.rng_.below(last / kSectorBytes + 1) * kSectorBytes + offset % kSectorBytes;
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
  const auto scripted = take_scripted(call, path, false);
  std::uint32_t rate = 0;
  std::uint64_t* count = &counts_.other_errors;
  if (call == DiskCall::kRead) {
    rate = faults_.reads;
    count = &counts_.read_errors;
  } else if (call == DiskCall::kWrite) {
    rate = faults_.writes;
    count = &counts_.write_errors;
  } else if (call == DiskCall::kSync) {
    rate = faults_.syncs;
    count = &counts_.sync_errors;
  }
  if (!scripted && !of_million(rate)) return {};
  ++*count;
  return fail(scripted ? scripted->code : ErrorCode::kIo, path + ": simulated failure");
}

void Disk::note_write(const std::shared_ptr<Medium>& medium, const std::string& path,
                      std::uint64_t offset, std::uint64_t size) {
  if (const auto scripted = take_scripted(DiskCall::kWrite, path, true)) {
    misplaced_ = {.medium = medium,
                  .offset = offset,
                  .was = medium->read(offset, size),
                  .by = scripted->misdirect_by,
                  .later = {},
                  .later_end = 0};
  } else if (misplaced_ && misplaced_->medium == medium && size > 0) {
    misplaced_->later = std::min(misplaced_->later.value_or(offset), offset);
    misplaced_->later_end = std::max(misplaced_->later_end, offset + size);
  }
}

void Disk::misplace_if_due(const Medium& synced) {
  if (!misplaced_ || misplaced_->medium.get() != &synced || !misplaced_->later) return;
  const Misplaced write = *std::exchange(misplaced_, std::nullopt);
  const auto end = write.offset + write.was.size();
  const auto forward = write.offset + write.by;
  const bool fits = forward >= write.later_end && forward + write.was.size() <= synced.size();
  if (*write.later < end || (!fits && write.offset < write.by)) return;
  const Bytes data = synced.read(write.offset, write.was.size());
  write.medium->write(write.offset, write.was, rng_);
  write.medium->write(fits ? forward : write.offset - write.by, data, rng_);
  write.medium->sync();
  ++counts_.misdirected;
}

Failure Disk::no_space(const std::string& path) {
  ++counts_.no_space;
  return fail(ErrorCode::kNoSpace, fmt::format("write {}: No space left on device", path));
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

std::uint64_t Disk::draw_room() { return of_million(faults_.no_space) ? 0 : room(); }

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
  const auto whole = static_cast<std::uint64_t>(draw_job_time(lane).ns);
  const Duration before{static_cast<std::int64_t>(rng_.below(whole + 1))};
  const Duration after = Duration{static_cast<std::int64_t>(whole)} - before;
  if (of_million(faults_.hangs)) {
    const auto longest = static_cast<std::uint64_t>(faults_.longest_hang.ns);
    hang(lane, Duration{static_cast<std::int64_t>(rng_.below(longest + 1))});
  }
  then(lane, before, [this, lane, task = std::move(task), after]() mutable {
    run_job(lane, std::move(task), after);
  });
}

Duration Disk::draw_job_time(io::Lane lane) {
  const JobLatency& latency = lane_of(lane).latency;
  const bool spike = of_million(faults_.spikes);
  if (spike) ++counts_.spikes;
  const Duration shortest = spike ? latency.longest : latency.shortest;
  const Duration longest = spike ? std::max(faults_.longest_spike, shortest) : latency.longest;
  return Duration{static_cast<std::int64_t>(rng_.between(static_cast<std::uint64_t>(shortest.ns),
                                                         static_cast<std::uint64_t>(longest.ns)))};
}

void Disk::run_job(io::Lane lane, std::shared_ptr<Task> task, Duration after) {
  auto result = task->job();
  then(lane, after, [this, lane, task = std::move(task), result = std::move(result)]() mutable {
    finish(lane, *task, std::move(result));
  });
}

void Disk::then(io::Lane lane, Duration delay, std::move_only_function<void()> step) {
  clock_.after(delay, [this, run = run_, lane, step = std::move(step)]() mutable {
    if (!run->alive) return;
    if (!lane_of(lane).hanging) return step();
    lane_of(lane).stopped = std::move(step);
  });
}

void Disk::hang(io::Lane lane, std::optional<Duration> duration) {
  Lane& stopping = lane_of(lane);
  const Instant until = duration ? clock_.now() + *duration : kNever;
  if (stopping.hanging && until <= stopping.hangs_until) return;
  ++counts_.hangs;
  stopping.hanging = true;
  stopping.hangs_until = until;
  if (!duration) return;
  clock_.after(*duration, [this, run = run_, lane, until] {
    if (run->alive && lane_of(lane).hangs_until == until) go_on(lane);
  });
}

void Disk::go_on(io::Lane lane) {
  lane_of(lane).hanging = false;
  if (auto step = std::exchange(lane_of(lane).stopped, nullptr)) step();
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
  misplaced_.reset();
  for (auto& lane : lanes_) {
    lane.busy = false;
    lane.hanging = false;
    lane.stopped = nullptr;
    std::exchange(lane.waiting, {}).clear();
  }
}

void Disk::crash() {
  end_run();
  ++counts_.power_cuts;
  counts_.lost_sectors += names_.lose_power(rng_);
}

void Disk::kill() { end_run(); }

void Disk::lose_everything() {
  end_run();
  ++counts_.lost_disks;
  names_ = Names();
  std::erase_if(scripted_, [](const Scripted& fault) { return fault.misdirect_by != 0; });
}

void Disk::fail_next(DiskCall call, const std::string& path_part, ErrorCode code) {
  scripted_.push_back({.call = call, .path_part = path_part, .code = code, .misdirect_by = 0});
}

void Disk::misdirect_write(const std::string& path_part, std::uint64_t by) {
  CHECK(by != 0);
  scripted_.push_back({.call = DiskCall::kWrite,
                       .path_part = path_part,
                       .code = ErrorCode::kIo,
                       .misdirect_by = by});
}

void Disk::rot(const std::string& path, std::uint64_t offset) {
  const auto file = names_.find(path);
  CHECK(file != nullptr, "{}", path);
  ++counts_.rotten;
  file->flip_bit(offset, static_cast<unsigned>(rng_.below(8)));
}

std::vector<FileInfo> Disk::files() const {
  std::vector<FileInfo> files;
  for (const auto& [path, file] : names_.files()) {
    files.push_back({.path = path, .bytes = file->size(), .used_bytes = file->used_bytes()});
  }
  return files;
}

}  // namespace conclave::sim
