// Changes of the members: etcd's rules, what is remembered of those who left, and the bytes.

#include <gtest/gtest.h>

#include "store/command_codec.h"
#include "store/replica.h"

namespace conclave::store {
namespace {

using Kind = MemberChange::Kind;
using Verdict = MemberChange::Verdict;

api::Member member(std::uint64_t id, const std::string& name, const std::string& url) {
  return {.id = NodeId{id}, .name = name, .peer_urls = {url}, .client_urls = {}};
}

MemberChange add(std::uint64_t id, const std::string& url, bool is_learner = false) {
  MemberChange change;
  change.kind = Kind::kAdd;
  change.id = NodeId{id};
  change.is_learner = is_learner;
  change.peer_urls = {url};
  return change;
}

MemberChange of(Kind kind, std::uint64_t id) {
  MemberChange change;
  change.kind = kind;
  change.id = NodeId{id};
  return change;
}

// A store with three members, 1 to 3, at the URLs a to c.
class MembersTest : public testing::Test {
 protected:
  MembersTest() {
    commit(FoundMembers{{member(1, "", "a"), member(2, "", "b"), member(3, "", "c")}});
  }

  template <class Command>
  api::Answer commit(const Command& command) {
    const Origin origin{Replica::kSelf, Replica::kIncarnation, ++replica_.call};
    return std::move(replica_.commit(encode_command(origin, command)).at(0).response.answer);
  }
  // "done", or the number of the error.
  std::optional<api::ErrorCode> refused(const MemberChange& change) {
    const api::Answer answer = commit(change);
    const auto* error = std::get_if<api::Error>(&answer);
    return error == nullptr ? std::nullopt : std::optional(error->code);
  }
  // "1 2 3L": ids, and who is a learner.
  std::string members() const {
    std::string text;
    for (const api::Member& each : replica_.store.members()) {
      text += (text.empty() ? "" : " ") + std::to_string(each.id.value);
      if (each.is_learner) text += "L";
    }
    return text;
  }

  Replica replica_;
};

TEST_F(MembersTest, AddPromoteRemove) {
  const api::Answer answer = commit(add(9, "d", true));
  const auto& added = std::get<api::MemberChangeResponse>(answer);
  ASSERT_TRUE(added.member.has_value());
  EXPECT_EQ(added.member->id, NodeId{9});
  EXPECT_EQ(added.members.size(), 4u);
  EXPECT_EQ(members(), "1 2 3 9L");
  EXPECT_EQ(refused(of(Kind::kPromote, 9)), std::nullopt);
  EXPECT_EQ(members(), "1 2 3 9");
  EXPECT_EQ(refused(of(Kind::kRemove, 2)), std::nullopt);
  EXPECT_EQ(members(), "1 3 9");
  EXPECT_TRUE(replica_.store.was_removed(NodeId{2}));
}

TEST_F(MembersTest, WhatCannotBeIsRefusedAndChangesNothing) {
  const std::uint64_t before = replica_.store.facts_digest();
  EXPECT_EQ(refused(add(1, "d")), api::ErrorCode::kMemberExists);
  EXPECT_EQ(refused(add(9, "b")), api::ErrorCode::kPeerUrlsExist);
  EXPECT_EQ(refused(of(Kind::kRemove, 9)), api::ErrorCode::kMemberNotFound);
  EXPECT_EQ(refused(of(Kind::kUpdate, 9)), api::ErrorCode::kMemberNotFound);
  EXPECT_EQ(refused(of(Kind::kPromote, 9)), api::ErrorCode::kMemberNotFound);
  EXPECT_EQ(refused(of(Kind::kPromote, 1)), api::ErrorCode::kMemberNotLearner);
  MemberChange update = of(Kind::kUpdate, 1);
  update.peer_urls = {"b"};
  EXPECT_EQ(refused(update), api::ErrorCode::kPeerUrlsExist);
  EXPECT_EQ(replica_.store.facts_digest(), before);
  update.peer_urls = {"a"};  // its own
  EXPECT_EQ(refused(update), std::nullopt);
}

TEST_F(MembersTest, OneLearnerAtATime) {
  EXPECT_EQ(refused(add(8, "d", true)), std::nullopt);
  EXPECT_EQ(refused(add(9, "e", true)), api::ErrorCode::kTooManyLearners);
  MemberChange replacement = add(9, "d", true);
  replacement.replaces = NodeId{8};
  EXPECT_EQ(refused(replacement), std::nullopt);
  EXPECT_EQ(members(), "1 2 3 9L");
}

TEST_F(MembersTest, TheLastVoterStays) {
  EXPECT_EQ(refused(of(Kind::kRemove, 1)), std::nullopt);
  EXPECT_EQ(refused(of(Kind::kRemove, 2)), std::nullopt);
  EXPECT_EQ(refused(add(9, "d", true)), std::nullopt);
  EXPECT_EQ(refused(of(Kind::kRemove, 3)), api::ErrorCode::kNotEnoughStarted);
  EXPECT_EQ(members(), "3 9L");
}

TEST_F(MembersTest, ARemovedIdNeverComesBack) {
  EXPECT_EQ(refused(of(Kind::kRemove, 2)), std::nullopt);
  EXPECT_EQ(refused(add(2, "b")), api::ErrorCode::kMemberNotFound);
  commit(PublishMember{member(2, "two", "b"), 7});
  EXPECT_EQ(members(), "1 3");
  EXPECT_EQ(replica_.store.directory_of(NodeId{2}), 0u);
}

TEST_F(MembersTest, AReplacementTakesTheAddressInOneStep) {
  commit(PublishMember{member(2, "two", "b"), 7});
  MemberChange replacement = add(9, "b");
  replacement.replaces = NodeId{2};
  EXPECT_EQ(refused(replacement), std::nullopt);
  EXPECT_EQ(members(), "1 3 9");
  EXPECT_TRUE(replica_.store.was_removed(NodeId{2}));
  EXPECT_EQ(replica_.store.directory_of(NodeId{2}), 0u);
  replacement.id = NodeId{10};
  EXPECT_EQ(refused(replacement), api::ErrorCode::kMemberNotFound);
}

TEST_F(MembersTest, TheLeadersRefusalIsTheAnswer) {
  const std::pair<Verdict, api::ErrorCode> rows[] = {
      {Verdict::kNotEnoughStarted, api::ErrorCode::kNotEnoughStarted},
      {Verdict::kUnhealthy, api::ErrorCode::kUnhealthy},
      {Verdict::kLearnerNotReady, api::ErrorCode::kLearnerNotReady},
      {Verdict::kTooManyRequests, api::ErrorCode::kTooManyRequests}};
  for (const auto& [verdict, code] : rows) {
    MemberChange change = of(Kind::kRemove, 1);
    change.verdict = verdict;
    EXPECT_EQ(refused(change), code);
  }
  EXPECT_EQ(members(), "1 2 3");
}

TEST_F(MembersTest, PublishingTellsNameAndClientUrlsAndTheFirstDirectory) {
  api::Member told = member(2, "two", "elsewhere");
  told.client_urls = {"client"};
  told.is_learner = true;
  commit(PublishMember{told, 7});
  commit(PublishMember{told, 8});
  const api::Member& known = replica_.store.members()[1];
  EXPECT_EQ(known.name, "two");
  EXPECT_EQ(known.client_urls, std::vector<std::string>{"client"});
  EXPECT_EQ(known.peer_urls, std::vector<std::string>{"b"});  // the cluster's decision
  EXPECT_FALSE(known.is_learner);
  EXPECT_EQ(replica_.store.directory_of(NodeId{2}), 7u);
}

TEST(Members, FoundingKeepsWhatWasPublishedAndHappensOnce) {
  Replica replica;
  const auto commit = [&](const auto& command) {
    replica.commit(encode_command(Origin{Replica::kSelf, Replica::kIncarnation, 1}, command));
  };
  commit(PublishMember{member(1, "one", "old"), 5});
  commit(PublishMember{member(4, "four", "x"), 6});
  EXPECT_FALSE(replica.store.founded());
  commit(FoundMembers{{member(1, "", "a"), member(2, "", "b")}});
  EXPECT_TRUE(replica.store.founded());
  ASSERT_EQ(replica.store.members().size(), 2u);
  EXPECT_EQ(replica.store.members()[0].name, "one");
  EXPECT_EQ(replica.store.members()[0].peer_urls, std::vector<std::string>{"a"});
  EXPECT_EQ(replica.store.directory_of(NodeId{1}), 5u);
  EXPECT_EQ(replica.store.directory_of(NodeId{4}), 0u);
  commit(FoundMembers{{member(3, "", "c")}});
  EXPECT_EQ(replica.store.members().size(), 2u);
}

TEST(Members, BeforeTheFoundingNoChangeIsGranted) {
  Replica replica;
  const Origin origin{Replica::kSelf, Replica::kIncarnation, 1};
  const auto outcomes = replica.commit(encode_command(origin, add(9, "d")));
  EXPECT_EQ(std::get<api::Error>(outcomes.at(0).response.answer).code, api::ErrorCode::kUnhealthy);
}

TEST_F(MembersTest, ASnapshotBringsThemAll) {
  commit(PublishMember{member(2, "two", "b"), 7});
  ASSERT_EQ(refused(of(Kind::kRemove, 1)), std::nullopt);
  ASSERT_EQ(refused(add(9, "d", true)), std::nullopt);
  auto loaded = replica_.through_snapshot(10, [] {});
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->hash(), replica_.store.hash());
  EXPECT_EQ(loaded->members(), replica_.store.members());
  EXPECT_TRUE(loaded->founded());
  EXPECT_TRUE(loaded->was_removed(NodeId{1}));
  EXPECT_EQ(loaded->directory_of(NodeId{2}), 7u);
}

TEST(Members, AChangeAsBytes) {
  MemberChange change = add(9, "u", true);
  change.replaces = NodeId{2};
  change.verdict = Verdict::kUnhealthy;
  const Origin origin{NodeId{3}, 4, 5};
  const Bytes bytes = encode_command(origin, change);
  const std::string_view expected(
      "\x02\x19"            // version, kind
      "\x03\0\0\0\0\0\0\0"  // member 3
      "\x04\0\0\0\0\0\0\0"  // incarnation
      "\x05\x00"            // call, no request id
      "\x01\x02"            // add, unhealthy
      "\x09\0\0\0\0\0\0\0"  // id
      "\x02\0\0\0\0\0\0\0"  // replaces
      "\x01\x01\x01u",      // a learner; one URL
      2 + 8 + 8 + 2 + 2 + 8 + 8 + 4);
  EXPECT_EQ(bytes, expected);
  EXPECT_TRUE(is_member_change(bytes));
  const auto decoded = decode_member_change(bytes);
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->origin, origin);
  EXPECT_EQ(std::get<MemberChange>(decoded->change), change);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_FALSE(is_valid_command(BytesView(bytes).substr(0, cut))) << cut;
  }
}

TEST(Members, WhoeverReplacesAWitnessIsOne) {
  Replica replica;
  api::Member witness = member(2, "", "b");
  witness.is_witness = true;
  replica.commit(encode_command({}, FoundMembers{{member(1, "", "a"), witness}}));
  for (const auto& [leaves, joins] : {std::pair{1, 8}, {2, 9}}) {
    MemberChange replacement = add(static_cast<std::uint64_t>(joins), leaves == 1 ? "a" : "b");
    replacement.replaces = NodeId{static_cast<std::uint64_t>(leaves)};
    replica.commit(encode_command({}, replacement));
  }
  ASSERT_EQ(replica.store.members().size(), 2u);
  EXPECT_FALSE(replica.store.members()[0].is_witness);
  EXPECT_TRUE(replica.store.members()[1].is_witness);
  replica.commit(encode_command({}, PublishMember{member(9, "nine", "b"), 7}));
  EXPECT_TRUE(replica.store.members()[1].is_witness) << "what it tells of itself changes nothing";

  auto loaded = replica.through_snapshot(10, [] {});
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->members(), replica.store.members());
  EXPECT_EQ(loaded->hash(), replica.store.hash());
}

TEST(Members, OlderBuildsRefuseWhatIsNewByItsVersion) {
  const Origin origin{NodeId{1}, 1, 1};
  api::Member witness = member(1, "", "a");
  witness.is_witness = true;
  Bytes with_witness = encode_command(origin, FoundMembers{{witness}});
  EXPECT_EQ(with_witness[0], 3);
  EXPECT_TRUE(is_valid_command(with_witness));
  with_witness[0] = 2;
  EXPECT_FALSE(is_valid_command(with_witness));
  EXPECT_FALSE(is_valid_command(encode_command(origin, PublishMember{witness, 7})));
  Bytes found = encode_command(origin, FoundMembers{{member(1, "", "a")}});
  EXPECT_EQ(found[0], 2);
  found[0] = 1;
  EXPECT_FALSE(is_valid_command(found));
  EXPECT_EQ(encode_command(origin, PublishMember{member(1, "n", "a"), 0})[0], 1);
  Bytes with_directory = encode_command(origin, PublishMember{member(1, "n", "a"), 7});
  EXPECT_EQ(with_directory[0], 2);
  EXPECT_TRUE(is_valid_command(with_directory));
  with_directory[0] = 1;
  EXPECT_FALSE(is_valid_command(with_directory));
}

}  // namespace
}  // namespace conclave::store
