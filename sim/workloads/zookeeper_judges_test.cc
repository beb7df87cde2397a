// The judges of the workload `zookeeper`: what can be true, and one lie of each kind.

#include <gtest/gtest.h>

#include "sim/finding.h"
#include "sim/workloads/zookeeper_config.h"
#include "sim/workloads/zookeeper_ledger.h"
#include "sim/workloads/zookeeper_mirror.h"

namespace conclave::sim {
namespace {

constexpr std::int64_t kSession = 7;

// What `say` is found to be: the check's name, or "".
template <class Say>
std::string lie(Say say) {
  try {
    say();
  } catch (const Finding& finding) {
    return finding.check;
  }
  return "";
}

ZkMoment at(std::int64_t zxid, std::int64_t heard_ns = 0) {
  return {.zxid = zxid, .asked_ns = heard_ns, .heard_ns = heard_ns, .is_fresh = true};
}

ZkStat version(std::int32_t number, std::int64_t mzxid, std::size_t bytes = 1) {
  ZkStat stat;
  stat.version = number;
  stat.mzxid = mzxid;
  stat.data_bytes = static_cast<std::int32_t>(bytes);
  return stat;
}

// --- messages -----------------------------------------------------------------------

TEST(ZkMessages, EventsAreOfFourTypes) {
  EXPECT_EQ(zk_event_type(1), ZkEventType::kCreated);
  EXPECT_EQ(zk_event_type(4), ZkEventType::kChildren);
  for (const std::int32_t number : {-1, 0, 5, 1'000'000})
    EXPECT_EQ(lie([&] { zk_event_type(number); }), "zookeeper protocol") << number;
}

TEST(ZkMessages, EachPartIsAnswered) {
  const Bytes end = JuteWriter().number(-1).flag(true).number(-1).written();
  const Bytes checked = JuteWriter().number(ZkOp::kCheck).flag(false).number(0).written();
  EXPECT_EQ(read_parts(checked + checked + end, 2).size(), 2u);
  EXPECT_EQ(lie([&] { read_parts(checked + end, 2); }), "znode multi");
  EXPECT_EQ(lie([&] { read_parts(checked + checked + end, 1); }), "znode multi");
  EXPECT_EQ(lie([&] { read_parts(checked + end + end, 1); }), "zookeeper protocol");
  EXPECT_EQ(lie([&] { read_parts(checked, 1); }), "zookeeper protocol");
}

// --- the ledger ---------------------------------------------------------------------

class ZkLedgerTest : public testing::Test {
 protected:
  std::string saw(std::int32_t number, std::int64_t mzxid, const std::string& data,
                  std::int64_t zxid) {
    return lie([&] { ledger_.saw("/a", version(number, mzxid, data.size()), data, at(zxid)); });
  }
  std::string listed(std::vector<std::string> names, std::int64_t zxid, std::int64_t heard_ns = 0) {
    return lie([&] { ledger_.listed({{"/q", std::move(names)}}, at(zxid, heard_ns)); });
  }
  void create(const std::string& id, std::int64_t session = 0, bool is_sequential = false) {
    ledger_.creating("/q", id, session, is_sequential);
  }
  std::string created(const std::string& id, const std::string& name, std::int64_t zxid) {
    return lie([&] { ledger_.created(id, name, zxid, ledger_.last_number("/q")); });
  }
  std::string end() {
    return lie([&] { ledger_.close_books(); });
  }

  ZkLedger ledger_;
};

TEST_F(ZkLedgerTest, AnAnswerIsNoOlderThanWhatWasTold) {
  EXPECT_EQ(lie([&] { ledger_.heard(0, at(5)); }), "");
  EXPECT_EQ(lie([&] { ledger_.heard(ledger_.told(), at(4)); }), "znode recency");
}

TEST_F(ZkLedgerTest, VersionsAreInTheOrderOfTheirZxids) {
  EXPECT_EQ(saw(1, 5, "x", 6), "");
  EXPECT_EQ(saw(3, 9, "z", 9), "");
  EXPECT_EQ(saw(2, 7, "y", 8), "");
  EXPECT_EQ(saw(4, 8, "w", 9), "znode versions");
}

TEST_F(ZkLedgerTest, AVersionIsOneWrite) {
  saw(1, 5, "x", 6);
  EXPECT_EQ(saw(1, 6, "y", 6), "znode versions");
}

TEST_F(ZkLedgerTest, AWriteIsDoneOnce) {
  saw(1, 5, "x/token", 6);
  EXPECT_EQ(saw(2, 6, "x/token", 6), "znode writes");
}

TEST_F(ZkLedgerTest, AZxidIsOneWrite) {
  saw(1, 5, "x", 6);
  EXPECT_EQ(saw(2, 5, "y", 6), "znode writes");
}

TEST_F(ZkLedgerTest, WhatWasRefusedIsNotThere) {
  ledger_.refused("x");
  EXPECT_EQ(saw(1, 5, "x/empty", 6), "znode writes");
}

TEST_F(ZkLedgerTest, AReadShowsNothingThatComesLater) {
  EXPECT_EQ(saw(1, 5, "x", 4), "znode reads");
}

TEST_F(ZkLedgerTest, AReadShowsWhatCameBefore) {
  saw(2, 5, "x", 6);
  EXPECT_EQ(saw(1, 3, "w", 4), "");
  EXPECT_EQ(saw(1, 3, "w", 5), "znode reads");
}

TEST_F(ZkLedgerTest, AlsoIfThatIsKnownLater) {
  saw(1, 3, "w", 7);
  saw(2, 5, "x", 8);
  EXPECT_EQ(end(), "znode reads");
}

TEST_F(ZkLedgerTest, AVersionThatIsThereIsNotRefused) {
  saw(1, 3, "w", 3);
  ledger_.saw_other_version("/a", 1, at(8));
  saw(2, 9, "x", 9);
  EXPECT_EQ(end(), "znode versions");
}

TEST_F(ZkLedgerTest, AVersionThatIsNotThereIs) {
  saw(1, 3, "w", 3);
  ledger_.saw_other_version("/a", 1, at(9));
  ledger_.saw_other_version("/a", 1, at(2));
  saw(2, 9, "x", 9);
  EXPECT_EQ(end(), "");
}

TEST_F(ZkLedgerTest, NumbersGrowAndAreGivenOnce) {
  for (const char* id : {"a", "b", "c", "d"}) create(id, 0, true);
  EXPECT_EQ(created("a", "a-0000000001", 3), "");
  EXPECT_EQ(created("b", "b-0000000003", 5), "");
  EXPECT_EQ(created("c", "c-0000000003", 7), "znode sequence");
  EXPECT_EQ(created("d", "d-0000000002", 8), "znode sequence");
}

TEST_F(ZkLedgerTest, ACreationIsDoneOnce) {
  create("a", 0, true);
  EXPECT_EQ(listed({"a-0000000001", "a-0000000002"}, 5), "znode writes");
}

TEST_F(ZkLedgerTest, NobodyIsThereWhoWasNotCreated) {
  create("a");
  EXPECT_EQ(listed({"b"}, 5), "znode reads");
}

TEST_F(ZkLedgerTest, WhatWasCreatedIsThereFromThenOn) {
  create("a");
  EXPECT_EQ(listed({}, 4), "");
  created("a", "a", 5);
  EXPECT_EQ(listed({"a"}, 5), "");
  EXPECT_EQ(listed({}, 6), "znode reads");
}

TEST_F(ZkLedgerTest, AnAnswerBeforeTheCreationIsKnownCountsToo) {
  create("a");
  listed({}, 6);
  EXPECT_EQ(created("a", "a", 5), "znode reads");
}

TEST_F(ZkLedgerTest, WhatWasDeletedIsGone) {
  create("a");
  created("a", "a", 5);
  ledger_.deleting("a");
  EXPECT_EQ(listed({"a"}, 6), "");
  ledger_.deleted("a", 7);
  EXPECT_EQ(listed({}, 7), "");
  EXPECT_EQ(listed({"a"}, 8), "znode reads");
}

TEST_F(ZkLedgerTest, AnEphemeralIsNotGoneEarly) {
  ledger_.kept_alive(kSession, 1'000);
  create("a", kSession);
  created("a", "a", 5);
  EXPECT_EQ(listed({}, 6, 999), "ephemerals");
}

TEST_F(ZkLedgerTest, NorIfItsSessionIsKnownToHaveLivedOnlyLater) {
  ledger_.kept_alive(kSession, 1'000);
  create("a", kSession);
  created("a", "a", 5);
  EXPECT_EQ(listed({}, 6, 1'000), "");
  EXPECT_EQ(end(), "");
  ledger_.kept_alive(kSession, 2'000);
  EXPECT_EQ(end(), "ephemerals");
}

TEST_F(ZkLedgerTest, AnEphemeralDoesNotOutliveItsSession) {
  create("a", kSession);
  created("a", "a", 5);
  ledger_.expired(kSession, 100);
  EXPECT_EQ(listed({"a"}, 6, 101), "ephemerals");
  EXPECT_NE(ledger_.ephemerals_left(), "");
}

TEST_F(ZkLedgerTest, NorOneThatWasClosed) {
  create("a", kSession);
  created("a", "a", 5);
  ledger_.closing(kSession);
  ledger_.closed(kSession, 8);
  EXPECT_EQ(listed({"a"}, 7), "");
  EXPECT_EQ(listed({"a"}, 8), "ephemerals");
}

TEST_F(ZkLedgerTest, WhatASessionLeavesGoesTogether) {
  for (const char* id : {"a", "b"}) create(id, kSession);
  created("a", "a", 5);
  created("b", "b", 6);
  EXPECT_EQ(listed({"a", "b"}, 7), "");
  EXPECT_EQ(listed({"a"}, 8), "ephemerals");
}

// --- the mirror ---------------------------------------------------------------------

using Way = ZkMirror::Way;

class ZkMirrorTest : public testing::Test {
 protected:
  std::string told(ZkMirror& mirror, ZkEventType type, const std::string& path) {
    return lie([&] { mirror.on_event({type, path}); });
  }
  std::string shown(ZkMirror& mirror, const std::string& path, const ZkStat& stat,
                    bool arms = false) {
    return lie([&] { mirror.on_node(path, &stat, arms); });
  }
  std::string listed(ZkMirror& mirror, const std::vector<std::string>& names, std::int64_t pzxid,
                     bool arms = false) {
    ZkStat stat;
    stat.children = static_cast<std::int32_t>(names.size());
    stat.pzxid = pzxid;
    stat.cversion = static_cast<std::int32_t>(pzxid);
    return lie([&] { mirror.on_children("/t", names, stat, arms); });
  }

  ZkMirror once_{Way::kOnce, "/t", {}};
  ZkMirror persistent_{Way::kPersistent, "/t", {"/t", "/t/a"}};
  ZkMirror recursive_{Way::kRecursive, "/t", {}};
};

TEST_F(ZkMirrorTest, AOneShotWatchIsToldOfOnceAndBeforeItIsSeen) {
  shown(once_, "/t/a", version(1, 5), true);
  EXPECT_EQ(shown(once_, "/t/a", version(1, 5)), "");
  EXPECT_EQ(told(once_, ZkEventType::kChanged, "/t/a"), "");
  EXPECT_EQ(told(once_, ZkEventType::kChanged, "/t/a"), "znode watches");
  EXPECT_EQ(shown(once_, "/t/a", version(2, 6), true), "");
  EXPECT_EQ(shown(once_, "/t/a", version(3, 7)), "znode watches");
}

TEST_F(ZkMirrorTest, AnEventTellsOfSomething) {
  shown(once_, "/t/a", version(1, 5), true);
  told(once_, ZkEventType::kChanged, "/t/a");
  EXPECT_EQ(shown(once_, "/t/a", version(1, 5)), "znode watches");
}

TEST_F(ZkMirrorTest, AWatchWaitsForWhatIsNotThere) {
  once_.on_node("/t/a", nullptr, true);
  EXPECT_EQ(shown(once_, "/t/a", version(0, 5)), "znode watches");
  EXPECT_EQ(told(once_, ZkEventType::kChanged, "/t/a"), "znode watches");
  EXPECT_EQ(told(once_, ZkEventType::kCreated, "/t/a"), "");
}

TEST_F(ZkMirrorTest, WhatOthersWereToldHasToBeToldToo) {
  ZkLedger ledger;
  shown(once_, "/t/a", version(1, 5), true);
  ledger.saw("/t/a", version(2, 8), "x", at(8));
  EXPECT_EQ(lie([&] { once_.on_answer(ledger, 7); }), "");
  EXPECT_EQ(lie([&] { once_.on_answer(ledger, 8); }), "znode watches");
}

TEST_F(ZkMirrorTest, AWatchOfChildrenIsToldBeforeTheyAreSeen) {
  listed(once_, {"a"}, 5, true);
  EXPECT_EQ(lie([&] { once_.on_own_child("/t", "b", true); }), "znode watches");
  EXPECT_EQ(listed(once_, {"a", "b"}, 6), "znode watches");
  EXPECT_EQ(told(once_, ZkEventType::kChildren, "/t"), "");
  EXPECT_EQ(listed(once_, {"a", "b"}, 6), "");
}

TEST_F(ZkMirrorTest, APersistentWatchIsToldOfEachChange) {
  shown(persistent_, "/t/a", version(1, 5));
  told(persistent_, ZkEventType::kChanged, "/t/a");
  EXPECT_EQ(shown(persistent_, "/t/a", version(2, 6)), "");
  told(persistent_, ZkEventType::kChanged, "/t/a");
  told(persistent_, ZkEventType::kChanged, "/t/a");
  EXPECT_EQ(shown(persistent_, "/t/a", version(3, 7)), "znode watches") << "told twice";
  listed(persistent_, {"a"}, 1);
  EXPECT_EQ(listed(persistent_, {"a", "b"}, 2), "znode watches");
  EXPECT_EQ(told(persistent_, ZkEventType::kChanged, "/t/b"), "znode watches");
}

TEST_F(ZkMirrorTest, ARecursiveWatchIsToldOfEverything) {
  listed(recursive_, {"a"}, 1);
  told(recursive_, ZkEventType::kCreated, "/t/b");
  EXPECT_EQ(listed(recursive_, {"a", "b"}, 2), "");
  EXPECT_EQ(told(recursive_, ZkEventType::kCreated, "/t/b"), "znode watches");
  told(recursive_, ZkEventType::kDeleted, "/t/a");
  EXPECT_EQ(listed(recursive_, {"a", "b"}, 3), "znode watches");
}

TEST_F(ZkMirrorTest, WhatIsPersistentIsNotToldOfWhatItsClientHasMissed) {
  listed(recursive_, {"a"}, 1);
  recursive_.reconnected();
  EXPECT_EQ(listed(recursive_, {"a", "b"}, 2), "");
}

// --- who the members are ---------------------------------------------------------------

class ZkConfigsTest : public testing::Test {
 protected:
  static std::string text(std::int64_t zxid, const ZkServers& servers) {
    std::string text;
    for (const auto& [id, server] : servers)
      text += fmt::format("server.{}={}:2381:{};m:2181\n", id, server.peer,
                          server.is_observer ? "observer" : "participant");
    return text + fmt::format("version={:x}", zxid);
  }
  std::string saw(std::int32_t number, std::int64_t zxid, const std::string& data) {
    return lie([&] { configs_.saw(version(number, zxid, data.size()), data, at(zxid)); });
  }
  std::string saw(std::int32_t number, std::int64_t zxid, const ZkServers& servers) {
    return saw(number, zxid, text(zxid, servers));
  }
  // What the answer to `change` is.
  std::string done(const ZkReconfig& change, std::int32_t number, std::int64_t zxid,
                   const ZkServers& now) {
    const std::size_t asked = configs_.asked(change);
    const std::string data = text(zxid, now);
    return lie(
        [&] { configs_.done(asked, version(number, zxid, data.size()), data, at(zxid + 9)); });
  }
  std::string refused(const ZkReconfig& change, std::int32_t code, std::int64_t zxid) {
    const std::size_t asked = configs_.asked(change);
    return lie([&] { configs_.refused(asked, code, at(zxid)); });
  }
  std::string close_books(std::int64_t removed_by_others = 0) {
    return lie([&] {
      ledger_.close_books();
      configs_.close_books([&](std::int64_t id) { return id == removed_by_others; });
    });
  }

  const ZkServers two_{{1, {"m0:2380"}}, {2, {"m1:2380"}}};
  const ZkServers three_{{1, {"m0:2380"}}, {2, {"m1:2380"}}, {3, {"m2:2380"}}};
  // The third comes.
  ZkReconfig addition_{
      .from = ZkConfig{10, 1, two_}, .joining = {{3, {"m2:2380"}}}, .newcomers = {3}};
  ZkLedger ledger_;
  ZkConfigs configs_{ledger_};
};

TEST_F(ZkConfigsTest, ItsTextSaysWhoIsThereAndSinceWhen) {
  EXPECT_EQ(saw(0, 0, ""), "");
  EXPECT_EQ(saw(1, 10, two_), "");
  EXPECT_EQ(saw(2, 12, text(11, two_)), "znode config") << "another version than its zxid";
  std::int32_t next = 3;
  for (const char* data : {"version=x", "nonsense\nversion=d", "server.x=a:1:2:observer\nversion=d",
                           "server.1=a:1:2:king\nversion=d", "server.1=a:1\nversion=d",
                           "server.1=a:1:2:observer\nserver.1=a:1:2:observer\nversion=d"}) {
    ZkLedger ledger;
    ZkConfigs configs(ledger);
    EXPECT_EQ(lie([&] {
                const std::string text = data;
                configs.saw(version(next++, 13, text.size()), text, at(13));
              }),
              "znode config")
        << data;
  }
  EXPECT_EQ(saw(1, 10, three_), "znode versions") << "of one version another text";
}

TEST_F(ZkConfigsTest, WhatIsDoneIsWhatThereIs) {
  saw(1, 10, two_);
  EXPECT_EQ(done(addition_, 2, 20, three_), "");
  EXPECT_EQ(done({.from = ZkConfig{20, 2, three_}, .leaving = {2}}, 3, 30, three_), "znode config");
  const ZkServers others{{1, {"m0:2380"}}};
  EXPECT_EQ(done({.from = ZkConfig{20, 2, three_}, .leaving = {2}}, 4, 40, others), "znode config")
      << "the third as well";
}

TEST_F(ZkConfigsTest, ItReplacesTheOneThatWasAskedFor) {
  saw(1, 10, two_);
  EXPECT_EQ(done(addition_, 3, 20, three_), "znode config") << "version 2 came in between";
  addition_.from.reset();
  EXPECT_EQ(done(addition_, 3, 20, three_), "") << "whichever there is";
  const ZkReconfig nothing{.from = ZkConfig{10, 1, two_}, .joining = {{2, {"m1:2380"}}}};
  EXPECT_EQ(done(nothing, 1, 10, two_), "");
}

TEST_F(ZkConfigsTest, WhoHasNoRightIsRefused) {
  saw(1, 10, two_);
  addition_.is_allowed = false;
  EXPECT_EQ(refused(addition_, ZkCode::kNoAuth, 11), "");
  addition_.joining = {{4, {"m2:2380"}}};
  addition_.newcomers = {4};
  EXPECT_EQ(done(addition_, 2, 20, {two_.begin(), two_.end()}), "znode config");
  addition_.is_allowed = true;
  EXPECT_EQ(refused(addition_, ZkCode::kNoAuth, 30), "znode config");
}

TEST_F(ZkConfigsTest, WhatIsRefusedIsNeverSeen) {
  saw(1, 10, two_);
  EXPECT_EQ(refused(addition_, ZkCode::kNewConfigNoQuorum, 12), "");
  EXPECT_EQ(saw(2, 20, three_), "znode config");
}

TEST_F(ZkConfigsTest, AVersionIsAnotherOnlyIfItIs) {
  saw(1, 10, two_);
  EXPECT_EQ(refused(addition_, ZkCode::kBadVersion, 25), "");
  saw(2, 20, {{1, {"m0:2380"}}, {2, {"m1:2380"}}, {9, {"m5:2380"}}});
  EXPECT_EQ(close_books(), "");
  EXPECT_EQ(refused(addition_, ZkCode::kBadVersion, 15), "");
  EXPECT_EQ(close_books(), "znode versions");
  addition_.from.reset();
  EXPECT_EQ(refused(addition_, ZkCode::kBadVersion, 25), "znode config");
  EXPECT_EQ(refused(addition_, ZkCode::kNoNode, 25), "znode config");
}

TEST_F(ZkConfigsTest, WhoIsGoneDoesNotComeBack) {
  saw(1, 10, three_);
  EXPECT_EQ(done({.leaving = {3}}, 2, 20, two_), "");
  EXPECT_EQ(close_books(), "");
  EXPECT_EQ(saw(3, 30, three_), "znode config");
}

TEST_F(ZkConfigsTest, ItSaysWhoTheMembersAre) {
  saw(1, 10, two_);
  EXPECT_EQ(lie([&] { configs_.judge_truth(1, two_); }), "");
  EXPECT_EQ(lie([&] { configs_.judge_truth(1, three_); }), "znode config");
  EXPECT_EQ(lie([&] { configs_.judge_truth(2, three_); }), "") << "nobody has read that";
}

TEST_F(ZkConfigsTest, NobodyGoesUnasked) {
  saw(1, 10, three_);
  saw(2, 20, two_);
  EXPECT_EQ(close_books(3), "");
  EXPECT_EQ(close_books(), "znode config");
  EXPECT_EQ(refused({.leaving = {3}}, ZkCode::kBadArguments, 15), "");
  EXPECT_EQ(close_books(), "znode config");
  configs_.asked({.leaving = {3}});
  EXPECT_EQ(close_books(), "") << "it may have been done";
}

}  // namespace
}  // namespace conclave::sim
