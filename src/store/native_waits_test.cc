// Waiting for Conclave's own locks and barriers over a store: who is answered when.

#include "store/native_waits.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "store/replica.h"
#include "store/transcript.h"

namespace conclave::store {
namespace {

constexpr std::uint64_t kOurs = 99;

// A member's store, its watches and those who wait; clients are numbers, each with a connection,
// and with the lease of that number.
class Waiting : public ::testing::Test {
 protected:
  Waiting()
      : hub({.watches = 1'000}, db.store,
            [this](FeedId feed, Revision, const api::WatchNews& news) {
              waits.on_watch(feed.call, news);
              return true;
            }) {
    for (const int lease : {1, 2, 3, 4, 5, 6}) run(fmt::format("grant {} 60", lease));
  }

  void run(std::string_view line) {
    db.run(line);
    settle();
  }
  // As in a transcript; it waits.
  void ask(std::uint64_t client, std::string_view line, std::optional<Instant> deadline = {}) {
    api::Request request = parse_request(line);
    if (auto* enter = std::get_if<api::EnterRequest>(&request.body)) enter->wait = true;
    if (auto* leave = std::get_if<api::LeaveRequest>(&request.body)) leave->wait = true;
    waits.request({client, 1}, std::move(request), deadline);
    settle();
  }
  // What the waiting ask for is answered with `failure`, if there is one; `is_done` all the same.
  api::Response answer(const api::Request& request) {
    if (!failure) return db.run(request);
    if (is_done) db.run(request);
    return {{}, api::Error{*failure, {}}};
  }
  void go_on() {
    failure.reset();
    waits.expire(Instant{});
    settle();
  }
  void withdraw(std::uint64_t client) {
    waits.withdraw({client, 1});
    settle();
  }
  void settle() {
    bool more = true;
    while (more) {
      more = hub.step(db.store);
      if (!waits.has_effects()) continue;
      more = true;
      NativeWaits::Effects effects = waits.take_effects();
      for (auto& [client, response] : effects.replies) {
        replies += fmt::format(" {}: {};", client.connection, to_text(response));
      }
      for (const auto& [client, id, request] : effects.calls) {
        asked_by.insert(request.identity.user);
        waits.on_response(id, answer(request));
      }
      for (const std::uint64_t feed : effects.closed) {
        hub.request(db.store, {kOurs, feed}, api::WatchFeedClosed{});
      }
      for (const auto& [feed, create] : effects.watches) {
        feeds.push_back(feed);
        hub.request(db.store, {kOurs, feed}, create);
      }
    }
  }
  // What clients were told since it was asked last.
  std::string heard() { return std::exchange(replies, {}); }
  void expect_nobody() {
    EXPECT_EQ(waits.waiting(), 0);
    EXPECT_EQ(waits.rooms(), 0);
    EXPECT_EQ(waits.undoing(), 0);
    EXPECT_EQ(hub.watches(), 0);
  }

  Replica db;
  WatchHub hub;
  NativeWaits waits;
  std::string replies;
  std::optional<api::ErrorCode> failure;
  bool is_done = false;
  std::set<std::string> asked_by;    // who is named by what was asked for
  std::vector<std::uint64_t> feeds;  // of watches, as they came
};

TEST_F(Waiting, AReleaseAnswersTheNextAlone) {
  for (const int client : {1, 2, 3}) {
    ask(static_cast<std::uint64_t>(client), fmt::format("acquire l {}", client));
  }
  EXPECT_EQ(heard(), " 1: 2 acquire l/1 2 0 1;");
  EXPECT_EQ(hub.watches(), 1) << "one for all who wait";
  run("release l/1 2");
  EXPECT_EQ(heard(), " 2: 5 acquire l/2 3 0 1;");
  run("release l/2 3");
  EXPECT_EQ(heard(), " 3: 6 acquire l/3 4 0 1;");
  expect_nobody();
}

TEST_F(Waiting, ThoseThatShareAreAnsweredInARow) {
  ask(1, "acquire l 1");
  ask(2, "acquire l 2 shared");
  ask(3, "acquire l 3 shared");
  ask(4, "acquire l 4");
  ask(5, "acquire l 5 shared");
  heard();
  run("release l/1 2");
  EXPECT_EQ(heard(), " 2: 7 acquire l/2.shared 3 0 1; 3: 7 acquire l/3.shared 4 0 1;");
  run("release l/2.shared 3");
  EXPECT_EQ(heard(), "");
  run("release l/3.shared 4");
  EXPECT_EQ(heard(), " 4: 9 acquire l/4 5 0 1;");
}

TEST_F(Waiting, APermitThatIsGivenBackIsTheNexts) {
  for (const int client : {1, 2, 3, 4}) {
    ask(static_cast<std::uint64_t>(client), fmt::format("acquire l {} of=2", client));
  }
  EXPECT_EQ(heard(), " 1: 2 acquire l/1.of-2 2 0 1; 2: 3 acquire l/2.of-2 3 0 1;");
  run("release l/2.of-2 3");
  EXPECT_EQ(heard(), " 3: 6 acquire l/3.of-2 4 0 1;");
  run("release l/1.of-2 2");
  EXPECT_EQ(heard(), " 4: 7 acquire l/4.of-2 5 0 1;");
  expect_nobody();
}

// Each in a room of its own, which asks in its name.
TEST_F(Waiting, UsersHaveRoomsOfTheirOwn) {
  ask(1, "acquire l 1");
  heard();
  for (const std::uint64_t client : {2U, 3U, 4U}) {
    api::Request request = parse_request(fmt::format("acquire l {}", client));
    request.identity = {client == 2 ? "ann" : "bob", 1};
    waits.request({client, 1}, std::move(request), {});
    settle();
  }
  EXPECT_EQ(waits.rooms(), 2);
  EXPECT_EQ(asked_by, (std::set<std::string>{"", "ann", "bob"}));
  EXPECT_EQ(hub.watches(), 2);
  run("release l/1 2");
  EXPECT_EQ(heard(), " 2: 6 acquire l/2 3 0 1;");
  run("release l/2 3");
  EXPECT_EQ(heard(), " 3: 7 acquire l/3 4 0 1;");
}

TEST_F(Waiting, WhoMayNotLookAnyMoreWaitsNoLonger) {
  ask(1, "acquire l 1");
  ask(2, "acquire l 2");
  heard();
  api::WatchCanceled ended;
  ended.why = api::ErrorCode::kPermissionDenied;
  ASSERT_FALSE(feeds.empty());
  waits.on_watch(feeds.back(), ended);
  settle();
  EXPECT_EQ(heard(), " 2: error permission_denied;");
  EXPECT_EQ(db.run("range l/2"), db.run("range l/3")) << "its place was given back";
  expect_nobody();
}

TEST_F(Waiting, TheEndOfALeaseReleases) {
  ask(1, "acquire l 1");
  ask(2, "acquire l 2");
  ask(3, "acquire l 3");
  heard();
  run("revoke 2");
  EXPECT_EQ(heard(), " 2: error lock_lost;");
  run("revoke 1");
  EXPECT_EQ(heard(), " 3: 6 acquire l/3 4 0 1;");
}

TEST_F(Waiting, WhoGoesLeavesTheQueue) {
  for (const int client : {1, 2, 3}) {
    ask(static_cast<std::uint64_t>(client), fmt::format("acquire l {}", client));
  }
  heard();
  withdraw(2);
  EXPECT_EQ(db.run("range l/2"), "5 range 0");
  ask(4, "acquire l 4", Instant{5});
  waits.expire(Instant{5});
  settle();
  EXPECT_EQ(heard(), " 4: error deadline_exceeded;");
  EXPECT_EQ(db.run("range l/4"), "7 range 0");
  waits.close_connection(3);
  settle();
  EXPECT_EQ(db.run("range l/ l0 keys_only"), "8 range 1 l/1=-(2,2,1,1)");
  expect_nobody();
}

TEST_F(Waiting, WhoGoesBeforeItIsKnownThatItEnteredIsRemovedThen) {
  ask(1, "acquire l 1");
  api::Request request = parse_request("acquire l 1");
  waits.request({2, 1}, std::move(request), {});
  waits.withdraw({2, 1});
  settle();
  EXPECT_EQ(db.run("range l/1"), "4 range 1 l/1=-(2,4,3,1)") << "held once, as before";
  expect_nobody();
}

TEST_F(Waiting, AnErrorIsToldAtOnce) {
  ask(1, "acquire l 77");
  EXPECT_EQ(heard(), " 1: error lease_not_found;");
  expect_nobody();
}

TEST_F(Waiting, WhoStopsKeepsThePlaces) {
  ask(1, "acquire l 1");
  ask(2, "acquire l 2");
  heard();
  waits.stop();
  settle();
  ask(3, "acquire l 3");
  EXPECT_EQ(heard(), " 2: error stopped; 3: error stopped;");
  EXPECT_EQ(db.run("range l/2 count_only"), "3 range 1");
}

TEST_F(Waiting, ADoubleBarrier) {
  ask(1, "enter b 1 3");
  ask(2, "enter b 2 3");
  EXPECT_EQ(heard(), "");
  ask(3, "enter b 3 3");
  EXPECT_EQ(heard(), " 3: 4 enter open 3; 1: 4 enter open 3; 2: 4 enter open 3;");
  ask(1, "leave b 1");
  ask(2, "leave b 2");
  EXPECT_EQ(heard(), "");
  ask(3, "leave b 3");
  EXPECT_EQ(heard(), " 3: 7 leave 0 0; 1: 7 leave 0 0; 2: 7 leave 0 0;");
  expect_nobody();
}

TEST_F(Waiting, WhoDiesInABarrierHoldsNobodyThere) {
  ask(1, "enter b 1 2");
  ask(2, "enter b 2 2");
  heard();
  ask(1, "leave b 1");
  EXPECT_EQ(heard(), "");
  run("revoke 2");
  EXPECT_EQ(heard(), " 1: 5 leave 0 0;");
  ask(3, "enter b 3 2");
  EXPECT_EQ(heard(), "");
  withdraw(3);
  EXPECT_EQ(db.run("range b/ b0 count_only"), "7 range 0");
  expect_nobody();
}

TEST_F(Waiting, WhoWaitsForTheOthersToLeaveDoesNotWaitForThoseWhoComeBack) {
  for (const int client : {1, 2}) {
    ask(static_cast<std::uint64_t>(client), fmt::format("enter b {} 2", client));
  }
  ask(1, "leave b 1");
  heard();
  for (const char* line : {"leave b 2", "enter b 3 2", "enter b 4 2"}) db.run(line);
  settle();
  EXPECT_EQ(heard(), " 1: 7 leave 0 0;") << "the barrier is open again by now";
  expect_nobody();
}

TEST_F(Waiting, WhoseLeaseEndsWaitsInVainToEnter) {
  ask(1, "enter b 1 2");
  run("revoke 1");
  EXPECT_EQ(heard(), " 1: error lock_lost;");
  expect_nobody();
}

TEST_F(Waiting, OneOfTwoClientsWithALeaseGoesAndTheOtherStillEnters) {
  ask(1, "enter b 1 2");
  ask(2, "enter b 1 2");
  withdraw(1);
  ask(3, "enter b 3 2");
  EXPECT_EQ(heard(), " 3: 4 enter open 2; 2: 4 enter open 2;");
  expect_nobody();
}

TEST_F(Waiting, WhoCameAfterALookHadBegunHasLostNothing) {
  ask(1, "acquire l 1");
  ask(2, "acquire l 2");
  heard();
  waits.request({3, 1}, parse_request("acquire l 3"), {});
  const auto command = waits.take_effects().calls;
  waits.on_response(command.at(0).id, db.run(command.at(0).request));
  const auto look = waits.take_effects().calls;
  api::Response seen = db.run(look.at(0).request);
  ask(4, "acquire l 4");
  waits.on_response(look.at(0).id, std::move(seen));
  settle();
  EXPECT_EQ(heard(), "");
  run("revoke 3");
  run("revoke 2");
  run("revoke 1");
  EXPECT_EQ(heard(), " 3: error lock_lost; 2: error lock_lost; 4: 8 acquire l/4 5 0 1;");
}

TEST_F(Waiting, WhatIsCompactedBeforeAWatchBeginsIsLookedAt) {
  ask(1, "acquire l 1");
  heard();
  waits.request({2, 1}, parse_request("acquire l 2"), {});
  const auto command = waits.take_effects().calls;
  waits.on_response(command.at(0).id, db.run(command.at(0).request));
  for (const char* line : {"put k 1", "put k 2", "compact 5"}) db.run(line);
  settle();
  EXPECT_EQ(heard(), "");
  run("release l/1 2");
  EXPECT_EQ(heard(), " 2: 6 acquire l/2 3 0 1;");
  expect_nobody();
}

TEST_F(Waiting, WithoutALeaderEverybodyKeepsWaiting) {
  ask(1, "acquire l 1");
  ask(2, "acquire l 2");
  heard();
  failure = api::ErrorCode::kTimeout;
  run("release l/1 2");
  EXPECT_EQ(heard(), "");
  go_on();
  EXPECT_EQ(heard(), " 2: 4 acquire l/2 3 0 1;");
  expect_nobody();
}

TEST_F(Waiting, APlaceIsGivenUpOnceThereIsALeader) {
  for (const api::ErrorCode code : {api::ErrorCode::kNoLeader, api::ErrorCode::kTimeout}) {
    ask(1, "acquire l 1");
    ask(2, "acquire l 2");
    failure = code;
    withdraw(2);
    EXPECT_EQ(waits.undoing(), 1);
    go_on();
    EXPECT_EQ(db.run("range l/2 count_only").substr(1), " range 0");
    run("revoke 1");
    run("grant 1 60");
  }
  expect_nobody();
}

// An attempt of the same owner was given up meanwhile, and another one came.
TEST_F(Waiting, HowOftenToReleaseIsToldAsItIsWhenTheLockIsHeld) {
  ask(1, "acquire l 1");
  ask(2, "acquire l 2");
  ask(3, "acquire l 2");
  withdraw(2);
  heard();
  run("revoke 1");
  EXPECT_EQ(heard(), " 3: 6 acquire l/2 3 0 1;");
}

// It had been done when the leader went, and the owner has the lock again by now.
TEST_F(Waiting, WhatWasGivenUpIsNotGivenUpTwice) {
  ask(1, "acquire l 1");
  ask(2, "acquire l 2");
  ask(3, "acquire l 2");
  failure = api::ErrorCode::kTimeout;
  is_done = true;
  withdraw(3);
  go_on();
  EXPECT_EQ(db.run("range l/2"), "5 range 1 l/2=-(3,5,3,2)") << "wanted once";
  ask(3, "acquire l 2");
  go_on();
  EXPECT_EQ(db.run("range l/2"), "6 range 1 l/2=2(3,6,4,2)");
}

}  // namespace
}  // namespace conclave::store
