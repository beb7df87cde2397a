#include "paxos/log.h"

#include <gtest/gtest.h>

#include "paxos/membership_log.h"

namespace conclave::paxos {
namespace {

using consensus::Entry;
using consensus::EntryKind;
using consensus::Membership;

Entry value(std::uint64_t index) { return {LogIndex{index}, Epoch{1}, EntryKind::kCommand, "x"}; }

TEST(Log, HasHoles) {
  Log log;
  log.put(Epoch{1}, value(3));
  log.put(Epoch{2}, value(1));
  EXPECT_EQ(log.first(), LogIndex{1});
  EXPECT_EQ(log.last(), LogIndex{3});
  EXPECT_EQ(log.find(LogIndex{2}), nullptr);
  EXPECT_EQ(log.at(LogIndex{1}).ballot, Epoch{2});
}

TEST(Log, ALaterBallotReplacesItsSlotAndNothingElse) {
  Log log;
  for (std::uint64_t i = 1; i <= 3; ++i) log.put(Epoch{1}, value(i)).durable = true;
  log.put(Epoch{2}, value(2));
  EXPECT_FALSE(log.at(LogIndex{2}).durable);
  EXPECT_TRUE(log.at(LogIndex{3}).durable);
}

TEST(Log, CompactionKeepsWhatIsAfterIt) {
  Log log;
  log.put(Epoch{1}, value(1));
  log.put(Epoch{1}, value(4));
  log.compact_to({LogIndex{2}, Epoch{1}});
  EXPECT_EQ(log.find(LogIndex{1}), nullptr);
  EXPECT_EQ(log.last(), LogIndex{4});
  log.compact_to({LogIndex{9}, Epoch{1}});
  EXPECT_EQ(log.last(), LogIndex{9}) << "nothing is left: the base";
}

TEST(LogDeathTest, NothingIsPutBelowTheBase) {
  Log log({LogIndex{5}, Epoch{1}});
  EXPECT_DEATH(log.put(Epoch{2}, value(5)), "compacted up to 5");
}

// --- memberships ---------------------------------------------------------------------------------

Membership members(std::initializer_list<std::uint64_t> ids) {
  std::vector<NodeId> nodes;
  for (const std::uint64_t id : ids) nodes.push_back(NodeId{id});
  return Membership::of_majority(std::move(nodes));
}

TEST(MembershipLog, DecidesAWindowLater) {
  MembershipLog log(LogIndex{}, members({1, 2, 3}), 4);
  log.decide(LogIndex{5}, members({4}));
  EXPECT_EQ(log.at(LogIndex{8}).membership, members({1, 2, 3}));
  EXPECT_EQ(log.at(LogIndex{9}).membership, members({4}));
  EXPECT_EQ(log.open(LogIndex{7}).size(), 2u) << "slot 8 and those after it";
  EXPECT_EQ(log.open(LogIndex{8}).size(), 1u);
}

TEST(MembershipLog, OneChangeAtATime) {
  MembershipLog log(LogIndex{}, members({1}), 4);
  EXPECT_TRUE(log.may_decide(LogIndex{5}));
  log.decide(LogIndex{5}, members({2}));
  EXPECT_FALSE(log.may_decide(LogIndex{8})) << "the one of slot 5 is not in force";
  EXPECT_TRUE(log.may_decide(LogIndex{9}));
}

// A replica that starts from the snapshot decides every slot as one that has the whole log does.
TEST(MembershipLog, ASnapshotCarriesTheSuccessor) {
  for (std::uint64_t window = 1; window <= 5; ++window) {
    MembershipLog whole(LogIndex{}, members({1, 2, 3}), window);
    whole.decide(LogIndex{3}, members({4}));
    for (std::uint64_t index = 3; index < 12; ++index) {
      MembershipLog from_snapshot(LogIndex{index}, whole.snapshot_at(LogIndex{index}), window);
      MembershipLog compacted = whole;
      compacted.compact_to(LogIndex{index});
      for (std::uint64_t slot = index + 1; slot < 15; ++slot) {
        EXPECT_EQ(from_snapshot.at(LogIndex{slot}).membership, whole.at(LogIndex{slot}).membership);
        EXPECT_EQ(compacted.at(LogIndex{slot}).membership, whole.at(LogIndex{slot}).membership);
      }
      EXPECT_EQ(from_snapshot.may_decide(LogIndex{index + 1}),
                whole.may_decide(LogIndex{index + 1}));
    }
    EXPECT_FALSE(whole.snapshot_at(LogIndex{2}).successor) << "not chosen by then";
  }
}

}  // namespace
}  // namespace conclave::paxos
