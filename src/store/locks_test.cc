// Locks and elections over a store: who is answered when, and what is asked of the store for it.

#include "store/locks.h"

#include <gtest/gtest.h>

#include "store/observers.h"
#include "store/replica.h"
#include "store/transcript.h"

namespace conclave::store {
namespace {

constexpr std::uint64_t kOurs = 99;

// A member's store, its watches and its locks; clients are numbers, each with a connection.
class Locked : public ::testing::Test {
 protected:
  Locked()
      : hub({.watches = 1'000}, db.store,
            [this](FeedId feed, Revision revision, const api::WatchNews& news) {
              if (feed.connection == kOurs) {
                ++wakes;
                locks.on_watch(feed.call, news);
                return true;
              }
              return observers.on_watch(feed.call, revision, news);
            }),
        observers([this](FeedId, Revision revision, const api::WatchNews& news) {
          if (!has_room) return false;
          const auto* leader = std::get_if<api::ElectionLeader>(&news);
          told += leader == nullptr
                      ? " ended"
                      : fmt::format(" {}={}@{}", leader->kv.key, leader->kv.value, revision);
          return true;
        }) {
    for (const int lease : {1, 2, 3, 4}) run(fmt::format("grant {} 60", lease));
  }

  void run(std::string_view line) {
    db.run(line);
    settle();
  }
  void lock(std::uint64_t client, BytesView name = "l", std::optional<Instant> deadline = {}) {
    ask(client, api::LockRequest{Bytes(name), static_cast<api::LeaseId>(client)}, deadline);
  }
  void campaign(std::uint64_t client, BytesView value) {
    ask(client, api::CampaignRequest{"e", static_cast<api::LeaseId>(client), Bytes(value)});
  }
  void ask(std::uint64_t client, api::Body body, std::optional<Instant> deadline = {}) {
    locks.request({client, 1}, {std::move(body), std::nullopt, std::nullopt}, deadline);
    settle();
  }
  void lock_under(std::uint64_t client, BytesView name, api::Fence fence) {
    api::LockRequest lock{Bytes(name), static_cast<api::LeaseId>(client)};
    locks.request({client, 1}, {std::move(lock), std::nullopt, std::nullopt, std::move(fence)}, {});
    settle();
  }
  // Its key is created, and nothing more has happened.
  void enter(std::uint64_t client) {
    locks.request({client, 1}, {api::LockRequest{"l", static_cast<api::LeaseId>(client)}, {}, {}},
                  {});
    answer();
  }
  // Answers what has been asked, and leaves what is asked then.
  void answer() {
    for (const auto& [client, id, request] : locks.take_effects().calls) {
      locks.on_response(id, db.run(request));
    }
  }
  void withdraw(std::uint64_t client) {
    locks.withdraw({client, 1});
    settle();
  }

  // Does what locks and observers ask for until they ask for nothing.
  void settle() {
    bool more = true;
    while (more) {
      more = hub.step(db.store);
      if (locks.has_effects()) more = serve_locks();
      if (observers.has_effects()) more = serve_observers();
    }
  }
  bool serve_locks() {
    Locks::Effects effects = locks.take_effects();
    for (auto& [client, response] : effects.replies) {
      replies += fmt::format(" {}:{}", client.connection, text_of(response));
    }
    for (const auto& [client, id, request] : effects.calls) locks.on_response(id, db.run(request));
    for (const std::uint64_t feed : effects.closed) {
      hub.request(db.store, {kOurs, feed}, api::WatchFeedClosed{});
    }
    for (const auto& [feed, create] : effects.watches) hub.request(db.store, {kOurs, feed}, create);
    return true;
  }
  bool serve_observers() {
    Observers::Effects effects = observers.take_effects();
    for (const auto& [client, id, request] : effects.calls) {
      observers.on_response(id, db.run(request));
    }
    for (const std::uint64_t feed : effects.closed) {
      hub.request(db.store, {kOurs + 1, feed}, api::WatchFeedClosed{});
    }
    for (const auto& [feed, create] : effects.watches) {
      hub.request(db.store, {kOurs + 1, feed}, create);
    }
    for (const std::uint64_t feed : effects.has_room) hub.has_room({kOurs + 1, feed});
    return true;
  }

  static std::string text_of(const api::Response& response) {
    if (const auto* error = std::get_if<api::Error>(&response.answer)) return to_text(error->code);
    if (const auto* lock = std::get_if<api::LockResponse>(&response.answer)) {
      return fmt::format("{}#{}@{}", lock->key, lock->token, response.header.revision);
    }
    if (const auto* won = std::get_if<api::CampaignResponse>(&response.answer)) {
      return fmt::format("{}#{}@{}", won->leader.key, won->leader.revision,
                         response.header.revision);
    }
    if (const auto* leader = std::get_if<api::LeaderResponse>(&response.answer)) {
      return fmt::format("{}={}", leader->kv.key, leader->kv.value);
    }
    return "ok";
  }
  // What clients were told since it was asked last.
  std::string heard() { return std::exchange(replies, {}); }
  std::string observed() { return std::exchange(told, {}); }

  Replica db;
  WatchHub hub;
  Locks locks;
  Observers observers;
  std::string replies;
  std::string told;
  bool has_room = true;
  int wakes = 0;
};

TEST_F(Locked, TheFirstHoldsAndTheOthersWaitInOrder) {
  lock(1);
  lock(2);
  lock(3);
  EXPECT_EQ(heard(), " 1:l/1#2@2");
  run("del l/1");
  EXPECT_EQ(heard(), " 2:l/2#3@5");
  run("del l/2");
  EXPECT_EQ(heard(), " 3:l/3#4@6");
  EXPECT_EQ(locks.waiting(), 0);
  EXPECT_EQ(hub.watches(), 0);
}

TEST_F(Locked, AReleaseWakesTheNextAlone) {
  for (const std::uint64_t client : {1U, 2U, 3U, 4U}) lock(client);
  wakes = 0;
  run("del l/1");
  EXPECT_EQ(wakes, 1);
  run("put l/x other");  // a key of somebody else's, and later than theirs
  EXPECT_EQ(wakes, 1);
}

TEST_F(Locked, WhatWaitersBringIsCounted) {
  for (const std::uint64_t client : {1U, 2U, 3U}) lock(client, "name");
  locks.request({2, 2}, {api::CampaignRequest{"name", 9, Bytes(100, 'v')}, {}, {}}, {});
  locks.request({2, 3}, {api::LockRequest{"", 9}, {}, {}}, {});
  EXPECT_EQ(locks.waiting_bytes(), 4 + 104 + 4) << "of two who wait, and one who asks for a lease";
  EXPECT_EQ(locks.waiting_bytes_of(2), 4 + 104);
  EXPECT_EQ(locks.waiting_bytes_of(1), 0);
  locks.close_connection(2);
  settle();
  EXPECT_EQ(locks.waiting_bytes_of(2), 0);
  EXPECT_EQ(locks.waiting_bytes(), 4);
}

TEST_F(Locked, LocksWhoseNamesBeginAlikeAreTwo) {
  lock(1, "l");
  lock(2, "l2");
  lock(3, "l/1");
  EXPECT_EQ(heard(), " 1:l/1#2@2 2:l2/2#3@3 3:l/1/3#4@4");
}

TEST_F(Locked, WithTheSameLeaseItIsHeldAlready) {
  lock(1);
  locks.request({7, 1}, {api::LockRequest{"l", 1}, std::nullopt, std::nullopt}, std::nullopt);
  settle();
  EXPECT_EQ(heard(), " 1:l/1#2@2 7:l/1#2@2");
}

TEST_F(Locked, WhoGoesLeavesTheQueue) {
  for (const std::uint64_t client : {1U, 2U, 3U}) lock(client);
  heard();
  withdraw(2);
  run("del l/1");
  EXPECT_EQ(heard(), " 3:l/3#4@6");
  lock(4);
  locks.close_connection(4);
  settle();
  run("del l/3");
  EXPECT_EQ(heard(), "");
  EXPECT_EQ(locks.waiting(), 0);
  EXPECT_EQ(hub.watches(), 0);
}

TEST_F(Locked, WhoHoldsItKeepsItWhenItsCallIsForgotten) {
  lock(1);
  withdraw(1);
  lock(2);
  EXPECT_EQ(heard(), " 1:l/1#2@2");
}

TEST_F(Locked, WhoGoesBeforeItIsKnownThatItEnteredIsRemovedThen) {
  lock(1);
  locks.request({2, 1}, {api::LockRequest{"l", 2}, std::nullopt, std::nullopt}, std::nullopt);
  locks.withdraw({2, 1});
  settle();
  lock(3);
  run("del l/1");
  EXPECT_EQ(heard(), " 1:l/1#2@2 3:l/3#5@6");
}

TEST_F(Locked, ALeaseThatEndsWhileItsOwnerWaitsLosesThePlace) {
  for (const std::uint64_t client : {1U, 2U, 3U}) lock(client);
  heard();
  run("revoke 2");
  EXPECT_EQ(heard(), "");
  run("del l/1");
  EXPECT_EQ(heard(), " 2:lock_lost 3:l/3#4@6");
}

// Between the answer to who enters and the look at who is before it, others are served.
TEST_F(Locked, TheAnswersRevisionIsOneAtWhichItIsHeld) {
  lock(1);
  heard();
  enter(2);
  db.run("del l/1");  // revision 4
  settle();
  EXPECT_EQ(heard(), " 2:l/2#3@4");
}

TEST_F(Locked, WhoseKeyGoesAtOnceHasNotHeldIt) {
  lock(1);
  heard();
  enter(2);
  db.run("revoke 2");
  db.run("del l/1");
  settle();
  EXPECT_EQ(heard(), " 2:lock_lost");
}

TEST_F(Locked, WithoutALeaseThereIsNoLock) {
  ask(1, api::LockRequest{"l", 77});
  EXPECT_EQ(heard(), " 1:lease_not_found");
  EXPECT_EQ(locks.waiting(), 0);
}

TEST_F(Locked, ADeadlineEndsTheWait) {
  lock(1);
  lock(2, "l", Instant{1'000});
  heard();
  locks.expire(Instant{999});
  settle();
  EXPECT_EQ(heard(), "");
  locks.expire(Instant{1'000});
  settle();
  EXPECT_EQ(heard(), " 2:deadline_exceeded");
  lock(3);
  run("del l/1");
  EXPECT_EQ(heard(), " 3:l/3#5@6");
}

TEST_F(Locked, StoppingAnswersAllAndLeavesTheirKeys) {
  lock(1);
  lock(2);
  heard();
  locks.stop();
  settle();
  lock(3);
  EXPECT_EQ(heard(), " 2:stopped 3:stopped");
  EXPECT_EQ(db.run("range l/2"), "3 range 1 l/2=-(3,3,1,2)");
}

TEST_F(Locked, CampaignsAreWonInOrder) {
  campaign(1, "a");
  campaign(2, "b");
  EXPECT_EQ(heard(), " 1:e/1#2@2");
  ask(3, api::LeaderRequest{"e"});
  ask(3, api::ProclaimRequest{{"e", "e/1", 2, 1}, "c"});
  ask(3, api::LeaderRequest{"e"});
  EXPECT_EQ(heard(), " 3:e/1=a 3:ok 3:e/1=c");
  ask(1, api::ResignRequest{{"e", "e/1", 2, 1}});
  EXPECT_EQ(heard(), " 1:ok 2:e/2#3@3");
  ask(1, api::ProclaimRequest{{"e", "e/1", 2, 1}, "x"});
  ask(1, api::LeaderRequest{"none"});
  EXPECT_EQ(heard(), " 1:not_election_leader 1:no_election_leader");
}

TEST_F(Locked, ASecondCampaignWithTheLeaseProclaims) {
  campaign(1, "a");
  campaign(1, "b");
  ask(3, api::LeaderRequest{"e"});
  EXPECT_EQ(heard(), " 1:e/1#2@2 1:e/1#2@2 3:e/1=b");
}

TEST_F(Locked, ObserversHearOfEachLeaderAndValue) {
  observers.observe({5, 1}, "e", "");
  settle();
  EXPECT_EQ(observed(), "");
  campaign(1, "a");
  EXPECT_EQ(observed(), " e/1=a@2");
  campaign(2, "b");
  ask(3, api::ProclaimRequest{{"e", "e/1", 2, 1}, "c"});
  EXPECT_EQ(observed(), " e/1=c@4");
  run("del e/1");
  EXPECT_EQ(observed(), " e/2=b@5");
  run("del e/2");
  EXPECT_EQ(observed(), "");
  observers.close_connection(5);
  settle();
  EXPECT_EQ(observers.size(), 0);
  EXPECT_EQ(hub.watches(), 0);
}

TEST_F(Locked, AnObserverThatTakesNothingGoesOnWhereItWas) {
  campaign(1, "a");
  has_room = false;
  observers.observe({5, 1}, "e", "");
  settle();
  run("put e/1 b");
  EXPECT_EQ(observed(), "");
  has_room = true;
  observers.has_room({5, 1});
  settle();
  EXPECT_EQ(observed(), " e/1=a@2 e/1=b@3");
  has_room = false;
  run("put e/1 c");
  run("put e/1 d");
  has_room = true;
  observers.has_room({5, 1});
  settle();
  EXPECT_EQ(observed(), " e/1=c@4 e/1=d@5");
}

TEST_F(Locked, AnObserverIsNotToldTwiceOfALeaderByACompaction) {
  campaign(1, "a");
  observers.observe({5, 1}, "e", "");
  serve_observers();
  EXPECT_EQ(observed(), " e/1=a@2");
  for (const char* line : {"put x 1", "put x 2", "compact 4"}) db.run(line);
  settle();  // it has asked for what comes from revision 3 on
  EXPECT_EQ(observed(), "");
  run("put e/1 b");
  EXPECT_EQ(observed(), " e/1=b@5");
}

// The fence is about taking a place in the queue, not about leaving it.
TEST_F(Locked, ALockIsTakenUnderAnother) {
  lock(1, "outer");
  EXPECT_EQ(heard(), " 1:outer/1#2@2");
  lock_under(2, "inner", {"outer", 2});
  EXPECT_EQ(heard(), " 2:inner/2#3@3");
  lock_under(3, "inner", {"outer", 2});
  run("del outer/1");
  lock_under(4, "inner", {"outer", 2});
  EXPECT_EQ(heard(), " 4:fenced");
  EXPECT_EQ(db.run("range inner/4"), "5 range 0");
  withdraw(3);
  EXPECT_EQ(db.run("range inner/3"), "6 range 0");
  EXPECT_EQ(locks.waiting(), 0);
}

// --- several calls with one key ------------------------------------------------------

// Calls of client 5, with somebody else's lease.
class SharedKey : public Locked {
 protected:
  void lock_with(api::LeaseId lease) { locks.request({5, 1}, wish(lease), {}); }
  static api::Request wish(api::LeaseId lease) {
    return {api::LockRequest{"l", lease}, std::nullopt, std::nullopt};
  }
  // Its first call, which is under way.
  Locks::Effects::Call begin_with(api::LeaseId lease) {
    lock_with(lease);
    auto calls = locks.take_effects().calls;
    EXPECT_EQ(calls.size(), 1);
    return std::move(calls.at(0));
  }
  void answer_with(api::ErrorCode code) {
    for (const auto& [client, id, request] : locks.take_effects().calls) {
      locks.on_response(id, {{}, api::Error{code, {}}});
    }
  }
};

TEST_F(SharedKey, ACallThatWasGivenUpDoesNotTakeTheKeyFromTheOneThatFollowedIt) {
  locks.request({1, 1}, wish(1), {});
  locks.withdraw({1, 1});  // not known yet whether it has a key
  lock_with(1);
  settle();
  EXPECT_EQ(heard(), " 5:l/1#2@2");
  lock(2);
  EXPECT_EQ(heard(), "") << "the key of the first call is held by the second";
  EXPECT_EQ(locks.waiting(), 1);
}

TEST_F(SharedKey, WhoTookAPlaceLeavesItLikeOneWhoseItWas) {
  lock(2);
  enter(1);  // waits, once it has looked
  lock_with(1);
  answer();
  locks.withdraw({1, 1});
  settle();
  locks.withdraw({5, 1});
  settle();
  EXPECT_EQ(heard(), " 2:l/2#2@2");
  EXPECT_EQ(db.run("range l/1"), "4 range 0") << "nobody is left who would want it";
  EXPECT_EQ(locks.waiting(), 0);
}

TEST_F(SharedKey, AHolderThatAsksAgainAndGoesKeepsWhatItHolds) {
  lock(1);
  for (const int answers : {0, 1}) {  // while it enters, and while it looks
    lock_with(1);
    for (int i = 0; i < answers; ++i) answer();
    locks.withdraw({5, 1});
    settle();
  }
  lock(2);
  EXPECT_EQ(heard(), " 1:l/1#2@2");
}

TEST_F(SharedKey, WhatOneCallWasGrantedTheOtherDoesNotTakeBack) {
  lock(2);
  lock(1);
  lock_with(1);
  settle();  // both wait
  db.run("del l/2");
  while (hub.step(db.store)) {
  }
  answer();  // both looked: they are next
  const auto confirmations = locks.take_effects().calls;
  ASSERT_EQ(confirmations.size(), 2);
  locks.on_response(confirmations[1].id, db.run(confirmations[1].request));
  locks.withdraw({5, 1});  // the other one
  settle();
  lock(3);
  EXPECT_EQ(heard(), " 2:l/2#2@2 1:l/1#3@4");
}

TEST_F(SharedKey, ACallWaitsForTheRemovalOfItsKey) {
  lock(2);
  lock(1);
  locks.withdraw({1, 1});  // the removal is under way
  lock_with(1);
  EXPECT_EQ(locks.waiting(), 2);
  settle();
  run("del l/2");
  EXPECT_EQ(heard(), " 2:l/2#2@2 5:l/1#5@6") << "its key is a new one";
}

TEST_F(SharedKey, OneThatIsHeldBackMayGo) {
  lock(2);
  lock(1);
  locks.withdraw({1, 1});
  lock_with(1);
  locks.withdraw({5, 1});
  settle();
  EXPECT_EQ(locks.waiting(), 0);
  EXPECT_EQ(db.run("range l/1"), "4 range 0");
}

TEST_F(SharedKey, WhatFailsForTheMomentIsRepeated) {
  for (const api::ErrorCode code :
       {api::ErrorCode::kTimeout, api::ErrorCode::kNoLeader, api::ErrorCode::kTooManyRequests}) {
    enter(1);
    answer_with(code);  // who is before it?
    EXPECT_FALSE(locks.has_effects());
    locks.expire({});
    settle();
    EXPECT_EQ(heard().substr(0, 7), " 1:l/1#");
    run("del l/1");
  }
}

TEST_F(SharedKey, ARemovalIsRepeatedOnlyIfItWasNotTried) {
  for (const auto& [code, is_repeated] :
       {std::pair(api::ErrorCode::kTooManyRequests, true),
        std::pair(api::ErrorCode::kTimeout, false), std::pair(api::ErrorCode::kNoLeader, false)}) {
    lock(1);
    lock(2);
    locks.withdraw({2, 1});
    answer_with(code);
    EXPECT_EQ(locks.waiting(), is_repeated ? 1 : 0);
    locks.expire({});
    settle();
    EXPECT_EQ(locks.waiting(), 0);
    EXPECT_EQ(db.run("range l/2").ends_with("range 0"), is_repeated);
    run("del l/2");
    run("del l/1");
  }
}

// The one whose key it was goes first, while the other has asked and knows nothing yet.
TEST_F(SharedKey, APlaceThatWasTakenBeforeItWasKnownIsLeftToo) {
  lock(2);
  lock(1);
  const Locks::Effects::Call entering = begin_with(1);
  locks.withdraw({1, 1});
  locks.withdraw({5, 1});
  locks.on_response(entering.id, db.run(entering.request));
  settle();
  EXPECT_EQ(locks.waiting(), 0);
  EXPECT_TRUE(db.run("range l/1").ends_with("range 0")) << db.run("range l/1");
}

TEST_F(SharedKey, APlaceThatWasTakenByOneWhoIsRefusedIsLeftToo) {
  lock(2);
  lock(1);
  const Locks::Effects::Call entering = begin_with(1);
  locks.withdraw({1, 1});
  locks.on_response(entering.id, {{}, api::Error{api::ErrorCode::kFenced, {}}});
  settle();
  EXPECT_EQ(heard(), " 2:l/2#2@2 5:fenced");
  EXPECT_TRUE(db.run("range l/1").ends_with("range 0")) << db.run("range l/1");
}

// What was granted with a key says nothing of the next key of that name.
TEST_F(SharedKey, AGrantIsOfOneKeyAlone) {
  lock(1);
  const Locks::Effects::Call entering = begin_with(1);
  run("del l/1");
  lock(2);
  locks.on_response(entering.id, db.run(entering.request));  // late: creates another key
  settle();
  locks.withdraw({5, 1});
  settle();
  EXPECT_EQ(heard(), " 1:l/1#2@2 2:l/2#4@4");
  EXPECT_TRUE(db.run("range l/1").ends_with("range 0")) << db.run("range l/1");
}

}  // namespace
}  // namespace conclave::store
