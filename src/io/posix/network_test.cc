#include "io/posix/network.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "io/posix/clock.h"

namespace conclave::io {
namespace {

using testing::HasSubstr;

// One end of a connection: remembers what it got and does what the test hooks in.
struct End final : ConnectionHandler {
  explicit End(std::unique_ptr<Connection> own) : connection(std::move(own)) {
    connection->start(this);
  }
  void on_bytes(BytesView bytes) override {
    if (keep) received.append(bytes);
    received_bytes += bytes.size();
    if (when_bytes) when_bytes(bytes);
  }
  void on_drained() override {
    ++drained;
    if (when_drained) when_drained();
  }
  void on_closed(const Error& why) override {
    EXPECT_FALSE(closed) << "on_closed came twice";
    closed = why.message;
    if (when_closed) when_closed();
  }

  std::unique_ptr<Connection> connection;
  bool keep = true;
  std::string received;
  std::size_t received_bytes = 0;
  int drained = 0;
  std::optional<std::string> closed;
  std::function<void(BytesView)> when_bytes;
  std::function<void()> when_drained;
  std::function<void()> when_closed;
};

class NetworkTest : public testing::Test {
 protected:
  NetworkTest() {
    clock_.after(seconds(20), [this] {
      ADD_FAILURE() << "the test did not finish in time";
      loop_.stop();
    });
  }

  void listen(const std::string& host = "127.0.0.1") {
    auto listener = network_.listen({host, 0}, [this](std::unique_ptr<Connection> connection) {
      servers_.push_back(std::make_unique<End>(std::move(connection)));
      if (when_accepted_) when_accepted_(*servers_.back());
    });
    ASSERT_TRUE(listener) << listener.error().message;
    listener_ = std::move(*listener);
  }

  Address address() const { return listener_->address(); }

  // Connects and calls `then` with the client's end.
  void connect(std::function<void(End&)> then) { connect(address(), std::move(then)); }
  void connect(const Address& to, std::function<void(End&)> then) {
    connectors_.push_back(network_.connect(
        to, [this, then = std::move(then)](Result<std::unique_ptr<Connection>> connection) {
          ASSERT_TRUE(connection) << connection.error().message;
          clients_.push_back(std::make_unique<End>(std::move(*connection)));
          then(*clients_.back());
        }));
  }

  void stop() { loop_.stop(); }
  void run() { loop_.run(); }

  // A plain blocking socket, for what a well-behaved client would not do.
  int raw_client() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(address().port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    return fd;
  }

  Loop loop_;
  PosixClock clock_{loop_};
  PosixNetwork network_{loop_};
  std::unique_ptr<Listener> listener_;
  std::deque<std::unique_ptr<End>> servers_, clients_;
  std::vector<std::unique_ptr<Network::Connector>> connectors_;
  std::function<void(End&)> when_accepted_;
};

Bytes pattern(std::size_t size) {
  Bytes bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 2654435761U >> 13);
  return bytes;
}

TEST_F(NetworkTest, WhatIsSentArrivesAndIsAnswered) {
  listen();
  when_accepted_ = [](End& server) {
    server.when_bytes = [&](BytesView bytes) {
      server.connection->send("you said " + Bytes(bytes));
    };
  };
  connect([&](End& client) {
    client.connection->send("hel");
    client.connection->send("lo");
    EXPECT_EQ(client.connection->unsent_bytes(), 5U);
    client.when_bytes = [&](BytesView) {
      if (client.received.size() == 14) stop();
    };
  });
  run();
  EXPECT_EQ(clients_[0]->received, "you said hello");
  EXPECT_EQ(servers_[0]->received, "hello");
  EXPECT_EQ(clients_[0]->drained, 1);
  EXPECT_EQ(clients_[0]->connection->unsent_bytes(), 0U);
  EXPECT_EQ(clients_[0]->connection->peer_name(), address().to_string());
  EXPECT_THAT(servers_[0]->connection->peer_name(), HasSubstr("127.0.0.1:"));
}

// Makes an end pause its reading again and again.
void read_slowly(End& slow, Clock& clock) {
  slow.when_bytes = [&, inner = slow.when_bytes](BytesView bytes) {
    if (inner) inner(bytes);
    slow.connection->pause_reading(true);
    clock.after(microseconds(300), [&slow] { slow.connection->pause_reading(false); });
  };
}

class SlowEnds : public NetworkTest, public testing::WithParamInterface<std::pair<bool, bool>> {};

TEST_P(SlowEnds, EchoTenMegabytes) {
  const Bytes data = pattern(10'000'000);
  const auto [slow_client, slow_server] = GetParam();
  listen();
  when_accepted_ = [&, slow = slow_server](End& server) {
    server.when_bytes = [&](BytesView bytes) { server.connection->send(Bytes(bytes)); };
    if (slow) read_slowly(server, clock_);
  };
  connect([&, slow = slow_client](End& client) {
    client.when_bytes = [&](BytesView) {
      if (client.received.size() == data.size()) stop();
    };
    if (slow) read_slowly(client, clock_);
    for (std::size_t at = 0; at < data.size(); at += 100'000) {
      client.connection->send(data.substr(at, 100'000));
    }
  });
  run();
  ASSERT_EQ(clients_[0]->received.size(), data.size());
  EXPECT_TRUE(clients_[0]->received == data);
}

INSTANTIATE_TEST_SUITE_P(Network, SlowEnds,
                         testing::Values(std::pair{false, false}, std::pair{true, false},
                                         std::pair{false, true}, std::pair{true, true}));

TEST_F(NetworkTest, ManySmallSendsKeepTheirOrder) {
  std::string expected;
  listen();
  when_accepted_ = [&](End& server) {
    server.when_bytes = [&](BytesView) {
      if (server.received.size() == expected.size()) stop();
    };
  };
  connect([&](End& client) {
    for (int i = 0; i < 20'000; ++i) {
      Bytes piece = std::to_string(i) + (i % 1000 == 0 ? Bytes(9000, 'x') : Bytes(";"));
      expected += piece;
      client.connection->send(std::move(piece));
    }
    EXPECT_EQ(client.connection->unsent_bytes(), expected.size());
  });
  run();
  EXPECT_TRUE(servers_[0]->received == expected);
}

TEST_F(NetworkTest, APausedEndGetsNothingUntilItGoesOn) {
  listen();
  when_accepted_ = [&](End& server) {
    server.connection->pause_reading(true);
    clock_.after(milliseconds(30), [&] {
      EXPECT_EQ(server.received, "");
      server.connection->pause_reading(false);
    });
    server.when_bytes = [&](BytesView) { stop(); };
  };
  connect([](End& client) { client.connection->send("patience"); });
  run();
  EXPECT_EQ(servers_[0]->received, "patience");
}

TEST_F(NetworkTest, APausedReceiverSlowsTheSenderDown) {
  listen();
  when_accepted_ = [&](End& server) { server.connection->pause_reading(true); };
  connect([&](End& client) {
    client.connection->send(Bytes(64 << 20, 'x'));
    clock_.after(milliseconds(100), [&] {
      EXPECT_GT(client.connection->unsent_bytes(), std::size_t{16} << 20);
      EXPECT_EQ(client.drained, 0);
      stop();
    });
  });
  run();
}

TEST_F(NetworkTest, TheOtherSideIsToldOfAClose) {
  listen();
  when_accepted_ = [&](End& server) { server.when_closed = [&] { stop(); }; };
  connect([](End& client) { client.connection.reset(); });
  run();
  EXPECT_THAT(*servers_[0]->closed, HasSubstr("closed by the other side"));
}

TEST_F(NetworkTest, CloseAfterSendDeliversEverythingFirst) {
  const Bytes data = pattern(5'000'000);
  listen();
  when_accepted_ = [&](End& server) {
    server.connection->send(data);
    server.connection->close_after_send();
    server.connection->send("too late");
  };
  connect([&](End& client) { client.when_closed = [&] { stop(); }; });
  run();
  EXPECT_TRUE(clients_[0]->received == data);
  EXPECT_THAT(*servers_[0]->closed, HasSubstr("closed by this side"));
}

// An answer like "request too large" must arrive although more of the request is still coming.
TEST_F(NetworkTest, TheLastAnswerArrivesThoughTheClientIsStillSending) {
  listen();
  when_accepted_ = [&](End& server) {
    server.when_bytes = [&](BytesView) {
      server.connection->send("no");
      server.connection->close_after_send();
    };
    server.when_closed = [&] { server.connection.reset(); };
  };
  connect([&](End& client) {
    client.connection->send(Bytes(3 << 20, 'x'));
    client.when_closed = [&] { stop(); };
  });
  run();
  EXPECT_EQ(clients_[0]->received, "no");
}

TEST_F(NetworkTest, CloseAfterSendGivesUpOnAnEndThatDoesNotRead) {
  listen();
  Instant asked;
  when_accepted_ = [&](End& server) {
    asked = clock_.now();
    server.connection->send(Bytes(64 << 20, 'x'));
    server.connection->close_after_send();
    server.when_closed = [&] { stop(); };
  };
  connect([](End& client) { client.connection->pause_reading(true); });
  run();
  EXPECT_THAT(*servers_[0]->closed, HasSubstr("did not take its last bytes in time"));
  EXPECT_LT(clock_.now() - asked, seconds(8));
}

TEST_F(NetworkTest, AHalfClosedClientStillGetsItsAnswer) {
  listen();
  when_accepted_ = [](End& server) {
    server.when_bytes = [&](BytesView) { server.connection->send("answer"); };
  };
  const int fd = raw_client();
  ASSERT_EQ(::send(fd, "question", 8, 0), 8);
  ::shutdown(fd, SHUT_WR);
  clock_.after(milliseconds(50), [this] { stop(); });
  run();
  char answer[16] = {};
  EXPECT_EQ(::recv(fd, answer, sizeof answer, 0), 6);
  EXPECT_STREQ(answer, "answer");
  EXPECT_EQ(::recv(fd, answer, sizeof answer, 0), 0);
  EXPECT_THAT(*servers_[0]->closed, HasSubstr("closed by the other side"));
  ::close(fd);
}

TEST_F(NetworkTest, AResetIsReported) {
  listen();
  when_accepted_ = [&](End& server) { server.when_closed = [&] { stop(); }; };
  const int fd = raw_client();
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  clock_.after(milliseconds(20), [fd] { ::close(fd); });
  run();
  EXPECT_THAT(*servers_[0]->closed, HasSubstr("reset"));
}

TEST_F(NetworkTest, SendingToAnEndThatIsGoneIsReportedAndRaisesNoSignal) {
  listen();
  when_accepted_ = [&](End& server) {
    server.connection->pause_reading(true);
    server.when_drained = [&] { server.connection->send("again"); };
    server.when_closed = [&] { stop(); };
    clock_.after(milliseconds(20), [&] { server.connection->send("anybody?"); });
  };
  const int fd = raw_client();
  ::close(fd);
  run();
  EXPECT_TRUE(servers_[0]->closed);
}

TEST_F(NetworkTest, AConnectionMayBeDestroyedInsideEachOfItsCallbacks) {
  listen();
  int destroyed = 0;
  const auto destroy = [&](End& end) {
    end.connection.reset();
    if (++destroyed == 3) loop_.post([this] { stop(); });
  };
  when_accepted_ = [&](End& server) {
    const auto number = servers_.size();
    if (number == 1) server.when_bytes = [&](BytesView) { destroy(server); };
    if (number == 2) server.when_drained = [&] { destroy(server); };
    if (number == 3) server.when_closed = [&] { destroy(server); };
    if (number == 2) server.connection->send("x");
    if (number == 3) server.connection->close_after_send();
  };
  for (int i = 0; i < 3; ++i) {
    connect([](End& client) { client.connection->send(Bytes(1'000'000, 'x')); });
  }
  run();
  EXPECT_EQ(destroyed, 3);
}

TEST_F(NetworkTest, DestroyingAConnectionWithUnsentBytesIsQuiet) {
  listen();
  connect([&](End& client) {
    client.connection->send("never mind");
    client.connection.reset();
    clock_.after(milliseconds(10), [this] { stop(); });
  });
  run();
  EXPECT_FALSE(clients_[0]->closed);
}

TEST_F(NetworkTest, APortInUseIsBusyAndNamed) {
  listen();
  const auto second = network_.listen(address(), [](std::unique_ptr<Connection>) {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_THAT(second.error().message, HasSubstr(address().to_string()));
}

TEST_F(NetworkTest, AForeignAddressIsInvalid) {
  const auto foreign = network_.listen({"192.0.2.1", 24001}, [](std::unique_ptr<Connection>) {});
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(foreign.error().message, HasSubstr("192.0.2.1:24001"));
}

TEST_F(NetworkTest, ADestroyedListenerFreesItsPort) {
  listen();
  const Address taken = address();
  listener_.reset();
  EXPECT_TRUE(network_.listen(taken, [](std::unique_ptr<Connection>) {}));
}

TEST_F(NetworkTest, NamesAndIPv6AreUnderstood) {
  listen("localhost");
  connect([&](End& first) {
    EXPECT_THAT(first.connection->peer_name(), HasSubstr("127.0.0.1"));
    listen("");
    connect({"::1", address().port}, [&](End& second) {
      EXPECT_THAT(second.connection->peer_name(), HasSubstr("[::1]"));
      connect({"127.0.0.1", address().port}, [&](End&) { stop(); });
    });
  });
  run();
}

TEST_F(NetworkTest, ConnectingToNobodyFailsWithTheAddress) {
  listen();
  const Address nobody = address();
  listener_.reset();
  std::string why;
  auto connector = network_.connect(nobody, [&](const auto& result) {
    why = result.error().message;
    stop();
  });
  run();
  EXPECT_THAT(why, HasSubstr(nobody.to_string()));
  EXPECT_THAT(why, HasSubstr("refused"));
}

TEST_F(NetworkTest, AnUnknownNameFailsWithTheName) {
  std::string why;
  auto connector = network_.connect({"no-such-host.invalid", 1}, [&](const auto& result) {
    why = result.error().message;
    stop();
  });
  run();
  EXPECT_THAT(why, HasSubstr("no-such-host.invalid:1"));
}

TEST_F(NetworkTest, ADestroyedConnectorDoesNotCallBack) {
  listen();
  auto connector = network_.connect(address(), [](const auto&) { ADD_FAILURE(); });
  auto unresolved = network_.connect({"localhost", 1}, [](const auto&) { ADD_FAILURE(); });
  connector.reset();
  unresolved.reset();
  clock_.after(milliseconds(50), [this] { stop(); });
  run();
}

// Accepting pauses while there are no descriptors, and goes on by itself.
TEST_F(NetworkTest, RunningOutOfDescriptorsIsSurvived) {
  listen();
  const int fd = raw_client();
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(fd) + 1;
  ::setrlimit(RLIMIT_NOFILE, &none);
  clock_.after(milliseconds(150), [&] {
    EXPECT_TRUE(servers_.empty());
    ::setrlimit(RLIMIT_NOFILE, &before);
  });
  when_accepted_ = [this](End&) { stop(); };
  run();
  EXPECT_EQ(servers_.size(), 1U);
  ::close(fd);
}

}  // namespace
}  // namespace conclave::io
