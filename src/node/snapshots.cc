#include "node/snapshots.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

namespace conclave::node {
namespace {

constexpr Duration kRetryAfter = seconds(5);
// At first a quarter of the time is spent on a snapshot (more where pieces take so long that
// kLongestPause is less), and all of it when half of what makes the next one due has come.
constexpr std::int64_t kPauseFactor = 3;
constexpr Duration kLongestPause = milliseconds(100);

}  // namespace

// A snapshot of ours that is being written. `content` reads the store and is used on the loop only;
// `file` only by jobs, one at a time.
struct Snapshots::Writing {
  consensus::SnapshotMeta meta;
  std::unique_ptr<store::SnapshotWriter> content;
  std::optional<wal::SnapshotDir::Writer> file;
  std::uint64_t needs_free_bytes = 0;
  std::uint64_t bytes = 0;
  Instant since;
};

Snapshots::Snapshots(GroupId group, wal::SnapshotDir directory, store::Limits limits,
                     io::Clock& clock, io::Disk& disk, Hooks hooks)
    : group_(group),
      directory_(std::move(directory)),
      limits_(limits),
      clock_(clock),
      disk_(disk),
      hooks_(std::move(hooks)),
      alive_(std::make_shared<char>()) {}

Snapshots::~Snapshots() { abort(); }

void Snapshots::abort() {
  if (writing_ != nullptr) writing_->content.reset();
  writing_.reset();
}

void Snapshots::run(std::shared_ptr<Writing> writing, std::move_only_function<Result<void>()> job,
                    std::move_only_function<void(Result<void>)> done) {
  disk_.run(io::Lane::kSnapshot, std::move(job),
            [this, alive = std::weak_ptr<char>(alive_), writing = std::move(writing),
             done = std::move(done)](Result<void> result) mutable {
              if (alive.expired()) return;
              if (writing != nullptr && writing != writing_) return;
              done(std::move(result));
            });
}

bool Snapshots::failed_lately() const {
  return failed_at_ && clock_.now() - *failed_at_ < kRetryAfter;
}

void Snapshots::begin(store::Store& store, const consensus::SnapshotMeta& meta,
                      std::uint64_t needs_free_bytes) {
  CHECK(writing_ == nullptr);
  CHECK(store.applied_index() == meta.index);
  writing_ = std::make_shared<Writing>();
  writing_->meta = meta;
  writing_->content = store.begin_snapshot();
  writing_->needs_free_bytes = needs_free_bytes;
  writing_->since = clock_.now();
  create_file(writing_);
}

void Snapshots::create_file(std::shared_ptr<Writing> writing) {
  auto create = [directory = directory_, group = group_, writing]() -> Result<void> {
    TRY(directory.require_free(writing->needs_free_bytes));
    writing->file = TRY(directory.create(group, writing->meta));
    return {};
  };
  run(writing, std::move(create), [this, writing](Result<void> created) {
    if (!created) return failed(writing, created.error());
    write_next(writing);
  });
}

void Snapshots::write_next(std::shared_ptr<Writing> writing) {
  const Instant begun = clock_.now();
  Bytes piece = writing->content->next(limits::kSnapshotWriteBytes);
  if (piece.empty()) return finish(std::move(writing));
  writing->bytes += piece.size();
  auto append = [writing, piece = std::move(piece)] { return writing->file->append(piece); };
  run(writing, std::move(append), [this, writing, begun](Result<void> written) {
    if (!written) return failed(writing, written.error());
    pause(writing, clock_.now() - begun);
  });
}

// After a piece for which it took so long.
void Snapshots::pause(std::shared_ptr<Writing> writing, Duration taken) {
  // There is no pause any more from half of the way on: what is dead in the store is given up
  // between two snapshots, and must get its time.
  const std::int64_t left =
      100 - std::min<std::int64_t>(2 * hooks_.percent_to_next(writing->meta.index), 100);
  if (left == 0) return write_next(std::move(writing));
  const Duration wanted{taken.ns * kPauseFactor * left / 100};
  clock_.after(std::min(wanted, kLongestPause),
               [this, alive = std::weak_ptr<char>(alive_), writing = std::move(writing)] {
                 if (!alive.expired() && writing == writing_) write_next(writing);
               });
}

void Snapshots::finish(std::shared_ptr<Writing> writing) {
  writing->content.reset();
  run(
      writing, [writing] { return writing->file->finish(); },
      [this, writing](Result<void> finished) {
        if (!finished) return failed(writing, finished.error());
        LOG(kInfo, "snapshot at index {} written: {} bytes in {} ms", writing->meta.index.value,
            writing->bytes, (clock_.now() - writing->since).ms());
        failed_at_.reset();
        writing_.reset();
        hooks_.taken(writing->meta);
        remove_unused();
      });
}

void Snapshots::failed(const std::shared_ptr<Writing>& writing, const Error& error) {
  LOG(kWarn, "snapshot at index {} failed: {}", writing->meta.index.value, error.message);
  // What clients ask for on a full disk does not hold back those that the group needs.
  const bool had_no_room =
      writing->needs_free_bytes > 0 && !writing->file && error.code == ErrorCode::kNoSpace;
  if (!had_no_room) failed_at_ = clock_.now();
  abort();
  hooks_.failed(error);
}

void Snapshots::remove_unused() {
  auto job = [directory = directory_, group = group_, in_use = hooks_.in_use()] {
    return directory.remove_unused(group, in_use);
  };
  run(nullptr, std::move(job), [](Result<void> removed) {
    if (!removed) LOG(kWarn, "cannot remove old snapshots: {}", removed.error().message);
  });
}

void Snapshots::size_of(LogIndex index, std::move_only_function<void(Result<std::uint64_t>)> done) {
  auto size = std::make_shared<std::uint64_t>();
  auto job = [directory = directory_, group = group_, index, size]() -> Result<void> {
    *size = TRY(directory.size_bytes(group, index));
    return {};
  };
  run(nullptr, std::move(job), [size, done = std::move(done)](Result<void> result) mutable {
    if (!result) return done(Failure(result.error()));
    done(*size);
  });
}

void Snapshots::read_piece(LogIndex index, std::uint64_t offset, std::uint32_t max_bytes,
                           std::move_only_function<void(Result<Bytes>)> done) {
  auto piece = std::make_shared<Bytes>();
  auto job = [directory = directory_, group = group_, index, offset, max_bytes,
              piece]() -> Result<void> {
    *piece = TRY(directory.read_raw(group, index, offset, max_bytes)).first;
    return {};
  };
  run(nullptr, std::move(job), [piece, done = std::move(done)](Result<void> result) mutable {
    if (!result) return done(Failure(result.error()));
    done(std::move(*piece));
  });
}

void Snapshots::read(const consensus::SnapshotRead& wanted) {
  auto chunk = std::make_shared<std::pair<Bytes, bool>>();
  auto job = [directory = directory_, group = group_, wanted, chunk,
              is_witness = hooks_.is_witness(wanted.to)]() -> Result<void> {
    *chunk = is_witness
                 ? TRY(directory.read_derived(group, wanted.index, wanted.offset, wanted.max_bytes,
                                              store::SnapshotWriter::witnessed))
                 : TRY(directory.read_raw(group, wanted.index, wanted.offset, wanted.max_bytes));
    return {};
  };
  run(nullptr, std::move(job), [this, wanted, chunk](Result<void> done) {
    if (!done) {
      LOG(kWarn, "cannot send snapshot {}: {}", wanted.index.value, done.error().message);
      return hooks_.chunk_read(wanted, std::nullopt, false);
    }
    hooks_.chunk_read(wanted, std::move(chunk->first), chunk->second);
  });
}

void Snapshots::write(consensus::SnapshotWrite chunk) {
  auto received = std::make_shared<consensus::SnapshotWrite>(std::move(chunk));
  auto loaded = std::make_shared<std::optional<store::Store>>();
  auto job = [directory = directory_, group = group_, limits = limits_, received, loaded,
              in_use = hooks_.in_use()]() -> Result<void> {
    TRY(directory.write_raw(group, received->meta.index, received->offset, received->data));
    if (!received->last) return {};
    store::SnapshotLoader loader(limits);
    TRY(directory.verify_received(
        group, received->meta, [&](BytesView piece) { return loader.feed(piece); }, in_use));
    *loaded = TRY(loader.finish());
    return {};
  };
  run(nullptr, std::move(job), [this, received, loaded](Result<void> done) {
    if (!done) LOG(kWarn, "received snapshot refused: {}", done.error().message);
    const std::uint64_t end = received->offset + received->data.size();
    hooks_.chunk_stored(received->meta, end, done.has_value(), std::move(*loaded));
  });
}

}  // namespace conclave::node
