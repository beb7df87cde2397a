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
    for (const auto& [id, request] : effects.calls) observers.on_response(id, db.run(request));
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
  for (const std::uint64_t client : {1, 2, 3, 4}) lock(client);
  wakes = 0;
  run("del l/1");
  EXPECT_EQ(wakes, 1);
  run("put l/x other");  // a key of somebody else's, and later than theirs
  EXPECT_EQ(wakes, 1);
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
  for (const std::uint64_t client : {1, 2, 3}) lock(client);
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
  for (const std::uint64_t client : {1, 2, 3}) lock(client);
  heard();
  run("revoke 2");
  EXPECT_EQ(heard(), "");
  run("del l/1");
  EXPECT_EQ(heard(), " 3:l/3#4@6 2:lock_lost");
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
  observers.observe({5, 1}, "e");
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
  observers.observe({5, 1}, "e");
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

}  // namespace
}  // namespace conclave::store
