// The window of sequences per client, the bounds, and the view that a snapshot has while writes go
// on.

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "store/request_ids.h"

namespace conclave::store {
namespace {

using Known = RequestIds::Known;

TEST(RequestIds, SequencesMayComeInAnyOrderWithinTheWindow) {
  RequestIds ids;
  ids.record("c", 10, "ten");
  ids.record("c", 5, "five");
  ids.record("c", 7, "seven");
  EXPECT_EQ(*ids.find("c", 5).response, "five");
  EXPECT_EQ(*ids.find("c", 7).response, "seven");
  EXPECT_EQ(ids.find("c", 6).known, Known::kNew);
  EXPECT_EQ(ids.find("d", 5).known, Known::kNew);
}

TEST(RequestIds, TheLowestSequenceGoesFirstAndBoundsTheWindow) {
  RequestIds ids;
  for (std::uint64_t i = 0; i < limits::kRequestIdsPerClient; ++i)
    ids.record("c", 100 + 2 * i, "x");
  EXPECT_EQ(ids.find("c", 3).known, Known::kNew);
  ids.record("c", 1000, "y");
  EXPECT_EQ(ids.find("c", 100).known, Known::kTooOld);
  EXPECT_EQ(ids.find("c", 3).known, Known::kTooOld);
  EXPECT_EQ(ids.find("c", 101).known, Known::kNew);
  EXPECT_EQ(ids.find("c", 102).known, Known::kAnswered);
  // One that is itself the lowest is forgotten at once, but still known to have been used.
  ids.record("c", 101, "z");
  EXPECT_EQ(ids.find("c", 101).known, Known::kTooOld);
}

TEST(RequestIds, TheClientWhoseLastWriteIsLongestAgoIsForgotten) {
  RequestIds ids;
  for (std::size_t i = 0; i < limits::kRequestIdClients; ++i)
    ids.record(fmt::format("c{}", i), 1, "x");
  ids.record("c0", 2, "x");
  ids.record("new", 1, "x");
  EXPECT_EQ(ids.client_count(), limits::kRequestIdClients);
  EXPECT_EQ(ids.find("c0", 1).known, Known::kAnswered);
  EXPECT_EQ(ids.find("c1", 1).known, Known::kNew);
  EXPECT_EQ(ids.find("c2", 1).known, Known::kAnswered);
}

TEST(RequestIds, AnAnswerTooLargeToKeepIsKnownToBeGone) {
  RequestIds ids;
  ids.record("c", 1, Bytes(RequestIds::kOneAnswerBytes + 1, 'x'));
  EXPECT_EQ(ids.find("c", 1).known, Known::kTooOld);
  EXPECT_EQ(ids.find("c", 2).known, Known::kNew);
  EXPECT_EQ(ids.size_bytes(), 0u);
}

TEST(RequestIds, TheBytesOfAllAnswersAreBounded) {
  RequestIds ids;
  const std::size_t fitting = RequestIds::kAnswerBytes / RequestIds::kOneAnswerBytes;
  for (std::size_t i = 0; i < fitting + 1; ++i) {
    ids.record(fmt::format("c{}", i), 1, Bytes(RequestIds::kOneAnswerBytes, 'x'));
  }
  EXPECT_EQ(ids.size_bytes(), RequestIds::kAnswerBytes);
  EXPECT_EQ(ids.find("c0", 1).known, Known::kNew);
  EXPECT_EQ(ids.find("c1", 1).known, Known::kAnswered);
}

std::string seen_by_snapshot(const RequestIds& ids) {
  std::string text;
  std::optional<Bytes> last;
  while (const auto* client = ids.next_in_snapshot(last)) {
    last = client->first;
    text += client->first + ":";
    for (const auto& answer : client->second.answers) text += fmt::format(" {}", *answer.response);
    text += "; ";
  }
  return text;
}

TEST(RequestIds, ASnapshotSeesTheStateInWhichItBegan) {
  RequestIds ids;
  ids.record("b", 1, "b1");
  ids.record("d", 1, "d1");
  ids.begin_snapshot();
  ids.record("a", 1, "new");
  ids.record("b", 2, "new");
  ids.record("b", 3, "new");
  ids.record("e", 1, "new");
  EXPECT_EQ(seen_by_snapshot(ids), "b: b1; d: d1; ");
  for (std::size_t i = 0; i < limits::kRequestIdClients; ++i)
    ids.record(fmt::format("c{}", i), 1, "x");
  EXPECT_EQ(ids.find("b", 1).known, Known::kNew);  // forgotten by now
  EXPECT_EQ(seen_by_snapshot(ids), "b: b1; d: d1; ");
  ids.record("d", 9, "again");
  EXPECT_EQ(seen_by_snapshot(ids), "b: b1; d: d1; ");
  ids.end_snapshot();
}

TEST(RequestIds, RestoredClientsAreForgottenInTheSameOrder) {
  RequestIds ids;
  for (const char* client : {"x", "a", "m"}) ids.record(client, 1, client);
  ids.record("x", 2, "x2");
  RequestIds restored;
  restored.restore_uses(ids.uses());
  ids.begin_snapshot();
  std::optional<Bytes> last;
  while (const auto* client = ids.next_in_snapshot(last)) {
    last = client->first;
    ASSERT_TRUE(restored.restore(client->first, client->second));
  }
  ids.end_snapshot();
  EXPECT_EQ(restored.sum(), ids.sum());
  for (std::size_t i = 0; i < limits::kRequestIdClients - 2; ++i) {
    for (RequestIds* each : {&ids, &restored}) each->record(fmt::format("c{}", i), 1, "x");
  }
  EXPECT_EQ(restored.sum(), ids.sum());
  EXPECT_EQ(restored.find("a", 1).known, Known::kNew);
  EXPECT_EQ(restored.find("m", 1).known, Known::kAnswered);
}

}  // namespace
}  // namespace conclave::store
