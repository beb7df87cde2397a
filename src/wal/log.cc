#include "wal/log.h"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "wal/recovery.h"
#include "wal/segment_pool.h"

namespace conclave::wal {
namespace {

using Done = std::move_only_function<void(Result<void>)>;

// A batch is closed at this size, so that one sync never takes long; a single larger append goes
// alone.
constexpr std::uint64_t kMaxBatchBytes = 8 * limits::kMiB;

// What one append() asked for. Whole in one batch, so that it is durable in one step.
struct Append {
  GroupId group;
  std::optional<Bytes> hard_state;
  std::vector<consensus::Entry> entries;
  std::uint64_t record_bytes = 0;
};

struct Waiting {
  Append append;
  Done done;
};

std::uint64_t record_bytes(const Append& append) {
  std::uint64_t bytes = 0;
  if (append.hard_state) bytes += kRecordHeaderBytes + append.hard_state->size();
  for (const auto& entry : append.entries) bytes += kRecordHeaderBytes + entry.data.size();
  return bytes;
}

// One write and sync: everything the job needs, so that it outlives the Log if it must.
struct BatchWrite {
  std::shared_ptr<io::File> file;
  std::uint64_t offset = 0;
  std::uint64_t grow_to = 0;  // size the file must have first, 0 if it is large enough
  BatchPlace place;
  std::uint64_t body_bytes = 0;
  std::map<GroupId, Bytes> hard_states;  // at the start of a segment: of all groups
  std::vector<Append> appends;
  Bytes encoded;

  void encode();
  Result<void> run();
};

void BatchWrite::encode() {
  BatchBuilder batch(body_bytes);
  for (const auto& [group, state] : hard_states) batch.put_hard_state(group, state);
  for (const auto& append : appends) {
    if (append.hard_state) batch.put_hard_state(append.group, *append.hard_state);
    for (const auto& entry : append.entries) batch.put_entry(append.group, entry);
  }
  encoded = std::move(batch).finish(place, BatchFlag::kNone);
  appends.clear();
}

// kNoSpace: nothing was synced, and the same call may be made again.
Result<void> BatchWrite::run() {
  if (encoded.empty()) encode();
  if (grow_to != 0) TRY(file->preallocate(grow_to));
  TRY(file->write_direct(offset, encoded));
  if (auto synced = file->sync(); !synced)
    return fail(ErrorCode::kIo, std::move(synced).error().message);
  return {};
}

}  // namespace

struct Log::State : std::enable_shared_from_this<Log::State> {
  io::Disk* disk = nullptr;
  io::Clock* clock = nullptr;
  std::shared_ptr<SegmentPool> pool;
  std::uint64_t end = 0;  // in the current segment: where the next batch goes
  std::uint64_t next_sequence = 1;
  std::map<GroupId, Bytes> hard_states;  // as of the last batch that was handed to the disk

  std::deque<Waiting> queue;
  std::shared_ptr<BatchWrite> writing;
  std::vector<Done> writing_done;
  std::uint64_t writing_bytes = 0;  // of records
  Instant writing_since;
  std::optional<io::Clock::TimerId> retry;  // the write met a full disk

  bool posted = false;
  bool closed = false;
  std::optional<Error> failure;
  Stats stats;

  void post_next();
  void start_next();
  bool make_room_for_first();
  std::uint64_t hard_state_bytes() const;
  std::uint64_t room() const { return pool->current().segment.bytes - end; }
  void fill(BatchWrite& batch);
  void submit();
  void finished(Result<void> result);
  void succeeded();
  void fail_all(Error error);
};

void Log::State::post_next() {
  if (posted || writing || queue.empty()) return;
  posted = true;
  clock->post([weak = weak_from_this()] {
    const auto state = weak.lock();
    if (!state || state->closed) return;
    state->posted = false;
    if (!state->failure && !state->writing && !state->queue.empty()) state->start_next();
  });
}

std::uint64_t Log::State::hard_state_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [group, state] : hard_states) bytes += kRecordHeaderBytes + state.size();
  return bytes;
}

// Moves to the next segment if the first waiting append needs it; false while there is none yet.
bool Log::State::make_room_for_first() {
  if (end == kFirstBatchAt) return true;  // an empty segment is never left: it grows
  if (padded_batch_bytes(queue.front().append.record_bytes) <= room()) return true;
  if (!pool->has_next()) return false;
  pool->advance();
  end = kFirstBatchAt;
  return true;
}

// Takes as many waiting appends as fit the segment and one batch, at least one.
void Log::State::fill(BatchWrite& batch) {
  auto& last = pool->current().segment.last;
  while (!queue.empty()) {
    auto& append = queue.front().append;
    const auto body_bytes = batch.body_bytes + append.record_bytes;
    const bool too_much = body_bytes > kMaxBatchBytes || padded_batch_bytes(body_bytes) > room();
    if (too_much && !batch.appends.empty()) break;
    batch.body_bytes = body_bytes;
    writing_bytes += append.record_bytes;
    for (const auto& entry : append.entries)
      last[append.group] = std::max(last[append.group], entry.index);
    if (append.hard_state) hard_states[append.group] = *append.hard_state;
    batch.appends.push_back(std::move(append));
    writing_done.push_back(std::move(queue.front().done));
    queue.pop_front();
  }
}

void Log::State::start_next() {
  if (!make_room_for_first()) return pool->maintain();
  auto& current = pool->current();
  writing = std::make_shared<BatchWrite>();
  writing->file = current.file;
  writing->offset = end;
  writing->place = {
      .segment = current.segment.id, .salt = current.segment.salt, .sequence = next_sequence};
  if (end == kFirstBatchAt) {
    writing->hard_states = hard_states;
    writing->body_bytes = hard_state_bytes();
  }
  fill(*writing);
  const auto needed = end + padded_batch_bytes(writing->body_bytes);
  if (needed > current.segment.bytes) {
    writing->grow_to = needed;
    current.segment.bytes = needed;
  }
  submit();
}

void Log::State::submit() {
  writing_since = clock->now();
  disk->run(
      io::Lane::kLog, [batch = writing] { return batch->run(); },
      [weak = weak_from_this()](Result<void> result) {
        const auto state = weak.lock();
        if (state && !state->closed && !state->failure) state->finished(std::move(result));
      });
}

void Log::State::finished(Result<void> result) {
  if (result) return succeeded();
  if (result.error().code != ErrorCode::kNoSpace) return fail_all(std::move(result).error());
  if (!retry) LOG(kError, "the log waits for room on the disk: {}", result.error().message);
  retry = clock->after(kFullRetry, [weak = weak_from_this()] {
    const auto state = weak.lock();
    if (state && !state->closed && !state->failure) state->submit();
  });
}

void Log::State::succeeded() {
  retry.reset();
  ++stats.syncs;
  stats.bytes += writing->encoded.size();
  stats.last_sync_us = (clock->now() - writing_since).ns / 1000;
  stats.queued_bytes -= writing_bytes;
  end += writing->encoded.size();
  ++next_sequence;
  writing.reset();
  writing_bytes = 0;
  pool->begun();
  // A callback may append, or destroy the Log.
  for (auto& done : std::exchange(writing_done, {})) {
    if (closed) return;
    done({});
  }
  if (!closed) post_next();
}

void Log::State::fail_all(Error error) {
  if (failure) return;
  LOG(kError, "the log has failed and stops for good: {}", error.message);
  failure = std::move(error);
  pool->stop();
  auto waiting = std::exchange(writing_done, {});
  for (auto& [append, done] : std::exchange(queue, {})) waiting.push_back(std::move(done));
  for (auto& done : waiting) {
    if (closed) return;
    done(Failure(*failure));
  }
}

Result<std::unique_ptr<Log>> Log::open(io::Disk& disk, io::Clock& clock,
                                       const std::string& directory, const Identity& identity,
                                       const Options& options, const Replay& replay) {
  if (options.segment_bytes % kBlockBytes != 0 || options.segment_bytes < 2 * kBlockBytes)
    return fail(
        ErrorCode::kInvalid,
        fmt::format("a log segment of {} bytes: it must be a multiple of {}, and at least two",
                    options.segment_bytes, kBlockBytes));
  const SegmentPool::Config config{.disk = &disk,
                                   .clock = &clock,
                                   .directory = directory + "/wal",
                                   .identity = identity,
                                   .segment_bytes = options.segment_bytes};
  auto recovered = TRY(recover(config, replay));
  auto state = std::make_shared<State>();
  state->disk = &disk;
  state->clock = &clock;
  state->end = recovered.end;
  state->next_sequence = recovered.next_sequence;
  state->hard_states = std::move(recovered.hard_states);
  const std::weak_ptr<State> weak = state;
  const SegmentPool::Events events{.on_next =
                                       [weak] {
                                         if (const auto alive = weak.lock()) alive->post_next();
                                       },
                                   .on_failed =
                                       [weak](Error error) {
                                         if (const auto alive = weak.lock())
                                           alive->fail_all(std::move(error));
                                       }};
  state->pool = std::make_shared<SegmentPool>(config, std::move(recovered.found), events);
  clock.post([weak] {
    const auto alive = weak.lock();
    if (alive && !alive->closed) alive->pool->maintain();
  });
  return std::unique_ptr<Log>(new Log(std::move(state)));
}

Log::Log(std::shared_ptr<State> state) : state_(std::move(state)) {}

Log::~Log() {
  state_->closed = true;
  state_->pool->stop();
  if (state_->retry) state_->clock->cancel(*state_->retry);
}

void Log::append(GroupId group, std::optional<Bytes> hard_state,
                 std::vector<consensus::Entry> entries, Done done) {
  if (state_->failure) {
    state_->clock->post([weak = std::weak_ptr(state_), done = std::move(done)]() mutable {
      const auto state = weak.lock();
      if (state && !state->closed) done(Failure(*state->failure));
    });
    return;
  }
  Append append{.group = group,
                .hard_state = std::move(hard_state),
                .entries = std::move(entries),
                .record_bytes = 0};
  append.record_bytes = record_bytes(append);
  state_->stats.queued_bytes += append.record_bytes;
  state_->queue.push_back({std::move(append), std::move(done)});
  state_->post_next();
}

void Log::release(GroupId group, LogIndex index) { state_->pool->release(group, index); }

const std::optional<Error>& Log::failure() const { return state_->failure; }

bool Log::is_full() const { return state_->pool->is_full() || state_->retry.has_value(); }

Log::Stats Log::stats() const {
  Stats stats = state_->stats;
  stats.segments = state_->pool->files();
  return stats;
}

}  // namespace conclave::wal
