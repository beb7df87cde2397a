// Applying entries: the epoch fence, the stamp, request ids, and what members tell each other
// through the log.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/limits.h"
#include "base/rng.h"
#include "store/hash.h"
#include "store/replica.h"

namespace conclave::store {
namespace {

TEST(Apply, OnlyTheAskingMembersOutcomesAreListed) {
  Replica store;
  BatchEncoder batch;
  const api::Request put = parse_request("put a 1");
  batch.add(encode_command({NodeId{7}, 3, 1}, put));
  batch.add(encode_command({NodeId{8}, 3, 2}, put));
  batch.add(encode_command({NodeId{7}, 2, 3}, put));
  const ApplyResult result = store.apply(batch.finish(Epoch{1}, Stamp{}));
  ASSERT_EQ(result.outcomes.size(), 1u);
  EXPECT_EQ(result.outcomes[0].origin, (Origin{NodeId{7}, 3, 1}));
  EXPECT_EQ(to_text(result.outcomes[0].response), "2 put");
  EXPECT_EQ(store.store.revision(), 4);
}

TEST(Apply, AnOlderEpochHasNoEffect) {
  Replica store;
  store.epoch = Epoch{5};
  store.run("put a 1");
  const Stamp before = store.store.stamp();
  BatchEncoder batch;
  batch.add(encode_command({NodeId{7}, 3, 1}, parse_request("put a 2")));
  EXPECT_TRUE(store.apply(batch.finish(Epoch{4}, Stamp{9'000'000})).outcomes.empty());
  EXPECT_EQ(store.run("range a"), "2 range 1 a=1(2,2,1)");
  EXPECT_EQ(store.store.applied_index(), LogIndex{2});
  EXPECT_EQ(store.store.applied_epoch(), Epoch{5});
  EXPECT_EQ(store.store.stamp(), before);
}

TEST(Apply, AnEmptyEntryMovesTheFence) {
  Replica store;
  store.store.apply_empty(LogIndex{1}, Epoch{3});
  store.epoch = Epoch{2};
  EXPECT_TRUE(store.commit(encode_command({NodeId{7}, 3, 1}, parse_request("put a 1"))).empty());
  store.store.apply_empty(LogIndex{3}, Epoch{1});
  EXPECT_EQ(store.store.applied_epoch(), Epoch{3});
  EXPECT_EQ(store.store.revision(), 1);
}

TEST(Apply, TheStampNeverGoesBack) {
  Replica store;
  store.stamp = Stamp{500};
  store.run("put a 1");
  store.stamp = Stamp{400};
  store.run("put a 1");
  EXPECT_EQ(store.store.stamp(), Stamp{500});
}

TEST(Apply, DamagedEntriesAreRefused) {
  Store store{Limits{}};
  EXPECT_FALSE(store.apply(LogIndex{1}, "", NodeId{1}, 1).has_value());
  EXPECT_FALSE(store.apply(LogIndex{1}, "nonsense, but long enough", NodeId{1}, 1).has_value());
  BatchEncoder batch;
  batch.add(encode_command({NodeId{7}, 3, 1}, parse_request("put a 1")));
  Bytes entry = batch.finish(Epoch{1}, Stamp{});
  entry.pop_back();
  EXPECT_FALSE(store.apply(LogIndex{1}, entry, NodeId{1}, 1).has_value());
}

TEST(Apply, ARepeatedRequestIdGetsTheFirstAnswer) {
  Replica store;
  EXPECT_EQ(store.run_once("c", 1, "put a 1"), "2 put");
  EXPECT_EQ(store.run_once("c", 2, "put a 2 prev"), "3 put a=1(2,2,1)");
  store.run("put a 3");
  EXPECT_EQ(store.run_once("c", 1, "put a 1"), "2 put");
  EXPECT_EQ(store.run_once("c", 2, "put a 2 prev"), "3 put a=1(2,2,1)");
  EXPECT_EQ(store.run_once("d", 1, "put a 4"), "5 put");
  EXPECT_EQ(store.run("range a"), "5 range 1 a=4(2,5,4)");
}

TEST(Apply, ErrorsAreFirstAnswersToo) {
  Replica store;
  EXPECT_EQ(store.run_once("c", 1, "compact 2"), "error future_revision");
  store.run("put a 1");
  EXPECT_EQ(store.run_once("c", 1, "compact 2"), "error future_revision");
  EXPECT_EQ(store.run_once("c", 2, "compact 2"), "2 compact");
  EXPECT_EQ(store.run_once("c", 2, "compact 2"), "2 compact");
}

TEST(Apply, WholeTransactionsAreFirstAnswersToo) {
  Replica store;
  const char* line =
      "txn [ version a = 0 ] [ put a 1 ; range a ; del b prev ; txn [ ] [ ] [ ] ] [ range a ]";
  const std::string first = store.run_once("c", 1, line);
  EXPECT_EQ(first, "2 txn yes [ put ; range 1 a=1(2,2,1) ; del 0 ; txn yes [ ] ]");
  EXPECT_EQ(store.run_once("c", 1, line), first);
}

TEST(Apply, ASequenceBelowTheWindowIsTooOld) {
  Replica store;
  for (std::uint64_t i = 0; i <= limits::kRequestIdsPerClient; ++i)
    store.run_once("c", i, "put a 1");
  const auto revision = store.store.revision();
  EXPECT_EQ(store.run_once("c", 0, "put a 1"), "error request_id_too_old");
  EXPECT_EQ(store.run_once("c", 1, "put a 1"), "3 put");
  EXPECT_EQ(store.store.revision(), revision);
}

TEST(Apply, ADisagreeingHashIsFound) {
  Replica store;
  store.run("put a 1");
  const std::uint64_t hash = store.store.hash();
  store.run("put a 2");
  const auto check = [&](std::uint64_t index, std::uint64_t value) {
    BatchEncoder batch;
    batch.add(encode_command({NodeId{8}, 1, 0}, CheckHash{LogIndex{index}, value}));
    return store.apply(batch.finish(Epoch{1}, Stamp{})).diverged_at;
  };
  EXPECT_EQ(check(1, hash), std::nullopt);
  EXPECT_EQ(check(1, hash + 1), LogIndex{1});
  EXPECT_EQ(check(1000, hash), std::nullopt);
  EXPECT_EQ(check(0, hash), std::nullopt);
}

TEST(Apply, HashesOfTheLastIndexesAreKept) {
  Replica store;
  store.run("put a 1");
  for (std::size_t i = 0; i < HashRing::kSize - 2; ++i)
    store.store.apply_empty(store.store.applied_index().next(), Epoch{1});
  const auto check = [&] {
    BatchEncoder batch;
    batch.add(encode_command({NodeId{8}, 1, 0}, CheckHash{LogIndex{1}, 0}));
    return store.apply(batch.finish(Epoch{1}, Stamp{})).diverged_at;
  };
  EXPECT_EQ(check(), LogIndex{1});
  store.store.apply_empty(store.store.applied_index().next(), Epoch{1});
  EXPECT_EQ(check(), std::nullopt);
}

TEST(Apply, MembersAndAlarmsAreReplicated) {
  Replica store;
  const auto publish = [&](std::uint64_t id, std::string name) {
    const api::Member member{NodeId{id}, std::move(name), {"http://p"}, {"http://c"}, false};
    const auto outcomes = store.commit(encode_command({NodeId{7}, 3, 1}, PublishMember{member}));
    return std::get<api::MemberListResponse>(outcomes.at(0).response.answer).members.size();
  };
  EXPECT_EQ(publish(9, "nine"), 1u);
  EXPECT_EQ(publish(4, "four"), 2u);
  EXPECT_EQ(publish(9, "neuf"), 2u);
  ASSERT_EQ(store.store.members().size(), 2u);
  EXPECT_EQ(store.store.members()[0].name, "four");
  EXPECT_EQ(store.store.members()[1].name, "neuf");

  store.commit(encode_command({NodeId{7}, 3, 1}, SetAlarm{NodeId{9}, Alarm::kNoSpace, true}));
  store.commit(encode_command({NodeId{7}, 3, 1}, SetAlarm{NodeId{4}, Alarm::kCorrupt, true}));
  using Alarms = std::vector<std::pair<NodeId, Alarm>>;
  EXPECT_EQ(store.store.alarms(),
            (Alarms{{NodeId{4}, Alarm::kCorrupt}, {NodeId{9}, Alarm::kNoSpace}}));
  store.commit(encode_command({NodeId{7}, 3, 1}, SetAlarm{NodeId{4}, Alarm::kCorrupt, false}));
  EXPECT_EQ(store.store.alarms(), (Alarms{{NodeId{9}, Alarm::kNoSpace}}));
}

// Commands of a batch are looked at together, and yet have the effect and the answers that they
// have one by one.
TEST(Apply, ABatchIsItsCommandsOneAfterTheOther) {
  constexpr std::uint64_t kKeys = 6000;
  Rng rng(11);
  const auto key = [&] { return fmt::format("key/{:06}", rng.below(2 * kKeys)); };
  const auto line = [&]() -> std::string {
    switch (rng.below(8)) {
      case 0:
        return fmt::format("del {} prev", key());
      case 1:
        return fmt::format("del key/{0:06} key/{0:06}9", rng.below(2 * kKeys));
      case 2: {
        const std::string same = key();
        return fmt::format("txn [ version {} > 0 ] [ put {} in ; del {} ] [ put {} else ]", same,
                           same, key(), same);
      }
      case 3:
        return fmt::format("put {} kept prev", key());
      case 4:
        return fmt::format("put key/{:06} often", rng.below(3));
      default:
        return fmt::format("put {} {}", key(), rng.below(1000));
    }
  };
  Replica together;
  Replica alone;
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    for (Replica* each : {&together, &alone}) each->run(fmt::format("put key/{:06} 0", i));
  }
  for (int round = 0; round < 60; ++round) {
    BatchEncoder batch;
    std::vector<std::string> answers;
    for (std::uint64_t i = rng.between(1, 60); i > 0; --i) {
      const bool compacts = rng.one_in(200);
      api::Request request =
          parse_request(compacts ? fmt::format("compact {}", alone.store.revision()) : line());
      if (rng.below(4) == 0) request.id = api::RequestId{Bytes("client"), rng.below(500)};
      const Bytes command = encode_command({Replica::kSelf, Replica::kIncarnation, i}, request);
      batch.add(command);
      for (const Outcome& outcome : alone.commit(command)) {
        answers.push_back(to_text(outcome.response));
      }
    }
    const ApplyResult result = together.apply(batch.finish(together.epoch, together.stamp));
    ASSERT_EQ(result.outcomes.size(), answers.size());
    for (std::size_t i = 0; i < answers.size(); ++i) {
      ASSERT_EQ(to_text(result.outcomes[i].response), answers[i]) << "round " << round;
    }
    while (together.store.applied_index() < alone.store.applied_index()) {
      together.store.apply_empty(together.store.applied_index().next(), together.epoch);
    }
    ASSERT_EQ(together.store.hash(), alone.store.hash()) << "round " << round;
    ASSERT_GT(together.store.key_count(), 4096u) << "with fewer nothing is looked for together";
    for (Replica* each : {&together, &alone}) {
      while (each->store.reclaim(1000)) {
      }
    }
  }
}

TEST(Apply, TheHashTellsStatesApart) {
  const auto hash_after = [](std::initializer_list<const char*> lines) {
    Replica store;
    for (const char* line : lines) store.run(line);
    return store.store.hash();
  };
  EXPECT_EQ(hash_after({"put a 1", "put b 1"}), hash_after({"put a 1", "put b 1"}));
  EXPECT_NE(hash_after({"put a 1", "put b 1"}), hash_after({"put b 1", "put a 1"}));
  EXPECT_NE(hash_after({"put a 1"}), hash_after({"put a 2"}));
  EXPECT_NE(hash_after({"put a b"}), hash_after({"put ab -"}));
  EXPECT_NE(hash_after({"put a 1", "compact 1"}), hash_after({"put a 1", "compact 2"}));
}

}  // namespace
}  // namespace conclave::store
