#include "wal/recovery.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "wal/coding.h"
#include "wal/replay.h"

namespace conclave::wal {
namespace {

struct Names {
  std::vector<std::uint64_t> segments;  // sorted
  std::deque<std::string> spares;
};

// Removes what a crash left half made. What is there is then durable: a killed process may have
// renamed or removed a file without living to sync the directory.
Result<Names> tidy_directory(const SegmentPool::Config& config) {
  Names names;
  for (const auto& name : TRY(config.disk->list(config.directory))) {
    const std::string path = config.directory + "/" + name;
    if (const auto id = parse_segment_name(name)) names.segments.push_back(*id);
    if (is_spare_name(name)) {
      const auto file = TRY(config.disk->open(path, io::OpenMode::kRead));
      if (TRY(file->size()) == config.segment_bytes) {
        names.spares.push_back(name);
        continue;
      }
    }
    if (!is_spare_name(name) && name != kUnfinishedName) continue;
    TRY(config.disk->remove(path));
  }
  TRY(config.disk->sync_directory(config.directory));
  return names;
}

Result<SegmentPool::OpenSegment> open_segment(const SegmentPool::Config& config, Segment segment) {
  const std::string path = config.directory + "/" + segment_name(segment.id);
  std::shared_ptr<io::File> file = TRY(config.disk->open(path, io::OpenMode::kReadWrite));
  return SegmentPool::OpenSegment{std::move(segment), std::move(file)};
}

Result<SegmentPool::OpenSegment> create_segment(const SegmentPool::Config& config, std::uint64_t id,
                                                std::uint64_t bytes, std::uint64_t previous_salt) {
  const auto salt = make_salt(*config.clock, id, previous_salt);
  std::shared_ptr<io::File> file = TRY(
      make_segment(*config.disk, {.directory = config.directory,
                                  .header = {.identity = config.identity, .id = id, .salt = salt},
                                  .bytes = bytes,
                                  .spare = {}}));
  return SegmentPool::OpenSegment{{id, salt, bytes, {}}, std::move(file)};
}

// Continues a replayed log.
class Recovery {
 public:
  Recovery(const SegmentPool::Config& config, Replayed replayed)
      : config_(config), replayed_(std::move(replayed)) {}

  Result<Recovered> run();

 private:
  Result<void> open_files();
  Result<void> erase_torn();
  Result<void> repeat_last_batch();
  Result<void> move_on(std::uint64_t needed);

  SegmentPool::OpenSegment& current() { return out_.found.current; }

  const SegmentPool::Config& config_;
  Replayed replayed_;
  Recovered out_;
};

Result<Recovered> Recovery::run() {
  TRY(open_files());
  out_.end = replayed_.end;
  out_.next_sequence = replayed_.next_sequence;
  out_.hard_states = std::move(replayed_.hard_states);
  // What a killed process wrote but did not sync must not be built upon before it is durable.
  TRY(current().file->sync());
  TRY(erase_torn());
  if (replayed_.last) TRY(repeat_last_batch());
  return std::move(out_);
}

Result<void> Recovery::open_files() {
  auto& segments = replayed_.segments;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (i < replayed_.current) out_.found.full.push_back(std::move(segments[i]));
    if (i == replayed_.current)
      out_.found.current = TRY(open_segment(config_, std::move(segments[i])));
    if (i > replayed_.current)
      out_.found.unused.push_back(TRY(open_segment(config_, std::move(segments[i]))));
  }
  return {};
}

// Overwrites the start of an unfinished batch, durably: whatever its sectors read as later, it
// cannot come back once the log has gone on.
Result<void> Recovery::erase_torn() {
  for (const auto& [id, offset] : replayed_.torn) {
    LOG(kWarn,
        "{}/{}: cut off an unfinished write at offset {} (batch {}), of which nobody was told",
        config_.directory, segment_name(id), offset, out_.next_sequence);
    const auto file = TRY(
        config_.disk->open(config_.directory + "/" + segment_name(id), io::OpenMode::kReadWrite));
    TRY(file->write(offset, Bytes(kBlockBytes, '\0')));
    TRY(file->sync());
  }
  return {};
}

// The last batch may be readable only from the page cache: of a killed process, or of one whose
// sync failed, after which a later sync can succeed without writing. A copy of it is fresh data
// that a sync does write.
Result<void> Recovery::repeat_last_batch() {
  auto body_bytes = replayed_.last->body.size();
  const bool fits = padded_batch_bytes(body_bytes) <= current().segment.bytes - out_.end;
  if (!fits) {
    for (const auto& [group, state] : out_.hard_states)
      body_bytes += kRecordHeaderBytes + state.size();
    auto moved = move_on(padded_batch_bytes(body_bytes));
    if (!moved && moved.error().code == ErrorCode::kNoSpace) {
      LOG(kWarn, "{}: no room to repeat the last batch, going on without", config_.directory);
      return {};
    }
    TRY(std::move(moved));
  }
  BatchBuilder batch(body_bytes);
  if (!fits)
    for (const auto& [group, state] : out_.hard_states) batch.put_hard_state(group, state);
  batch.put_records(replayed_.last->body, replayed_.last->records);
  const Bytes bytes = std::move(batch).finish({.segment = current().segment.id,
                                               .salt = current().segment.salt,
                                               .sequence = out_.next_sequence},
                                              BatchFlag::kRepeat);
  TRY(current().file->write(out_.end, bytes));
  TRY(current().file->sync());
  out_.end += bytes.size();
  ++out_.next_sequence;
  return {};
}

// Makes a segment with room for `needed` bytes the current one.
Result<void> Recovery::move_on(std::uint64_t needed) {
  const auto bytes = std::max(config_.segment_bytes, kFirstBatchAt + needed);
  auto& unused = out_.found.unused;
  if (unused.empty()) {
    const auto& segment = current().segment;
    unused.push_back(TRY(create_segment(config_, segment.id + 1, bytes, segment.salt)));
  }
  if (unused.front().segment.bytes < bytes) {
    TRY(unused.front().file->preallocate(bytes));
    unused.front().segment.bytes = bytes;
  }
  // The repetition holds the entries of the last batch: what covers the one covers the other.
  auto last = current().segment.last;
  out_.found.full.push_back(std::move(current().segment));
  current() = std::move(unused.front());
  current().segment.last = std::move(last);
  unused.pop_front();
  out_.end = kFirstBatchAt;
  return {};
}

}  // namespace

std::uint64_t make_salt(const io::Clock& clock, std::uint64_t id, std::uint64_t previous) {
  Bytes seen;
  put(seen, clock.now().ns);
  put(seen, clock.wall_ms());
  put(seen, id);
  return checksum(seen, previous);
}

Result<Recovered> recover(const SegmentPool::Config& config, const Replay& replay) {
  const auto parent = config.directory.substr(0, config.directory.rfind('/'));
  TRY(config.disk->create_directories(config.directory));
  TRY(config.disk->sync_directory(parent));
  auto names = TRY(tidy_directory(config));
  Recovered recovered;
  if (names.segments.empty()) {
    recovered.found.current = TRY(create_segment(config, 1, config.segment_bytes, 0));
  } else {
    auto replayed =
        TRY(replay_log(*config.disk, config.directory, names.segments, config.identity, replay));
    recovered = TRY(Recovery(config, std::move(replayed)).run());
  }
  recovered.found.spares = std::move(names.spares);
  return recovered;
}

}  // namespace conclave::wal
