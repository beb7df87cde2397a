// The client port with connections and sessions that are only numbers.

#include "node/clients.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "base/fair_limits.h"
#include "base/limits.h"

namespace conclave::node {
namespace {

class TestClock final : public io::Clock {
 public:
  Instant now() const override { return {}; }
  std::uint64_t wall_ms() const override { return 0; }
  TimerId after(Duration, std::move_only_function<void()>) override { return 0; }
  void cancel(TimerId) override {}
  void post(std::move_only_function<void()> run) override { posted_.push_back(std::move(run)); }
  void run_posted() {
    for (auto& run : std::exchange(posted_, {})) run();
  }

 private:
  std::deque<std::move_only_function<void()>> posted_;
};

class TestConnection final : public io::Connection {
 public:
  // What the test knows of one that was accepted.
  struct View {
    io::ConnectionHandler* handler = nullptr;
    bool paused = false;
    std::vector<Bytes> sent{};
  };

  explicit TestConnection(View& view) : view_(view) {}
  void start(io::ConnectionHandler* handler) override { view_.handler = handler; }
  void send(Bytes bytes) override { view_.sent.push_back(std::move(bytes)); }
  std::size_t unsent_bytes() const override { return 0; }
  void pause_reading(bool paused) override { view_.paused = paused; }
  void close_after_send() override {}
  std::string peer_name() const override { return "test"; }

 private:
  View& view_;
};

class TestListener final : public io::Listener {
 public:
  io::Address address() const override { return {}; }
};

class TestNetwork final : public io::Network {
 public:
  using Accepted = std::move_only_function<void(std::unique_ptr<io::Connection>)>;

  Result<std::unique_ptr<io::Listener>> listen(const io::Address&, Accepted accepted) override {
    accepted_ = std::move(accepted);
    return std::make_unique<TestListener>();
  }
  std::unique_ptr<Connector> connect(
      const io::Address&,
      std::move_only_function<void(Result<std::unique_ptr<io::Connection>>)>) override {
    return nullptr;
  }
  TestConnection::View& accept() {
    TestConnection::View& view = views_.emplace_back();
    accepted_(std::make_unique<TestConnection>(view));
    return view;
  }

 private:
  Accepted accepted_;
  std::deque<TestConnection::View> views_;  // they outlive the connections
};

// Each 64 bytes are a request.
class TestSession final : public api::Session {
 public:
  static constexpr std::size_t kRequestBytes = 64;

  TestSession(std::size_t& held, bool& takes) : held_(held), takes_(takes) {}
  bool takes_bytes() const override { return takes_; }
  void on_bytes(BytesView bytes, Effects& effects) override {
    for (seen_ += bytes.size(); seen_ >= kRequestBytes; seen_ -= kRequestBytes) {
      effects.calls.push_back({});
    }
  }
  // As a session does that gathers: what it has to send leaves with on_drained. Some answers are
  // the end.
  void on_response(api::CallId, api::Response response, Effects& effects) override {
    EXPECT_TRUE(effects.gathers);
    const auto* error = std::get_if<api::Error>(&response.answer);
    effects.close = error != nullptr && error->detail == "the end";
    ++gathered_;
    effects.wants_drained = true;
  }
  bool on_part(api::CallId, const api::Header&, std::vector<api::KeyValue>, Effects&) override {
    return true;
  }
  bool on_watch(api::CallId, const api::Header&, const api::WatchNews&, Effects&) override {
    return true;
  }
  std::size_t held_bytes() const override { return held_; }
  void on_tick(Instant, Effects&) override {}
  void on_shutdown(Effects&) override {}
  void on_drained(Effects& effects) override {
    effects.send.append(std::exchange(gathered_, 0), 'a');
  }

 private:
  std::size_t gathered_ = 0;
  std::size_t& held_;
  bool& takes_;
  std::size_t seen_ = 0;
};

class ClientsTest : public ::testing::Test {
 protected:
  ClientsTest() {
    EXPECT_TRUE(clients_.listen({}));
    first_ = &network_.accept();  // connection 1
  }

  bool tell_event(api::CallId feed) {
    const std::vector<api::Event> events(1);
    return clients_.watch_news({1, feed}, {}, api::WatchEvents{.id = 0, .events = events});
  }

  static void send_requests(TestConnection::View& from, std::size_t count) {
    from.handler->on_bytes(Bytes(count * TestSession::kRequestBytes, 'x'));
  }

  std::size_t held_ = 0;
  bool takes_ = true;
  bool answer_at_once_ = false;
  std::map<std::uint64_t, std::size_t> asked_;  // requests of each connection
  TestConnection::View* first_ = nullptr;
  std::vector<ClientCall> has_room_;
  TestClock clock_;
  TestNetwork network_;
  Clients clients_{10,
                   clock_,
                   network_,
                   [this](const std::string&, const api::ClientIdentity&) {
                     return std::make_unique<TestSession>(held_, takes_);
                   },
                   [this](ClientCall client, api::Request) {
                     ++asked_[client.connection];
                     if (!answer_at_once_) return;
                     clients_.reply(client, {{}, api::Error{.detail = "the end"}});
                   },
                   [](ClientCall) {},
                   [](std::uint64_t) {},
                   {.request = [](ClientCall, api::WatchRequest) {},
                    .has_room = [this](ClientCall feed) { has_room_.push_back(feed); },
                    .gone = [](std::uint64_t) {}}};
};

// A share of 64 requests is used up by 4 KiB of them; a turn has four shares.
constexpr std::size_t kShare = 64;
static_assert(kShare * limits::kRequestCost == limits::kInputShare);
static_assert(kShare * TestSession::kRequestBytes == limits::kInputPieceBytes);
static_assert(4 * limits::kInputShare == limits::kInputCostPerTurn);

TEST_F(ClientsTest, WhoSendsManyRequestsHasItsShareOfEachTurn) {
  TestConnection::View& second = network_.accept();
  TestConnection::View& quiet = network_.accept();
  send_requests(*first_, 10 * kShare);
  EXPECT_EQ(asked_[1], kShare);
  EXPECT_TRUE(first_->paused);
  send_requests(second, 3 * kShare);
  EXPECT_EQ(asked_[2], kShare);
  send_requests(quiet, 1);
  EXPECT_EQ(asked_[3], 1) << "at once";
  EXPECT_FALSE(quiet.paused);
  clock_.run_posted();
  EXPECT_LE(asked_[1] + asked_[2], 2 * kShare + 5 * kShare);
  EXPECT_EQ(asked_[2], 3 * kShare);
  EXPECT_FALSE(second.paused);
  for (int turn = 0; turn < 3; ++turn) clock_.run_posted();
  EXPECT_EQ(asked_[1], 10 * kShare);
  EXPECT_FALSE(first_->paused);
}

TEST_F(ClientsTest, AnswersOfATurnLeaveTogether) {
  for (int turn = 0; turn < 2; ++turn) {
    clients_.reply({1, 1}, {});
    clients_.reply({1, 2}, {});
    EXPECT_TRUE(first_->sent.empty());
    clock_.run_posted();
    EXPECT_EQ(first_->sent, std::vector<Bytes>{"aa"});
    first_->sent.clear();
  }
}

TEST_F(ClientsTest, ATurnIsBoundedHoweverManySendTheirShares) {
  std::vector<TestConnection::View*> all{first_};
  while (all.size() < 9) all.push_back(&network_.accept());
  const auto sum = [this] {
    std::size_t requests = 0;
    for (const auto& [connection, count] : asked_) requests += count;
    return requests;
  };
  for (TestConnection::View* each : all) send_requests(*each, 2 * kShare);
  EXPECT_LE(sum(), 5 * kShare);
  EXPECT_TRUE(all.back()->paused) << "its turn has not come";
  for (std::size_t before = 0; sum() < all.size() * 2 * kShare;) {
    before = sum();
    clock_.run_posted();
    EXPECT_GT(sum(), before);
    EXPECT_LE(sum() - before, 5 * kShare);
  }
  for (TestConnection::View* each : all) EXPECT_FALSE(each->paused);
}

TEST_F(ClientsTest, ARequestOfManyBytesIsTakenInAtItsPriceToo) {
  const std::size_t requests = 3 * limits::kInputCostPerTurn / TestSession::kRequestBytes;
  send_requests(*first_, requests);
  for (std::size_t turn = 0; asked_[1] < requests; ++turn) {
    const std::size_t before = asked_[1];
    ASSERT_LT(turn, requests);
    clock_.run_posted();
    EXPECT_LE(asked_[1] - before, 5 * kShare);
  }
}

TEST_F(ClientsTest, AFeedIsToldOnceOfRoomHoweverManyOfItsWatchesWereRefused) {
  held_ = limits::kMaxAllUnsentBytes;
  clients_.tick();
  for (int watch = 0; watch < 1'000; ++watch) {
    EXPECT_FALSE(tell_event(8));
    EXPECT_FALSE(tell_event(7));
  }
  held_ = 0;
  clients_.tick();
  ASSERT_EQ(has_room_.size(), 2);
  EXPECT_EQ(has_room_[0].call, 7);
  EXPECT_EQ(has_room_[1].call, 8);
  EXPECT_TRUE(tell_event(7));
  clients_.tick();
  EXPECT_EQ(has_room_.size(), 2);
}

TEST_F(ClientsTest, WhatWasAskedForBehindAnAnswerThatIsTheEndIsNotDone) {
  answer_at_once_ = true;
  send_requests(*first_, 3);
  EXPECT_EQ(asked_[1], 1);
}

TEST_F(ClientsTest, ASessionThatTakesNoBytesIsShownNoneUntilItDoes) {
  takes_ = false;
  send_requests(*first_, 1);
  EXPECT_EQ(asked_[1], 1) << "nobody had asked it";
  EXPECT_TRUE(first_->paused);
  send_requests(*first_, 2);
  clock_.run_posted();
  EXPECT_EQ(asked_[1], 1);
  takes_ = true;
  clock_.run_posted();
  EXPECT_EQ(asked_[1], 1) << "it has been told nothing";
  clients_.tick();
  clock_.run_posted();
  EXPECT_EQ(asked_[1], 3);
  EXPECT_FALSE(first_->paused);
}

TEST_F(ClientsTest, ASessionMaySayInTheMiddleOfItsInputThatItTakesNoMore) {
  send_requests(*first_, 10 * kShare);
  EXPECT_EQ(asked_[1], kShare);
  takes_ = false;
  for (int turn = 0; turn < 3; ++turn) clock_.run_posted();
  EXPECT_EQ(asked_[1], 2 * kShare) << "a piece, and it was asked";
  EXPECT_TRUE(first_->paused);
  takes_ = true;
  clients_.tick();
  for (int turn = 0; turn < 3; ++turn) clock_.run_posted();
  EXPECT_EQ(asked_[1], 10 * kShare);
  EXPECT_FALSE(first_->paused);
}

}  // namespace
}  // namespace conclave::node
