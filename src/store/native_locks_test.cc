// Conclave's own locks and barriers as commands.

#include "store/native_locks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "base/rng.h"
#include "base/watch_limits.h"
#include "store/replica.h"
#include "store/transcript.h"

namespace conclave::store {
namespace {

class NativeLocks : public ::testing::Test {
 protected:
  NativeLocks() {
    for (const int lease : {1, 2, 3, 4, 5}) db.run(fmt::format("grant {} 60", lease));
  }

  Replica db;
};

TEST_F(NativeLocks, OneHoldsAndTheOthersAreToldTheirPlaces) {
  EXPECT_EQ(db.run("acquire l 1"), "2 acquire l/1 2 0 1");
  EXPECT_EQ(db.run("acquire l 2"), "3 acquire l/2 3 1 1");
  EXPECT_EQ(db.run("acquire l 3"), "4 acquire l/3 4 2 1");
  EXPECT_EQ(db.run("release l/2 3"), "5 release 0");
  EXPECT_EQ(db.run("release l/1 2"), "6 release 0");
  EXPECT_EQ(db.run("acquire l 4"), "7 acquire l/4 7 1 1");
  EXPECT_EQ(db.run("acquire l 1 try"), "7 acquire - 0 2 0") << "no place is taken";
  EXPECT_EQ(db.run("acquire m 1 try"), "8 acquire m/1 8 0 1");
}

TEST_F(NativeLocks, EtcdsLocksStandInTheSameQueue) {
  db.run("put l/7 -");  // 2: as etcd's Lock service would
  EXPECT_EQ(db.run("acquire l 1"), "3 acquire l/1 3 1 1");
  EXPECT_EQ(db.run("acquire l 2 shared"), "4 acquire l/2.shared 4 2 1");
  db.run("del l/7");
  EXPECT_EQ(db.run("acquire l 1"), "6 acquire l/1 3 0 2");
}

TEST_F(NativeLocks, SharedOnesHoldTogetherUntilSomebodyWaitsAlone) {
  EXPECT_EQ(db.run("acquire l 1 shared"), "2 acquire l/1.shared 2 0 1");
  EXPECT_EQ(db.run("acquire l 2 shared"), "3 acquire l/2.shared 3 0 1");
  EXPECT_EQ(db.run("acquire l 3"), "4 acquire l/3 4 2 1");
  EXPECT_EQ(db.run("acquire l 4 shared"), "5 acquire l/4.shared 5 3 1") << "nobody overtakes";
  EXPECT_EQ(db.run("acquire l 5 shared try"), "5 acquire - 0 3 0");
  db.run("release l/3 4");
  EXPECT_EQ(db.run("acquire l 5 shared try"), "7 acquire l/5.shared 7 0 1");
}

TEST_F(NativeLocks, ASemaphore) {
  EXPECT_EQ(db.run("acquire l 1 of=2"), "2 acquire l/1.of-2 2 0 1");
  EXPECT_EQ(db.run("acquire l 2 of=2"), "3 acquire l/2.of-2 3 0 1");
  EXPECT_EQ(db.run("acquire l 3 of=2"), "4 acquire l/3.of-2 4 1 1");
  EXPECT_EQ(db.run("acquire l 4 of=2"), "5 acquire l/4.of-2 5 2 1");
  EXPECT_EQ(db.run("acquire l 5 of=3"), "error lock_conflict");
  db.run("release l/2.of-2 3");
  EXPECT_EQ(db.run("acquire l 3 of=2"), "7 acquire l/3.of-2 4 0 2");
  EXPECT_EQ(db.run("acquire l 4 of=2 try"), "7 acquire l/4.of-2 5 1 1");
  EXPECT_EQ(db.run("acquire l 5 of=2 try"), "7 acquire - 0 2 0");
}

TEST_F(NativeLocks, AnOwnerHasItAsOftenAsItAskedForIt) {
  EXPECT_EQ(db.run("acquire l 1 owner=a"), "2 acquire l/1..a 2 0 1");
  EXPECT_EQ(db.run("acquire l 1 owner=a"), "3 acquire l/1..a 2 0 2");
  EXPECT_EQ(db.run("acquire l 1 owner=b"), "4 acquire l/1..b 4 1 1");
  EXPECT_EQ(db.run("acquire l 1 shared owner=a"), "error lock_conflict") << "it waits for itself";
  EXPECT_EQ(db.run("release l/1..a 2"), "5 release 1");
  EXPECT_EQ(db.run("acquire l 1 owner=b"), "6 acquire l/1..b 4 1 2");
  EXPECT_EQ(db.run("release l/1..a 2"), "7 release 0");
  EXPECT_EQ(db.run("release l/1..a 2"), "7 release gone");
  EXPECT_EQ(db.run("release l/1..b 4 all"), "8 release 0");
}

TEST_F(NativeLocks, APlaceInTheQueueIsAskedAboutAsOftenAsOneLikes) {
  db.run("acquire l 1");
  EXPECT_EQ(db.run("acquire l 2 queue"), "3 acquire l/2 3 1 1");
  EXPECT_EQ(db.run("acquire l 3 queue"), "4 acquire l/3 4 2 1");
  EXPECT_EQ(db.run("acquire l 3 try"), "4 acquire l/3 4 2 1") << "not counted while it waits";
  db.run("release l/1 2");
  EXPECT_EQ(db.run("acquire l 3 queue"), "5 acquire l/3 4 1 1");
  EXPECT_EQ(db.run("acquire l 2 queue"), "5 acquire l/2 3 0 1") << "it is held, and once";
  EXPECT_EQ(db.run("acquire l 2"), "6 acquire l/2 3 0 2");
}

TEST_F(NativeLocks, AReleaseThatIsRepeatedIsDoneOnce) {
  db.run("acquire l 1");  // 2
  db.run("acquire l 1");  // 3
  EXPECT_EQ(db.run("release l/1 2 unless_after=2"), "3 release gone") << "written at 3";
  EXPECT_EQ(db.run("release l/1 2 unless_after=3"), "4 release 1");
  EXPECT_EQ(db.run("release l/1 2 unless_after=3"), "4 release gone");
}

TEST_F(NativeLocks, ALeaseEndsWhatItsOwnersHave) {
  db.run("acquire l 1 owner=a");
  db.run("acquire l 1 owner=b");
  db.run("acquire l 2");
  db.run("revoke 1");
  EXPECT_EQ(db.run("acquire l 2 try"), "6 acquire l/2 4 0 2");
  EXPECT_EQ(db.run("acquire l 1"), "error lease_not_found");
  EXPECT_EQ(db.run("acquire l 0"), "error lease_not_found");
}

TEST_F(NativeLocks, TheTokenOfAReleaseIsThatOfTheGrant) {
  db.run("acquire l 1");
  db.run("release l/1 2");
  db.run("acquire l 1");
  EXPECT_EQ(db.run("release l/1 2"), "4 release gone") << "of an earlier time";
  EXPECT_EQ(db.run("release l/1 4"), "5 release 0");
}

TEST_F(NativeLocks, RefusedAtTheDoor) {
  EXPECT_EQ(db.run("acquire l 1 of=0"), "error invalid_lock");
  EXPECT_EQ(db.run("acquire l 1 owner=a/b"), "error invalid_lock");
  EXPECT_EQ(db.run("enter b 1 0"), "error invalid_lock");
  EXPECT_EQ(db.run("release - 1"), "error empty_key");
}

TEST_F(NativeLocks, AnswersAreKeptForRequestIds) {
  const std::string first = db.run_once("c", 1, "acquire l 1");
  EXPECT_EQ(first, "2 acquire l/1 2 0 1");
  EXPECT_EQ(db.run_once("c", 1, "acquire l 1"), first) << "not once more";
  EXPECT_EQ(db.run_once("c", 2, "release l/1 2"), "3 release 0");
  EXPECT_EQ(db.run_once("c", 2, "release l/1 2"), "3 release 0");
  EXPECT_EQ(db.run_once("c", 3, "enter b 1 1"), "4 enter open 1");
  EXPECT_EQ(db.run_once("c", 3, "enter b 1 1"), "4 enter open 1");
  EXPECT_EQ(db.run_once("c", 4, "leave b 1"), "5 leave 0 0");
  EXPECT_EQ(db.run_once("c", 4, "leave b 1"), "5 leave 0 0");
}

// What was another request is not answered with it, whichever the two are.
TEST_F(NativeLocks, AnIdIsOfOneRequest) {
  const std::array<std::string_view, 9> lines = {
      "put k v",   "del k",       "txn [ ] [ put k v ] [ ]", "compact 1", "grant 77 60",
      "revoke 77", "acquire m 1", "release l/1 2",           "leave b 1"};
  std::uint64_t sequence = 10;
  for (const std::string_view first : lines) {
    for (const std::string_view second : lines) {
      const std::string answer = db.run_once("pairs", ++sequence, first);
      const bool is_error = answer.starts_with("error");
      const std::string expected =
          first == second || is_error ? answer : "error invalid_request_id";
      EXPECT_EQ(db.run_once("pairs", sequence, second), expected) << first << " then " << second;
    }
  }
}

TEST_F(NativeLocks, ARepetitionDoesNotGrantWhatIsGone) {
  EXPECT_EQ(db.run_once("c", 1, "acquire l 1"), "2 acquire l/1 2 0 1");
  db.run("revoke 1");
  EXPECT_EQ(db.run("acquire l 2"), "4 acquire l/2 4 0 1");
  EXPECT_EQ(db.run_once("c", 1, "acquire l 1"), "error lock_lost");
}

TEST_F(NativeLocks, WhoHasEnteredAgainIsNotTakenOut) {
  const api::Response entered = db.run(parse_request("enter b 1 3"));
  api::Request undo = parse_request("leave b 1");
  std::get<api::LeaveRequest>(undo.body).unless_after = entered.header.revision;
  db.run("enter b 1 3");
  EXPECT_EQ(to_text(db.run(undo)), "3 leave 1 0");
  EXPECT_EQ(db.run("enter b 2 3"), "4 enter closed 2");
  std::get<api::LeaveRequest>(undo.body).unless_after = 3;
  EXPECT_EQ(to_text(db.run(undo)), "5 leave 1 0");
  EXPECT_EQ(to_text(db.run(undo)), "5 leave 1 0") << "it may be repeated";
}

TEST_F(NativeLocks, AQueueHasABound) {
  for (std::size_t i = 0; i < 3; ++i) {
    db.run(fmt::format("acquire l 1 owner=o{}", i));
  }
  for (std::size_t i = 3; i < limits::kMaxLockQueue; ++i) {
    db.run(fmt::format("put l/by-hand{} v", i));
  }
  EXPECT_EQ(db.run("acquire l 2"), "error too_many_requests");
  EXPECT_TRUE(db.run("acquire l 1 owner=o1").find("acquire") != std::string::npos);
}

TEST_F(NativeLocks, ABarrierOpensWhenAllAreThere) {
  EXPECT_EQ(db.run("enter b 1 3"), "2 enter closed 1");
  EXPECT_EQ(db.run("enter b 1 3"), "3 enter closed 1") << "counted once";
  EXPECT_EQ(db.run("enter b 2 3"), "4 enter closed 2");
  EXPECT_EQ(db.run("enter b 3 3"), "5 enter open 3");
  EXPECT_EQ(db.run("enter b 1 3"), "6 enter open 3");
  EXPECT_EQ(db.run("leave b 1"), "7 leave 2 5");
  EXPECT_EQ(db.run("leave b 2"), "8 leave 1 5");
  EXPECT_EQ(db.run("leave b 3"), "9 leave 0 0");
  EXPECT_EQ(db.run("range b/ b0"), "9 range 0");
  EXPECT_EQ(db.run("enter b 1 3"), "10 enter closed 1") << "and again";
}

TEST_F(NativeLocks, WhoLeavesABarrierThatNeverOpenedWaitsForNobody) {
  db.run("enter b 1 3");
  db.run("enter b 2 3");
  EXPECT_EQ(db.run("leave b 1"), "4 leave 1 0");
  EXPECT_EQ(db.run("leave b 1"), "4 leave 1 0") << "it has left";
  EXPECT_EQ(db.run("enter b 3 3"), "5 enter closed 2");
}

TEST_F(NativeLocks, ABarrierWhoseCrowdHasDiedIsClosed) {
  db.run("enter b 1 2");
  db.run("enter b 2 2");
  db.run("revoke 1");
  db.run("revoke 2");
  EXPECT_EQ(db.run("enter b 3 2"), "6 enter closed 1");
  EXPECT_EQ(db.run("enter b 4 2"), "7 enter open 2");
}

// What a lock is, as one would write it down: a list of those who came.
class Model {
 public:
  struct Place {
    int lease = 0;
    std::string owner;
    std::string mode;  // "", "shared", "of=2"
    Revision token = 0;
    int times = 1;
  };

  static bool holds(const std::vector<Place>& queue, std::size_t at) {
    const std::string& mode = queue[at].mode;
    if (mode.empty()) return at == 0;
    const auto is_alike = [&](const Place& place) { return place.mode == mode; };
    const bool are_alike =
        std::all_of(queue.begin(), queue.begin() + static_cast<long>(at), is_alike);
    if (mode == "shared") return are_alike;
    return are_alike && at < std::stoul(mode.substr(3));
  }

  std::map<std::string, std::vector<Place>> queues;
};

TEST(NativeLocksModel, WhoHoldsIsAsInAListOfThoseWhoCame) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Rng rng(seed);
    Replica db;
    Model model;
    std::map<std::string, Revision> highest;  // of those that held alone
    for (int i = 0; i < 500; ++i) {
      const std::string name = rng.one_in(2) ? "a" : "b";
      std::vector<Model::Place>& queue = model.queues[name];
      const int lease = 1 + static_cast<int>(rng.below(4));
      db.run(fmt::format("grant {} 60", lease));
      if (rng.one_in(12)) {
        db.run(fmt::format("revoke {}", lease));
        for (auto& [key, places] : model.queues) {
          std::erase_if(places, [&](const Model::Place& place) { return place.lease == lease; });
        }
      } else if (rng.one_in(2) && !queue.empty()) {
        const std::size_t at = rng.below(queue.size());
        Model::Place& place = queue[at];
        std::string key = fmt::format("{}/{}", name, place.lease);
        std::string mode = place.mode;
        std::ranges::replace(mode, '=', '-');
        if (!mode.empty() || !place.owner.empty()) key += "." + mode;
        if (!place.owner.empty()) key += "." + place.owner;
        const bool altogether = rng.one_in(2);
        const std::string answer =
            db.run(fmt::format("release {} {}{}", key, place.token, altogether ? " all" : ""));
        place.times = altogether ? 0 : place.times - 1;
        ASSERT_EQ(answer, fmt::format("{} release {}", db.store.revision(), place.times));
        if (place.times == 0) queue.erase(queue.begin() + static_cast<long>(at));
      } else {
        const std::string owner = rng.one_in(2) ? "" : "o";
        const std::string mode = rng.one_in(3) ? "" : (rng.one_in(2) ? "shared" : "of=2");
        const bool tries = rng.one_in(3);
        const bool queues = !tries && rng.one_in(2);
        std::string line = fmt::format("acquire {} {}", name, lease);
        if (!mode.empty()) line += " " + mode;
        if (!owner.empty()) line += " owner=" + owner;
        if (tries) line += " try";
        if (queues) line += " queue";
        const Revision before = db.store.revision();
        const auto response = db.run(parse_request(line));
        auto own = std::ranges::find_if(queue, [&](const Model::Place& place) {
          return place.lease == lease && place.owner == owner;
        });
        if (own != queue.end() && own->mode != mode) {
          ASSERT_EQ(to_text(response), "error lock_conflict") << line;
          continue;
        }
        const bool is_new = own == queue.end();
        if (is_new) {
          queue.push_back({lease, owner, mode, before + 1, 0});
          own = queue.end() - 1;
        }
        const bool holds = Model::holds(queue, static_cast<std::size_t>(own - queue.begin()));
        const auto& acquired = std::get<api::AcquireResponse>(response.answer);
        ASSERT_EQ(acquired.ahead == 0, holds) << line;
        if (is_new && tries && !holds) {
          ASSERT_EQ(acquired.key, "");
          ASSERT_EQ(db.store.revision(), before);
          queue.pop_back();
          continue;
        }
        const bool is_counted = is_new || !(queues || (tries && !holds));
        if (is_counted) ++own->times;
        ASSERT_EQ(db.store.revision(), before + (is_counted ? 1 : 0)) << line;
        ASSERT_EQ(acquired.token, own->token) << line;
        ASSERT_EQ(acquired.times, static_cast<std::uint32_t>(own->times)) << line;
      }
      for (const auto& [key, places] : model.queues) {
        if (places.empty() || !places.front().mode.empty()) continue;
        ASSERT_GE(places.front().token, highest[key]) << "tokens of grants only grow";
        highest[key] = places.front().token;
      }
    }
  }
}

}  // namespace
}  // namespace conclave::store
