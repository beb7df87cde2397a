// What the golden scripts cannot say: starting from what survived, refusing what cannot be, and the
// exact rules of durability.

#include "paxos/paxos.h"

#include <gtest/gtest.h>

#include "paxos/ballot.h"
#include "paxos/describe.h"
#include "paxos/invariants.h"
#include "paxos/phase_one.h"

namespace conclave::paxos {
namespace {

using consensus::Entry;
using consensus::EntryKind;
using consensus::Envelope;
using consensus::Output;
using consensus::Saved;

constexpr NodeId kSelf{1};

Epoch ballot(std::uint64_t round, std::uint64_t owner) { return make_ballot(round, NodeId{owner}); }

Entry value(std::uint64_t index, Epoch epoch, const Bytes& data = "x") {
  return {LogIndex{index}, epoch, EntryKind::kCommand, data};
}

// As it is in the log on disk.
Entry record(std::uint64_t index, Epoch accepted_in, const Bytes& data = "x") {
  return encode_record(
      {.ballot = accepted_in, .value = value(index, accepted_in, data), .settled = {}});
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

Envelope from(std::uint64_t id, Epoch in, Body body) {
  return {GroupId{}, NodeId{id}, kSelf, encode(Message{in, std::move(body)})};
}

std::vector<std::string> words(const std::vector<Envelope>& envelopes) {
  std::vector<std::string> out;
  for (const Envelope& envelope : envelopes) out.push_back(describe(*decode(envelope.message)));
  return out;
}

// --- what survived -------------------------------------------------------------------------------

TEST(PaxosAbsorb, ALaterRecordReplacesItsSlotAlone) {
  Saved saved = fresh();
  for (const Entry& e : {record(1, ballot(1, 2)), record(4, ballot(1, 2)), record(2, ballot(1, 2)),
                         record(1, ballot(2, 3), "y")}) {
    Paxos::absorb(saved, e);
  }
  EXPECT_EQ(saved.entries, (std::vector{record(1, ballot(2, 3), "y"), record(2, ballot(1, 2)),
                                        record(4, ballot(1, 2))}));
}

TEST(PaxosAbsorb, RecordsThatTheSnapshotCoversAreDropped) {
  Saved saved = fresh();
  saved.snapshot.index = LogIndex{2};
  saved.snapshot.epoch = ballot(1, 2);
  for (const Entry& e : {record(1, ballot(1, 2)), record(3, ballot(1, 2)), record(2, ballot(2, 2))})
    Paxos::absorb(saved, e);
  EXPECT_EQ(saved.entries, std::vector{record(3, ballot(1, 2))});
}

TEST(PaxosStart, RecordsAfterAHoleAreKeptAndReported) {
  Saved saved = fresh();
  saved.hard_state = encode(HardState{ballot(3, 2), NodeId{2}, LogIndex{1}});
  for (const Entry& e : {record(1, ballot(1, 2)), record(3, ballot(3, 2))}) Paxos::absorb(saved, e);
  Paxos paxos(config(), saved, 1);
  check_state(paxos.state());
  EXPECT_EQ(paxos.commit(), LogIndex{1});
  EXPECT_EQ(paxos.take_output().committed.size(), 1u);
  ASSERT_TRUE(paxos.step(from(3, ballot(4, 3), Prepare{LogIndex{2}, true})).has_value());
  EXPECT_EQ(words(paxos.take_output().send_after_persist),
            std::vector<std::string>{"b4.3 Promise from=2 commit=1 [3/3.2 x@3.2]"});
}

TEST(PaxosStart, TheLogRestartsAtASnapshotThatCoversMore) {
  Saved saved = fresh();
  saved.snapshot.index = LogIndex{9};
  saved.snapshot.epoch = ballot(3, 2);
  saved.hard_state = encode(HardState{ballot(2, 2), NodeId{2}, LogIndex{4}});
  for (const Entry& e : {record(1, ballot(1, 2)), record(2, ballot(1, 2))}) Paxos::absorb(saved, e);
  Paxos paxos(config(), saved, 1);
  check_state(paxos.state());
  EXPECT_EQ(paxos.commit(), LogIndex{9});
  EXPECT_TRUE(paxos.take_output().empty());
}

TEST(PaxosStartDeathTest, WhatIsMissingOrCannotBeStopsTheMember) {
  Saved saved = fresh();
  saved.hard_state = encode(HardState{ballot(1, 2), NodeId{2}, LogIndex{2}});
  saved.entries = {record(2, ballot(1, 2))};
  EXPECT_DEATH(Paxos(config(), saved, 1), "slot 1 is missing, though 2 was committed");
  saved.entries = {record(1, ballot(2, 2)), record(2, ballot(1, 2))};
  EXPECT_DEATH(Paxos(config(), saved, 1), "a ballot that was not promised");
  saved.entries = {value(1, ballot(1, 2), "")};
  EXPECT_DEATH(Paxos(config(), saved, 1), "paxos record");
  saved.hard_state = "damaged";
  EXPECT_DEATH(Paxos(config(), saved, 1), "hard state");
  const std::uint64_t twin = std::uint64_t{1} << kSeatBits;
  EXPECT_DEATH(Paxos(config(), fresh({1, twin}), 1), "two members of one seat");
}

TEST(PaxosStart, TheSameSeedGivesTheSameRun) {
  const auto campaigns_after = [](std::uint64_t seed) {
    Paxos paxos(config(), fresh(), seed);
    int ticks = 0;
    while (paxos.take_output().send_now.empty()) {
      paxos.tick();
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

// A member that led uses another ballot after a restart: what it forgot may be out there.
TEST(PaxosStart, AnOwnBallotIsNeverUsedAgain) {
  Saved saved = fresh({1});
  saved.hard_state = encode(HardState{ballot(3, 1), kSelf, LogIndex{}});
  Paxos paxos(config(), saved, 1);
  EXPECT_FALSE(paxos.is_leader());
  paxos.tick();
  paxos.persisted(paxos.take_output().ticket);
  EXPECT_TRUE(paxos.is_leader());
  EXPECT_EQ(paxos.epoch(), ballot(4, 1));
}

// --- what is refused -----------------------------------------------------------------------------

// A follower of 2 in ballot 3.2 that has slots 1, 2 and 4, the first of them committed.
Paxos follower() {
  Paxos paxos(config(), fresh(), 1);
  const Epoch epoch = ballot(3, 2);
  const Accept accept{LogIndex{1}, {value(1, ballot(1, 2)), value(2, epoch), value(4, epoch)}};
  EXPECT_TRUE(paxos.step(from(2, epoch, accept)).has_value());
  paxos.persisted(paxos.take_output().ticket);
  return paxos;
}

void expect_refused(const Envelope& envelope) {
  Paxos paxos = follower();
  const std::string before = describe(paxos.state());
  const auto stepped = paxos.step(envelope);
  ASSERT_FALSE(stepped.has_value());
  EXPECT_EQ(stepped.error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(describe(paxos.state()), before);
  EXPECT_TRUE(paxos.take_output().empty());
}

TEST(PaxosStep, RefusesWithoutAnyEffect) {
  expect_refused({GroupId{}, NodeId{2}, kSelf, "garbage"});
  expect_refused({GroupId{}, NodeId{2}, kSelf, ""});
  const Bytes good = encode(Message{ballot(9, 2), Heartbeat{1, {}, false}});
  expect_refused({GroupId{5}, NodeId{2}, kSelf, good});
  expect_refused({GroupId{}, NodeId{2}, NodeId{3}, good});
  expect_refused({GroupId{}, kSelf, kSelf, good});
  expect_refused({GroupId{}, NodeId{}, kSelf, good});
}

TEST(PaxosStep, RefusesWhatNoReplicaCouldHaveSent) {
  // Somebody else's ballot, even a higher one.
  expect_refused(from(3, ballot(3, 2), Heartbeat{1, {}, false}));
  expect_refused(from(3, ballot(4, 2), Prepare{LogIndex{1}, false}));
  expect_refused(from(3, ballot(3, 2), TimeoutNow{}));
  // A second value in one ballot, and something else in the place of what is chosen.
  expect_refused(from(2, ballot(3, 2), Accept{{}, {value(4, ballot(3, 2), "y")}}));
  expect_refused(from(3, ballot(4, 3), Accept{{}, {value(1, ballot(1, 2), "y")}}));
  expect_refused(from(3, ballot(4, 3), Learn{{{ballot(4, 3), value(1, ballot(4, 3))}}}));
  // What a witness gets, which this member is not.
  Entry witnessed = value(5, ballot(3, 2));
  witnessed.kind = EntryKind::kWitnessed;
  expect_refused(from(2, ballot(3, 2), Accept{{}, {witnessed}}));
  expect_refused(from(2, ballot(3, 2), Learn{{{ballot(3, 2), witnessed}}}));
  const Membership membership = fresh().snapshot.membership;
  expect_refused(
      from(3, ballot(4, 3), SnapshotChunk{{LogIndex{1}, ballot(2, 2), membership}, 0, "x", true}));
}

TEST(PaxosStep, ALateAcceptUndoesNothing) {
  Paxos paxos = follower();
  const Accept late{LogIndex{1}, {value(1, ballot(1, 2))}};
  ASSERT_TRUE(paxos.step(from(2, ballot(3, 2), late)).has_value());
  const Output out = paxos.take_output();
  EXPECT_FALSE(out.ticket);
  EXPECT_EQ(words(out.send_after_persist), std::vector<std::string>{"b3.2 Accepted 2,4 commit=1"});
}

// P1a of "Paxos Made Simple": what was promised stands, whoever asks.
TEST(PaxosStep, ALowerBallotIsRefused) {
  Paxos paxos = follower();
  ASSERT_TRUE(paxos.step(from(3, ballot(2, 3), Accept{{}, {value(5, ballot(2, 3))}})).has_value());
  ASSERT_TRUE(paxos.step(from(3, ballot(2, 3), Prepare{LogIndex{1}, true})).has_value());
  EXPECT_EQ(words(paxos.take_output().send_now),
            (std::vector<std::string>{"b3.2 Refuse", "b3.2 Refuse"}));
  EXPECT_EQ(paxos.state().log.find(LogIndex{5}), nullptr);
}

TEST(PaxosStep, AStrangerIsAnsweredButNotHeeded) {
  Paxos paxos = follower();
  ASSERT_TRUE(paxos.step(from(99, ballot(8, 99), Prepare{LogIndex{1}, false})).has_value());
  EXPECT_EQ(paxos.epoch(), ballot(3, 2)) << "the leader is heard";
  ASSERT_TRUE(paxos.step(from(99, ballot(8, 99), PrePrepare{1, LogIndex{9}})).has_value());
  EXPECT_EQ(words(paxos.take_output().send_now),
            std::vector<std::string>{"b3.2 PrePrepareReply no"});
  ASSERT_TRUE(paxos.step(from(99, ballot(3, 2), Accepted{LogIndex{3}, {}})).has_value());
  EXPECT_TRUE(paxos.take_output().empty());
}

// What the leader's commit says of a slot holds for what was accepted in its own ballot, no other.
TEST(PaxosStep, AnOlderBallotsValueIsNotTakenForChosen) {
  Paxos paxos = follower();
  const Accept later{LogIndex{1}, {value(3, ballot(5, 3))}};
  ASSERT_TRUE(paxos.step(from(3, ballot(5, 3), later)).has_value());
  ASSERT_TRUE(paxos.step(from(3, ballot(5, 3), CommitNotice{LogIndex{4}})).has_value());
  EXPECT_EQ(paxos.commit(), LogIndex{1});
  EXPECT_EQ(words(paxos.take_output().send_now), std::vector<std::string>{"b5.3 CatchUp 2,4"});
}

// --- durability ----------------------------------------------------------------------------------

TEST(PaxosDurability, OneAckForAllAcceptsOfATurn) {
  Paxos paxos(config(), fresh(), 1);
  const Epoch epoch = ballot(1, 2);
  ASSERT_TRUE(paxos.step(from(2, epoch, Accept{{}, {value(1, epoch)}})).has_value());
  ASSERT_TRUE(paxos.step(from(2, epoch, Accept{{}, {value(3, epoch)}})).has_value());
  const Output out = paxos.take_output();
  EXPECT_TRUE(out.ticket);
  EXPECT_TRUE(out.send_now.empty());
  EXPECT_EQ(words(out.send_after_persist), std::vector<std::string>{"b1.2 Accepted 1,3 commit=0"});
  EXPECT_EQ(out.append.size(), 2u);
  EXPECT_EQ(out.append[1].index, LogIndex{3}) << "indexes need not follow each other";
}

// With most of the weight its own promise elects it, but not before it cannot be forgotten:
// restarted before, it could lead the same ballot a second time, with other values.
TEST(PaxosDurability, AnOwnPromiseCountsOnlyOnceDurable) {
  Saved saved = fresh();
  saved.snapshot.membership.voters = consensus::Quorum::weighted({{kSelf, 3}, {NodeId{2}, 1}});
  Paxos paxos(config(), saved, 1);
  paxos.tick();
  const Output out = paxos.take_output();
  EXPECT_TRUE(paxos.state().candidate());
  EXPECT_EQ(words(out.send_after_persist), std::vector<std::string>{"b1.1 Prepare from=1"});
  paxos.persisted(out.ticket);
  EXPECT_TRUE(paxos.is_leader());
}

TEST(PaxosDurability, TheLeaderCountsItsOwnSlotsOnceDurable) {
  Paxos paxos(config(), fresh({1}), 1);
  paxos.tick();
  paxos.persisted(paxos.take_output().ticket);
  const Output noop = paxos.take_output();
  ASSERT_TRUE(paxos.propose("a").has_value());
  const Output a = paxos.take_output();
  paxos.persisted(noop.ticket);
  EXPECT_EQ(paxos.commit(), LogIndex{1});
  paxos.persisted(a.ticket);
  EXPECT_EQ(paxos.commit(), LogIndex{2});
  EXPECT_EQ(paxos.take_output().committed.size(), 2u);
}

// The report of a write is of the record that was written, not of what took its place since.
TEST(PaxosDurability, ALateReportIsNotOfTheRecordThatReplacedIt) {
  Paxos paxos(config(), fresh(), 1);
  ASSERT_TRUE(paxos.step(from(2, ballot(1, 2), Accept{{}, {value(1, ballot(1, 2))}})).has_value());
  const Output first = paxos.take_output();
  ASSERT_TRUE(paxos.step(from(3, ballot(2, 3), Accept{{}, {value(1, ballot(2, 3))}})).has_value());
  const Output second = paxos.take_output();
  paxos.persisted(first.ticket);
  EXPECT_FALSE(paxos.state().log.at(LogIndex{1}).durable);
  paxos.persisted(second.ticket);
  EXPECT_TRUE(paxos.state().log.at(LogIndex{1}).durable);
}

TEST(PaxosDurabilityDeathTest, ATicketThatWasNeverHandedOut) {
  Paxos paxos(config(), fresh(), 1);
  EXPECT_DEATH(paxos.persisted(Ticket{1}), "never handed out");
}

// --- answers of the interface --------------------------------------------------------------------

TEST(PaxosInterface, AFollowerRefusesWhatOnlyALeaderCanDo) {
  Paxos paxos = follower();
  EXPECT_EQ(paxos.propose("x").error(), consensus::ProposeError::kNotLeader);
  EXPECT_EQ(paxos.change_membership(fresh({1}).snapshot.membership).error(),
            consensus::ChangeError::kNotLeader);
  EXPECT_FALSE(paxos.transfer(NodeId{2}));
  EXPECT_EQ(paxos.leader(), NodeId{2});
  EXPECT_EQ(paxos.status().role, consensus::Role::kFollower);
  EXPECT_EQ(paxos.status().last, LogIndex{4});
  EXPECT_TRUE(paxos.status().peers.empty());
}

TEST(PaxosInterface, TheNextProposalComesBehindTheLast) {
  Paxos paxos(config(), fresh({1}), 1, 4);
  paxos.tick();
  paxos.persisted(paxos.take_output().ticket);
  for (int i = 0; i < 10; ++i) {
    const LogIndex last = paxos.status().last;
    EXPECT_EQ(paxos.propose("x")->index, last.next()) << "more than are open at a time";
  }
  while (paxos.status().commit < paxos.status().last) paxos.persisted(paxos.take_output().ticket);
  EXPECT_EQ(paxos.propose("x")->index, paxos.status().commit.next());
}

TEST(PaxosInterface, ChangesThatMakeNoSense) {
  Paxos paxos(config(), fresh({1}), 1, 4);
  paxos.tick();
  paxos.persisted(paxos.take_output().ticket);
  const Membership two = fresh({1, 2}).snapshot.membership;
  EXPECT_EQ(paxos.change_membership(two).error(), consensus::ChangeError::kInProgress)
      << "the ballot's first slot is not committed";
  paxos.persisted(paxos.take_output().ticket);
  EXPECT_EQ(paxos.change_membership({}).error(), consensus::ChangeError::kInvalid);
  EXPECT_EQ(paxos.change_membership(paxos.membership()).error(), consensus::ChangeError::kInvalid);
  Membership joint = two;
  joint.outgoing = two.voters;
  EXPECT_EQ(paxos.change_membership(joint).error(), consensus::ChangeError::kInvalid);
  const std::uint64_t twin = std::uint64_t{1} << kSeatBits;
  EXPECT_EQ(paxos.change_membership(fresh({1, twin}).snapshot.membership).error(),
            consensus::ChangeError::kInvalid);
  Membership without_data = fresh({1, 2, 3}).snapshot.membership;
  without_data.witnesses = {kSelf};
  EXPECT_EQ(paxos.change_membership(without_data).error(), consensus::ChangeError::kInvalid)
      << "who has the data is a witness for the asking";
  EXPECT_TRUE(paxos.change_membership(two).has_value());
  EXPECT_EQ(paxos.change_membership(two).error(), consensus::ChangeError::kInProgress);
}

TEST(PaxosInterface, AMembershipSaysWhatFollowsIt) {
  Paxos paxos(config(), fresh({1}), 1, 4);
  paxos.tick();
  for (int i = 0; i < 2; ++i) paxos.persisted(paxos.take_output().ticket);
  ASSERT_TRUE(paxos.change_membership(fresh({2}).snapshot.membership).has_value());
  paxos.persisted(paxos.take_output().ticket);
  EXPECT_EQ(paxos.commit(), LogIndex{5}) << "no-ops bring the change about";
  EXPECT_EQ(describe(paxos.membership()), "1 from 6 on 2");
  EXPECT_EQ(describe(paxos.snapshot_meta(LogIndex{3}).membership), "1 from 6 on 2");
  EXPECT_EQ(describe(paxos.snapshot_meta(LogIndex{1}).membership), "1");
  EXPECT_TRUE(paxos.is_leader()) << "until member 2 has everything";
}

// --- witnesses -----------------------------------------------------------------------------------

Pvalue reported(std::uint64_t in, Epoch proposed_in, const Bytes& data) {
  Pvalue pvalue{ballot(in, 3), value(1, proposed_in, data)};
  if (data.empty()) pvalue.value.kind = EntryKind::kWitnessed;
  return pvalue;
}

// What slot 1 gets after these reports, the witness's (3) first; "waits" if that cannot be said
// with it, and "nothing" if nobody else has accepted anything.
std::string found_after(const std::vector<Pvalue>& witnessed, const std::vector<Pvalue>& full) {
  const Paxos paxos(config(), fresh(), 1);
  PhaseOne phase_one;
  phase_one.reports[NodeId{2}].done = phase_one.reports[NodeId{3}].done = true;
  for (const Pvalue& pvalue : witnessed) note_reported(phase_one, NodeId{3}, pvalue);
  for (const Pvalue& pvalue : full) note_reported(phase_one, NodeId{2}, pvalue);
  release_reports(paxos.state(), phase_one);
  EXPECT_TRUE(has_reported(phase_one, NodeId{2})) << "who tells its data is counted";
  const Entry* found = found_in(paxos.state(), phase_one, LogIndex{1});
  return (has_reported(phase_one, NodeId{3}) ? "" : "waits, ") + (found ? found->data : "nothing");
}

TEST(PaxosWitness, AReportWaitsForTheDataOfWhatIsInIt) {
  const Epoch five = ballot(5, 1);
  const Epoch seven = ballot(7, 2);
  EXPECT_EQ(found_after({reported(5, five, "")}, {}), "waits, nothing");
  EXPECT_EQ(found_after({reported(5, five, "")}, {reported(5, five, "five")}), "five");
  // A lower ballot's may not be put in its place, a higher one's makes it irrelevant.
  EXPECT_EQ(found_after({reported(7, seven, "")}, {reported(5, five, "five")}), "waits, five");
  EXPECT_EQ(found_after({reported(5, five, "")}, {reported(7, seven, "seven")}), "seven");
}

TEST(PaxosWitness, TheSameValueOfALowerBallotHasTheData) {
  const Epoch five = ballot(5, 1);
  const Epoch seven = ballot(7, 2);
  EXPECT_EQ(found_after({reported(9, five, "")}, {reported(5, five, "five")}), "five");
  // And counts with the witness's ballot, also when it is told last.
  EXPECT_EQ(found_after({reported(9, five, "")},
                        {reported(7, seven, "seven"), reported(5, five, "five")}),
            "five");
  EXPECT_EQ(found_after({reported(9, five, "")}, {reported(7, seven, "seven")}), "waits, seven");
}

TEST(PaxosInterface, WithoutALeaderAReadBarrierFailsAtOnce) {
  Paxos paxos(config(), fresh(), 1);
  paxos.read_barrier(ReadId{7});
  const Output out = paxos.take_output();
  ASSERT_EQ(out.reads_ready.size(), 1u);
  EXPECT_EQ(out.reads_ready[0].id, ReadId{7});
  EXPECT_EQ(out.reads_ready[0].index, std::nullopt);
}

// An answer to a question of an earlier run of this member would be a stale read.
TEST(PaxosInterface, AnAnswerToAnotherRunsReadIsNoAnswer) {
  const auto ask = [](Paxos& paxos) {
    paxos.read_barrier(ReadId{1});
    const Output out = paxos.take_output();
    return std::get<ReadRequest>(decode(out.send_now.back().message)->body).batch;
  };
  Paxos before = follower();
  const std::uint64_t batch = ask(before);
  Paxos after(config(), fresh(), 2);
  ASSERT_TRUE(after.step(from(2, ballot(3, 2), Heartbeat{1, {}, false})).has_value());
  ask(after);
  ASSERT_TRUE(after.step(from(2, ballot(3, 2), ReadReply{batch, LogIndex{1}})).has_value());
  EXPECT_TRUE(after.take_output().reads_ready.empty());
}

// Or every copy that a network makes would go on for itself, and copies of copies.
TEST(PaxosInterface, ARepeatedAnswerToCatchUpAsksNothing) {
  Paxos paxos(config(), fresh(), 1);
  const auto hear = [&](Body body) {
    EXPECT_TRUE(paxos.step(from(2, ballot(3, 2), std::move(body))).has_value());
    std::vector<std::string> asked = words(paxos.take_output().send_now);
    std::erase_if(asked, [](const std::string& each) { return !each.contains("CatchUp"); });
    return asked;
  };
  using Asked = std::vector<std::string>;
  EXPECT_EQ(hear(CommitNotice{LogIndex{6}}), Asked{"b3.2 CatchUp 1..6"});
  const Learn first{{{ballot(3, 2), value(2, ballot(3, 2))}}};
  EXPECT_EQ(hear(first), Asked{"b3.2 CatchUp 1,3..6"});
  EXPECT_EQ(hear(first), Asked{});
  const Learn second{{{ballot(3, 2), value(1, ballot(3, 2))}}};
  EXPECT_EQ(hear(second), Asked{"b3.2 CatchUp 3..6"});
  EXPECT_EQ(hear(second), Asked{});
  EXPECT_EQ(hear(first), Asked{}) << "committed";
}

TEST(PaxosInterface, CompactionKeepsWhatItIsTold) {
  Paxos paxos = follower();
  const Learn learn{{{ballot(3, 2), value(3, ballot(3, 2))}}};
  ASSERT_TRUE(paxos.step(from(2, ballot(3, 2), learn)).has_value());
  ASSERT_TRUE(paxos.step(from(2, ballot(3, 2), CommitNotice{LogIndex{3}})).has_value());
  EXPECT_EQ(paxos.take_output().committed.size(), 2u);
  paxos.snapshot_taken(paxos.snapshot_meta(LogIndex{2}), LogIndex{2});
  EXPECT_EQ(paxos.status().first, LogIndex{2});
  paxos.snapshot_taken(paxos.snapshot_meta(LogIndex{3}), LogIndex{4});
  EXPECT_EQ(paxos.status().first, LogIndex{4});
  EXPECT_EQ(paxos.status().last, LogIndex{4}) << "slot 4 is accepted";
  check_state(paxos.state());
}

TEST(PaxosInterface, ReleaseLetsGoOfWhatIsHandedOutAndOnTheDisk) {
  Paxos paxos = follower();
  paxos.release(LogIndex{});
  EXPECT_EQ(paxos.status().first, LogIndex{1});
  paxos.release(LogIndex{5});
  EXPECT_EQ(paxos.status().first, LogIndex{2}) << "the first is committed";
  ASSERT_TRUE(paxos.step(from(2, ballot(3, 2), CommitNotice{LogIndex{2}})).has_value());
  paxos.release(LogIndex{5});
  EXPECT_EQ(paxos.status().first, LogIndex{2}) << "committed, and not handed out";
  const Learn learn{{{ballot(3, 2), value(3, ballot(3, 2))}}};
  ASSERT_TRUE(paxos.step(from(2, ballot(3, 2), learn)).has_value());
  const Output out = paxos.take_output();
  EXPECT_EQ(out.committed.size(), 2u);
  paxos.release(LogIndex{5});
  EXPECT_EQ(paxos.status().first, LogIndex{3}) << "the third is not on the disk";
  EXPECT_EQ(paxos.state().durable, LogIndex{2});
  check_state(paxos.state());
  paxos.persisted(out.ticket);
  paxos.release(LogIndex{3});
  EXPECT_EQ(paxos.status().first, LogIndex{3}) << "the owner keeps it";
  paxos.release(LogIndex{5});
  EXPECT_EQ(paxos.status().first, LogIndex{4});
  EXPECT_EQ(paxos.status().last, LogIndex{4}) << "slot 4 is accepted";
  EXPECT_FALSE(paxos.wants_snapshot());
  check_state(paxos.state());
}

TEST(PaxosInterface, AWitnessReleasesNothing) {
  Saved saved = fresh();
  saved.snapshot.membership.merge_witnesses({kSelf});
  consensus::EngineConfig keeps_no_data = config();
  keeps_no_data.is_witness = true;
  Paxos paxos(keeps_no_data, saved, 1);
  Entry noop = value(1, ballot(3, 2));
  noop.kind = EntryKind::kNoop;
  noop.data.clear();
  ASSERT_TRUE(paxos.step(from(2, ballot(3, 2), Accept{LogIndex{1}, {noop}})).has_value());
  const Output out = paxos.take_output();
  EXPECT_EQ(out.committed.size(), 1u);
  paxos.persisted(out.ticket);
  paxos.release(LogIndex{2});
  EXPECT_EQ(paxos.status().first, LogIndex{1});
}

TEST(PaxosInterface, ASnapshotMayBeDoneWhenTheLogBeginsLater) {
  Paxos paxos = follower();
  ASSERT_TRUE(paxos.step(from(2, ballot(3, 2), CommitNotice{LogIndex{2}})).has_value());
  (void)paxos.take_output();
  const SnapshotMeta begun = paxos.snapshot_meta(LogIndex{1});
  paxos.release(LogIndex{3});
  paxos.snapshot_taken(begun, LogIndex{2});
  EXPECT_EQ(paxos.state().snapshot, begun);
  EXPECT_EQ(paxos.status().first, LogIndex{3});
  check_state(paxos.state());
}

}  // namespace
}  // namespace conclave::paxos
