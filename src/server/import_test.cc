#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "server/command_line.h"
#include "server/import_plan.h"

namespace conclave::server {
namespace {

using etcdserverpb::WatchResponse;
using mvccpb::KeyValue;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

void put(WatchResponse& response, std::int64_t revision, const std::string& key,
         const std::string& value, std::int64_t lease = 0) {
  KeyValue& kv = *response.add_events()->mutable_kv();
  kv.set_key(key);
  kv.set_value(value);
  kv.set_mod_revision(revision);
  kv.set_lease(lease);
}

void remove(WatchResponse& response, std::int64_t revision, const std::string& key) {
  auto& event = *response.add_events();
  event.set_type(mvccpb::Event::DELETE);
  event.mutable_kv()->set_key(key);
  event.mutable_kv()->set_mod_revision(revision);
}

// "@9 a=1 -b c=2/7", where 7 is the lease; "-" if there is none.
std::string text_of(const std::optional<Batch>& batch) {
  if (!batch) return "-";
  std::string text = "@" + std::to_string(batch->revision);
  for (const Change& change : batch->changes) {
    text += change.remove ? " -" + change.key : " " + change.key + "=" + change.value;
    if (change.lease != 0) text += "/" + std::to_string(change.lease);
  }
  return text;
}

TEST(KeySpan, IsAsEtcdWantsIt) {
  EXPECT_EQ(KeySpan{""}.begin(), Bytes(1, '\0'));
  EXPECT_EQ(KeySpan{""}.end(), Bytes(1, '\0'));
  EXPECT_EQ(KeySpan{"ab"}.begin(), "ab");
  EXPECT_EQ(KeySpan{"ab"}.end(), "ac");
  EXPECT_EQ(KeySpan{"a\xff\xff"}.end(), "b");
  EXPECT_EQ(KeySpan{"\xff"}.end(), Bytes(1, '\0'));
  EXPECT_TRUE(KeySpan{"a"}.has("ab"));
  EXPECT_FALSE(KeySpan{"a"}.has("b"));
  EXPECT_FALSE(KeySpan{""}.has(kImportKey));
}

TEST(ImportState, IsReadAsItWasWritten) {
  const ImportState state{.source_cluster = 0xfedc'ba98'7654'3210,
                          .run = 7,
                          .step = 8,
                          .phase = ImportState::Phase::kFollowing,
                          .revision = 123,
                          .merge = true,
                          .users = true,
                          .prefix = Bytes("\0 =\xff", 4)};
  EXPECT_EQ(parse_import_state(encode(state)).value(), state);
  EXPECT_EQ(parse_import_state(encode(ImportState())).value(), ImportState());
  EXPECT_EQ(encode(ImportState()),
            "conclave-import source=0 run=0 step=0 phase=copying revision=0 merge=0 users=0 "
            "prefix=");
}

TEST(ImportState, IsNotReadFromSomethingElse) {
  for (const char* text : {"", "conclave-import", "else source=1 run=1", "conclave-import source=x",
                           "conclave-import source=0 run=0 step=0 phase=copying revision=0 merge=0 "
                           "users=0 prefix=0g"}) {
    EXPECT_FALSE(parse_import_state(text)) << text;
  }
}

TEST(EventBatches, HoldWholeRevisionsAndTheLastEventOfAKey) {
  EventBatches batches({}, 4);
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "-");
  WatchResponse response;
  put(response, 5, "a", "1");
  put(response, 5, "b", "1", 7);
  put(response, 6, "a", "2");
  remove(response, 7, "b");
  put(response, 8, "c", "3");
  batches.add(response);
  EXPECT_EQ(text_of(batches.next(7)), "@7 a=2 -b");
  EXPECT_EQ(batches.applied(), 7);
  EXPECT_EQ(text_of(batches.next(7)), "-");
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "@8 c=3");
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "-");
  EXPECT_EQ(batches.waiting(), 0U);
  EXPECT_EQ(batches.waiting_bytes(), 0U);
}

TEST(EventBatches, WaitForTheEndOfARevision) {
  EventBatches batches({}, 4);
  WatchResponse begin;
  put(begin, 5, "a", "1");
  put(begin, 6, "b", "1");
  begin.set_fragment(true);
  batches.add(begin);
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "@5 a=1");
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "-");
  WatchResponse end;
  put(end, 6, "c", "1");
  batches.add(end);
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "@6 b=1 c=1");
}

TEST(EventBatches, LeaveOutOtherKeysButNotTheirRevisions) {
  EventBatches batches({"p/"}, 4);
  WatchResponse response;
  put(response, 5, "other", "1");
  put(response, 6, "p/a", "1");
  put(response, 7, std::string(kImportKey), "1");
  batches.add(response);
  EXPECT_EQ(text_of(batches.next(5)), "@5");
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "@7 p/a=1");
}

TEST(EventBatches, IgnoreWhatWasSeenBefore) {
  EventBatches batches({}, 6);
  WatchResponse response;
  put(response, 6, "a", "old");
  put(response, 7, "a", "new");
  batches.add(response);
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "@7 a=new");
}

TEST(EventBatches, OfALargeRevisionAreSeveral) {
  EventBatches batches({}, 4);
  WatchResponse response;
  put(response, 5, "first", "1");
  for (std::size_t i = 0; i < 2 * kImportOps + 1; ++i) {
    put(response, 6, "k" + std::to_string(i), "1");
  }
  put(response, 7, "last", "1");
  batches.add(response);
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "@5 first=1");
  for (int i = 0; i < 2; ++i) {
    const auto part = batches.next(kNoLimit);
    EXPECT_EQ(part->revision, 5);
    EXPECT_EQ(part->changes.size(), kImportOps);
  }
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "@7 k240=1 last=1");
}

// A DeleteRange of a million keys is one revision: it need not come whole before it is carried out.
TEST(EventBatches, OfALargeRevisionDoNotWaitForItsEnd) {
  EventBatches batches({}, 4);
  WatchResponse response;
  for (std::size_t i = 0; i < kImportOps + 5; ++i) remove(response, 5, "k" + std::to_string(i));
  response.set_fragment(true);
  batches.add(response);
  const auto part = batches.next(kNoLimit);
  EXPECT_EQ(part->revision, 4);
  EXPECT_EQ(part->changes.size(), kImportOps);
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "-");
  WatchResponse end;
  remove(end, 5, "z");
  batches.add(end);
  EXPECT_EQ(text_of(batches.next(kNoLimit)), "@5 -k120 -k121 -k122 -k123 -k124 -z");
}

TEST(EventBatches, CloseByTheirSize) {
  EventBatches batches({}, 4);
  WatchResponse response;
  const std::string large(kImportTxnBytes / 2, 'x');
  for (int i = 0; i < 3; ++i) put(response, 5 + i, "k" + std::to_string(i), large);
  batches.add(response);
  for (int i = 0; i < 3; ++i) {
    const auto batch = batches.next(kNoLimit);
    EXPECT_EQ(batch->revision, 5 + i);
    EXPECT_EQ(batch->changes.size(), 1U);
  }
}

TEST(Compare, OfTwoSidesKeys) {
  const auto kv = [](const char* key, const char* value, std::int64_t lease) {
    KeyValue made;
    made.set_key(key);
    made.set_value(value);
    made.set_lease(lease);
    return made;
  };
  const KeyValue a = kv("a", "1", 0);
  const KeyValue b = kv("b", "1", 0);
  const KeyValue other_value = kv("a", "2", 0);
  const KeyValue other_lease = kv("a", "1", 3);
  EXPECT_EQ(compare(&a, &a), Relation::kSame);
  EXPECT_EQ(compare(&a, &b), Relation::kOnlySource);
  EXPECT_EQ(compare(&b, &a), Relation::kOnlyTarget);
  EXPECT_EQ(compare(&a, nullptr), Relation::kOnlySource);
  EXPECT_EQ(compare(nullptr, &a), Relation::kOnlyTarget);
  EXPECT_EQ(compare(&a, &other_value), Relation::kDiffers);
  EXPECT_EQ(compare(&a, &other_lease), Relation::kDiffers);
}

TEST(Guarded, ChangesNothingInAnotherState) {
  const auto first = guarded({}, "", "s1");
  EXPECT_EQ(first.compare(0).target(), etcdserverpb::Compare::VERSION);
  EXPECT_EQ(first.compare(0).version(), 0);
  EXPECT_EQ(first.success(0).request_put().value(), "s1");

  const std::vector<Change> changes = {{.key = "a", .remove = false, .value = "1", .lease = 7},
                                       {.key = "b", .remove = true, .value = {}, .lease = 0}};
  const auto step = guarded(changes, "s1", "s2");
  EXPECT_EQ(step.compare(0).key(), kImportKey);
  EXPECT_EQ(step.compare(0).value(), "s1");
  ASSERT_EQ(step.success_size(), 3);
  EXPECT_EQ(step.success(0).request_put().lease(), 7);
  EXPECT_EQ(step.success(1).request_delete_range().key(), "b");
  EXPECT_EQ(step.success(1).request_delete_range().range_end(), "");
  EXPECT_EQ(step.success(2).request_put().value(), "s2");
  EXPECT_EQ(step.failure(0).request_range().key(), kImportKey);

  EXPECT_EQ(guarded(changes, "s1", "s1").success_size(), 2);
  EXPECT_EQ(guarded({}, "s2", "").success(0).request_delete_range().key(), kImportKey);
}

TEST(Fingerprint, TellsKeysValuesAndLeasesApart) {
  const auto of = [](const char* key, const char* value, std::int64_t lease) {
    KeyValue kv;
    kv.set_key(key);
    kv.set_value(value);
    kv.set_lease(lease);
    Fingerprint print;
    print.add(kv);
    EXPECT_EQ(print.keys(), 1U);
    return print.finish();
  };
  EXPECT_EQ(of("a", "b", 1), of("a", "b", 1));
  EXPECT_NE(of("a", "b", 1), of("a", "b", 2));
  EXPECT_NE(of("ab", "", 1), of("a", "b", 1));
  EXPECT_EQ(of("a", "b", 1).size(), 64U);
}

TEST(NextPage, GrowsWithSmallKeysAndShrinksWithLargeOnes) {
  EXPECT_EQ(next_page(1'000, 1'000, 10'000), 8'000);
  EXPECT_EQ(next_page(50'000, 50'000, 500'000), 100'000);
  EXPECT_EQ(next_page(1'000, 1'000, 100'000'000), 167);
  EXPECT_EQ(next_page(10, 10, 15'000'000), 11);
  EXPECT_EQ(next_page(10, 10, 1'500'000'000), 1);
  EXPECT_EQ(next_page(1, 0, 0), 8);
}

TEST(Progress, IsForPeople) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1'234'567), "1,234,567");
  EXPECT_EQ(copy_progress("copying", 412'345, 1'000'000, seconds(10)),
            "copying  412,345 of 1,000,000 keys (41%), 41,234 keys/s, about 15 s left");
  EXPECT_EQ(copy_progress("copying", 0, 0, seconds(0)), "copying  0 of 0 keys (100%)");
  EXPECT_EQ(copy_progress("copying", 7, 5, seconds(7)), "copying  7 of 7 keys (100%), 1 keys/s");
  EXPECT_EQ(follow_progress(1'234, 1'246, 345.4, 7),
            "following  revision 1,234, 12 behind, 345 events/s, 7 leases");
  EXPECT_EQ(follow_progress(9, 5, 0, 0), "following  revision 9, 0 behind, 0 events/s, 0 leases");
  EXPECT_EQ(printable(BytesView("a\"\\\x01\xff", 5)), R"("a\"\\\x01\xff")");
}

TEST(ImportOptions, AreParsed) {
  const auto options = parse_import_options(
      {"--endpoint", "http://a:1,b:2", "--to", "http://[::1]:3", "--prefix", "p", "--merge"});
  ASSERT_TRUE(options);
  EXPECT_THAT(options->source.endpoints, ElementsAre(io::Address{"a", 1}, io::Address{"b", 2}));
  EXPECT_THAT(options->target.endpoints, ElementsAre(io::Address{"::1", 3}));
  EXPECT_FALSE(options->source.endpoints[0].tls);
  EXPECT_EQ(options->prefix, "p");
  EXPECT_TRUE(options->merge);
  EXPECT_FALSE(options->resume);
}

TEST(ImportOptions, MistakesAreNamed) {
  const auto no_target = parse_import_options({"--endpoint", "a:1"});
  ASSERT_FALSE(no_target);
  EXPECT_EQ(no_target.error().exit_code, 2);
  EXPECT_THAT(no_target.error().text, HasSubstr("--to"));
  const auto half = parse_import_options({"--endpoint", "a:1", "--to", "b:2", "--to-cert", "c"});
  ASSERT_FALSE(half);
  EXPECT_THAT(half.error().text, HasSubstr("--to-key"));
}

TEST(ImportOptions, EachSideHasItsTlsAndItsUser) {
  const auto options = parse_import_options({"--endpoint", "https://a:1", "--to", "b:2",
                                             "--to-cacert", "ca", "--cert", "c", "--key", "k",
                                             "--user", "root:a:b", "--to-user", "own:x"});
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->source.endpoints[0].tls);
  EXPECT_TRUE(options->target.endpoints[0].tls);
  EXPECT_EQ(options->source.tls.certificate, "c");
  EXPECT_EQ(options->source.tls.trusted_ca, "");
  EXPECT_EQ(options->target.tls.trusted_ca, "ca");
  EXPECT_EQ(login_of(options->source.user).name, "root");
  EXPECT_EQ(login_of(options->source.user).password, "a:b");
  EXPECT_EQ(options->target.user, "own:x");
}

TEST(ImportOptions, TheSourcesUserIsTheTargetsUnlessUsersStay) {
  std::vector<std::string> words = {"--endpoint", "a:1", "--to", "b:2", "--user", "root:x"};
  EXPECT_EQ(parse_import_options(words)->target.user, "root:x");
  words.push_back("--without-users");
  EXPECT_EQ(parse_import_options(words)->target.user, "");
}

}  // namespace
}  // namespace conclave::server
