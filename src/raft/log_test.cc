#include "raft/log.h"

#include <gtest/gtest.h>

#include "raft/membership_log.h"

namespace conclave::raft {
namespace {

using consensus::Entry;
using consensus::EntryKind;
using consensus::Membership;
using consensus::Position;

Position at(std::uint64_t index, std::uint64_t epoch) { return {LogIndex{index}, Epoch{epoch}}; }

// A log after `base` with one entry of each epoch given, `bytes` long.
Log log_of(Position base, std::initializer_list<std::uint64_t> epochs, std::size_t bytes = 1) {
  Log log(base);
  for (const std::uint64_t epoch : epochs) {
    log.append(Entry{log.last().next(), Epoch{epoch}, EntryKind::kCommand, Bytes(bytes, 'x')});
  }
  return log;
}

TEST(Log, KnowsTheEpochOfItsBaseAndNothingBeforeOrAfter) {
  const Log log = log_of(at(3, 2), {2, 4});
  EXPECT_EQ(log.first(), LogIndex{4});
  EXPECT_EQ(log.last_position(), at(5, 4));
  EXPECT_EQ(log.epoch_at(LogIndex{2}), std::nullopt);
  EXPECT_EQ(log.epoch_at(LogIndex{3}), Epoch{2});
  EXPECT_EQ(log.epoch_at(LogIndex{6}), std::nullopt);
  EXPECT_TRUE(log.matches(at(5, 4)));
  EXPECT_FALSE(log.matches(at(5, 3)));
  EXPECT_FALSE(log.matches(at(6, 4)));
}

TEST(Log, CompactsTruncatesAndRestarts) {
  Log log = log_of({}, {1, 1, 2, 2, 3});
  log.compact_to(LogIndex{2});
  EXPECT_EQ(log.base(), at(2, 1));
  log.truncate_from(LogIndex{4});
  EXPECT_EQ(log.last_position(), at(3, 2));
  log.compact_to(LogIndex{3});
  EXPECT_EQ(log.last_position(), at(3, 2));
  EXPECT_EQ(log.first(), LogIndex{4});
  log.restart_at(at(9, 7));
  EXPECT_EQ(log.last_position(), at(9, 7));
}

TEST(Log, MeetingPointIsTheHighestWithAnEpochNotAbove) {
  const Log log = log_of({}, {1, 1, 1, 4, 4, 5, 5, 6, 6, 6});
  EXPECT_EQ(log.meeting_point(LogIndex{10}, Epoch{6}), at(10, 6));
  EXPECT_EQ(log.meeting_point(LogIndex{10}, Epoch{3}), at(3, 1));
  EXPECT_EQ(log.meeting_point(LogIndex{5}, Epoch{6}), at(5, 4));
  EXPECT_EQ(log.meeting_point(LogIndex{99}, Epoch{5}), at(7, 5));
  EXPECT_EQ(log.meeting_point(LogIndex{9}, Epoch{0}), at(0, 0));
  const Log compacted = log_of(at(3, 2), {4});
  EXPECT_EQ(compacted.meeting_point(LogIndex{4}, Epoch{3}), at(3, 2));
  EXPECT_EQ(compacted.meeting_point(LogIndex{1}, Epoch{3}), at(3, 2));
}

TEST(Log, RunsEndAtTheByteLimitButHoldAtLeastOneEntry) {
  const Log log = log_of({}, {1, 1, 1, 1}, 10);
  EXPECT_EQ(log.run_within(LogIndex{1}, 25), LogIndex{2});
  EXPECT_EQ(log.run_within(LogIndex{1}, 5), LogIndex{1});
  EXPECT_EQ(log.run_within(LogIndex{3}, 1000), LogIndex{4});
  EXPECT_EQ(log.slice(LogIndex{2}, LogIndex{3}).size(), 2u);
  EXPECT_TRUE(log.slice(LogIndex{5}, LogIndex{4}).empty());
}

TEST(LogDeathTest, RefusesGapsAndFallingEpochs) {
  Log log = log_of({}, {3});
  EXPECT_DEATH(log.append(Entry{LogIndex{3}, Epoch{3}, EntryKind::kNoop, ""}), "entry 3 after 1");
  EXPECT_DEATH(log.append(Entry{LogIndex{2}, Epoch{2}, EntryKind::kNoop, ""}), "epoch 2 after 3");
}

Membership of(std::initializer_list<std::uint64_t> ids) {
  std::vector<NodeId> nodes;
  for (const std::uint64_t id : ids) nodes.push_back(NodeId{id});
  return Membership::of_majority(nodes);
}

// Raft paper, section 6: in force when appended; a truncated entry takes its membership with it.
TEST(MembershipLog, FollowsTheLog) {
  MembershipLog log(LogIndex{0}, of({1}));
  log.append(LogIndex{3}, of({1, 2}));
  log.append(LogIndex{5}, of({2}));
  EXPECT_EQ(log.current(), of({2}));
  EXPECT_EQ(log.at(LogIndex{4}), of({1, 2}));
  EXPECT_EQ(log.at(LogIndex{2}), of({1}));
  EXPECT_TRUE(log.may_be_voter(NodeId{1}, LogIndex{4}));
  EXPECT_FALSE(log.may_be_voter(NodeId{1}, LogIndex{5}));
  log.truncate_from(LogIndex{5});
  EXPECT_EQ(log.current_index(), LogIndex{3});
  log.compact_to(LogIndex{4});
  EXPECT_EQ(log.current(), of({1, 2}));
  EXPECT_EQ(log.at(LogIndex{4}), of({1, 2}));
}

}  // namespace
}  // namespace conclave::raft
