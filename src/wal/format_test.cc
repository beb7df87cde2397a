// The bytes of segments, batches and snapshots, and what is refused.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wal/batch.h"
#include "wal/coding.h"
#include "wal/segment.h"
#include "wal/snapshot_format.h"

namespace conclave::wal {
namespace {

using testing::HasSubstr;

constexpr BatchPlace kPlace{.segment = 1, .salt = 0x1234, .sequence = 1};
constexpr Identity kIdentity{ClusterId{0xc1}, NodeId{0xa}};

Bytes one_batch() {
  BatchBuilder batch(100);
  batch.put_hard_state(GroupId{0}, "t1");
  batch.put_entry(GroupId{0}, {.index = LogIndex{7},
                               .epoch = Epoch{2},
                               .kind = consensus::EntryKind::kCommand,
                               .data = "put a"});
  return std::move(batch).finish(kPlace, BatchFlag::kNone);
}

std::string hex(BytesView bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

// Puts a right checksum over bytes that were changed.
void sign_batch(Bytes& batch, std::uint64_t salt) {
  const auto body = get<std::uint64_t>(batch, 8);
  Bytes sum;
  put(sum, checksum(BytesView(batch).substr(kBatchHeaderBytes, body),
                    checksum(BytesView(batch).substr(0, 40), salt)));
  batch.replace(40, 8, sum);
}

std::string refusal(const Bytes& batch) {
  const auto parsed = parse_batch(batch, kPlace.segment, kPlace.salt);
  if (!parsed) return "not a batch";
  const auto read =
      read_records(*parsed, {[](GroupId, BytesView) {}, [](GroupId, consensus::Entry) {}});
  return read ? "accepted" : read.error().message;
}

TEST(BatchFormat, IsAsDocumented) {
  const auto batch = one_batch();
  EXPECT_EQ(batch.size(), kBlockBytes);
  EXPECT_EQ(hex(BytesView(batch).substr(0, 40)),
            "43424348"
            "0100"
            "0000"
            "4700000000000000"
            "0100000000000000"
            "0100000000000000"
            "02000000"
            "00000000");
  EXPECT_EQ(hex(BytesView(batch).substr(40, 8)), "1705596af7237712");
  EXPECT_EQ(hex(BytesView(batch).substr(48, 34)),
            "02000000"
            "02"
            "00"
            "0000"
            "0000000000000000"
            "0000000000000000"
            "0000000000000000"
            "7431");
  EXPECT_EQ(hex(BytesView(batch).substr(82, 37)),
            "05000000"
            "01"
            "00"
            "0000"
            "0000000000000000"
            "0700000000000000"
            "0200000000000000"
            "7075742061");
  EXPECT_EQ(BytesView(batch).substr(119), Bytes(kBlockBytes - 119, '\0'));
}

TEST(BatchFormat, GivesItsRecordsBack) {
  const auto batch = one_batch();
  const auto parsed = parse_batch(batch, kPlace.segment, kPlace.salt);
  ASSERT_TRUE(parsed.has_value());
  std::string seen;
  const RecordSink sink{
      [&](GroupId group, BytesView state) { seen += fmt::format("{}={} ", group.value, state); },
      [&](GroupId group, const consensus::Entry& entry) {
        seen += fmt::format("{}:{}.{}={}", group.value, entry.index.value, entry.epoch.value,
                            entry.data);
      }};
  ASSERT_TRUE(read_records(*parsed, sink).has_value());
  EXPECT_EQ(seen, "0=t1 0:7.2=put a");
}

TEST(BatchFormat, AnotherUseOfTheFileIsNoBatch) {
  const auto batch = one_batch();
  EXPECT_FALSE(parse_batch(batch, kPlace.segment + 1, kPlace.salt).has_value());
  EXPECT_FALSE(parse_batch(batch, kPlace.segment, kPlace.salt + 1).has_value());
}

TEST(BatchFormat, EveryBitCounts) {
  for (std::size_t at = 0; at < 119; ++at) {
    auto batch = one_batch();
    batch[at] = static_cast<char>(batch[at] ^ 0x10);
    EXPECT_EQ(refusal(batch), "not a batch") << at;
  }
}

TEST(BatchFormat, WhatNewerVersionsWroteIsRefusedByName) {
  auto version = one_batch();
  version[4] = 2;
  sign_batch(version, kPlace.salt);
  EXPECT_THAT(refusal(version), HasSubstr("batch version 2 is unknown to this version (1)"));
  auto type = one_batch();
  type[52] = 3;
  sign_batch(type, kPlace.salt);
  EXPECT_THAT(refusal(type), HasSubstr("record type 3 is unknown to this version"));
  auto kind = one_batch();
  kind[87] = 9;
  sign_batch(kind, kPlace.salt);
  EXPECT_THAT(refusal(kind), HasSubstr("entry kind 9 is unknown to this version"));
}

TEST(BatchFormat, WrongGrammarUnderARightChecksumIsRefused) {
  auto longer = one_batch();
  longer[48] = 100;
  sign_batch(longer, kPlace.salt);
  EXPECT_EQ(refusal(longer), "record 0 reaches beyond its batch");
  auto more = one_batch();
  more[32] = 3;
  sign_batch(more, kPlace.salt);
  EXPECT_EQ(refusal(more), "record 2 has no whole header");
  auto fewer = one_batch();
  fewer[32] = 1;
  sign_batch(fewer, kPlace.salt);
  EXPECT_EQ(refusal(fewer), "37 bytes behind the last record");
}

TEST(SegmentFormat, HeaderIsAsDocumented) {
  const auto block = encode_segment_header({.identity = kIdentity, .id = 5, .salt = 0x1234});
  EXPECT_EQ(block.size(), kBlockBytes);
  EXPECT_EQ(hex(BytesView(block).substr(0, 56)),
            "434f4e434c57414c"
            "01000000"
            "00100000"
            "c100000000000000"
            "0a00000000000000"
            "0500000000000000"
            "3412000000000000"
            "40edf98bf8673158");
  const auto header = decode_segment_header(block, kIdentity);
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->id, 5u);
  EXPECT_EQ(header->salt, 0x1234u);
}

TEST(SegmentFormat, HeadersOfOthersAndOfNewerVersionsAreRefused) {
  auto block = encode_segment_header({.identity = kIdentity, .id = 5, .salt = 1});
  EXPECT_EQ(decode_segment_header(block, {ClusterId{1}, NodeId{0xa}}).error().code,
            ErrorCode::kMismatch);
  block[8] = 2;
  EXPECT_THAT(decode_segment_header(block, kIdentity).error().message, HasSubstr("checksum"));
  Bytes sum;
  put(sum, checksum(BytesView(block).substr(0, 48), 0));
  block.replace(48, 8, sum);
  EXPECT_THAT(decode_segment_header(block, kIdentity).error().message,
              HasSubstr("log version 2 is unknown to this version (1)"));
}

TEST(SegmentFormat, NamesAreOrderedAndExact) {
  EXPECT_EQ(segment_name(7), "00000000000000000007.log");
  EXPECT_EQ(parse_segment_name("00000000000000000007.log"), 7u);
  for (const char* other : {"7.log", "00000000000000000000.log", "0000000000000000000x.log",
                            "00000000000000000007.tmp", "spare-00000000000000000007"})
    EXPECT_FALSE(parse_segment_name(other).has_value()) << other;
}

TEST(SnapshotFormat, IsAsDocumented) {
  SnapshotEncoder encoder;
  auto file = encoder.header({ClusterId{0xc1}, GroupId{3}},
                             {.index = LogIndex{50},
                              .epoch = Epoch{5},
                              .membership = consensus::Membership::of_majority({NodeId{1}})});
  file += encoder.chunk("x");
  file += encoder.footer();
  EXPECT_EQ(hex(file),
            "434f4e43534e4150"
            "01000000"
            "16000000"
            "c100000000000000"
            "0300000000000000"
            "3200000000000000"
            "0500000000000000"
            "01000100000001000000000000000100000000000000"
            "97330c52f6f9499a"
            "01000000"
            "5836eb41efa61998"
            "78"
            "00000000"
            "0100000000000000"
            "0100000000000000"
            "3c9dd5ea1e71acea");
}

TEST(SnapshotFormat, ASavedOneMayBeAnybodysAndBePadded) {
  const SnapshotOwner owner{ClusterId{1}, GroupId{0}};
  SnapshotEncoder encoder;
  Bytes file = encoder.header(
      owner, {LogIndex{9}, Epoch{2}, consensus::Membership::of_majority({NodeId{1}})});
  file += encoder.chunk("content");
  file += encoder.footer();
  const auto decode = [](const Bytes& bytes) {
    Bytes content;
    const auto source = [&](std::uint64_t offset, std::size_t size) -> Result<Bytes> {
      return offset < bytes.size() ? bytes.substr(offset, size) : Bytes{};
    };
    const auto saved = decode_saved_snapshot(source, [&](BytesView piece) -> Result<void> {
      content += piece;
      return {};
    });
    EXPECT_TRUE(!saved || content == "content");
    return saved;
  };
  ASSERT_TRUE(decode(file).has_value());
  EXPECT_EQ(decode(file)->owner, owner);
  EXPECT_EQ(decode(file)->meta.index, LogIndex{9});
  EXPECT_TRUE(decode(file + Bytes(511, '\0')).has_value());
  EXPECT_FALSE(decode(file + Bytes(512, '\0')).has_value());
  EXPECT_FALSE(decode(file + Bytes(100, '\0') + "x").has_value());
  EXPECT_FALSE(decode(file.substr(0, file.size() - 1)).has_value());
}

TEST(SnapshotFormat, ChunksMustFollowEachOther) {
  const SnapshotOwner owner{ClusterId{1}, GroupId{0}};
  SnapshotEncoder encoder;
  const auto header =
      encoder.header(owner, {.index = LogIndex{9},
                             .epoch = Epoch{2},
                             .membership = consensus::Membership::of_majority({NodeId{1}})});
  const auto a = encoder.chunk("aaaa");
  const auto b = encoder.chunk("bbbb");
  const auto footer = encoder.footer();
  const auto read = [&](const Bytes& file) {
    Bytes content;
    const auto source = [&](std::uint64_t at, std::size_t size) -> Result<Bytes> {
      return at < file.size() ? file.substr(at, size) : Bytes{};
    };
    const auto meta = decode_snapshot(source, owner, [&](BytesView piece) -> Result<void> {
      content += piece;
      return {};
    });
    return meta ? content : meta.error().message;
  };
  EXPECT_EQ(read(header + a + b + footer), "aaaabbbb");
  EXPECT_THAT(read(header + b + a + footer), HasSubstr("a chunk fails its checksum"));
  EXPECT_THAT(read(header + a + footer), HasSubstr("the footer fails its checksum"));
  EXPECT_THAT(read(header + a + b), HasSubstr("the file ends too early"));
  EXPECT_THAT(read(header + a + b + footer + "x"), HasSubstr("bytes behind the footer"));
  EXPECT_THAT(read(""), HasSubstr("the file ends too early"));
  EXPECT_THAT(read(Bytes(100, 'x')), HasSubstr("not a snapshot file"));
}

}  // namespace
}  // namespace conclave::wal
