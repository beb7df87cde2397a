// Reconfig: what a request makes of the members, who may ask for it, and that it counts for one
// place in the log.

#include "store/znode_reconfig.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/zookeeper_limits.h"
#include "store/command_codec.h"
#include "store/replica.h"
#include "store/znode_config.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using testing::HasSubstr;
using zk::Code;

const zk::Id kSuper{"super", {}};

zk::Server server(std::uint64_t id, const std::string& peer, const std::string& client = {},
                  bool is_observer = false) {
  return {.id = NodeId{id}, .peer = peer, .is_observer = is_observer, .client = client};
}

std::string text_of(const ReconfigStep& step) {
  constexpr const char* kKinds[] = {"?", "add", "remove", "update", "promote"};
  std::string text = kKinds[static_cast<int>(step.change.kind)];
  text += " " + std::to_string(step.change.id.value);
  if (step.change.is_learner) text += " as a learner";
  for (const std::string& url : step.change.peer_urls) text += " at " + url;
  return step.zookeeper.empty() ? text : text + " for " + step.zookeeper;
}

// Members 1 to 3 at a:1, b:1 and c:1, with m1:2181 for ZooKeeper's clients of 1; session 9.
class ReconfigTest : public testing::Test {
 protected:
  ReconfigTest() {
    std::vector<api::Member> members;
    for (const auto& [id, host] : {std::pair{1, "a"}, {2, "b"}, {3, "c"}}) {
      members.push_back({.id = NodeId{static_cast<std::uint64_t>(id)},
                         .name = "m" + std::to_string(id),
                         .peer_urls = {std::string("http://") + host + ":1"},
                         .client_urls = {}});
    }
    commit(FoundMembers{members});
    commit(PublishMember{members[0], 7, "m1:2181"});
    write(zk::OpenSession{10'000, 10, kSession, Bytes(16, 'p')});
  }

  template <class Command>
  api::Answer commit(const Command& command) {
    const Origin origin{Replica::kSelf, Replica::kIncarnation, ++replica_.call};
    return std::move(replica_.commit(encode_command(origin, command)).at(0).response.answer);
  }
  zk::Reply write(decltype(zk::WriteRequest::op) op) {
    api::Request request;
    request.body = zk::WriteRequest{who(), 5, std::move(op)};
    return std::get<zk::Reply>(replica_.run(request).answer);
  }
  static zk::Caller who() { return {kSession, 1, {kSuper}}; }

  static zk::ReconfigRequest joins(std::vector<zk::Server> servers,
                                   std::vector<std::uint64_t> leaving = {}) {
    zk::ReconfigRequest request;
    request.caller = who();
    request.joining = std::move(servers);
    for (const std::uint64_t id : leaving) request.leaving.push_back(NodeId{id});
    return request;
  }
  static zk::ReconfigRequest whole(std::vector<zk::Server> servers) {
    zk::ReconfigRequest request = joins(std::move(servers));
    request.is_whole = true;
    return request;
  }

  // What the leader would grant, "; " between steps; or the code.
  std::string plan(const zk::ReconfigRequest& request) const {
    const auto steps = replica_.store.plan(request);
    if (!steps) return std::to_string(static_cast<int>(steps.error()));
    std::string text;
    for (const ReconfigStep& step : *steps) text += (text.empty() ? "" : "; ") + text_of(step);
    return text;
  }
  // As the leader does it.
  zk::Reply reconfigure(const zk::ReconfigRequest& request) {
    const auto steps = replica_.store.plan(request);
    if (!steps)
      return std::get<zk::Reply>(commit(Reconfigure{Reconfigure::Refused{steps.error()}}));
    const LogIndex at = replica_.store.applied_index().next();
    return std::get<zk::Reply>(commit(Reconfigure{Reconfigure::Granted{at, *steps}}));
  }
  Bytes config() {
    api::Request request;
    request.body = zk::ReadRequest{who(), false, zk::GetData{"/zookeeper/config"}};
    const auto reply = std::get<zk::Reply>(replica_.run(request).answer);
    return std::get<zk::Data>(reply.result).data;
  }
  zk::Zxid version() { return *config_version(config()); }

  static constexpr zk::SessionId kSession = 9;
  Replica replica_;
};

TEST_F(ReconfigTest, WhatARequestChanges) {
  EXPECT_EQ(plan(joins({server(4, "d:1", "d:2181")})), "add 4 at http://d:1 for d:2181");
  EXPECT_EQ(plan(joins({server(4, "d:1", "d:2181", true)})),
            "add 4 as a learner at http://d:1 for d:2181");
  EXPECT_EQ(plan(joins({}, {3})), "remove 3");
  EXPECT_EQ(plan(joins({}, {3, 77})), "remove 3") << "who is not there is no mistake";
  EXPECT_EQ(plan(joins({server(2, "x:1", "x:2181")})), "update 2 at http://x:1");
  EXPECT_EQ(plan(joins({server(4, "c:1", "c:2181")}, {3})),
            "remove 3; add 4 at http://c:1 for c:2181");
  EXPECT_EQ(plan(joins({server(3, "c:1", "c:2181")}, {3})), "") << "named on both sides: it stays";
  EXPECT_EQ(plan(joins({})), "");
  EXPECT_EQ(plan(whole({server(1, "a:1"), server(4, "d:1")})),
            "remove 2; remove 3; add 4 at http://d:1");
  EXPECT_EQ(plan(whole({server(1, "a:1"), server(2, "b:1"), server(3, "c:1")})), "");
}

TEST_F(ReconfigTest, ALearnerIsAnObserverAndBecomesAVoter) {
  reconfigure(joins({server(4, "d:1", "d:2181", true)}));
  EXPECT_THAT(config(), HasSubstr("server.4=d:1:2:observer;d:2181\n"));
  EXPECT_EQ(plan(joins({server(4, "d:1", "d:2181", true)})), "") << "asked again";
  EXPECT_EQ(plan(joins({server(5, "e:1", "e:2181", true)})), "-8") << "one learner at a time";
  EXPECT_EQ(plan(joins({server(4, "d:1", "d:2181"), server(5, "e:1", "e:2181", true)}, {3})),
            "promote 4; remove 3; add 5 as a learner at http://e:1 for e:2181");
  EXPECT_EQ(plan(joins({server(4, "x:1", "d:2181")})), "promote 4; update 4 at http://x:1");
  reconfigure(joins({server(4, "d:1", "d:2181")}));
  EXPECT_THAT(config(), HasSubstr("server.4=d:1:2:participant;d:2181\n"));
  EXPECT_EQ(plan(joins({server(4, "d:1", "d:2181", true)})), "-8") << "and none again";
}

TEST_F(ReconfigTest, TheSchemeIsThatOfTheOthers) {
  MemberChange secure;
  secure.kind = MemberChange::Kind::kUpdate;
  for (const auto& [id, host] : {std::pair{1, "a"}, {2, "b"}, {3, "c"}}) {
    secure.id = NodeId{static_cast<std::uint64_t>(id)};
    secure.peer_urls = {std::string("https://") + host + ":1"};
    commit(secure);
  }
  EXPECT_EQ(plan(joins({server(4, "d:1"), server(2, "b:1"), server(3, "x:1")})),
            "update 3 at https://x:1; add 4 at https://d:1");
}

TEST_F(ReconfigTest, WhereClientsReachAMemberIsItsOwnToSay) {
  EXPECT_EQ(plan(joins({server(1, "a:1", "m1:2181")})), "");
  EXPECT_EQ(plan(joins({server(1, "a:1", "0.0.0.0:2181")})), "") << "as a bare port is read";
  EXPECT_EQ(plan(joins({server(1, "a:1")})), "");
  EXPECT_EQ(plan(joins({server(1, "a:1", "m1:2182")})), "-8");
  EXPECT_EQ(plan(joins({server(1, "a:1", "x:2181")})), "-8");
  EXPECT_EQ(plan(joins({server(2, "b:1", "x:2181")})), "") << "2 has not told";
  EXPECT_THAT(config(), testing::Not(HasSubstr("x:2181")));
  reconfigure(joins({server(4, "d:1", "d:2181")}));
  commit(PublishMember{{.id = NodeId{4}, .name = "m4", .peer_urls = {}, .client_urls = {}}, 8});
  EXPECT_THAT(config(), HasSubstr("server.4=d:1:2:participant\n")) << "it has started, and tells";
}

TEST_F(ReconfigTest, WhatCannotBe) {
  EXPECT_EQ(plan(joins({server(1, "a:1", {}, true)})), "-8") << "a voter stays one";
  EXPECT_EQ(plan(joins({server(4, "b:1", "d:2181")})), "-8") << "2 is there";
  EXPECT_EQ(plan(joins({server(4, "d:1"), server(5, "d:1")})), "-8");
  EXPECT_EQ(plan(joins({server(0, "d:1")})), "-8");
  EXPECT_EQ(plan(joins({}, {1, 2, 3})), "-8") << "nobody would vote";
  EXPECT_EQ(plan(joins({server(4, "d:1", {}, true)}, {1, 2, 3})), "-8");
  EXPECT_EQ(plan(whole({server(4, "d:1")})), "-13") << "nobody would have the data";
  reconfigure(joins({}, {3}));
  EXPECT_EQ(plan(joins({server(3, "c:1", "c:2181")})), "-8") << "an id never comes back";
}

TEST_F(ReconfigTest, TheVersionThatItReplaces) {
  zk::ReconfigRequest request = joins({}, {3});
  const zk::Zxid first = version();
  for (const zk::Zxid wrong : {first - 1, first + 1, zk::Zxid{0}, zk::Zxid{-2}}) {
    request.from = wrong;
    EXPECT_EQ(plan(request), "-103");
  }
  request.from = first;
  const zk::Reply done = reconfigure(request);
  EXPECT_EQ(done.code, Code::kOk);
  EXPECT_GT(version(), first);
  EXPECT_EQ(plan(request), "-103") << "asked again";
  request.joining = {server(1, "a:1", {}, true)};
  EXPECT_EQ(plan(request), "-103") << "as in ZooKeeper, before it is looked at what it asks for";
}

TEST_F(ReconfigTest, TheAnswerIsTheNode) {
  const zk::Reply done = reconfigure(joins({}, {3}));
  const auto& configured = std::get<zk::Configured>(done.result);
  EXPECT_EQ(configured.data, config());
  EXPECT_EQ(configured.stat.mzxid, version());
  EXPECT_EQ(done.zxid, version());
  const zk::Reply again = reconfigure(joins({}, {3}));
  EXPECT_EQ(again.code, Code::kOk);
  EXPECT_EQ(std::get<zk::Configured>(again.result), configured) << "nothing new: the same version";
}

TEST_F(ReconfigTest, WhoMayAskForIt) {
  zk::ReconfigRequest request = joins({}, {3});
  const zk::Id bob{"digest", "bob:x"};
  request.caller.ids = {{"ip", "10.0.0.1"}, bob};
  EXPECT_EQ(plan(request), "-102") << "the node is there to be read";
  const zk::Reply opened = write(
      zk::SetAcl{"/zookeeper/config", {{zk::kRead, {"world", "anyone"}}, {zk::kAdmin, bob}}, -1});
  EXPECT_EQ(opened.code, Code::kOk) << "by the super user";
  EXPECT_EQ(plan(request), "-102") << "who gives rights has to give himself that one";
  write(zk::SetAcl{"/zookeeper/config", {{zk::kRead | zk::kWrite, bob}}, -1});
  EXPECT_EQ(plan(request), "remove 3");
  request.caller.generation = 2;
  EXPECT_EQ(plan(request), "-118");
  request.caller.session = 1'234;
  EXPECT_EQ(plan(request), "-112");
}

TEST_F(ReconfigTest, CountsForOnePlaceInTheLog) {
  const auto steps = replica_.store.plan(joins({}, {3}));
  ASSERT_TRUE(steps.has_value());
  const LogIndex next = replica_.store.applied_index().next();
  const auto at = [&](LogIndex index) {
    return std::get<zk::Reply>(commit(Reconfigure{Reconfigure::Granted{index, *steps}})).code;
  };
  EXPECT_EQ(at(next.next()), Code::kReconfigInProgress);
  EXPECT_EQ(at(next), Code::kReconfigInProgress) << "one too late";
  EXPECT_EQ(replica_.store.members().size(), 3u);
  EXPECT_EQ(at(replica_.store.applied_index().next()), Code::kOk);
  EXPECT_EQ(replica_.store.members().size(), 2u);
}

TEST_F(ReconfigTest, WhatTheLeaderHasNotSeenOrRefusesHasNoEffect) {
  const std::uint64_t digest = replica_.store.facts_digest();
  EXPECT_EQ(std::get<zk::Reply>(commit(Reconfigure{joins({}, {3})})).code,
            Code::kReconfigInProgress);
  const Reconfigure refused{Reconfigure::Refused{Code::kNewConfigNoQuorum}};
  EXPECT_EQ(std::get<zk::Reply>(commit(refused)).code, Code::kNewConfigNoQuorum);
  EXPECT_EQ(replica_.store.facts_digest(), digest);
}

TEST_F(ReconfigTest, IsDoneAsAWholeOrNotAtAll) {
  auto steps = *replica_.store.plan(joins({}, {3}));
  steps.push_back(steps.front());
  const LogIndex at = replica_.store.applied_index().next();
  const auto reply = std::get<zk::Reply>(commit(Reconfigure{Reconfigure::Granted{at, steps}}));
  EXPECT_EQ(reply.code, Code::kBadArguments);
  EXPECT_EQ(replica_.store.members().size(), 3u);
}

// It has neither sessions nor znodes, and has to come to the same members.
TEST_F(ReconfigTest, AWitnessComesToTheSameMembers) {
  reconfigure(joins({server(4, "d:1", "d:2181", true)}, {3}));
  write(zk::Create{"/a", {}, {{zk::kAllPermissions, {"world", "anyone"}}}});
  reconfigure(joins({server(4, "d:1"), server(2, "x:1")}));
  reconfigure(joins({}, {1, 2, 4}));
  Replica witness;
  for (const Bytes& entry : replica_.log) witness.apply(witnessed_part(entry));
  EXPECT_EQ(witness.store.members(), replica_.store.members());
  EXPECT_EQ(witness.store.removed(), replica_.store.removed());
  EXPECT_EQ(witness.store.members().size(), 3u);
}

TEST_F(ReconfigTest, ASnapshotHasIt) {
  reconfigure(joins({server(4, "d:1", "d:2181")}));
  auto loaded = replica_.through_snapshot(10, [] {});
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->hash(), replica_.store.hash());
  EXPECT_EQ(loaded->zookeeper_address_of(NodeId{4}), "d:2181");
}

TEST(ReconfigBytes, OfEachStage) {
  zk::ReconfigRequest asked;
  asked.caller = {9, 2, {{"digest", "bob:x"}}};
  asked.from = 77;
  asked.is_whole = true;
  asked.leaving = {NodeId{1}};
  asked.joining = {server(4, "d:1", "d:2181", true)};
  MemberChange change;
  change.kind = MemberChange::Kind::kAdd;
  change.id = NodeId{4};
  change.peer_urls = {"http://d:1"};
  const Origin origin{NodeId{3}, 4, 5};
  for (const Reconfigure& each :
       {Reconfigure{asked}, Reconfigure{Reconfigure::Refused{Code::kNoAuth}},
        Reconfigure{Reconfigure::Granted{LogIndex{8}, {{change, "d:2181"}}}}}) {
    const Bytes bytes = encode_command(origin, each);
    EXPECT_EQ(bytes[0], 9);
    EXPECT_TRUE(is_member_change(bytes));
    const auto decoded = decode_member_change(bytes);
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(decoded->origin, origin);
    EXPECT_EQ(std::get<Reconfigure>(decoded->change), each);
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
      EXPECT_FALSE(is_valid_command(BytesView(bytes).substr(0, cut))) << cut;
    }
  }
}

TEST(ReconfigBytes, WhatNoBuildWrites) {
  const auto is_valid = [](const Reconfigure& change) {
    return is_valid_command(encode_command({}, change));
  };
  EXPECT_FALSE(is_valid({Reconfigure::Refused{Code::kOk}}));
  MemberChange change;
  change.kind = MemberChange::Kind::kAdd;
  change.id = NodeId{4};
  EXPECT_TRUE(is_valid({Reconfigure::Granted{LogIndex{8}, {{change, {}}}}}));
  change.verdict = MemberChange::Verdict::kUnhealthy;
  EXPECT_FALSE(is_valid({Reconfigure::Granted{LogIndex{8}, {{change, {}}}}}));
  change.verdict = MemberChange::Verdict::kGranted;
  change.replaces = NodeId{3};
  EXPECT_FALSE(is_valid({Reconfigure::Granted{LogIndex{8}, {{change, {}}}}}));
  change.replaces = {};
  change.kind = MemberChange::Kind::kPromote;
  EXPECT_FALSE(is_valid({Reconfigure::Granted{LogIndex{8}, {{change, "d:2181"}}}}));
  zk::ReconfigRequest large;
  large.leaving.resize(limits::kMaxReconfiguredServers + 1);
  EXPECT_FALSE(is_valid({large}));
  api::Request request;
  request.body = large;
  EXPECT_TRUE(Store::validate(request, Limits{}).has_value());
}

TEST(ConfigVersion, IsOfTheLastLine) {
  EXPECT_EQ(config_version("server.1=a:1:2\nversion=2a"), 42);
  EXPECT_EQ(config_version("version=0"), 0);
  for (const char* none :
       {"", "version=", "version=x", "version=1x", "version=-1", "version=1\n"}) {
    EXPECT_EQ(config_version(none), std::nullopt) << none;
  }
}

}  // namespace
}  // namespace conclave::store
