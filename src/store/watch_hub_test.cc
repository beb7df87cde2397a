// Watches over a store: what is told, in which order, and to whom.

#include "store/watch_hub.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "store/replica.h"

namespace conclave::store {
namespace {

constexpr FeedId kFeed{1, 1};
constexpr FeedId kOther{2, 1};

std::string to_text(const api::Event& event) {
  std::string text = fmt::format("{}{}", event.is_delete ? "-" : "", event.kv.key);
  if (!event.is_delete) text += fmt::format("={}", event.kv.value);
  text += fmt::format("@{}", event.kv.mod_revision);
  if (event.prev_kv)
    text += fmt::format("(was {}@{})", event.prev_kv->value, event.prev_kv->mod_revision);
  return text;
}

struct Words {
  std::string operator()(const api::WatchCreated& news) const {
    return fmt::format("created {}", news.id);
  }
  std::string operator()(const api::WatchRefused& news) const {
    return fmt::format("refused {} {}", news.id, static_cast<int>(news.reason));
  }
  std::string operator()(const api::WatchEvents& news) const {
    std::string text = fmt::format("{}:", news.id);
    for (const api::Event& event : news.events) text += " " + to_text(event);
    return text;
  }
  std::string operator()(const api::WatchCanceled& news) const {
    return fmt::format("canceled {}", news.id);
  }
  std::string operator()(const api::WatchCompacted& news) const {
    return fmt::format("compacted {} {}", news.id, news.compact_revision);
  }
  std::string operator()(const api::WatchProgress& news) const {
    return fmt::format("progress {} {}", news.id, revision);
  }
  std::string operator()(const api::ElectionLeader&) const { return "leader"; }
  std::string operator()(const api::WatchFeedEnded&) const { return "ended"; }
  Revision revision;
};

// A member's store and its watches; what feeds hear is kept as text.
class Watched {
 public:
  explicit Watched(const WatchHub::Limits& limits = {.watches = 1'000})
      : hub(limits, db.store, teller()) {}

  void run(std::string_view line) { db.run(line); }
  // Writes, and tells until there is nothing more to tell.
  void put(std::string_view line) {
    run(line);
    settle();
  }
  std::size_t settle() {
    std::size_t steps = 1;
    while (hub.step(db.store)) ++steps;
    return steps;
  }
  void watch(const api::WatchCreate& create, FeedId feed = kFeed) {
    hub.request(db.store, feed, create);
  }
  // What a feed has heard since it was asked last; `; ` between.
  std::string heard(FeedId feed = kFeed) {
    std::string text;
    for (const std::string& line : std::exchange(told[feed], {})) {
      text += (text.empty() ? "" : "; ") + line;
    }
    return text;
  }

  Replica db;
  std::set<FeedId> full;
  std::map<FeedId, std::vector<std::string>> told;
  WatchHub hub;

 private:
  WatchHub::Tell teller() {
    return [this](FeedId feed, Revision revision, const api::WatchNews& news) {
      const bool may_wait = std::holds_alternative<api::WatchEvents>(news) ||
                            std::holds_alternative<api::WatchProgress>(news);
      if (may_wait && full.contains(feed)) return false;
      told[feed].push_back(std::visit(Words{revision}, news));
      return true;
    };
  }
};

TEST(WatchHub, AConnectionAndAUserHaveOnlySoMany) {
  Watched member({.watches = 1'000, .connection_watches = 3, .user_watches = 4});
  const auto watch = [&](FeedId feed, const std::string& user) {
    api::WatchCreate create;
    create.key = "a";
    create.identity.user = user;
    const std::size_t before = member.hub.watches();
    member.hub.request(member.db.store, feed, create);
    return member.hub.watches() > before;
  };
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(watch(kFeed, "ann"));
  EXPECT_FALSE(watch(kFeed, "bob")) << "one more of the connection";
  EXPECT_TRUE(watch(kOther, "ann"));
  EXPECT_FALSE(watch(kOther, "ann")) << "one more of the user";
  EXPECT_TRUE(watch(kOther, ""));
  member.hub.close_connection(kFeed.connection);
  EXPECT_TRUE(watch(kFeed, "ann"));
}

TEST(WatchHub, TellsChangesOfAKeyFromNowOn) {
  Watched member;
  member.put("put a 1");
  member.watch({.key = "a"});
  EXPECT_EQ(member.heard(), "created 0");
  member.put("put a 2");
  member.put("put b 1");
  member.put("del a");
  EXPECT_EQ(member.heard(), "0: a=2@3; 0: -a@5");
  EXPECT_EQ(member.hub.behind(), 0u);
}

TEST(WatchHub, RangesFiltersAndPreviousValues) {
  Watched member;
  member.put("put a 1");
  member.watch({.key = "a", .range_end = "c", .no_put = true});
  member.watch({.key = "a", .range_end = "c", .no_delete = true, .prev_kv = true});
  member.watch({.key = "b", .range_end = Bytes(1, '\0'), .prev_kv = true});
  EXPECT_EQ(member.heard(), "created 0; created 1; created 2");
  member.put("put a 2");
  EXPECT_EQ(member.heard(), "1: a=2@3(was 1@2)");
  member.put("del a");
  EXPECT_EQ(member.heard(), "0: -a@4");
  member.put("put z 1");
  EXPECT_EQ(member.heard(), "2: z=1@5");
  member.put("del z");
  EXPECT_EQ(member.heard(), "2: -z@6(was 1@5)");
}

TEST(WatchHub, ATransactionComesAsAWhole) {
  Watched member;
  member.watch({.key = "a", .range_end = "z"});
  member.put("txn [ ] [ put a 1 ; put b 1 ; put zz 1 ] [ ]");
  EXPECT_EQ(member.heard(), "created 0; 0: a=1@2 b=1@2");
}

TEST(WatchHub, BeginsInThePastAndInTheFuture) {
  Watched member;
  for (int i = 1; i <= 5; ++i) member.put(fmt::format("put a {}", i));
  member.watch({.key = "a", .start_revision = 4});
  member.watch({.key = "a", .start_revision = 9});
  EXPECT_EQ(member.hub.behind(), 2u);
  member.settle();
  EXPECT_EQ(member.heard(), "created 0; created 1; 0: a=3@4 a=4@5 a=5@6");
  member.put("put a 6");
  member.put("put a 7");
  EXPECT_EQ(member.hub.behind(), 0u);  // the next one is for both
  member.put("put a 8");
  EXPECT_EQ(member.heard(), "0: a=6@7; 0: a=7@8; 0: a=8@9; 1: a=8@9");
}

TEST(WatchHub, IdsAreChosenOrGiven) {
  Watched member;
  member.watch({.key = "a", .id = 1});
  member.watch({.key = "a"});
  member.watch({.key = "a"});
  member.watch({.key = "a", .id = 2});
  member.watch({.key = "c", .range_end = "b"});
  EXPECT_EQ(member.heard(), "created 1; created 0; created 2; refused -1 0; refused -1 1");
  member.hub.request(member.db.store, kFeed, api::WatchCancel{0});
  member.hub.request(member.db.store, kFeed, api::WatchCancel{77});
  member.put("put a 1");
  EXPECT_EQ(member.heard(), "canceled 0; 2: a=1@2; 1: a=1@2");
}

TEST(WatchHub, WatchesHaveALimit) {
  Watched member({.watches = 2});
  for (int i = 0; i < 3; ++i) member.watch({.key = "a"});
  EXPECT_EQ(member.heard(), "created 0; created 1; refused -1 2");
}

TEST(WatchHub, WhoTakesNothingMissesNothingAndHoldsBackNobody) {
  Watched member;
  member.watch({.key = "a"});
  member.watch({.key = "a"}, kOther);
  member.full.insert(kFeed);
  for (int i = 1; i <= 4; ++i) member.put(fmt::format("put a {}", i));
  EXPECT_EQ(member.heard(kOther), "created 0; 0: a=1@2; 0: a=2@3; 0: a=3@4; 0: a=4@5");
  EXPECT_EQ(member.heard(), "created 0");
  EXPECT_FALSE(member.hub.step(member.db.store));  // it costs nothing
  EXPECT_EQ(member.hub.behind(), 1u);
  member.full.clear();
  member.hub.has_room(kFeed);
  member.settle();
  EXPECT_EQ(member.heard(), "0: a=1@2 a=2@3 a=3@4 a=4@5");
  EXPECT_EQ(member.hub.behind(), 0u);
  member.put("put a 5");
  EXPECT_EQ(member.heard(), "0: a=5@6");
}

TEST(WatchHub, ACompactedStartIsSaid) {
  Watched member;
  for (int i = 1; i <= 5; ++i) member.put(fmt::format("put a {}", i));
  member.put("compact 4");
  member.watch({.key = "a", .start_revision = 3});
  member.watch({.key = "a", .start_revision = 4});
  member.settle();
  EXPECT_EQ(member.heard(), "created 0; created 1; compacted 0 4; 1: a=3@4 a=4@5 a=5@6");
  EXPECT_EQ(member.hub.watches(), 1u);
}

TEST(WatchHub, FromMinusOneIsFromNowOnUntilSomethingIsCompacted) {
  Watched member;
  member.put("put a 1");
  member.watch({.key = "a", .start_revision = -1});
  member.watch({.key = "a", .start_revision = -2});
  member.settle();
  EXPECT_EQ(member.heard(), "created 0; created 1; compacted 1 -1");
  member.put("put a 2");
  member.settle();
  EXPECT_EQ(member.heard(), "0: a=2@3");
  member.put("compact 2");
  member.watch({.key = "a", .start_revision = -1});
  member.settle();
  EXPECT_EQ(member.heard(), "created 2; compacted 2 2");
}

TEST(WatchHub, ADeletionByTheCompactedRevisionIsStillTold) {
  Watched member;
  member.put("put a 1");
  member.put("del a");
  member.put("put b 1");
  member.put("compact 3");
  while (member.db.store.reclaim(1, member.hub.told())) {
  }
  member.watch({.key = "a", .start_revision = 3, .prev_kv = true});
  member.settle();
  EXPECT_EQ(member.heard(), "created 0; 0: -a@3");
  auto loaded = member.db.through_snapshot(100, [] {});
  ASSERT_TRUE(loaded.has_value());
  member.db.store = *std::move(loaded);
  member.hub.store_replaced(member.db.store);
  member.watch({.key = "a", .start_revision = 3});
  member.settle();
  EXPECT_EQ(member.heard(), "created 1; 1: -a@3");
}

TEST(WatchHub, WhoFallsBehindACompactionIsToldSo) {
  Watched member;
  member.watch({.key = "a"});
  member.full.insert(kFeed);
  member.put("put a 1");
  member.put("put a 2");
  member.put("put a 3");
  member.put("compact 4");
  member.full.clear();
  member.hub.has_room(kFeed);
  member.settle();
  EXPECT_EQ(member.heard(), "created 0; compacted 0 4");
}

// A compaction in the same turn as the changes before it takes nothing from those who are at the
// head.
TEST(WatchHub, WhatIsNotToldYetIsNotReclaimed) {
  Watched member;
  member.watch({.key = "a"});
  for (int i = 1; i <= 3; ++i) member.run(fmt::format("put a {}", i));
  member.run("compact 4");
  while (member.db.store.reclaim(10, member.hub.told()) &&
         member.db.store.reclaimed_revision() < 1) {
  }
  member.settle();
  EXPECT_EQ(member.heard(), "created 0; 0: a=1@2 a=2@3 a=3@4");
}

TEST(WatchHub, SurvivesAnInstalledSnapshot) {
  Watched member;
  member.watch({.key = "a"});
  member.watch({.key = "a", .start_revision = 6});
  member.put("put a 1");
  Replica leader;
  for (const char* line : {"put a 1", "put a 2", "put b 1", "put a 3", "put a 4"}) leader.run(line);
  const auto install = [&] {
    auto loaded = leader.through_snapshot(100, [] {});
    ASSERT_TRUE(loaded.has_value());
    member.db.store = *std::move(loaded);
    member.hub.store_replaced(member.db.store);
    member.settle();
  };
  EXPECT_EQ(member.heard(), "created 0; created 1; 0: a=1@2");
  install();
  EXPECT_EQ(member.heard(), "0: a=2@3 a=3@5 a=4@6; 1: a=4@6");
  leader.run("put a 5");
  leader.run("put a 6");
  leader.run("compact 8");
  install();
  EXPECT_EQ(member.heard(), "compacted 0 8; compacted 1 8");
  member.watch({.key = "a", .start_revision = 8});
  member.settle();
  EXPECT_EQ(member.heard(), "created 2; 2: a=6@8");
}

TEST(WatchHub, ProgressIsAnsweredWhenAllIsTold) {
  Watched member;
  const auto ask = [&] { member.hub.request(member.db.store, kFeed, api::WatchProgressAsked{}); };
  ask();
  member.settle();
  EXPECT_EQ(member.heard(), "progress -1 1");
  for (int i = 1; i <= 3; ++i) member.put(fmt::format("put a {}", i));
  member.watch({.key = "a", .start_revision = 2});
  member.full.insert(kFeed);
  ask();
  member.settle();
  EXPECT_EQ(member.heard(), "created 0");
  member.full.clear();
  member.hub.has_room(kFeed);
  member.settle();
  EXPECT_EQ(member.heard(), "0: a=1@2 a=2@3 a=3@4; progress -1 4");
  member.settle();
  EXPECT_EQ(member.heard(), "");
}

TEST(WatchHub, ProgressIsNotifiedInQuietTimes) {
  Watched member;
  member.watch({.key = "a", .progress_notify = true});
  member.watch({.key = "a"});
  member.watch({.key = "a", .start_revision = 10, .progress_notify = true});
  member.put("put b 1");
  member.hub.notify_progress();
  member.settle();
  EXPECT_EQ(member.heard(), "created 0; created 1; created 2; progress 0 2");
  member.put("put a 1");
  member.hub.notify_progress();
  member.settle();
  EXPECT_EQ(member.heard(), "1: a=1@3; 0: a=1@3");
  member.hub.notify_progress();
  member.settle();
  EXPECT_EQ(member.heard(), "progress 0 3");
}

TEST(WatchHub, ConnectionsTakeTheirWatchesWithThem) {
  Watched member;
  member.watch({.key = "a"});
  member.watch({.key = "a"}, FeedId{1, 2});
  member.watch({.key = "a"}, kOther);
  member.hub.close_connection(1);
  EXPECT_EQ(member.hub.watches(), 1u);
  EXPECT_EQ(member.hub.feeds(), 1u);
  member.put("put a 1");
  EXPECT_EQ(member.heard(kOther), "created 0; 0: a=1@2");
}

TEST(WatchHub, AStepIsBounded) {
  Watched member({.watches = 1'000, .changes = 10, .matches = 50, .tells = 8, .bytes = 10'000});
  for (int i = 0; i < 30; ++i) member.watch({.key = "a"});
  member.heard();
  for (int i = 1; i <= 5; ++i) member.run(fmt::format("put a {}", i));
  EXPECT_TRUE(member.hub.step(member.db.store));
  EXPECT_EQ(member.told[kFeed].size(), 8u);
  EXPECT_GT(member.settle(), 2u);
  EXPECT_EQ(member.hub.events_told(), 150u);
}

// Also of watches that do not want what is looked at.
TEST(WatchHub, AStepLooksAtFewWatches) {
  Watched member({.watches = 10'000, .changes = 1'000, .matches = 500, .tells = 800});
  for (int i = 0; i < 500; ++i) member.watch({.key = "a", .no_put = true});
  member.heard();
  for (int i = 1; i <= 20; ++i) member.run(fmt::format("put a {}", i));
  EXPECT_EQ(member.settle(), 20) << "each change is looked at for all watches, and fills a step";
}

// However many replay everything, and from wherever.
TEST(WatchHub, AWatchNearTheHeadDoesNotWaitForDeepReplays) {
  Watched member({.watches = 1'000, .changes = 40});
  for (int i = 1; i <= 2'000; ++i) member.run(fmt::format("put a {}", i));
  member.settle();
  for (int i = 0; i < 100; ++i) {
    member.watch({.key = "a", .start_revision = 1 + i * 5}, kOther);
    member.hub.step(member.db.store);
  }
  EXPECT_GT(member.hub.late(), 0);
  for (const int back : {3, 20, 1, 10}) {
    const api::Revision start = member.db.store.revision() - back;
    member.watch({.key = "a", .start_revision = start});
    for (int step = 0; step < 25; ++step) member.hub.step(member.db.store);
    EXPECT_NE(member.heard().find(fmt::format("@{}", start)), std::string::npos) << back;
  }
  member.settle();
  EXPECT_EQ(member.hub.late(), 0);
}

// More matches in one revision than may be kept: each watch is told by itself, and as a whole.
TEST(WatchHub, AVeryLargeRevisionIsToldOneByOne) {
  Watched member({.watches = 1'000, .changes = 10, .matches = 5, .tells = 8, .bytes = 10'000});
  for (int i = 0; i < 10; ++i) member.watch({.key = "a", .range_end = "c"});
  member.watch({.key = "z"});
  member.heard();
  member.run("put z 1");
  member.run("txn [ ] [ put a 1 ; put b 1 ; put z 2 ; put bb 3 ] [ ]");
  member.run("put a 3");
  member.settle();
  std::map<std::string, int> lines;
  for (const std::string& line : member.told[kFeed]) ++lines[line.substr(line.find(':'))];
  EXPECT_EQ(lines,
            (std::map<std::string, int>{
                {": z=1@2", 1}, {": z=2@3", 1}, {": a=1@3 b=1@3 bb=3@3", 10}, {": a=3@4", 10}}));
  EXPECT_EQ(member.hub.behind(), 0u);
}

// Random writes, compactions, slow readers and snapshots; every watch hears what the history says,
// once, in order.
class Crowd {
 public:
  explicit Crowd(std::uint64_t seed) : rng_(seed), member_(limits(seed)) {}

  void run(int rounds) {
    for (int i = 0; i < rounds; ++i) act();
    member_.full.clear();
    for (std::uint64_t feed = 1; feed <= 4; ++feed) member_.hub.has_room({feed, 1});
    member_.settle();
    for (const auto& [feed, lines] : member_.told) {
      for (const std::string& line : lines) hear(feed, line);
    }
    EXPECT_EQ(member_.hub.behind(), 0u);
    for (const auto& [name, expectation] : expected_) {
      if (!expectation.is_over) check(name, expectation, member_.db.store.revision());
    }
  }

 private:
  using Name = std::pair<FeedId, api::WatchId>;
  struct Expectation {
    api::WatchCreate create;
    Revision first = 0;
    std::vector<std::string> heard;
    Revision newest = 0;
    bool is_over = false;
  };

  static WatchHub::Limits limits(std::uint64_t seed) {
    if (seed % 2 == 0) return {.watches = 1'000};
    return {.watches = 1'000,
            .changes = 7,
            .matches = 5,
            .tells = 6,
            .bytes = 300,
            .answer_bytes = 100};
  }

  Bytes any_key() { return fmt::format("k{}", rng_.below(8)); }

  void act() {
    const std::uint64_t dice = rng_.below(100);
    const FeedId feed{1 + rng_.below(4), 1};
    if (dice < 40) {
      write(fmt::format("put {} {}", any_key(), ++values_));
    } else if (dice < 50) {
      write(fmt::format("txn [ ] [ put k1 {0} ; put k3 {0} ; del k5 k8 ] [ ]", ++values_));
    } else if (dice < 56) {
      write(fmt::format("del {}", any_key()));
    } else if (dice < 66) {
      watch(feed);
    } else if (dice < 70) {
      if (!member_.full.insert(feed).second) {
        member_.full.erase(feed);
        member_.hub.has_room(feed);
      }
    } else if (dice < 72) {
      const Revision now = member_.db.store.revision();
      write(fmt::format("compact {}",
                        now - static_cast<Revision>(rng_.below(static_cast<std::uint64_t>(now)))));
    } else if (dice < 73) {
      auto loaded = member_.db.through_snapshot(1'000, [] {});
      ASSERT_TRUE(loaded.has_value());
      member_.db.store = *std::move(loaded);
      member_.hub.store_replaced(member_.db.store);
    } else if (dice < 75) {
      cancel(feed);
    } else {
      member_.hub.step(member_.db.store);
      member_.db.store.reclaim(rng_.below(5), member_.hub.told());
    }
    for (auto& [from, lines] : member_.told) {
      for (const std::string& line : std::exchange(lines, {})) hear(from, line);
    }
  }

  void write(const std::string& line) {
    const Revision before = member_.db.store.revision();
    member_.run(line);
    if (member_.db.store.revision() == before) return;
    api::RangeRequest all;
    all.key = all.range_end = Bytes(1, '\0');
    all.serializable = true;
    api::Response response = member_.db.run({.body = all, .id = {}, .timeout_ms = {}});
    std::map<Bytes, std::string> now;
    const Revision revision = member_.db.store.revision();
    for (const auto& kv : std::get<api::RangeResponse>(response.answer).kvs) {
      now[kv.key] = kv.value;
      if (kv.mod_revision == revision)
        changes_[revision].insert({kv.key, fmt::format("{}={}@{}", kv.key, kv.value, revision)});
    }
    for (const auto& [key, value] : state_) {
      if (!now.contains(key))
        changes_[revision].insert({key, fmt::format("-{}@{}", key, revision)});
    }
    state_ = std::move(now);
  }

  void watch(FeedId feed) {
    Expectation wanted;
    wanted.create.key = any_key();
    if (rng_.one_in(2)) wanted.create.range_end = fmt::format("k{}", rng_.below(9));
    if (!wanted.create.range_end.empty() && wanted.create.range_end <= wanted.create.key) return;
    wanted.create.no_put = rng_.one_in(10);
    wanted.create.no_delete = rng_.one_in(10);
    const Revision now = member_.db.store.revision();
    const auto span = static_cast<std::uint64_t>(now) + 3;
    if (rng_.one_in(2)) wanted.create.start_revision = 1 + static_cast<Revision>(rng_.below(span));
    wanted.first = wanted.create.start_revision == 0 ? now + 1 : wanted.create.start_revision;
    wanted.create.id = ++ids_;
    expected_[{feed, ids_}] = wanted;
    member_.watch(wanted.create, feed);
  }

  void cancel(FeedId feed) {
    const auto it = expected_.lower_bound(
        {feed, static_cast<api::WatchId>(rng_.below(static_cast<std::uint64_t>(ids_) + 1))});
    if (it == expected_.end() || it->first.first != feed) return;
    member_.hub.request(member_.db.store, feed, api::WatchCancel{it->first.second});
  }

  void hear(FeedId feed, const std::string& line) {
    std::istringstream in(line);
    std::string word;
    in >> word;
    if (word == "created") return;
    api::WatchId id = 0;
    if (word == "compacted" || word == "canceled") {
      in >> id;
      Expectation& expectation = expected_.at({feed, id});
      EXPECT_FALSE(expectation.is_over) << line;
      expectation.is_over = true;
      check({feed, id}, expectation, expectation.newest);
      return;
    }
    id = std::stoll(word);
    Expectation& expectation = expected_.at({feed, id});
    EXPECT_FALSE(expectation.is_over) << line;
    while (in >> word) {
      expectation.newest = std::stoll(word.substr(word.find('@') + 1));
      expectation.heard.push_back(word);
    }
  }

  void check(const Name& name, const Expectation& expectation, Revision until) const {
    std::vector<std::string> all;
    const KeyRange range = KeyRange::of(expectation.create.key, expectation.create.range_end);
    for (auto it = changes_.lower_bound(expectation.first);
         it != changes_.end() && it->first <= until; ++it) {
      for (const auto& [key, text] : it->second) {
        const bool inside =
            range.single ? key == range.key : key >= range.key && !range.ends_before(key);
        const bool wanted =
            text[0] == '-' ? !expectation.create.no_delete : !expectation.create.no_put;
        if (inside && wanted) all.push_back(text);
      }
    }
    EXPECT_EQ(expectation.heard, all)
        << "feed " << name.first.connection << " watch " << name.second;
  }

  Rng rng_;
  Watched member_;
  int values_ = 0;
  api::WatchId ids_ = 0;
  std::map<Name, Expectation> expected_;
  std::map<Bytes, std::string> state_;
  std::map<Revision, std::map<Bytes, std::string>> changes_;
};

TEST(WatchHub, RandomWritersAndWatchers) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Crowd(seed).run(800);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace conclave::store
