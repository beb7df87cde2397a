#include "raft/codec.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "raft.pb.h"

namespace conclave::raft {
namespace {

using consensus::Entry;
using consensus::EntryKind;
using consensus::Membership;
using consensus::Position;

Position at(std::uint64_t index, std::uint64_t epoch) { return {LogIndex{index}, Epoch{epoch}}; }

Membership some_membership() {
  Membership membership = Membership::of_majority({NodeId{1}, NodeId{2}});
  membership.learners = {NodeId{7}};
  return membership;
}

// One message of every kind.
std::vector<Message> all_messages() {
  const Epoch term{5};
  const std::vector<Entry> entries{
      {LogIndex{10}, Epoch{4}, EntryKind::kCommand, "data"},
      {LogIndex{11}, Epoch{5}, EntryKind::kNoop, ""},
      {LogIndex{12}, Epoch{5}, EntryKind::kMembership, consensus::encode(some_membership())}};
  return {{term, PreVote{at(3, 2)}},
          {Epoch{0}, PreVote{}},
          {term, PreVoteReply{Epoch{6}, true}},
          {term, RequestVote{at(3, 2), true}},
          {term, VoteReply{true}},
          {term, Append{at(9, 4), LogIndex{8}, entries}},
          {term, Append{{}, {}, {}}},
          {term, AppendAck{LogIndex{12}}},
          {term, AppendReject{LogIndex{9}, at(8, 3)}},
          {term, Heartbeat{77, LogIndex{8}}},
          {term, HeartbeatReply{77}},
          {term, CommitNotice{LogIndex{8}}},
          {term, SnapshotChunk{{LogIndex{8}, Epoch{4}, some_membership()}, 30, "bytes", true}},
          {term, SnapshotProgress{LogIndex{8}, 35, false}},
          {term, TimeoutNow{}},
          {term, ReadRequest{1234567890123}},
          {term, ReadReply{1234567890123, LogIndex{8}}},
          {term, ReadReply{3, std::nullopt}}};
}

TEST(Codec, EveryMessageRoundTrips) {
  std::set<std::size_t> kinds;
  for (const Message& message : all_messages()) {
    kinds.insert(message.body.index());
    const auto decoded = decode(encode(message));
    ASSERT_TRUE(decoded.has_value()) << message.body.index() << decoded.error().message;
    EXPECT_EQ(*decoded, message) << message.body.index();
  }
  EXPECT_EQ(kinds.size(), std::variant_size_v<Body>) << "a kind of message is not tested";
}

// The fast path writes what protobuf would have written.
TEST(Codec, AnAppendFromTheLogHasTheSameBytes) {
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    Log log(at(rng.below(3), 0));
    log.restart_at(round % 2 ? at(200, 1) : Position{});
    Append append{log.base(), LogIndex{rng.below(300)}, {}};
    for (std::uint64_t n = rng.below(6); n > 0; --n) {
      const auto kind = rng.one_in(4) ? EntryKind::kNoop : EntryKind::kCommand;
      Entry entry{log.last().next(), Epoch{rng.between(1, 2) + 300}, kind,
                  Bytes(rng.below(400), 'x')};
      entry.epoch = std::max(entry.epoch, log.last_position().epoch);
      log.append(entry);
      append.entries.push_back(entry);
    }
    const Epoch term{400};
    EXPECT_EQ(encode_append(term, append.prev, append.commit, log, log.last()),
              encode(Message{term, append}));
  }
}

// docs/formats/peer.md shows these bytes.
TEST(Codec, TheExampleOfTheFormatsPage) {
  const Append append{at(9, 4), LogIndex{8}, {{LogIndex{10}, Epoch{5}, EntryKind::kCommand, "x"}}};
  const Bytes bytes("\x08\x01\x10\x05\x3a\x0d\x08\x09\x10\x04\x18\x08\x22\x05\x08\x05\x1a\x01x");
  EXPECT_EQ(encode(Message{Epoch{5}, append}), bytes);
}

TEST(Codec, RefusesWhatIsCutOff) {
  for (const Message& message : all_messages()) {
    const Bytes good = encode(message);
    for (std::size_t size = 0; size < good.size(); ++size) {
      // Some beginnings are a message of their own; none is this one.
      const auto decoded = decode(BytesView(good).substr(0, size));
      if (decoded) {
        EXPECT_NE(*decoded, message);
      }
    }
  }
}

void expect_corrupt(const Message& message) {
  const auto decoded = decode(encode(message));
  ASSERT_FALSE(decoded.has_value()) << message.body.index();
  EXPECT_EQ(decoded.error().code, ErrorCode::kCorrupt);
}

TEST(Codec, RefusesWhatHasNoSense) {
  const Epoch term{5};
  expect_corrupt({Epoch{0}, Heartbeat{}});               // nobody leads term 0
  expect_corrupt({Epoch{kMaxOnWire + 1}, Heartbeat{}});  // would overflow
  expect_corrupt({term, PreVote{at(0, 2)}});             // an epoch at the beginning
  expect_corrupt({term, RequestVote{at(2, 0), false}});  // a place without an epoch
  expect_corrupt({term, AppendAck{LogIndex{kMaxOnWire + 1}}});
  expect_corrupt({term, AppendReject{LogIndex{0}, {}}});        // everybody has the beginning
  expect_corrupt({term, AppendReject{LogIndex{3}, at(3, 1)}});  // a hint that leads nowhere
  expect_corrupt({term, Append{at(9, 6), {}, {}}});             // from a term to come
  expect_corrupt({term, SnapshotProgress{LogIndex{0}, 0, false}});
  expect_corrupt({term, SnapshotChunk{{LogIndex{0}, Epoch{0}, some_membership()}, 0, "x", true}});
  expect_corrupt({term, SnapshotChunk{{LogIndex{1}, Epoch{1}, some_membership()}, 0, "", false}});
}

TEST(Codec, RefusesEntriesWithoutSense) {
  const Epoch term{5};
  const auto with = [&](Epoch first, Epoch second, EntryKind kind, Bytes data) {
    return Message{term, Append{at(9, 4),
                                {},
                                {{LogIndex{10}, first, EntryKind::kNoop, ""},
                                 {LogIndex{11}, second, kind, std::move(data)}}}};
  };
  EXPECT_TRUE(decode(encode(with(Epoch{4}, Epoch{5}, EntryKind::kCommand, "x"))).has_value());
  expect_corrupt(with(Epoch{5}, Epoch{4}, EntryKind::kCommand, "x"));  // falls
  expect_corrupt(with(Epoch{3}, Epoch{5}, EntryKind::kCommand, "x"));  // before prev's
  expect_corrupt(with(Epoch{4}, Epoch{6}, EntryKind::kCommand, "x"));  // a term to come
  expect_corrupt(with(Epoch{4}, Epoch{5}, static_cast<EntryKind>(4), "x"));
  expect_corrupt(with(Epoch{4}, Epoch{5}, EntryKind::kMembership, "no membership"));
}

TEST(Codec, RefusesAnotherFormat) {
  v1::Message message;
  message.set_format(2);
  message.set_term(1);
  message.mutable_timeout_now();
  EXPECT_FALSE(decode(message.SerializeAsString()).has_value());
  message.set_format(1);
  EXPECT_TRUE(decode(message.SerializeAsString()).has_value());
  message.clear_timeout_now();
  EXPECT_FALSE(decode(message.SerializeAsString()).has_value()) << "no body";
}

TEST(Codec, HardStateRoundTrips) {
  const HardState state{Epoch{3}, NodeId{0x1234567890abcdef}, LogIndex{9}};
  const auto decoded = decode_hard_state(encode(state));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(*decoded, state);
  EXPECT_FALSE(decode_hard_state("").has_value()) << "no format";
  EXPECT_FALSE(decode_hard_state("\xff").has_value());
}

}  // namespace
}  // namespace conclave::raft
