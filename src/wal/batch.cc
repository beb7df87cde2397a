#include "wal/batch.h"

#include <fmt/core.h>

#include <limits>
#include <utility>

#include "base/check.h"
#include "wal/coding.h"

namespace conclave::wal {
namespace {

constexpr std::uint32_t kBatchMagic = 0x48434243;  // "CBCH"
constexpr std::uint16_t kBatchVersion = 1;
constexpr std::size_t kChecksumAt = 40;

enum class RecordType : std::uint8_t { kEntry = 1, kHardState = 2 };

struct RecordHeader {
  RecordType type = RecordType::kEntry;
  std::uint8_t kind = 0;
  GroupId group;
  LogIndex index;
  Epoch epoch;
};

void put_record(Bytes& out, const RecordHeader& header, BytesView data) {
  CHECK(data.size() <= std::numeric_limits<std::uint32_t>::max());
  put(out, static_cast<std::uint32_t>(data.size()));
  put(out, std::to_underlying(header.type));
  put(out, header.kind);
  put(out, std::uint16_t{0});
  put(out, header.group.value);
  put(out, header.index.value);
  put(out, header.epoch.value);
  out.append(data);
}

Result<void> deliver(const RecordHeader& header, BytesView data, const RecordSink& sink) {
  switch (header.type) {
    case RecordType::kEntry:
      if (header.kind > std::to_underlying(consensus::EntryKind::kWitnessed))
        return fail(ErrorCode::kCorrupt,
                    fmt::format("entry kind {} is unknown to this version: the log was "
                                "written by a newer one",
                                header.kind));
      sink.on_entry(header.group,
                    consensus::Entry{.index = header.index,
                                     .epoch = header.epoch,
                                     .kind = static_cast<consensus::EntryKind>(header.kind),
                                     .data = Bytes(data)});
      return {};
    case RecordType::kHardState:
      sink.on_hard_state(header.group, data);
      return {};
  }
  return fail(ErrorCode::kCorrupt,
              fmt::format("record type {} is unknown to this version: the log was written by a "
                          "newer one",
                          std::to_underlying(header.type)));
}

std::uint64_t batch_checksum(BytesView batch, std::uint64_t salt) {
  return checksum(batch.substr(kBatchHeaderBytes), checksum(batch.substr(0, kChecksumAt), salt));
}

}  // namespace

BatchBuilder::BatchBuilder(std::size_t body_bytes) {
  bytes_.reserve(padded_batch_bytes(body_bytes));
  bytes_.resize(kBatchHeaderBytes);
}

void BatchBuilder::put_hard_state(GroupId group, BytesView state) {
  put_record(bytes_,
             {.type = RecordType::kHardState, .kind = 0, .group = group, .index = {}, .epoch = {}},
             state);
  ++records_;
}

void BatchBuilder::put_entry(GroupId group, const consensus::Entry& entry) {
  put_record(bytes_,
             {.type = RecordType::kEntry,
              .kind = std::to_underlying(entry.kind),
              .group = group,
              .index = entry.index,
              .epoch = entry.epoch},
             entry.data);
  ++records_;
}

void BatchBuilder::put_records(BytesView records, std::uint32_t count) {
  bytes_.append(records);
  records_ += count;
}

Bytes BatchBuilder::finish(const BatchPlace& place, BatchFlag flag) && {
  Bytes header;
  header.reserve(kBatchHeaderBytes);
  put(header, kBatchMagic);
  put(header, kBatchVersion);
  put(header, std::to_underlying(flag));
  put(header, std::uint64_t{bytes_.size() - kBatchHeaderBytes});
  put(header, place.sequence);
  put(header, place.segment);
  put(header, records_);
  put(header, std::uint32_t{0});
  bytes_.replace(0, kChecksumAt, header);
  put(header, batch_checksum(bytes_, place.salt));
  bytes_.replace(0, kBatchHeaderBytes, header);
  bytes_.resize(padded_batch_bytes(bytes_.size() - kBatchHeaderBytes));
  return std::move(bytes_);
}

std::optional<BatchClaim> claimed_batch(BytesView bytes, std::uint64_t segment) {
  if (bytes.size() < kBatchHeaderBytes) return std::nullopt;
  if (get<std::uint32_t>(bytes, 0) != kBatchMagic) return std::nullopt;
  if (get<std::uint64_t>(bytes, 24) != segment) return std::nullopt;
  return BatchClaim{.sequence = get<std::uint64_t>(bytes, 16),
                    .body_bytes = get<std::uint64_t>(bytes, 8)};
}

std::optional<Batch> parse_batch(BytesView bytes, std::uint64_t segment, std::uint64_t salt) {
  const auto claim = claimed_batch(bytes, segment);
  if (!claim) return std::nullopt;
  if (claim->body_bytes > bytes.size() - kBatchHeaderBytes) return std::nullopt;
  bytes = bytes.substr(0, kBatchHeaderBytes + claim->body_bytes);
  if (get<std::uint64_t>(bytes, kChecksumAt) != batch_checksum(bytes, salt)) return std::nullopt;
  return Batch{.version = get<std::uint16_t>(bytes, 4),
               .flag = static_cast<BatchFlag>(get<std::uint16_t>(bytes, 6)),
               .sequence = claim->sequence,
               .records = get<std::uint32_t>(bytes, 32),
               .body = bytes.substr(kBatchHeaderBytes)};
}

Result<void> read_records(const Batch& batch, const RecordSink& sink) {
  if (batch.version != kBatchVersion)
    return fail(ErrorCode::kCorrupt,
                fmt::format("batch version {} is unknown to this version ({}): the log was written "
                            "by a newer one",
                            batch.version, kBatchVersion));
  BytesView rest = batch.body;
  for (std::uint32_t i = 0; i < batch.records; ++i) {
    if (rest.size() < kRecordHeaderBytes)
      return fail(ErrorCode::kCorrupt, fmt::format("record {} has no whole header", i));
    const std::size_t size = get<std::uint32_t>(rest, 0);
    if (size > rest.size() - kRecordHeaderBytes)
      return fail(ErrorCode::kCorrupt, fmt::format("record {} reaches beyond its batch", i));
    const RecordHeader header{.type = static_cast<RecordType>(get<std::uint8_t>(rest, 4)),
                              .kind = get<std::uint8_t>(rest, 5),
                              .group = GroupId{get<std::uint64_t>(rest, 8)},
                              .index = LogIndex{get<std::uint64_t>(rest, 16)},
                              .epoch = Epoch{get<std::uint64_t>(rest, 24)}};
    TRY(deliver(header, rest.substr(kRecordHeaderBytes, size), sink));
    rest.remove_prefix(kRecordHeaderBytes + size);
  }
  if (!rest.empty())
    return fail(ErrorCode::kCorrupt, fmt::format("{} bytes behind the last record", rest.size()));
  return {};
}

}  // namespace conclave::wal
