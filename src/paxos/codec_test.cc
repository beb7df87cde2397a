#include "paxos/codec.h"

#include <gtest/gtest.h>

#include <set>

#include "base/rng.h"
#include "paxos.pb.h"
#include "paxos/ballot.h"

namespace conclave::paxos {
namespace {

using consensus::Entry;
using consensus::EntryKind;
using consensus::Membership;

constexpr Epoch kBallot = make_ballot(5, NodeId{2});
constexpr Epoch kEarlier = make_ballot(4, NodeId{3});
constexpr Epoch kLater = make_ballot(6, NodeId{1});

Membership some_membership() {
  Membership membership = Membership::of_majority({NodeId{1}, NodeId{2}});
  membership.learners = {NodeId{7}};
  return membership;
}

Membership changing_membership() {
  Membership membership = some_membership();
  membership.successor = {LogIndex{20}, *consensus::Quorum::flexible({{NodeId{4}, 2}}, 2, 2), {}};
  return membership;
}

Entry value(std::uint64_t index, Epoch epoch, EntryKind kind = EntryKind::kCommand,
            Bytes data = "data") {
  return {LogIndex{index}, epoch, kind, std::move(data)};
}

// One message of every kind.
std::vector<Message> all_messages() {
  const Entry change =
      value(14, kBallot, EntryKind::kMembership, consensus::encode(some_membership()));
  const std::vector<Pvalue> pvalues{{kEarlier, value(10, kEarlier)},
                                    {kBallot, value(12, kEarlier, EntryKind::kNoop, "")},
                                    {kBallot, change}};
  const Accept accept{LogIndex{8}, {value(10, kEarlier), value(12, kBallot), change}};
  return {
      {kBallot, PrePrepare{77, LogIndex{3}}},
      {Epoch{0}, PrePrepare{}},
      {kBallot, PrePrepareReply{77, true}},
      {kBallot, Prepare{LogIndex{4}, true}},
      {kBallot, Promise{LogIndex{9}, LogIndex{15}, LogIndex{11}, pvalues}},
      {kBallot, Promise{LogIndex{9}, {}, {}, {}}},
      {kBallot, Refuse{true}},
      {kBallot, accept},
      {kBallot, Accept{}},
      {kBallot, Accepted{LogIndex{8}, {{LogIndex{9}, LogIndex{9}}, {LogIndex{11}, LogIndex{12}}}}},
      {kBallot, Heartbeat{77, LogIndex{8}, true}},
      {kBallot, HeartbeatReply{77}},
      {kBallot, CommitNotice{LogIndex{8}}},
      {kBallot, CatchUp{{{LogIndex{9}, LogIndex{30}}}}},
      {kBallot, Learn{pvalues}},
      {kBallot, SnapshotChunk{{LogIndex{8}, kEarlier, changing_membership()}, 30, "bytes", true}},
      {kBallot, SnapshotProgress{LogIndex{8}, 35, false}},
      {kBallot, TimeoutNow{}},
      {kBallot, ReadRequest{1234567890123}},
      {kBallot, ReadReply{1234567890123, LogIndex{8}}},
      {kBallot, ReadReply{3, std::nullopt}}};
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
TEST(Codec, AnAcceptFromTheLogHasTheSameBytes) {
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    Log log({LogIndex{rng.below(3)}, kEarlier});
    Accept accept{LogIndex{rng.below(300)}, {}};
    std::vector<LogIndex> slots;
    LogIndex index = log.base().index;
    for (std::uint64_t n = rng.below(6); n > 0; --n) {
      index = index.plus(rng.between(1, 200));
      const auto kind = rng.one_in(4) ? EntryKind::kNoop : EntryKind::kCommand;
      const Entry entry{index, rng.one_in(2) ? kBallot : kEarlier, kind,
                        Bytes(rng.below(400), 'x')};
      log.put(kBallot, entry);
      slots.push_back(index);
      accept.values.push_back(entry);
    }
    EXPECT_EQ(encode_accept(kBallot, accept.commit, log, slots), encode(Message{kBallot, accept}));
  }
}

// docs/paxos.md shows these bytes.
TEST(Codec, TheExampleOfTheDocumentation) {
  const Accept accept{LogIndex{8}, {value(10, kBallot, EntryKind::kCommand, "x")}};
  const Bytes bytes("\x08\x01\x10\x82\x80\x80\x28\x42\x09\x08\x08\x12\x05\x08\x0a\x22\x01x");
  EXPECT_EQ(encode(Message{kBallot, accept}), bytes);
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
  expect_corrupt({Epoch{0}, Heartbeat{}});               // nobody leads ballot 0
  expect_corrupt({Epoch{kMaxOnWire + 1}, Heartbeat{}});  // would overflow
  expect_corrupt({kBallot, Prepare{LogIndex{0}, false}});
  expect_corrupt({kBallot, PrePrepare{1, LogIndex{kMaxOnWire + 1}}});
  expect_corrupt({kBallot, Promise{LogIndex{9}, LogIndex{9}, {}, {}}});  // leads nowhere
  expect_corrupt({kBallot, Promise{LogIndex{9}, {}, {}, {{kEarlier, value(8, kEarlier)}}}});
  expect_corrupt(
      {kBallot, Promise{LogIndex{9}, LogIndex{10}, {}, {{kEarlier, value(10, kEarlier)}}}});
  expect_corrupt({kBallot, Accepted{{}, {{LogIndex{3}, LogIndex{2}}}}});
  expect_corrupt({kBallot, Accepted{{}, {{LogIndex{3}, LogIndex{4}}, {LogIndex{4}, LogIndex{5}}}}});
  expect_corrupt({kBallot, CatchUp{}});
  expect_corrupt({kBallot, CatchUp{{{LogIndex{1}, LogIndex{kMaxOnWire + 1}}}}});
  expect_corrupt({kBallot, SnapshotProgress{LogIndex{0}, 0, false}});
  expect_corrupt(
      {kBallot, SnapshotChunk{{LogIndex{0}, Epoch{0}, some_membership()}, 0, "x", true}});
  expect_corrupt({kBallot, SnapshotChunk{{LogIndex{1}, kLater, some_membership()}, 0, "x", true}});
  expect_corrupt(
      {kBallot, SnapshotChunk{{LogIndex{20}, kEarlier, changing_membership()}, 0, "x", true}});
  expect_corrupt(
      {kBallot, SnapshotChunk{{LogIndex{1}, kEarlier, some_membership()}, 0, "", false}});
}

TEST(Codec, RefusesValuesWithoutSense) {
  const auto learn = [](Epoch ballot, Entry second) {
    return Message{kBallot, Learn{{{kEarlier, value(10, kEarlier)}, {ballot, std::move(second)}}}};
  };
  EXPECT_TRUE(decode(encode(learn(kBallot, value(11, kEarlier)))).has_value());
  expect_corrupt(learn(kBallot, value(10, kBallot)));    // a slot twice
  expect_corrupt(learn(kBallot, value(9, kBallot)));     // slots fall
  expect_corrupt(learn(kLater, value(11, kLater)));      // accepted in a ballot to come
  expect_corrupt(learn(kEarlier, value(11, kBallot)));   // proposed after it was accepted
  expect_corrupt(learn(Epoch{0}, value(11, kEarlier)));  // accepted in none
  expect_corrupt(learn(kBallot, value(11, kBallot, static_cast<EntryKind>(4))));
  expect_corrupt(learn(kBallot, value(11, kBallot, EntryKind::kMembership, "no membership")));
  expect_corrupt(learn(kBallot, value(11, kBallot, EntryKind::kMembership,
                                      consensus::encode(changing_membership()))));
}

TEST(Codec, RefusesAnotherFormat) {
  v1::Message message;
  message.set_format(2);
  message.set_ballot(kBallot.value);
  message.mutable_timeout_now();
  EXPECT_FALSE(decode(message.SerializeAsString()).has_value());
  message.set_format(1);
  EXPECT_TRUE(decode(message.SerializeAsString()).has_value());
  message.clear_timeout_now();
  EXPECT_FALSE(decode(message.SerializeAsString()).has_value()) << "no body";
}

TEST(Codec, RecordsRoundTrip) {
  for (const Epoch origin : {kBallot, kEarlier}) {
    for (const Bytes& data : {Bytes(), Bytes("x"), Bytes("12345678\1", 9)}) {
      const Slot slot{
          .ballot = kBallot, .value = value(9, origin, EntryKind::kCommand, data), .settled = {}};
      const Entry record = encode_record(slot);
      EXPECT_EQ(record.index, LogIndex{9});
      EXPECT_EQ(record.epoch, kBallot) << "the ballot in which it was accepted";
      EXPECT_EQ(*decode_record(record), (Pvalue{kBallot, slot.value}));
    }
  }
}

TEST(Codec, RefusesRecordsWithoutSense) {
  const auto refused = [](Epoch ballot, const Bytes& data) {
    return !decode_record({LogIndex{9}, ballot, EntryKind::kCommand, data}).has_value();
  };
  EXPECT_TRUE(refused(kBallot, "")) << "no end";
  EXPECT_TRUE(refused(kBallot, "x\2")) << "an unknown end";
  EXPECT_TRUE(refused(kBallot, Bytes("1234567\1"))) << "no room for an epoch";
  EXPECT_TRUE(refused(kBallot, Bytes("\0\0\0\0\0\0\0\0\1", 9))) << "proposed in ballot 0";
  EXPECT_TRUE(refused(kBallot, Bytes("\xff\xff\xff\xff\xff\xff\xff\xff\1", 9)));
  EXPECT_TRUE(refused(Epoch{0}, Bytes("x\0", 2)));
}

TEST(Codec, HardStateRoundTrips) {
  const HardState state{kBallot, NodeId{0x1234567890abcdef}, LogIndex{9}};
  const auto decoded = decode_hard_state(encode(state));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(*decoded, state);
  EXPECT_FALSE(decode_hard_state("").has_value()) << "no format";
  EXPECT_FALSE(decode_hard_state("\xff").has_value());
}

// --- ballots -------------------------------------------------------------------------------------

TEST(Ballot, OrderedByRoundAndOwnedByOne) {
  const NodeId a{1};
  const NodeId b{0x1234567890abcdef};
  EXPECT_LT(make_ballot(1, b), make_ballot(2, a));
  EXPECT_NE(make_ballot(1, a), make_ballot(1, b));
  EXPECT_TRUE(owns(b, make_ballot(7, b)));
  EXPECT_FALSE(owns(a, make_ballot(7, b)));
  EXPECT_FALSE(owns(NodeId{0}, Epoch{}));
  EXPECT_EQ(round_of(next_ballot(make_ballot(7, b), a)), 8u);
  EXPECT_TRUE(owns(a, next_ballot(make_ballot(7, b), a)));
}

TEST(Ballot, MembersOfOneSeatAreNoMembership) {
  const NodeId a{1};
  const NodeId twin{(std::uint64_t{1} << kSeatBits) | 0};  // folds onto the same seat
  ASSERT_EQ(seat_of(a), seat_of(twin));
  EXPECT_FALSE(seats_are_distinct(Membership::of_majority({a, twin})));
  EXPECT_TRUE(seats_are_distinct(Membership::of_majority({a, NodeId{2}})));
}

}  // namespace
}  // namespace conclave::paxos
