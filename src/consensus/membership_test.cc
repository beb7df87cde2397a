#include "consensus/membership.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace conclave::consensus {
namespace {

std::vector<NodeId> nodes(std::initializer_list<std::uint64_t> ids) {
  std::vector<NodeId> out;
  for (const std::uint64_t id : ids) out.push_back({id});
  return out;
}

Membership joint(std::initializer_list<std::uint64_t> old_ids,
                 std::initializer_list<std::uint64_t> new_ids) {
  Membership membership = Membership::of_majority(nodes(new_ids));
  membership.outgoing = Quorum::majority(nodes(old_ids));
  return membership;
}

auto among(std::initializer_list<std::uint64_t> ids) {
  return [ids = nodes(ids)](NodeId id) { return std::ranges::find(ids, id) != ids.end(); };
}

// Raft paper, section 6: agreement requires separate majorities from both the old and new
// configurations.
TEST(Membership, JointNeedsBothMajorities) {
  const Membership membership = joint({1, 2, 3}, {3, 4, 5});
  EXPECT_FALSE(membership.reached(among({1, 2, 3})));
  EXPECT_FALSE(membership.reached(among({3, 4, 5})));
  EXPECT_TRUE(membership.reached(among({2, 3, 4})));
  EXPECT_EQ(membership.agreed([](NodeId id) { return LogIndex{id.value}; }), LogIndex{2});
}

TEST(Membership, JointTallyIsLostWhenOneSideIs) {
  const Membership membership = joint({1, 2, 3}, {4});
  const auto tally = [&](std::initializer_list<std::uint64_t> yes,
                         std::initializer_list<std::uint64_t> no) {
    return membership.tally([&](NodeId id) -> std::optional<bool> {
      if (among(yes)(id)) return true;
      if (among(no)(id)) return false;
      return std::nullopt;
    });
  };
  EXPECT_EQ(tally({1, 2}, {}), VoteResult::kPending);
  EXPECT_EQ(tally({1, 2}, {4}), VoteResult::kLost);
  EXPECT_EQ(tally({1, 2, 4}, {3}), VoteResult::kWon);
}

TEST(Membership, AllListsEverybodyOnce) {
  Membership membership = joint({1, 2, 3}, {2, 3, 4});
  membership.learners = nodes({1, 9});
  EXPECT_EQ(membership.all(), nodes({1, 2, 3, 4, 9}));
  EXPECT_TRUE(membership.is_voter(NodeId{1}));
  EXPECT_FALSE(membership.is_learner(NodeId{1})) << "a voter until the change is final";
  EXPECT_TRUE(membership.is_learner(NodeId{9}));
}

TEST(Membership, EncodingRoundTrips) {
  Membership plain = Membership::of_majority(nodes({1, 2, 3}));
  plain.learners = nodes({7});
  Membership weighted;
  weighted.voters = Quorum::weighted({{NodeId{5}, 3}, {NodeId{4}, 1}});
  Membership flexible = plain;
  flexible.voters = *Quorum::flexible({{NodeId{1}}, {NodeId{2}}, {NodeId{3}}}, 3, 1);
  Membership changing = flexible;
  changing.successor = {LogIndex{9}, Quorum::majority(nodes({4, 5})), nodes({1, 7})};
  Membership simple_changing = plain;
  simple_changing.successor = {LogIndex{2}, flexible.voters, {}};
  Membership witnessed = Membership::of_majority(nodes({1, 2, 3}));
  witnessed.learners = nodes({7});
  witnessed.witnesses = nodes({3, 7});
  Membership witnessed_changing = changing;  // one vote writes: no voter may be one
  witnessed_changing.witnesses = nodes({7});
  for (const Membership& membership : {plain, weighted, joint({1, 2, 3}, {3, 4, 5}), flexible,
                                       changing, simple_changing, witnessed, witnessed_changing}) {
    const auto decoded = decode_membership(encode(membership));
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(*decoded, membership);
  }
}

// docs/formats/peer.md shows these bytes.
TEST(Membership, TheExampleOfTheFormatsPage) {
  const char bytes[] =
      "\1"
      "\0"
      "\2\0\0\0"
      "\1\0\0\0\0\0\0\0"
      "\1\0\0\0"
      "\2\0\0\0\0\0\0\0"
      "\1\0\0\0"
      "\0\0\0\0";
  EXPECT_EQ(encode(Membership::of_majority(nodes({1, 2}))), Bytes(bytes, sizeof(bytes) - 1));
}

// docs/formats/peer.md shows these bytes too.
TEST(Membership, TheExampleWithAWitness) {
  const char bytes[] =
      "\3"
      "\0"
      "\3\0\0\0"
      "\1\0\0\0\0\0\0\0"
      "\1\0\0\0"
      "\2\0\0\0\0\0\0\0"
      "\1\0\0\0"
      "\3\0\0\0\0\0\0\0"
      "\1\0\0\0"
      "\2\0\0\0\0\0\0\0"
      "\2\0\0\0\0\0\0\0"
      "\0\0\0\0"
      "\0\0\0\0\0\0\0\0"
      "\1\0\0\0"
      "\3\0\0\0\0\0\0\0";
  Membership membership = Membership::of_majority(nodes({1, 2, 3}));
  membership.witnesses = nodes({3});
  EXPECT_EQ(encode(membership), Bytes(bytes, sizeof(bytes) - 1));
  Bytes none = encode(membership);
  none.resize(none.size() - 12);
  none += Bytes(4, '\0');
  EXPECT_FALSE(decode_membership(none).has_value()) << "format 3 without witnesses";
}

void refuses_any_other(const Bytes& good) {
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(decode_membership(BytesView(good).substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(decode_membership(good + '\0').has_value());
  // Whatever one flipped bit makes of it, it is refused or is the one form of another membership.
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    if (const auto decoded = decode_membership(bad)) {
      EXPECT_EQ(encode(*decoded), bad);
    }
  }
}

// The proof that thresholds meet is only needed where they do not add up to more than all.
TEST(Membership, ManyVotersWithFlexibleQuorumsAreReadBack) {
  std::vector<Vote> votes;
  for (std::uint64_t id = 1; id <= 40; ++id) votes.push_back({NodeId{id}, 2});
  Membership membership;
  membership.voters = *Quorum::flexible(std::move(votes), 70, 11);
  EXPECT_EQ(decode_membership(encode(membership)), membership);
}

TEST(Membership, ASuccessorIsWhatWasDecidedLast) {
  Membership membership = Membership::of_majority(nodes({1, 2, 3}));
  EXPECT_EQ(membership.decided(), membership);
  membership.successor = {LogIndex{9}, Quorum::majority(nodes({4, 5})), nodes({1})};
  Membership next = Membership::of_majority(nodes({4, 5}));
  next.learners = nodes({1});
  EXPECT_EQ(membership.decided(), next);
}

TEST(Membership, DecodeRefusesWhatEncodeDidNotWrite) {
  Membership plain = joint({1, 2}, {2, 3});
  plain.learners = nodes({8});
  Membership changing = Membership::of_majority(nodes({1, 2}));
  changing.voters = *Quorum::flexible({{NodeId{1}}, {NodeId{2}}}, 2, 1);
  changing.successor = {LogIndex{9}, Quorum::majority(nodes({2, 3})), nodes({8})};
  Membership witnessed = changing;
  witnessed.witnesses = nodes({8});
  for (const Membership& membership : {plain, changing, witnessed}) {
    refuses_any_other(encode(membership));
  }
}

TEST(Membership, ThresholdsThatNeedNotMeetAreNotRead) {
  Membership membership = Membership::of_majority(nodes({1, 2}));
  membership.voters = *Quorum::flexible({{NodeId{1}}, {NodeId{2}}}, 2, 1);
  Bytes bytes = encode(membership);
  const std::size_t election = bytes.find(Bytes("\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16), 7);
  ASSERT_NE(election, Bytes::npos);
  bytes[election] = 1;
  EXPECT_FALSE(decode_membership(bytes).has_value());
}

TEST(Membership, WitnessesDecideNothingAlone) {
  Membership membership = Membership::of_majority(nodes({1, 2, 3}));
  membership.witnesses = nodes({3});
  EXPECT_TRUE(membership.is_valid());
  membership.witnesses = nodes({2, 3});
  EXPECT_FALSE(membership.is_valid()) << "what both stored would be nowhere";
  membership.voters = Quorum::weighted({{NodeId{1}, 2}, {NodeId{2}, 1}, {NodeId{3}, 1}});
  EXPECT_TRUE(membership.is_valid()) << "two of four votes";
  membership.voters = *Quorum::flexible({{NodeId{1}}, {NodeId{2}}, {NodeId{3}}}, 3, 1);
  EXPECT_FALSE(membership.is_valid()) << "one alone writes";
  membership.voters = *Quorum::flexible({{NodeId{1}}, {NodeId{2}}, {NodeId{3}}}, 1, 3);
  EXPECT_FALSE(membership.is_valid()) << "one alone elects";

  Membership changing = joint({1, 2, 3}, {3});
  changing.witnesses = nodes({3});
  EXPECT_FALSE(changing.is_valid()) << "the outgoing voters";
  changing.outgoing.reset();
  changing.successor = {LogIndex{9}, Quorum::majority(nodes({3})), {}};
  EXPECT_FALSE(changing.is_valid()) << "the successor's voters";
}

TEST(Membership, WitnessesAreMembers) {
  Membership membership = Membership::of_majority(nodes({1, 2, 3}));
  membership.learners = nodes({7});
  membership.witnesses = nodes({7});
  EXPECT_TRUE(membership.is_valid()) << "on its way to be a voter";
  EXPECT_TRUE(membership.is_witness(NodeId{7}));
  EXPECT_FALSE(membership.is_witness(NodeId{1}));
  membership.witnesses = nodes({8});
  EXPECT_FALSE(membership.is_valid()) << "nobody";
  membership.witnesses = nodes({7, 3});
  EXPECT_FALSE(membership.is_valid()) << "unsorted";
  membership.witnesses.clear();
  membership.merge_witnesses(nodes({3, 7, 8}));
  EXPECT_EQ(membership.witnesses, nodes({3, 7})) << "those that are members";

  membership.successor = {LogIndex{9}, Quorum::majority(nodes({1, 2, 4})), nodes({3})};
  const Membership next = membership.decided();
  EXPECT_EQ(next.witnesses, nodes({3})) << "those that stay";
  EXPECT_TRUE(next.is_valid());
}

TEST(Membership, NobodyBecomesAWitness) {
  Membership before = Membership::of_majority(nodes({1, 2, 3}));
  before.witnesses = nodes({3});
  Membership after = Membership::of_majority(nodes({1, 2, 3, 4, 5}));
  EXPECT_FALSE(after.agrees_on_witnesses(before)) << "3 would need the data";
  after.witnesses = nodes({3, 4});
  EXPECT_TRUE(after.agrees_on_witnesses(before));
  after.witnesses = nodes({2, 3});
  EXPECT_FALSE(after.agrees_on_witnesses(before));
}

TEST(Membership, InvalidOnes) {
  EXPECT_FALSE(Membership{}.is_valid()) << "no voters";
  Membership both = Membership::of_majority(nodes({1}));
  both.learners = nodes({1});
  EXPECT_FALSE(both.is_valid()) << "voter and learner";
  both.learners = nodes({3, 2});
  EXPECT_FALSE(both.is_valid()) << "unsorted";
  Membership changing = joint({1, 2}, {2, 3});
  changing.successor = {LogIndex{9}, Quorum::majority(nodes({4})), {}};
  EXPECT_FALSE(changing.is_valid()) << "two ways of changing at once";
  changing.outgoing.reset();
  EXPECT_TRUE(changing.is_valid());
  EXPECT_EQ(changing.all(), nodes({2, 3, 4}));
  EXPECT_FALSE(changing.is_voter(NodeId{4})) << "not yet";
  changing.successor->learners = nodes({4});
  EXPECT_FALSE(changing.is_valid()) << "voter and learner";
}

}  // namespace
}  // namespace conclave::consensus
