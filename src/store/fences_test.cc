// Fenced writes: what holds when they are applied, whatever held when they were sent.

#include <gtest/gtest.h>

#include <map>

#include "base/limits.h"
#include "base/rng.h"
#include "store/command_codec.h"
#include "store/fences.h"
#include "store/replica.h"
#include "store/transcript.h"

namespace conclave::store {
namespace {

class FencesTest : public ::testing::Test {
 protected:
  static api::Request fenced(std::string_view line, Bytes key, Revision token) {
    api::Request request = parse_request(line);
    request.fence = api::Fence{std::move(key), token};
    return request;
  }
  // The answer as text; of a refusal what is told.
  static std::string told(const api::Response& response) {
    const auto* error = std::get_if<api::Error>(&response.answer);
    if (error == nullptr || error->code != api::ErrorCode::kFenced) return to_text(response);
    return error->detail;
  }
  std::string run(std::string_view line, Bytes key, Revision token) {
    return told(db.run(fenced(line, std::move(key), token)));
  }
  std::string run_once(std::uint64_t sequence, std::string_view line, Bytes key, Revision token) {
    api::Request request = fenced(line, std::move(key), token);
    request.id = api::RequestId{"c", sequence};
    return told(db.run(request));
  }

  Replica db;
};

TEST_F(FencesTest, TheHolderWrites) {
  db.run("put l/a -");  // created at 2
  db.run("put l/b -");  // 3: waits
  EXPECT_EQ(run("put k 1", "l", 2), "4 put");
  EXPECT_EQ(run("put k 2", "l", 3), "l: token 3 was not granted: the highest is 2");
  db.run("put l/a again");
  EXPECT_EQ(run("put k 1", "l", 2), "6 put") << "a value is of no account";
  db.run("del l/a");
  EXPECT_EQ(run("put k 2", "l", 3), "8 put");
  EXPECT_EQ(run("put k 1", "l", 2), "l: token 2 is not the highest, which is 3");
  EXPECT_EQ(db.run("range k"), "8 range 1 k=2(4,8,3)");
}

TEST_F(FencesTest, NobodyHoldsAReleasedLock) {
  EXPECT_EQ(run("put k 1", "l", 2), "l: token 2 does not hold: nobody has the lock");
  db.run("put l/a -");
  EXPECT_EQ(run("put k 1", "l", 2), "3 put");
  db.run("del l/a");
  EXPECT_EQ(run("put k 1", "l", 2), "l: token 2 does not hold: nobody has the lock");
  db.run("put l/a -");  // the same client again, with another token
  EXPECT_EQ(run("put k 1", "l", 2), "l: token 2 is not the highest, which is 5");
  EXPECT_EQ(run("put k 1", "l", 5), "6 put");
}

TEST_F(FencesTest, TheKeyOfTheLockWillDo) {
  db.run("put l/a -");  // 2
  db.run("put l/b -");  // 3
  EXPECT_EQ(run("put k 1", "l/a", 2), "4 put");
  EXPECT_EQ(run("put k 1", "l/b", 3), "l/b: token 3 was not granted: the highest is 2");
  EXPECT_EQ(run("put k 1", "l/b", 2), "l/b: token 2 is not the highest, which is 2")
      << "another's token";
  EXPECT_EQ(run("put k 1", "l/c", 2), "l/c: token 2 does not hold: nobody has the lock");
  db.run("del l/a");
  EXPECT_EQ(run("put k 1", "l/a", 2), "l/a: token 2 does not hold: nobody has the lock");
  EXPECT_EQ(run("put k 1", "l/b", 3), "6 put");
  EXPECT_EQ(run("put k 1", "k", 4), "k: token 4 does not hold: nobody has the lock")
      << "a key that is no lock's";
}

TEST_F(FencesTest, AnEndedLeaseEndsItsToken) {
  db.run("grant 7 5");
  db.run("put l/7 - lease=7");  // 2
  EXPECT_EQ(run("put k 1", "l", 2), "3 put");
  db.stamp.ms += 6'000;
  db.commit(encode_command({}, ExpireLeases{10}));
  EXPECT_EQ(run("put k 2", "l", 2), "l: token 2 does not hold: nobody has the lock");
}

TEST_F(FencesTest, EveryKindOfWrite) {
  db.run("put l/a -");  // 2
  db.run("put l/b -");  // 3
  db.run("grant 7 60");
  for (const char* line :
       {"put k 1", "del l/a", "compact 2", "grant 8 60", "revoke 7", "txn [ ] [ put k 1 ] [ ]",
        "txn [ version k = 1 ] [ ] [ put k 1 ]", "txn [ ] [ range l/a ] [ ]", "txn [ ] [ ] [ ]"}) {
    EXPECT_EQ(run(line, "l", 3), "l: token 3 was not granted: the highest is 2") << line;
    EXPECT_EQ(db.store.revision(), 3) << line;
    EXPECT_EQ(db.run("leases"), "3 leases 7");
  }
  EXPECT_EQ(run("txn [ ] [ range l/a ] [ ]", "l", 2), "3 txn yes [ range 1 l/a=-(2,2,1) ]");
  EXPECT_EQ(run("grant 8 60", "l", 2), "3 grant 8 60");
  EXPECT_EQ(run("revoke 7", "l", 2), "3 revoke");
  EXPECT_EQ(run("compact 2", "l", 2), "3 compact");
  EXPECT_EQ(run("txn [ ] [ put k 1 ; del l/b ] [ ]", "l", 2), "4 txn yes [ put ; del 1 ]");
  EXPECT_EQ(run("del l/a", "l", 2), "5 del 1") << "its own release";
  EXPECT_EQ(run("del k", "l", 2), "l: token 2 does not hold: nobody has the lock");
}

TEST_F(FencesTest, ThoseWhoHoldItTogether) {
  for (const int lease : {1, 2, 3, 4}) db.run(fmt::format("grant {} 60", lease));
  db.run("acquire l 1 shared");  // 2
  db.run("acquire l 2 shared");  // 3
  db.run("acquire l 3");         // 4
  db.run("acquire l 4 shared");  // 5
  EXPECT_EQ(run("put k 1", "l", 2), "6 put");
  EXPECT_EQ(run("put k 1", "l", 3), "7 put");
  EXPECT_EQ(run("put k 1", "l/2.shared", 3), "8 put");
  EXPECT_EQ(run("put k 1", "l", 4), "l: token 4 was not granted: the highest is 2");
  EXPECT_EQ(run("put k 1", "l", 5), "l: token 5 was not granted: the highest is 2");
  db.run("revoke 1");
  EXPECT_EQ(run("put k 1", "l", 2), "l: token 2 is not the highest, which is 3");
  EXPECT_EQ(run("put k 1", "l", 3), "10 put");
  for (const int lease : {1, 2, 3}) db.run(fmt::format("acquire s {} of=2", lease));
  EXPECT_EQ(db.run("range s/1"), "12 range 0") << "its lease has ended";
  EXPECT_EQ(run("put k 1", "s", 11), "13 put");
  EXPECT_EQ(run("put k 1", "s", 12), "14 put");
}

// A check at the leader, before the log, would pass both: when they are proposed the token holds.
TEST_F(FencesTest, WhatStandsBeforeItInTheEntryCounts) {
  db.run("put l/a -");  // 2
  db.run("put l/b -");  // 3
  const auto command = [&](std::uint64_t call, const api::Request& request) {
    return encode_command({Replica::kSelf, Replica::kIncarnation, call}, request);
  };
  BatchEncoder batch;
  batch.add(command(101, fenced("put k 1", "l", 2)));
  batch.add(command(102, parse_request("del l/a")));
  batch.add(command(103, fenced("put k 2", "l", 2)));
  batch.add(command(104, fenced("put k 3", "l", 3)));
  const auto outcomes = db.apply(batch.finish(db.epoch, db.stamp)).outcomes;
  ASSERT_EQ(outcomes.size(), 4);
  EXPECT_EQ(told(outcomes[0].response), "4 put");
  EXPECT_EQ(told(outcomes[1].response), "5 del 1");
  EXPECT_EQ(told(outcomes[2].response), "l: token 2 is not the highest, which is 3");
  EXPECT_EQ(told(outcomes[3].response), "6 put");
}

TEST_F(FencesTest, ARetriedWriteThatWasAppliedAnswersAsApplied) {
  db.run("put l/a -");  // 2
  EXPECT_EQ(run_once(1, "put k 1", "l", 2), "3 put");
  db.run("del l/a");
  EXPECT_EQ(run_once(1, "put k 1", "l", 2), "3 put");
  EXPECT_EQ(run_once(2, "put k 2", "l", 2), "l: token 2 does not hold: nobody has the lock");
  db.run("put l/a -");
  EXPECT_EQ(run_once(2, "put k 2", "l", 5), "l: token 2 does not hold: nobody has the lock")
      << "the first answer, a refusal too";
  EXPECT_EQ(db.run("range k"), "5 range 1 k=1(3,3,1)");
  auto loaded = db.through_snapshot(100, [] {});
  ASSERT_TRUE(loaded.has_value());
  db.store = *std::move(loaded);
  EXPECT_EQ(run_once(1, "put k 1", "l", 2), "3 put");
  EXPECT_EQ(run_once(2, "put k 2", "l", 5), "l: token 2 does not hold: nobody has the lock");
}

TEST_F(FencesTest, OneThatCannotBeIsRefusedAtTheDoor) {
  const auto verdict = [](const api::Request& request) {
    const auto error = Store::validate(request, Limits{});
    return error ? to_text(error->code) + " " + error->detail : "good";
  };
  EXPECT_EQ(verdict(fenced("put k 1", "l", 1)), "good");
  EXPECT_EQ(verdict(fenced("put k 1", "", 1)), "invalid_fence the key is empty");
  EXPECT_EQ(verdict(fenced("put k 1", "l", 0)), "invalid_fence the token is not a revision");
  EXPECT_EQ(verdict(fenced("put k 1", Bytes(limits::kMaxFenceKeyBytes + 1, 'l'), 1)),
            "invalid_fence the key is too long");
  EXPECT_EQ(verdict(fenced("keep 7", "l", 1)), "invalid_fence a request of this kind takes none");
  EXPECT_EQ(verdict(fenced("range k", "l", 1)), "invalid_fence a request of this kind takes none");
}

TEST_F(FencesTest, KeysAreShownAsTheyCanBe) {
  EXPECT_EQ(run("put k 1", "a\n\xff", 1), "a??: token 1 does not hold: nobody has the lock");
}

// Two replicas, one of which is rebuilt from snapshots and so forgets who was first, against what
// an ordinary range says of the lock.
TEST(FencesModel, TheFirstKeyOfTheLockDecides) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Rng rng(seed);
    Replica db;
    Store other{Limits{}};
    std::map<Bytes, Revision> keys;  // those of locks, with the revisions that created them
    const auto first_of = [&](const Bytes& name) {
      Revision first = 0;
      for (const auto& [key, created] : keys) {
        if (key.starts_with(name + "/") && (first == 0 || created < first)) first = created;
      }
      return first;
    };
    for (int i = 0; i < 400; ++i) {
      const std::string name = rng.one_in(4) ? "a/b" : (rng.one_in(2) ? "a" : "c");
      const std::string key = fmt::format("{}/{}", name, rng.below(4));
      if (rng.one_in(3)) {
        db.run("put " + key + " -");
        keys.emplace(key, db.store.revision());
      } else if (rng.one_in(3)) {
        db.run("del " + key);
        keys.erase(key);
      } else {
        const Revision highest = db.store.revision();
        const Revision guess =
            1 + static_cast<Revision>(rng.below(static_cast<std::uint64_t>(highest)));
        const Revision token = rng.one_in(2) && first_of(name) != 0 ? first_of(name) : guess;
        const bool by_key = rng.one_in(3);
        api::Request request = parse_request("put k 1");
        request.fence = api::Fence{by_key ? key : name, token};
        const bool is_own = keys.contains(key) && keys[key] == token;
        const bool holds = by_key ? (is_own && first_of(name) == token) : first_of(name) == token;
        const api::Response response = db.run(request);
        const bool is_refused = std::holds_alternative<api::Error>(response.answer);
        ASSERT_EQ(is_refused, !holds) << request.fence->key << "/" << token;
      }
      const auto applied = other.apply(other.applied_index().next(), db.log.back(), NodeId{1}, 1);
      ASSERT_TRUE(applied.has_value());
      if (rng.one_in(20)) {
        auto loaded = db.through_snapshot(1'000, [] {});
        ASSERT_TRUE(loaded.has_value());
        db.store = *std::move(loaded);
      }
      ASSERT_EQ(other.hash(), db.store.hash());
    }
  }
}

}  // namespace
}  // namespace conclave::store
