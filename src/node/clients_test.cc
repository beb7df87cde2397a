// The client port with connections and sessions that are only numbers.

#include "node/clients.h"

#include <gtest/gtest.h>

#include <deque>
#include <utility>

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
  void start(io::ConnectionHandler*) override {}
  void send(Bytes) override {}
  std::size_t unsent_bytes() const override { return 0; }
  void pause_reading(bool) override {}
  void close_after_send() override {}
  std::string peer_name() const override { return "test"; }
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
  void accept() { accepted_(std::make_unique<TestConnection>()); }

 private:
  Accepted accepted_;
};

class TestSession final : public api::Session {
 public:
  explicit TestSession(std::size_t& held) : held_(held) {}
  void on_bytes(BytesView, Effects&) override {}
  void on_response(api::CallId, api::Response, Effects&) override {}
  bool on_part(api::CallId, const api::Header&, std::vector<api::KeyValue>, Effects&) override {
    return true;
  }
  bool on_watch(api::CallId, const api::Header&, const api::WatchNews&, Effects&) override {
    return true;
  }
  std::size_t held_bytes() const override { return held_; }
  void on_tick(Instant, Effects&) override {}
  void on_shutdown(Effects&) override {}
  void on_drained(Effects&) override {}

 private:
  std::size_t& held_;
};

class ClientsTest : public ::testing::Test {
 protected:
  ClientsTest() {
    EXPECT_TRUE(clients_.listen({}));
    network_.accept();  // connection 1
  }

  bool tell_event(api::CallId feed) {
    const std::vector<api::Event> events(1);
    return clients_.watch_news({1, feed}, {}, api::WatchEvents{.id = 0, .events = events});
  }

  std::size_t held_ = 0;
  std::vector<ClientCall> has_room_;
  TestClock clock_;
  TestNetwork network_;
  Clients clients_{10,
                   clock_,
                   network_,
                   [this](const std::string&, const api::ClientIdentity&) {
                     return std::make_unique<TestSession>(held_);
                   },
                   [](ClientCall, api::Request) {},
                   [](ClientCall) {},
                   [](std::uint64_t) {},
                   {.request = [](ClientCall, api::WatchRequest) {},
                    .has_room = [this](ClientCall feed) { has_room_.push_back(feed); },
                    .gone = [](std::uint64_t) {}}};
};

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

}  // namespace
}  // namespace conclave::node
