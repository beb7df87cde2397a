// What the golden scripts cannot say: starting from what survived, refusing what cannot be, and the
// exact rules of durability.

#include "raft/raft.h"

#include <gtest/gtest.h>

#include "raft/describe.h"
#include "raft/invariants.h"

namespace conclave::raft {
namespace {

using consensus::Entry;
using consensus::EntryKind;
using consensus::Envelope;
using consensus::Output;
using consensus::Saved;

constexpr NodeId kSelf{1};

Position at(std::uint64_t index, std::uint64_t epoch) { return {LogIndex{index}, Epoch{epoch}}; }

Entry entry(std::uint64_t index, std::uint64_t epoch) {
  return {LogIndex{index}, Epoch{epoch}, EntryKind::kCommand, "x"};
}

consensus::EngineConfig config() {
  consensus::EngineConfig config;
  config.self = kSelf;
  return config;
}

Saved fresh(std::initializer_list<std::uint64_t> voters = {1, 2, 3}) {
  std::vector<NodeId> ids;
  for (const std::uint64_t id : voters) ids.push_back(NodeId{id});
  return {std::nullopt, {LogIndex{}, Epoch{}, Membership::of_majority(ids)}, {}};
}

Envelope from(std::uint64_t id, Epoch term, Body body) {
  return {GroupId{}, NodeId{id}, kSelf, encode(Message{term, std::move(body)})};
}

std::vector<std::string> words(const std::vector<Envelope>& envelopes) {
  std::vector<std::string> out;
  for (const Envelope& envelope : envelopes) out.push_back(describe(*decode(envelope.message)));
  return out;
}

// --- what survived -------------------------------------------------------------------------------

TEST(RaftAbsorb, ALaterRecordReplacesEverythingFromItsIndexOn) {
  Saved saved = fresh();
  for (const Entry& e : {entry(1, 1), entry(2, 1), entry(3, 1), entry(2, 2)})
    Raft::absorb(saved, e);
  EXPECT_EQ(saved.entries, (std::vector{entry(1, 1), entry(2, 2)}));
}

TEST(RaftAbsorb, RecordsThatTheSnapshotCoversAreDroppedButStillOverwrite) {
  Saved saved = fresh();
  saved.snapshot.index = LogIndex{2};
  saved.snapshot.epoch = Epoch{2};
  // 3 of epoch 1 was overwritten along with 2, and must not come back because the snapshot now
  // stands for 2.
  for (const Entry& e : {entry(1, 1), entry(2, 1), entry(3, 1), entry(2, 2)})
    Raft::absorb(saved, e);
  EXPECT_TRUE(saved.entries.empty());
}

// A cluster that was restored from another's snapshot: nothing was ever promised.
TEST(RaftStart, ALogMayBeginWithASnapshotAlone) {
  Saved saved = fresh({1});
  saved.snapshot.index = LogIndex{1};
  saved.snapshot.epoch = Epoch{1};
  Raft raft(config(), saved, 1);
  check_state(raft.state());
  EXPECT_EQ(raft.state().term, Epoch{1});
  EXPECT_EQ(raft.commit(), LogIndex{1});
  for (int i = 0; i < 1'000 && !raft.is_leader(); ++i) {
    raft.tick();
    const Output out = raft.take_output();
    if (out.ticket) raft.persisted(out.ticket);
  }
  check_state(raft.state());
  EXPECT_TRUE(raft.is_leader());
  EXPECT_EQ(raft.state().log.last_position(), at(2, 2));
}

TEST(RaftStart, TheLogRestartsAtASnapshotThatCoversMore) {
  Saved saved = fresh();
  saved.snapshot.index = LogIndex{9};
  saved.snapshot.epoch = Epoch{3};
  saved.hard_state = encode(HardState{Epoch{3}, NodeId{2}, LogIndex{4}});
  for (const Entry& e : {entry(1, 1), entry(2, 1)}) Raft::absorb(saved, e);
  Raft raft(config(), saved, 1);
  check_state(raft.state());
  EXPECT_EQ(raft.state().log.last_position(), at(9, 3));
  EXPECT_EQ(raft.commit(), LogIndex{9});
  EXPECT_TRUE(raft.take_output().empty());
}

// The log was overruled, the snapshot came in its place, and the old entries are still in the file.
// Kept, they would make this replica's log look older than what it acknowledged, and it would vote
// for somebody without that.
TEST(RaftStart, EntriesOlderThanTheSnapshotBeforeThemAreDropped) {
  Saved saved = fresh();
  saved.snapshot.index = LogIndex{2};
  saved.snapshot.epoch = Epoch{5};
  saved.hard_state = encode(HardState{Epoch{5}, NodeId{}, LogIndex{}});
  for (const Entry& e : {entry(1, 1), entry(2, 1), entry(3, 1), entry(4, 1)})
    Raft::absorb(saved, e);
  const Raft raft(config(), saved, 1);
  EXPECT_EQ(raft.state().log.last_position(), at(2, 5));
}

TEST(RaftStart, CommitIsAHintThatTheLogBounds) {
  Saved saved = fresh();
  saved.hard_state = encode(HardState{Epoch{1}, NodeId{}, LogIndex{7}});
  for (const Entry& e : {entry(1, 1), entry(2, 1)}) Raft::absorb(saved, e);
  Raft raft(config(), saved, 1);
  EXPECT_EQ(raft.commit(), LogIndex{2});
  EXPECT_EQ(raft.take_output().committed.size(), 2u);
}

TEST(RaftStart, ASnapshotMayBeDurableBeforeItsTermIs) {
  Saved saved = fresh();
  saved.snapshot.index = LogIndex{2};
  saved.snapshot.epoch = Epoch{5};
  saved.hard_state = encode(HardState{Epoch{4}, NodeId{2}, LogIndex{}});
  Raft raft(config(), saved, 1);
  EXPECT_EQ(raft.epoch(), Epoch{5});
  EXPECT_EQ(raft.state().vote, NodeId{}) << "the vote was of another term";
  EXPECT_EQ(*raft.take_output().hard_state, encode(HardState{Epoch{5}, NodeId{}, LogIndex{2}}));
}

TEST(RaftStartDeathTest, AGapInTheLogStopsTheMember) {
  Saved saved = fresh();
  saved.hard_state = encode(HardState{Epoch{1}, NodeId{}, LogIndex{}});
  saved.entries = {entry(2, 1)};
  EXPECT_DEATH(Raft(config(), saved, 1), "entry 2 after 0");
  saved.entries = {};
  saved.hard_state = "damaged";
  EXPECT_DEATH(Raft(config(), saved, 1), "hard state");
}

TEST(RaftStart, TheSameSeedGivesTheSameRun) {
  const auto campaigns_after = [](std::uint64_t seed) {
    Raft raft(config(), fresh(), seed);
    int ticks = 0;
    while (raft.take_output().send_now.empty()) {
      raft.tick();
      ++ticks;
    }
    return ticks;
  };
  EXPECT_EQ(campaigns_after(1), campaigns_after(1));
  std::set<int> different;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const int ticks = campaigns_after(seed);
    EXPECT_GE(ticks, 100);
    EXPECT_LT(ticks, 200);
    different.insert(ticks);
  }
  EXPECT_GT(different.size(), 10u);
}

// --- what is refused -----------------------------------------------------------------------------

// A follower of 2 in term 3 with three entries, the first of them committed.
Raft follower() {
  Raft raft(config(), fresh(), 1);
  const Append append{{}, LogIndex{1}, {entry(1, 1), entry(2, 3), entry(3, 3)}};
  EXPECT_TRUE(raft.step(from(2, Epoch{3}, append)).has_value());
  raft.persisted(raft.take_output().ticket);
  return raft;
}

void expect_refused(const Envelope& envelope) {
  Raft raft = follower();
  const std::string before = describe(raft.state());
  const auto stepped = raft.step(envelope);
  ASSERT_FALSE(stepped.has_value());
  EXPECT_EQ(stepped.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(describe(raft.state()), before);
  EXPECT_TRUE(raft.take_output().empty());
}

TEST(RaftStep, RefusesWithoutAnyEffect) {
  expect_refused({GroupId{}, NodeId{2}, kSelf, "garbage"});
  expect_refused({GroupId{}, NodeId{2}, kSelf, ""});
  const Bytes good = encode(Message{Epoch{9}, Heartbeat{1, {}}});
  expect_refused({GroupId{5}, NodeId{2}, kSelf, good});
  expect_refused({GroupId{}, NodeId{2}, NodeId{3}, good});
  expect_refused({GroupId{}, kSelf, kSelf, good});
  expect_refused({GroupId{}, NodeId{}, kSelf, good});
}

TEST(RaftStep, RefusesWhatNoReplicaCouldHaveSent) {
  // A second leader in a term.
  expect_refused(from(3, Epoch{3}, Heartbeat{1, {}}));
  expect_refused(from(3, Epoch{3}, TimeoutNow{}));
  // Something else in the place of what is committed, even from a later term.
  expect_refused(from(3, Epoch{4}, Append{{}, {}, {entry(1, 2)}}));
  expect_refused(from(3, Epoch{4}, Append{at(1, 2), {}, {}}));
  const Membership membership = fresh().snapshot.membership;
  expect_refused(
      from(3, Epoch{4}, SnapshotChunk{{LogIndex{1}, Epoch{2}, membership}, 0, "x", true}));
  // What a witness gets, which this member is not.
  Entry witnessed = entry(4, 3);
  witnessed.kind = EntryKind::kWitnessed;
  expect_refused(from(2, Epoch{3}, Append{at(3, 3), {}, {witnessed}}));
  // A commit beyond what was ever acknowledged.
  expect_refused(from(2, Epoch{3}, Heartbeat{1, LogIndex{4}}));
  expect_refused(from(2, Epoch{3}, CommitNotice{LogIndex{4}}));
}

TEST(RaftStep, ALateAppendUndoesNothing) {
  Raft raft = follower();
  ASSERT_TRUE(raft.step(from(2, Epoch{3}, Append{{}, LogIndex{1}, {entry(1, 1)}})).has_value());
  EXPECT_EQ(raft.state().log.last(), LogIndex{3});
  EXPECT_EQ(words(raft.take_output().send_after_persist),
            std::vector<std::string>{"t3 AppendAck match=1"});
}

// Found by the simulator, at seed 7344: the end of a snapshot was stored after the log had come
// past it.
TEST(RaftStep, ASnapshotThatTheLogHasOvertakenIsNotInstalled) {
  consensus::EngineConfig wide = config();
  wide.snapshot_window = 4;
  Raft raft(wide, fresh(), 1);
  const SnapshotMeta meta{LogIndex{2}, Epoch{3}, fresh().snapshot.membership};
  ASSERT_TRUE(raft.step(from(2, Epoch{3}, SnapshotChunk{meta, 0, "ab", false})).has_value());
  ASSERT_TRUE(raft.step(from(2, Epoch{3}, SnapshotChunk{meta, 2, "cd", true})).has_value());
  Output out = raft.take_output();
  ASSERT_EQ(out.snapshot_writes.size(), 1u) << "the other waits for this one";
  raft.persisted(out.ticket);
  const Append append{{}, LogIndex{3}, {entry(1, 1), entry(2, 3), entry(3, 3)}};
  ASSERT_TRUE(raft.step(from(2, Epoch{3}, append)).has_value());
  out = raft.take_output();
  EXPECT_EQ(out.committed.size(), 3u);
  raft.persisted(out.ticket);
  raft.snapshot_stored(LogIndex{2}, 2, true);
  out = raft.take_output();
  EXPECT_TRUE(out.snapshot_writes.empty());
  EXPECT_FALSE(raft.state().install.has_value());
  EXPECT_EQ(words(out.send_after_persist), std::vector<std::string>{"t3 AppendAck match=3"});
}

// Raft paper, figure 2, AppendEntries 5: what comes after may be an older leader's.
TEST(RaftStep, AnAppendCommitsOnlyAsFarAsTheLogsAreKnownToMatch) {
  Raft raft = follower();
  ASSERT_TRUE(raft.step(from(3, Epoch{5}, Append{at(1, 1), LogIndex{3}, {}})).has_value());
  EXPECT_EQ(raft.state().commit, LogIndex{1});
  ASSERT_TRUE(
      raft.step(from(3, Epoch{5}, Append{at(1, 1), LogIndex{3}, {entry(2, 3)}})).has_value());
  EXPECT_EQ(raft.state().commit, LogIndex{2});
  EXPECT_EQ(raft.state().log.last(), LogIndex{3});
}

TEST(RaftStep, AStrangerIsAnsweredButNotHeeded) {
  Raft raft = follower();
  ASSERT_TRUE(raft.step(from(99, Epoch{8}, RequestVote{at(9, 7), false})).has_value());
  EXPECT_EQ(raft.epoch(), Epoch{3}) << "the leader is heard";
  ASSERT_TRUE(raft.step(from(99, Epoch{8}, PreVote{at(9, 7)})).has_value());
  EXPECT_EQ(words(raft.take_output().send_now),
            std::vector<std::string>{"t3 PreVoteReply for=9 no"});
  ASSERT_TRUE(raft.step(from(99, Epoch{3}, AppendAck{LogIndex{3}})).has_value());
  EXPECT_TRUE(raft.take_output().empty());
}

// Raft paper, section 5.4.1, for the vote itself: the pre-vote before it asks the same, but may be
// long past.
TEST(RaftStep, AVoteGoesToNoOlderLog) {
  const auto answer = [](Position last) {
    Raft raft = follower();
    raft.peer_lost(NodeId{2});
    EXPECT_TRUE(raft.step(from(3, Epoch{4}, RequestVote{last, false})).has_value());
    const Output out = raft.take_output();
    return out.send_after_persist.empty() ? words(out.send_now).at(0)
                                          : words(out.send_after_persist).at(0);
  };
  EXPECT_EQ(answer(at(2, 3)), "t4 VoteReply no") << "shorter";
  EXPECT_EQ(answer(at(9, 2)), "t4 VoteReply no") << "longer, but of an older term";
  EXPECT_EQ(answer(at(3, 3)), "t4 VoteReply yes");
  EXPECT_EQ(answer(at(1, 4)), "t4 VoteReply yes") << "of a later term";
}

// --- durability ----------------------------------------------------------------------------------

TEST(RaftDurability, OneAckForAllAppendsOfATurn) {
  Raft raft(config(), fresh(), 1);
  ASSERT_TRUE(raft.step(from(2, Epoch{1}, Append{{}, {}, {entry(1, 1)}})).has_value());
  ASSERT_TRUE(raft.step(from(2, Epoch{1}, Append{at(1, 1), {}, {entry(2, 1)}})).has_value());
  const Output out = raft.take_output();
  EXPECT_TRUE(out.ticket);
  EXPECT_TRUE(out.send_now.empty());
  EXPECT_EQ(words(out.send_after_persist), std::vector<std::string>{"t1 AppendAck match=2"});
}

// The rule in output.h: there is nothing to write, and yet the ack has to wait for the write
// before.
TEST(RaftDurability, ARepeatedAppendIsAcknowledgedAfterPersist) {
  Raft raft(config(), fresh(), 1);
  const Append append{{}, {}, {entry(1, 1)}};
  ASSERT_TRUE(raft.step(from(2, Epoch{1}, append)).has_value());
  EXPECT_TRUE(raft.take_output().ticket);
  ASSERT_TRUE(raft.step(from(2, Epoch{1}, append)).has_value());
  const Output out = raft.take_output();
  EXPECT_FALSE(out.ticket);
  EXPECT_FALSE(out.empty());
  EXPECT_TRUE(out.send_now.empty());
  EXPECT_EQ(out.send_after_persist.size(), 1u);
}

// With most of the weight its own vote elects it, but not before that vote cannot be forgotten:
// restarted before, it could lead the same term a second time, with other entries.
TEST(RaftDurability, AnOwnVoteCountsOnlyOnceDurable) {
  Saved saved = fresh();
  saved.snapshot.membership.voters = consensus::Quorum::weighted({{kSelf, 3}, {NodeId{2}, 1}});
  Raft raft(config(), saved, 1);
  raft.tick();
  const Output out = raft.take_output();
  EXPECT_TRUE(raft.state().candidate());
  EXPECT_EQ(words(out.send_after_persist), std::vector<std::string>{"t1 RequestVote last=0/0"});
  raft.persisted(out.ticket);
  EXPECT_TRUE(raft.is_leader());
}

TEST(RaftDurability, TheLeaderCountsItsOwnEntriesOnceDurable) {
  Raft raft(config(), fresh({1}), 1);
  raft.tick();
  raft.persisted(raft.take_output().ticket);
  const Output noop = raft.take_output();
  ASSERT_TRUE(raft.propose("a").has_value());
  const Output a = raft.take_output();
  raft.persisted(noop.ticket);
  EXPECT_EQ(raft.commit(), LogIndex{1});
  raft.persisted(a.ticket);
  EXPECT_EQ(raft.commit(), LogIndex{2});
  EXPECT_EQ(raft.take_output().committed.size(), 2u);
}

TEST(RaftDurabilityDeathTest, ATicketThatWasNeverHandedOut) {
  Raft raft(config(), fresh(), 1);
  EXPECT_DEATH(raft.persisted(Ticket{1}), "never handed out");
}

// --- answers of the interface --------------------------------------------------------------------

TEST(RaftInterface, AFollowerRefusesWhatOnlyALeaderCanDo) {
  Raft raft = follower();
  EXPECT_EQ(raft.propose("x").error(), consensus::ProposeError::kNotLeader);
  EXPECT_EQ(raft.change_membership(fresh({1}).snapshot.membership).error(),
            consensus::ChangeError::kNotLeader);
  EXPECT_FALSE(raft.transfer(NodeId{2}));
  EXPECT_EQ(raft.leader(), NodeId{2});
  EXPECT_EQ(raft.status().role, consensus::Role::kFollower);
  EXPECT_TRUE(raft.status().peers.empty());
}

TEST(RaftInterface, ChangesThatMakeNoSense) {
  Raft raft(config(), fresh({1}), 1);
  raft.tick();
  raft.persisted(raft.take_output().ticket);
  const Membership two = fresh({1, 2}).snapshot.membership;
  EXPECT_EQ(raft.change_membership(two).error(), consensus::ChangeError::kInProgress)
      << "the term's first entry is not committed";
  raft.persisted(raft.take_output().ticket);
  EXPECT_EQ(raft.change_membership({}).error(), consensus::ChangeError::kInvalid);
  EXPECT_EQ(raft.change_membership(raft.membership()).error(), consensus::ChangeError::kInvalid);
  Membership joint = two;
  joint.outgoing = two.voters;
  EXPECT_EQ(raft.change_membership(joint).error(), consensus::ChangeError::kInvalid);
  Membership flexible = two;
  flexible.voters = *consensus::Quorum::flexible({{kSelf}, {NodeId{2}}}, 2, 1);
  EXPECT_EQ(raft.change_membership(flexible).error(), consensus::ChangeError::kInvalid)
      << "two elections would not have to meet";
  Membership without_data = fresh({1, 2, 3}).snapshot.membership;
  without_data.witnesses = {kSelf};
  EXPECT_EQ(raft.change_membership(without_data).error(), consensus::ChangeError::kInvalid)
      << "who has the data is a witness for the asking";
  EXPECT_TRUE(raft.change_membership(two).has_value());
  EXPECT_EQ(raft.change_membership(two).error(), consensus::ChangeError::kInProgress);
}

TEST(RaftInterface, WithoutALeaderAReadBarrierFailsAtOnce) {
  Raft raft(config(), fresh(), 1);
  raft.read_barrier(ReadId{7});
  const Output out = raft.take_output();
  ASSERT_EQ(out.reads_ready.size(), 1u);
  EXPECT_EQ(out.reads_ready[0].id, ReadId{7});
  EXPECT_EQ(out.reads_ready[0].index, std::nullopt);
}

// An answer to a question of an earlier run of this member would be a stale read.
TEST(RaftInterface, AnAnswerToAnotherRunsReadIsNoAnswer) {
  const auto ask = [](Raft& raft) {
    raft.read_barrier(ReadId{1});
    const Output out = raft.take_output();
    return std::get<ReadRequest>(decode(out.send_now.back().message)->body).batch;
  };
  Raft before = follower();
  const std::uint64_t batch = ask(before);
  Raft after(config(), fresh(), 2);
  ASSERT_TRUE(after.step(from(2, Epoch{3}, Heartbeat{1, {}})).has_value());
  ask(after);
  ASSERT_TRUE(after.step(from(2, Epoch{3}, ReadReply{batch, LogIndex{1}})).has_value());
  EXPECT_TRUE(after.take_output().reads_ready.empty());
}

TEST(RaftInterface, SnapshotMetaCarriesTheMembershipOfItsIndex) {
  Raft raft = follower();
  EXPECT_EQ(raft.snapshot_meta(LogIndex{1}).epoch, Epoch{1});
  EXPECT_EQ(raft.snapshot_meta(LogIndex{1}).membership, raft.membership());
  EXPECT_EQ(raft.snapshot_meta(LogIndex{0}).epoch, Epoch{0});
}

TEST(RaftInterface, CompactionKeepsWhatItIsTold) {
  Raft raft = follower();
  ASSERT_TRUE(raft.step(from(2, Epoch{3}, CommitNotice{LogIndex{3}})).has_value());
  (void)raft.take_output();
  raft.snapshot_taken(raft.snapshot_meta(LogIndex{2}), LogIndex{2});
  EXPECT_EQ(raft.status().first, LogIndex{2});
  raft.snapshot_taken(raft.snapshot_meta(LogIndex{3}), LogIndex{4});
  EXPECT_EQ(raft.status().first, LogIndex{4});
  EXPECT_EQ(raft.status().last, LogIndex{3});
  check_state(raft.state());
}

TEST(RaftInterface, ReleaseLetsGoOfWhatIsHandedOutAndOnTheDisk) {
  Raft raft = follower();
  raft.release(LogIndex{});
  EXPECT_EQ(raft.status().first, LogIndex{1});
  raft.release(LogIndex{4});
  EXPECT_EQ(raft.status().first, LogIndex{2}) << "the first is committed";
  ASSERT_TRUE(raft.step(from(2, Epoch{3}, CommitNotice{LogIndex{3}})).has_value());
  raft.release(LogIndex{4});
  EXPECT_EQ(raft.status().first, LogIndex{2}) << "committed, and not handed out";
  const Append append{at(3, 3), LogIndex{4}, {entry(4, 3)}};
  ASSERT_TRUE(raft.step(from(2, Epoch{3}, append)).has_value());
  const Output out = raft.take_output();
  EXPECT_EQ(out.committed.size(), 3u);
  raft.release(LogIndex{5});
  EXPECT_EQ(raft.status().first, LogIndex{4}) << "the fourth is not on the disk";
  EXPECT_EQ(raft.state().durable, LogIndex{3});
  check_state(raft.state());
  raft.persisted(out.ticket);
  raft.release(LogIndex{4});
  EXPECT_EQ(raft.status().first, LogIndex{4}) << "the owner keeps it";
  raft.release(LogIndex{5});
  EXPECT_EQ(raft.status().first, LogIndex{5});
  EXPECT_EQ(raft.status().last, LogIndex{4});
  EXPECT_FALSE(raft.wants_snapshot());
  check_state(raft.state());
}

TEST(RaftInterface, ASnapshotMayBeDoneWhenTheLogBeginsLater) {
  Raft raft = follower();
  ASSERT_TRUE(raft.step(from(2, Epoch{3}, CommitNotice{LogIndex{3}})).has_value());
  (void)raft.take_output();
  const SnapshotMeta begun = raft.snapshot_meta(LogIndex{1});
  raft.release(LogIndex{4});
  raft.snapshot_taken(begun, LogIndex{2});
  EXPECT_EQ(raft.state().snapshot, begun);
  EXPECT_EQ(raft.status().first, LogIndex{4});
  check_state(raft.state());
}

}  // namespace
}  // namespace conclave::raft
