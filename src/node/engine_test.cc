// The choice of an engine, and with what a cluster of it can begin.

#include "node/engine.h"

#include <gtest/gtest.h>

namespace conclave::node {
namespace {

using consensus::Membership;
using consensus::Quorum;

TEST(Engine, Names) {
  EXPECT_EQ(consensus_of(name_of(Consensus::kRaft)), Consensus::kRaft);
  EXPECT_EQ(consensus_of(name_of(Consensus::kPaxos)), Consensus::kPaxos);
  EXPECT_EQ(consensus_of("zab"), std::nullopt);
}

TEST(Engine, IsTheOneThatWasChosen) {
  const consensus::SnapshotMeta start{
      .index = {}, .epoch = {}, .membership = Membership::of_majority({NodeId{1}})};
  consensus::EngineConfig config;
  config.self = NodeId{1};
  const Engine raft(Consensus::kRaft, config, {{}, start, {}}, 1);
  EXPECT_NE(raft.raft(), nullptr);
  EXPECT_EQ(raft.paxos(), nullptr);
  const Engine paxos(Consensus::kPaxos, config, {{}, start, {}}, 1);
  EXPECT_EQ(paxos.raft(), nullptr);
  EXPECT_NE(paxos.paxos(), nullptr);
}

TEST(Engine, WhoCannotBeToldApartFromAnotherIsNotAdded) {
  const consensus::SnapshotMeta start{
      .index = {}, .epoch = {}, .membership = Membership::of_majority({NodeId{1}})};
  consensus::EngineConfig config;
  config.self = NodeId{1};
  const Engine raft(Consensus::kRaft, config, {{}, start, {}}, 1);
  const Engine paxos(Consensus::kPaxos, config, {{}, start, {}}, 1);
  const NodeId like_one{1 << 24};
  const std::vector<NodeId> alike{NodeId{2}, NodeId{2 << 24}};
  EXPECT_TRUE(raft.may_add(like_one));
  EXPECT_FALSE(paxos.may_add(like_one));
  EXPECT_TRUE(raft.may_add(alike));
  EXPECT_TRUE(paxos.may_add(alike[0]));
  EXPECT_TRUE(paxos.may_add(alike[1]));
  EXPECT_FALSE(paxos.may_add(alike)) << "from each other";
  EXPECT_FALSE(raft.may_add(NodeId{1}));
  EXPECT_FALSE(raft.may_add(std::vector{NodeId{2}, NodeId{2}}));
}

TEST(Engine, QuorumsThatItCannotWorkWithAreRefused) {
  Membership flexible;
  flexible.voters = *Quorum::flexible({{NodeId{1}}, {NodeId{2}}}, 2, 1);
  EXPECT_TRUE(check_first_membership(Consensus::kPaxos, flexible).has_value());
  EXPECT_FALSE(check_first_membership(Consensus::kRaft, flexible).has_value());
  // Ids of which ballots could not tell one from the other.
  const Membership alike = Membership::of_majority({NodeId{1}, NodeId{1 << 24}});
  EXPECT_TRUE(check_first_membership(Consensus::kRaft, alike).has_value());
  EXPECT_FALSE(check_first_membership(Consensus::kPaxos, alike).has_value());
  Membership without_data = Membership::of_majority({NodeId{1}, NodeId{2}, NodeId{3}});
  without_data.witnesses = {NodeId{2}};
  EXPECT_TRUE(check_first_membership(Consensus::kRaft, without_data).has_value());
  without_data.witnesses = {NodeId{2}, NodeId{3}};
  EXPECT_FALSE(check_first_membership(Consensus::kRaft, without_data).has_value());
}

}  // namespace
}  // namespace conclave::node
