#include "wal/segment_pool.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "wal/recovery.h"

namespace conclave::wal {
namespace {

// More than this many released segments are removed instead of kept.
constexpr std::size_t kMaxSpares = 2;

Result<void> retire(io::Disk& disk, const std::string& directory, std::uint64_t id, bool keep) {
  const std::string path = directory + "/" + segment_name(id);
  if (keep) {
    TRY(disk.rename(path, directory + "/" + spare_name(id)));
  } else {
    TRY(disk.remove(path));
  }
  // One at a time: after a crash the segments that are left must have no gap.
  return disk.sync_directory(directory);
}

}  // namespace

// Filled by the job, read when it is done.
struct SegmentPool::Made {
  SegmentRecipe recipe;
  std::unique_ptr<io::File> file;
};

SegmentPool::SegmentPool(Config config, Found found, Events events)
    : config_(std::move(config)),
      events_(std::move(events)),
      full_segments_(std::move(found.full)),
      current_(std::move(found.current)),
      unused_(std::move(found.unused)),
      spares_(std::move(found.spares)),
      current_begun_(!full_segments_.empty()) {}

void SegmentPool::stop() {
  stopped_ = true;
  if (retry_) config_.clock->cancel(*retry_);
  retry_.reset();
}

void SegmentPool::advance() {
  CHECK(has_next());
  full_segments_.push_back(std::move(current_.segment));
  current_ = std::move(unused_.front());
  unused_.pop_front();
  current_begun_ = false;
  maintain();
}

void SegmentPool::begun() {
  if (std::exchange(current_begun_, true)) return;
  maintain();
}

void SegmentPool::release(GroupId group, LogIndex index) {
  auto& released = released_[group];
  released = std::max(released, index);
  maintain();
}

std::size_t SegmentPool::files() const {
  return full_segments_.size() + 1 + unused_.size() + spares_.size();
}

bool SegmentPool::releasable() const {
  if (full_segments_.empty() || (full_segments_.size() == 1 && !current_begun_)) return false;
  return std::ranges::all_of(full_segments_.front().last, [this](const auto& group_last) {
    const auto released = released_.find(group_last.first);
    return released != released_.end() && group_last.second <= released->second;
  });
}

void SegmentPool::maintain() {
  if (busy_ || stopped_) return;
  const bool wants_spare = spares_.empty() || has_next();
  if (releasable() && wants_spare) return retire_oldest();
  if (!has_next() && !retry_) make_next();
}

void SegmentPool::run(std::move_only_function<Result<void>()> job,
                      void (SegmentPool::*then)(Result<void>)) {
  busy_ = true;
  config_.disk->run(io::Lane::kSnapshot, std::move(job),
                    [weak = weak_from_this(), then](Result<void> result) {
                      const auto pool = weak.lock();
                      if (!pool || pool->stopped_) return;
                      pool->busy_ = false;
                      (pool.get()->*then)(std::move(result));
                      pool->maintain();
                    });
}

void SegmentPool::retire_oldest() {
  const auto& oldest = full_segments_.front();
  const bool keep = spares_.size() < kMaxSpares && oldest.bytes == config_.segment_bytes;
  run([disk = config_.disk, directory = config_.directory, id = oldest.id,
       keep] { return retire(*disk, directory, id, keep); },
      &SegmentPool::retired);
  if (keep) spares_.push_back(spare_name(oldest.id));
  full_segments_.pop_front();
}

void SegmentPool::retired(Result<void> result) {
  if (!result) {
    stop();
    return events_.on_failed(std::move(result).error());
  }
  // There is room now: a full disk is tried again at once.
  if (retry_) config_.clock->cancel(*retry_);
  retry_.reset();
}

void SegmentPool::make_next() {
  const std::uint64_t id = current_.segment.id + 1;
  making_ = std::make_shared<Made>();
  making_->recipe = {.directory = config_.directory,
                     .header = {.identity = config_.identity,
                                .id = id,
                                .salt = make_salt(*config_.clock, id, current_.segment.salt)},
                     .bytes = config_.segment_bytes,
                     .spare = {},
                     .paced = true};
  if (!spares_.empty()) {
    making_->recipe.spare = std::move(spares_.front());
    spares_.pop_front();
  }
  run(
      [disk = config_.disk, making = making_]() -> Result<void> {
        making->file = TRY(make_segment(*disk, making->recipe));
        return {};
      },
      &SegmentPool::made);
}

void SegmentPool::made(Result<void> result) {
  const auto making = std::move(making_);
  if (result) {
    if (full_) LOG(kInfo, "{}: there is room for the log again", config_.directory);
    full_ = false;
    const auto& recipe = making->recipe;
    unused_.push_back({{recipe.header.id, recipe.header.salt, recipe.bytes, {}},
                       std::shared_ptr<io::File>(std::move(making->file))});
    events_.on_next();
    return;
  }
  if (result.error().code == ErrorCode::kNoSpace) {
    if (!full_)
      LOG(kError, "{}: no room for the next log segment, new writes are refused: {}",
          config_.directory, result.error().message);
    if (making->recipe.spare) spares_.push_back(*making->recipe.spare);
    return wait_for_room();
  }
  stop();
  events_.on_failed(std::move(result).error());
}

void SegmentPool::wait_for_room() {
  full_ = true;
  retry_ = config_.clock->after(kFullRetry, [weak = weak_from_this()] {
    const auto pool = weak.lock();
    if (!pool || pool->stopped_) return;
    pool->retry_.reset();
    pool->maintain();
  });
}

}  // namespace conclave::wal
