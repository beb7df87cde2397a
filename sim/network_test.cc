// The simulated network: what links do to pieces, what a paused or ended process does to its
// connections, and what never happens to a client's stream.

#include "sim/network.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "sim/clock.h"

namespace conclave::sim {
namespace {

// One end of a connection, which writes down what it is told.
struct End : io::ConnectionHandler {
  explicit End(std::unique_ptr<io::Connection> its) : connection(std::move(its)) {
    connection->start(this);
  }
  void on_bytes(BytesView bytes) override {
    heard += bytes;
    if (on_heard) on_heard();
  }
  void on_drained() override { ++drained; }
  void on_closed(const Error& why) override {
    EXPECT_FALSE(closed.has_value()) << "told twice";
    closed = why.message;
  }
  void send(const std::string& piece) { connection->send(piece); }

  std::unique_ptr<io::Connection> connection;
  Bytes heard;
  int drained = 0;
  std::optional<std::string> closed;
  std::function<void()> on_heard;
};

struct NetworkTest : testing::Test {
  Clock clock;
  Fabric fabric{clock, 1};
  std::unique_ptr<io::Listener> listener;
  std::vector<std::unique_ptr<End>> accepted;
  std::vector<std::unique_ptr<End>> dialled;

  NetworkTest() { listen("b"); }

  void listen(const std::string& host) {
    listener = std::move(*fabric.host(host).listen({host, 1}, [this](auto connection) {
      accepted.push_back(std::make_unique<End>(std::move(connection)));
    }));
  }
  // From a to b, both ends; nullptrs if it cannot be made.
  std::pair<End*, End*> connect(const std::string& from = "a", const std::string& to = "b") {
    const std::size_t before = dialled.size();
    const auto connector = fabric.host(from).connect({to, 1}, [this](auto connection) {
      if (connection) dialled.push_back(std::make_unique<End>(std::move(*connection)));
    });
    run(milliseconds(20));
    if (dialled.size() == before) return {nullptr, nullptr};
    return {dialled.back().get(), accepted.empty() ? nullptr : accepted.back().get()};
  }
  void run(Duration duration) { clock.run_for(duration); }
  void make_lossy() { fabric.set_faults({}, {"a", "b"}); }
  const NetworkFaultCounts& counts() { return fabric.fault_counts(); }
};

// A letter for each piece, so that loss and order show.
std::string letter(int i) { return {static_cast<char>('a' + i % 26)}; }

std::string letters(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += letter(i);
  return all;
}

// --- streams ------------------------------------------------------------------------

TEST_F(NetworkTest, PiecesArriveInOrderBothWays) {
  const auto [a, b] = connect();
  for (int i = 0; i < 200; ++i) a->send(letter(i));
  b->send("hello");
  EXPECT_EQ(a->connection->unsent_bytes(), 200u);
  run(seconds(1));
  EXPECT_EQ(b->heard, letters(200));
  EXPECT_EQ(a->heard, "hello");
  EXPECT_EQ(a->connection->unsent_bytes(), 0u);
  EXPECT_GE(a->drained, 1);
  for (const auto& [name, count] : rows_of(counts())) EXPECT_EQ(count, 0u) << name;
}

TEST_F(NetworkTest, ATapHearsWhatIsSentAlsoIntoACut) {
  const auto [a, b] = connect();
  std::string said;
  fabric.tap = [&](const std::string& from, const std::string& to, BytesView piece) {
    said += from + to + ":" + std::string(piece) + " ";
  };
  a->send("x");
  fabric.cut("b", "a");
  b->send("y");
  EXPECT_EQ(said, "ab:x ba:y ");
}

TEST_F(NetworkTest, ClosingTellsTheOtherSideAfterWhatWasSent) {
  const auto [a, b] = connect();
  a->send("last words");
  dialled.clear();
  run(seconds(1));
  EXPECT_EQ(b->heard, "last words");
  EXPECT_EQ(b->closed, "closed by the other side");
}

TEST_F(NetworkTest, CloseAfterSendWaitsForASlowLink) {
  fabric.set_link_faults("a", "b", {.bytes_per_second = 1'000});
  const auto [a, b] = connect();
  a->send(std::string(1'000, 'x'));
  a->connection->close_after_send();
  run(milliseconds(900));
  EXPECT_FALSE(a->closed.has_value());
  EXPECT_FALSE(b->closed.has_value());
  run(milliseconds(200));
  EXPECT_EQ(b->heard.size(), 1'000u);
  EXPECT_TRUE(a->closed.has_value());
  EXPECT_TRUE(b->closed.has_value());
}

TEST_F(NetworkTest, CloseAfterSendGivesUpOnALinkThatTakesNothing) {
  const auto [a, b] = connect();
  fabric.cut("a", "b");
  a->send("x");
  a->connection->close_after_send();
  run(seconds(4));
  EXPECT_FALSE(a->closed.has_value());
  run(seconds(2));
  EXPECT_TRUE(a->closed.has_value());
  EXPECT_EQ(b->heard, "");
}

TEST_F(NetworkTest, AReaderThatPausesHoldsTheSenderUpAndLosesNoOrder) {
  const auto [a, b] = connect();
  b->connection->pause_reading(true);
  const std::string large(100'000, 'x');
  for (int i = 0; i < 5; ++i) a->send(large);
  run(seconds(1));
  EXPECT_EQ(b->heard.size(), 0u);
  EXPECT_EQ(a->connection->unsent_bytes(), 300'000u) << "a receive buffer holds the rest";
  EXPECT_EQ(a->drained, 0);
  a->send("end");
  run(milliseconds(1));
  b->connection->pause_reading(false);
  run(seconds(1));
  EXPECT_EQ(b->heard.size(), 500'003u);
  EXPECT_TRUE(b->heard.ends_with("xend"));
  EXPECT_EQ(a->connection->unsent_bytes(), 0u);
  EXPECT_EQ(a->drained, 1);
}

// --- loss and disorder --------------------------------------------------------------

TEST_F(NetworkTest, LosesAsManyPiecesAsItIsTold) {
  fabric.set_faults({.lost = 300}, {"a", "b"});
  const auto [a, b] = connect();
  for (int i = 0; i < 10'000; ++i) a->send("x");
  run(seconds(10));
  EXPECT_NEAR(static_cast<double>(b->heard.size()), 7'000, 200);
  EXPECT_EQ(counts().lost, 10'000 - b->heard.size());
  EXPECT_EQ(a->connection->unsent_bytes(), 0u);
}

TEST_F(NetworkTest, RepeatsAndReplaysPieces) {
  fabric.set_faults({.repeated = 500, .replayed = 500}, {"a", "b"});
  const auto [a, b] = connect();
  for (int i = 0; i < 1'000; ++i) a->send("x");
  run(milliseconds(100));
  const std::size_t soon = b->heard.size();
  EXPECT_NEAR(static_cast<double>(soon), 1'510, 80);
  run(seconds(5));
  EXPECT_NEAR(static_cast<double>(b->heard.size()), 2'000, 100);
  EXPECT_EQ(b->heard.size(), 1'000 + counts().repeated + counts().replayed);
}

TEST_F(NetworkTest, AReplayDiesWithItsConnection) {
  fabric.set_faults({.replayed = 1'000}, {"a", "b"});
  const auto [a, b] = connect();
  a->send("x");
  run(milliseconds(2));
  EXPECT_EQ(b->heard, "x");
  dialled.clear();
  const auto [again, b_again] = connect();
  run(seconds(10));
  EXPECT_EQ(counts().replayed, 1u);
  EXPECT_EQ(b_again->heard, "");
}

TEST_F(NetworkTest, ReordersPieces) {
  for (const LinkFaults& faults : {LinkFaults{.reordered = 300}, LinkFaults{.late = 300}}) {
    fabric.set_faults(faults, {"a", "b"});
    const auto [a, b] = connect();
    for (int i = 0; i < 20; ++i) a->send(letter(i));
    run(seconds(1));
    EXPECT_NE(b->heard, letters(20));
    std::ranges::sort(b->heard);
    EXPECT_EQ(b->heard, letters(20));
  }
  EXPECT_GT(counts().reordered, 0u);
  EXPECT_GT(counts().late, 0u);
}

TEST_F(NetworkTest, ALongTailHoldsUpWhatFollows) {
  fabric.set_client_faults({.long_tails = 100, .tail = seconds(3)});
  const auto [a, b] = connect();
  for (int i = 0; i < 100; ++i) a->send(letter(i));
  run(milliseconds(10));
  EXPECT_LT(b->heard.size(), 100u);
  EXPECT_GT(counts().long_tails, 0u);
  run(seconds(3));
  EXPECT_EQ(b->heard, letters(100));
}

TEST_F(NetworkTest, ClientsLoseNothingFromTheMiddle) {
  const LinkFaults bad{.lost = 1'000, .repeated = 1'000, .replayed = 1'000, .reordered = 1'000};
  fabric.set_faults(bad, {"b", "c"});
  fabric.set_client_faults(bad);
  const auto [a, b] = connect();
  for (int i = 0; i < 500; ++i) a->send(letter(i));
  run(seconds(20));
  EXPECT_EQ(b->heard, letters(500));
}

TEST_F(NetworkTest, OneLinkMayBeWorseThanTheOthers) {
  make_lossy();
  fabric.set_link_faults("a", "b", {.lost = 1'000});
  const auto [a, b] = connect();
  a->send("x");
  b->send("y");
  run(seconds(1));
  EXPECT_EQ(b->heard, "");
  EXPECT_EQ(a->heard, "y");
  fabric.set_faults({.shortest = microseconds(1)});
  a->send("x");
  run(seconds(1));
  EXPECT_EQ(b->heard, "") << "set_faults() is about the others";
  fabric.heal();
  a->send("z");
  run(seconds(1));
  EXPECT_EQ(b->heard, "z");
}

// --- bandwidth ----------------------------------------------------------------------

TEST_F(NetworkTest, ALimitedLinkTakesItsTime) {
  make_lossy();
  const auto [a, b] = connect();
  fabric.set_link_faults("a", "b", {.bytes_per_second = 10'000});
  for (int i = 0; i < 10; ++i) a->send(std::string(1'000, 'x'));
  EXPECT_EQ(a->connection->unsent_bytes(), 10'000u);
  run(milliseconds(550));
  EXPECT_EQ(b->heard.size(), 5'000u);
  EXPECT_EQ(a->connection->unsent_bytes(), 5'000u);
  EXPECT_EQ(a->drained, 0);
  run(milliseconds(500));
  EXPECT_EQ(b->heard.size(), 10'000u);
  EXPECT_EQ(a->drained, 1);
  EXPECT_EQ(counts().queued, 10u);
}

TEST_F(NetworkTest, WhatIsQueuedGoesWhenTheLimitDoes) {
  make_lossy();
  const auto [a, b] = connect();
  fabric.set_link_faults("a", "b", {.bytes_per_second = 10});
  for (int i = 0; i < 100; ++i) a->send(letter(i));
  fabric.heal();
  run(milliseconds(20));
  EXPECT_EQ(b->heard, letters(100));
}

TEST_F(NetworkTest, AStreamThatBreaksDoesNotUseUpTheLink) {
  const auto [one, b1] = connect();
  const auto [two, b2] = connect();
  fabric.set_link_faults("a", "b", {.bytes_per_second = 1'000});
  one->send(std::string(100'000, 'x'));
  two->send("y");
  dialled.front().reset();
  run(milliseconds(101'000));
  EXPECT_EQ(b2->heard, "y");
}

// --- cuts ---------------------------------------------------------------------------

TEST_F(NetworkTest, ACutIsOneWayAndMembersLoseWhatTheySend) {
  make_lossy();
  const auto [a, b] = connect();
  fabric.cut("a", "b");
  a->send("lost");
  b->send("heard");
  run(seconds(1));
  EXPECT_EQ(b->heard, "");
  EXPECT_EQ(a->heard, "heard");
  EXPECT_EQ(counts().stopped, 1u);
  EXPECT_EQ(counts().cuts, 1u);
  EXPECT_EQ(connect().first, nullptr);
  EXPECT_FALSE(a->closed.has_value());
  fabric.heal();
  a->send("again");
  run(seconds(1));
  EXPECT_EQ(b->heard, "again");
}

TEST_F(NetworkTest, AClientStallsAtACutAndGoesOnAfterIt) {
  const auto [a, b] = connect();
  fabric.cut("a", "b");
  for (int i = 0; i < 10; ++i) a->send(letter(i));
  run(seconds(60));
  EXPECT_EQ(b->heard, "");
  EXPECT_EQ(a->connection->unsent_bytes(), 10u);
  fabric.heal();
  for (int i = 10; i < 20; ++i) a->send(letter(i));
  run(seconds(1));
  EXPECT_EQ(b->heard, letters(20));
  EXPECT_EQ(a->connection->unsent_bytes(), 0u);
}

TEST_F(NetworkTest, OneLinkMayHealBeforeTheOthers) {
  const auto [a, b] = connect();
  const auto [c, b2] = connect("c");
  for (const char* host : {"a", "c"}) fabric.cut(host, "b");
  a->send("a");
  c->send("c");
  fabric.heal("c", "b");
  run(seconds(1));
  EXPECT_EQ(b->heard, "");
  EXPECT_EQ(b2->heard, "c");
  EXPECT_EQ(counts().stopped, 2u);
}

TEST_F(NetworkTest, NobodyHearsOfAnEndAcrossACut) {
  const auto [a, b] = connect();
  fabric.cut("a", "b");
  dialled.clear();
  run(seconds(60));
  EXPECT_FALSE(b->closed.has_value());
  fabric.heal();
  run(seconds(1));
  EXPECT_TRUE(b->closed.has_value());
}

TEST_F(NetworkTest, OnlySmallPiecesPass) {
  make_lossy();
  const auto [a, b] = connect();
  fabric.cut_large("a", "b", 3);
  for (const char* piece : {"abc", "defg", "hi"}) a->send(piece);
  b->send("any size");
  run(seconds(1));
  EXPECT_EQ(b->heard, "abchi");
  EXPECT_EQ(a->heard, "any size");
  EXPECT_EQ(counts().too_large, 1u);
  EXPECT_NE(connect().first, nullptr);
}

TEST_F(NetworkTest, AClientStallsAtItsFirstLargePiece) {
  const auto [a, b] = connect();
  fabric.cut_large("a", "b", 3);
  for (const char* piece : {"abc", "defg", "hi"}) a->send(piece);
  run(seconds(1));
  EXPECT_EQ(b->heard, "abc");
  fabric.heal();
  run(seconds(1));
  EXPECT_EQ(b->heard, "abcdefghi");
}

// --- connections that break ---------------------------------------------------------

TEST_F(NetworkTest, ConnectionsBreakInTheMiddleOfAMessage) {
  fabric.set_client_faults({.breaks = 100'000});
  const std::string message = letters(20);
  bool in_the_middle = false;
  for (int round = 0; round < 30; ++round) {
    const auto [a, b] = connect();
    for (int i = 0; i < 50; ++i) a->send(message);
    run(seconds(1));
    std::string all;
    for (int i = 0; i < 50; ++i) all += message;
    EXPECT_TRUE(all.starts_with(b->heard)) << "what arrives is a beginning of what was sent";
    EXPECT_EQ(a->closed.has_value(), b->heard.size() < all.size());
    EXPECT_EQ(b->closed, a->closed);
    in_the_middle = in_the_middle || b->heard.size() % message.size() != 0;
  }
  EXPECT_TRUE(in_the_middle);
  EXPECT_GT(counts().broken, 20u);
}

TEST_F(NetworkTest, ConnectionsAreReset) {
  fabric.set_client_faults({.resets = 1'000'000});
  const auto [a, b] = connect();
  a->send("x");
  run(seconds(1));
  EXPECT_EQ(b->heard, "");
  EXPECT_EQ(a->closed, "connection reset");
  EXPECT_EQ(b->closed, "connection reset");
  EXPECT_EQ(counts().reset, 1u);
}

TEST_F(NetworkTest, AResetHostLosesAllItsConnections) {
  const auto [a, b] = connect();
  const auto [c, b2] = connect("c");
  fabric.reset("a");
  EXPECT_TRUE(a->closed.has_value());
  EXPECT_TRUE(b->closed.has_value());
  EXPECT_FALSE(c->closed.has_value());
  EXPECT_FALSE(b2->closed.has_value());
}

// --- processes ----------------------------------------------------------------------

TEST_F(NetworkTest, APausedProcessHearsLater) {
  const auto [a, b] = connect();
  b->send("x");
  fabric.pause("b", true);
  for (int i = 0; i < 100; ++i) a->send(letter(i));
  run(seconds(10));
  EXPECT_EQ(b->heard, "");
  EXPECT_EQ(b->drained, 0);
  EXPECT_EQ(a->heard, "x") << "had left already";
  dialled.clear();
  run(seconds(10));
  EXPECT_FALSE(b->closed.has_value());
  fabric.pause("b", false);
  run(seconds(1));
  EXPECT_EQ(b->heard, letters(100));
  EXPECT_TRUE(b->closed.has_value());
  EXPECT_EQ(counts().pauses, 1u);
}

TEST_F(NetworkTest, APausedProcessIsToldThatItsBytesLeft) {
  const auto [a, b] = connect();
  b->send("x");
  fabric.pause("b", true);
  run(seconds(1));
  EXPECT_EQ(b->drained, 0);
  fabric.pause("b", false);
  run(seconds(1));
  EXPECT_EQ(b->drained, 1);
}

TEST_F(NetworkTest, WhatArrivesWhileAProcessWakesUpKeepsItsOrder) {
  const auto [a, b] = connect();
  fabric.pause("b", true);
  for (int i = 0; i < 10; ++i) a->send(letter(i));
  run(seconds(1));
  for (int i = 10; i < 20; ++i) a->send(letter(i));
  fabric.pause("b", false);
  run(seconds(1));
  EXPECT_EQ(b->heard, letters(20));
}

TEST_F(NetworkTest, TheSystemOfAPausedProcessMakesConnections) {
  fabric.pause("b", true);
  const auto [a, none] = connect();
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(none, nullptr);
  a->send("hello");
  run(seconds(5));
  EXPECT_TRUE(accepted.empty());
  fabric.pause("b", false);
  run(seconds(1));
  ASSERT_EQ(accepted.size(), 1u);
  EXPECT_EQ(accepted.front()->heard, "hello");
}

TEST_F(NetworkTest, APausedProcessLearnsLaterThatItIsConnected) {
  bool connected = false;
  const auto connector =
      fabric.host("a").connect({"b", 1}, [&](auto result) { connected = result.has_value(); });
  fabric.pause("a", true);
  run(seconds(1));
  EXPECT_FALSE(connected);
  fabric.pause("a", false);
  run(seconds(1));
  EXPECT_TRUE(connected);
}

TEST_F(NetworkTest, AnEndedProcessIsToldNothingAndItsPeersAre) {
  const auto [a, b] = connect();
  a->send("x");
  fabric.end_process("b");
  EXPECT_FALSE(a->closed.has_value()) << "news take time";
  run(seconds(1));
  EXPECT_EQ(b->heard, "");
  EXPECT_FALSE(b->closed.has_value());
  EXPECT_EQ(a->closed, "connection reset");
}

TEST_F(NetworkTest, AnEndedProcessAcceptsNothing) {
  ASSERT_NE(listener, nullptr);
  fabric.pause("b", true);
  const auto [a, none] = connect();
  fabric.end_process("b");
  run(seconds(1));
  EXPECT_EQ(a->closed, "connection reset");
  EXPECT_TRUE(accepted.empty());
  EXPECT_EQ(connect().first, nullptr);
  listen("b");
  EXPECT_NE(connect().second, nullptr) << "its port is free, and it is not paused";
}

TEST_F(NetworkTest, AConnectionMayBeDestroyedWhileItIsHeard) {
  const auto [a, b] = connect();
  b->on_heard = [this] { accepted.clear(); };
  a->send("x");
  a->send("y");
  run(seconds(1));
  EXPECT_TRUE(accepted.empty());
  EXPECT_EQ(a->closed, "closed by the other side");
}

TEST(NetworkCountsTest, AddUp) {
  NetworkFaultCounts counts;
  counts.lost = 1;
  NetworkFaultCounts more;
  more.lost = 2;
  more.pauses = 3;
  counts += more;
  EXPECT_EQ(counts.lost, 3u);
  EXPECT_EQ(rows_of(counts).front(),
            (std::pair<std::string_view, std::uint64_t>{"pieces lost", 3}));
  EXPECT_EQ(rows_of(counts).back().second, 3u);
}

}  // namespace
}  // namespace conclave::sim
