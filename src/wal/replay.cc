#include "wal/replay.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace conclave::wal {
namespace {

constexpr const char* kWhatToDo =
    "To restore this member: move its data directory away, replace it (`conclave member replace`) "
    "and start it again; it will receive its state from the others";

class Replayer {
 public:
  Replayer(io::Disk& disk, std::string directory, const Identity& identity, const Replay& replay)
      : disk_(disk), directory_(std::move(directory)), identity_(identity), replay_(replay) {}

  Result<void> read_segment(std::uint64_t id);
  Result<Replayed> finish(std::uint64_t oldest_id);

 private:
  // A place in the log, with what is needed to speak about it.
  struct Place {
    std::uint64_t segment = 0;
    std::uint64_t offset = 0;
  };

  Result<SegmentReader> open_segment(std::uint64_t id);
  Result<std::uint64_t> read_run(SegmentReader& reader, std::uint64_t offset);
  Result<bool> accept(const Batch& batch, Place at);
  Result<void> deliver(const Batch& batch, Place at);
  Result<std::optional<std::uint64_t>> next_whole_batch(SegmentReader& reader, std::uint64_t from);
  Result<void> note_if_torn(SegmentReader& reader, std::uint64_t offset);

  std::string path_of(std::uint64_t id) const { return directory_ + "/" + segment_name(id); }
  Failure damaged(Place at, const std::string& what) const {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: damaged at offset {}: {}. {}",
                                                 path_of(at.segment), at.offset, what, kWhatToDo));
  }

  io::Disk& disk_;
  std::string directory_;
  const Identity& identity_;
  const Replay& replay_;
  SegmentHeader header_;  // of the segment that is being read
  Replayed out_;
  bool any_batch_ = false;
  // Where the next batch would have been, once reading has stopped somewhere.
  Place stopped_;
};

Result<SegmentReader> Replayer::open_segment(std::uint64_t id) {
  auto file = TRY(disk_.open(path_of(id), io::OpenMode::kRead));
  const auto bytes = TRY(file->size());
  SegmentReader reader(std::move(file), bytes);
  auto header = decode_segment_header(TRY(reader.view(0, kBlockBytes)), identity_);
  if (!header && header.error().code == ErrorCode::kCorrupt)
    return damaged({id, 0}, header.error().message);
  if (!header) return fail(header.error().code, path_of(id) + ": " + header.error().message);
  if (header->id != id)
    return damaged({id, 0}, fmt::format("the header is that of segment {}", header->id));
  header_ = *header;
  out_.segments.push_back(
      {.id = id, .salt = header->salt, .bytes = bytes / kBlockBytes * kBlockBytes, .last = {}});
  return reader;
}

// Reads batches from `offset` on for as long as they follow each other; the offset behind the last.
Result<std::uint64_t> Replayer::read_run(SegmentReader& reader, std::uint64_t offset) {
  while (true) {
    const auto batch = TRY(reader.batch_at(offset, header_));
    if (!batch) return offset;
    const auto end = offset + padded_batch_bytes(batch->body.size());
    if (!TRY(accept(*batch, {header_.id, offset}))) return offset;
    offset = end;
    out_.current = out_.segments.size() - 1;
    out_.end = offset;
  }
}

// False if the batch is not the one that must come now.
Result<bool> Replayer::accept(const Batch& batch, Place at) {
  // The oldest segment starts wherever the log had come to; everything before it has been released.
  // So its first batch may have any number, and a repetition is that batch's if it lies just behind
  // where one of its size was.
  const bool first_of_all = !any_batch_ && out_.segments.size() == 1 && header_.id != 1;
  const bool repeats = batch.flag == BatchFlag::kRepeat;
  const auto behind_first = kFirstBatchAt + padded_batch_bytes(batch.body.size());
  auto expected = out_.next_sequence;
  if (first_of_all && at.offset == kFirstBatchAt) expected = batch.sequence;
  if (first_of_all && repeats && at.offset == behind_first) expected = batch.sequence - 1;
  const bool stands_in = repeats && batch.sequence == expected + 1;
  if (batch.sequence != expected && !stands_in) return false;
  if (stands_in)
    LOG(kWarn, "{}: batch {} is unreadable, its repetition at offset {} is used instead",
        path_of(at.segment), expected, at.offset);
  TRY(deliver(batch, at));
  any_batch_ = true;
  out_.next_sequence = batch.sequence + 1;
  return true;
}

Result<void> Replayer::deliver(const Batch& batch, Place at) {
  auto& last = out_.segments.back().last;
  const RecordSink sink{.on_hard_state =
                            [this](GroupId group, BytesView state) {
                              out_.hard_states[group] = Bytes(state);
                              replay_.on_hard_state(group, Bytes(state));
                            },
                        .on_entry =
                            [this, &last](GroupId group, consensus::Entry entry) {
                              last[group] = std::max(last[group], entry.index);
                              replay_.on_entry(group, std::move(entry));
                            }};
  if (auto read = read_records(batch, sink); !read) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("{}: batch {} at offset {}: {}", path_of(at.segment), batch.sequence,
                            at.offset, read.error().message));
  }
  if (!out_.last) out_.last.emplace();
  out_.last->body.assign(batch.body);
  out_.last->records = batch.records;
  return {};
}

// Offset of the first whole batch from `from` on that is not older than the one that must come now.
Result<std::optional<std::uint64_t>> Replayer::next_whole_batch(SegmentReader& reader,
                                                                std::uint64_t from) {
  for (auto offset = from; offset + kBlockBytes <= reader.bytes(); offset += kBlockBytes) {
    const auto batch = TRY(reader.batch_at(offset, header_));
    if (batch && (!any_batch_ || batch->sequence >= out_.next_sequence)) return offset;
  }
  return std::nullopt;
}

Result<void> Replayer::note_if_torn(SegmentReader& reader, std::uint64_t offset) {
  const auto claim = claimed_batch(TRY(reader.view(offset, kBatchHeaderBytes)), header_.id);
  if (claim) out_.torn.emplace_back(header_.id, offset);
  return {};
}

Result<void> Replayer::read_segment(std::uint64_t id) {
  auto reader = TRY(open_segment(id));
  // Segments are filled in order: behind an unused one there can be nothing.
  const bool after_unused = out_.current + 2 < out_.segments.size();
  auto stop = after_unused ? kFirstBatchAt : TRY(read_run(reader, kFirstBatchAt));
  while (const auto found = TRY(next_whole_batch(reader, stop))) {
    const auto sequence = TRY(reader.batch_at(*found, header_))->sequence;
    const auto resumed = after_unused ? *found : TRY(read_run(reader, *found));
    if (resumed != *found) {
      stop = resumed;
      continue;
    }
    const bool first_here = *found == kFirstBatchAt && out_.segments.size() > 1;
    return damaged(first_here ? stopped_ : Place{id, stop},
                   fmt::format("batch {} must be here and is not, but a later write can be read "
                               "(batch {}, {} at offset {}), so this is not an unfinished write",
                               out_.next_sequence, sequence, segment_name(id), *found));
  }
  if (stop != kFirstBatchAt || out_.segments.size() == 1) stopped_ = {id, stop};
  return note_if_torn(reader, stop);
}

Result<Replayed> Replayer::finish(std::uint64_t oldest_id) {
  // Earlier segments are released only after a later one has begun, so this log did hold something.
  if (!any_batch_ && oldest_id != 1)
    return damaged({oldest_id, kFirstBatchAt},
                   "no batch can be read, but earlier segments existed");
  return std::move(out_);
}

}  // namespace

Result<Replayed> replay_log(io::Disk& disk, const std::string& directory,
                            const std::vector<std::uint64_t>& ids, const Identity& identity,
                            const Replay& replay) {
  for (std::size_t i = 1; i < ids.size(); ++i) {
    if (ids[i] == ids[i - 1] + 1) continue;
    return fail(ErrorCode::kCorrupt,
                fmt::format("{}/{} is missing, though later segments exist. {}", directory,
                            segment_name(ids[i - 1] + 1), kWhatToDo));
  }
  Replayer replayer(disk, directory, identity, replay);
  for (const auto id : ids) TRY(replayer.read_segment(id));
  return replayer.finish(ids.front());
}

}  // namespace conclave::wal
