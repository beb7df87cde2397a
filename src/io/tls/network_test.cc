#include "io/tls/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "base/log.h"
#include "io/posix/clock.h"
#include "io/posix/loop.h"
#include "io/posix/network.h"
#include "io/tls/test_certificates.h"

namespace conclave::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::size_t kMost = 600;

// What was logged, for tests about it.
std::string& logged() {
  static std::string lines;
  return lines;
}

struct End final : ConnectionHandler {
  explicit End(std::unique_ptr<Connection> own) : connection(std::move(own)) {
    connection->start(this);
  }
  void on_bytes(BytesView bytes) override {
    received.append(bytes);
    if (when_bytes) when_bytes();
  }
  void on_drained() override {}
  void on_closed(const Error& why) override {
    EXPECT_FALSE(closed) << "on_closed came twice";
    closed = why.message;
    if (when_closed) when_closed();
  }

  std::unique_ptr<Connection> connection;
  std::string received;
  std::optional<std::string> closed;
  std::function<void()> when_bytes, when_closed;
};

class TlsNetworkTest : public testing::Test {
 protected:
  TlsNetworkTest() {
    logged().clear();
    set_log_sink([](LogLevel, std::string_view line) { logged() += std::string(line) + "\n"; },
                 LogLevel::kInfo);
    const KeyPair pair =
        authority_.issue({.common_name = "m1", .alternative_names = "DNS:localhost,IP:127.0.0.1"});
    files_ = {{"ca", authority_.pem()}, {"cert", pair.certificate}, {"key", pair.key}};
    options_.who = "peer";
    options_.files.certificate = "cert";
    options_.files.key = "key";
    options_.files.trusted_ca = "ca";
    options_.require_certificate = true;
    network_ = network(options_);
    clock_.after(seconds(20), [this] {
      ADD_FAILURE() << "the test did not finish in time";
      loop_.stop();
    });
  }

  std::unique_ptr<TlsNetwork> network(const TlsOptions& options) {
    auto credentials = TlsCredentials::load(
        options, [this](const std::string& path) -> Result<Bytes> { return files_.at(path); });
    return std::make_unique<TlsNetwork>(clock_, posix_, std::move(*credentials), kMost);
  }

  void listen() {
    auto made = network_->listen({"127.0.0.1", 0, true}, [this](auto connection) {
      servers_.push_back(std::make_unique<End>(std::move(connection)));
      if (when_accepted_) when_accepted_(*servers_.back());
    });
    ASSERT_TRUE(made) << made.error().message;
    listener_ = std::move(*made);
  }

  void connect(Network& from, const Address& to, std::function<void(End&)> then) {
    connectors_.push_back(from.connect(to, [this, then = std::move(then)](auto connected) {
      ASSERT_TRUE(connected) << connected.error().message;
      clients_.push_back(std::make_unique<End>(std::move(*connected)));
      then(*clients_.back());
    }));
  }

  void expect_refused(Network& from, const Address& to, const std::string& why) {
    connectors_.push_back(from.connect(to, [this, why](auto connected) {
      ASSERT_FALSE(connected);
      EXPECT_THAT(connected.error().message, HasSubstr(why));
      clock_.after(milliseconds(50), [this] { loop_.stop(); });  // the other side hears of it
    }));
    loop_.run();
  }

  // A connection without TLS to the listener's port.
  void connect_plainly(std::function<void(End&)> then) {
    connect(posix_, {"127.0.0.1", listener_->address().port}, std::move(then));
  }

  TestAuthority authority_;
  std::map<std::string, Bytes> files_;
  TlsOptions options_;
  Loop loop_;
  PosixClock clock_{loop_};
  PosixNetwork posix_{loop_};
  std::unique_ptr<TlsNetwork> network_;
  std::vector<std::unique_ptr<TlsNetwork>> others_;  // outlive what they connect
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<Network::Connector>> connectors_;
  std::vector<std::unique_ptr<End>> servers_, clients_;
  std::function<void(End&)> when_accepted_;
};

TEST_F(TlsNetworkTest, CarriesBytesAndTellsWhoCalls) {
  listen();
  EXPECT_TRUE(listener_->address().tls);
  const std::string large(5'000'000, 'x');
  when_accepted_ = [&](End& server) {
    EXPECT_EQ(server.connection->peer_common_name(), "m1");
    server.when_bytes = [&] {
      if (server.received.size() == large.size()) server.connection->send("thanks");
    };
  };
  connect(*network_, listener_->address(), [&](End& client) {
    client.connection->send(large.substr(0, 10));
    client.connection->send(large.substr(10));
    client.when_bytes = [this] { loop_.stop(); };
  });
  loop_.run();
  EXPECT_EQ(servers_.at(0)->received, large);
  EXPECT_EQ(clients_.at(0)->received, "thanks");
  EXPECT_EQ(network_->handshakes(), 0);
}

TEST_F(TlsNetworkTest, PlainAddressesStayPlain) {
  auto made = network_->listen({"127.0.0.1", 0}, [this](auto connection) {
    servers_.push_back(std::make_unique<End>(std::move(connection)));
    servers_.back()->when_bytes = [this] { loop_.stop(); };
  });
  EXPECT_FALSE((*made)->address().tls);
  connect(posix_, (*made)->address(), [](End& client) { client.connection->send("as it is"); });
  loop_.run();
  EXPECT_EQ(servers_.at(0)->received, "as it is");
}

TEST_F(TlsNetworkTest, ClosesPolitely) {
  listen();
  when_accepted_ = [&](End& server) {
    server.connection->send("last words");
    server.connection->close_after_send();
  };
  connect(*network_, listener_->address(),
          [&](End& client) { client.when_closed = [this] { loop_.stop(); }; });
  loop_.run();
  EXPECT_EQ(clients_.at(0)->received, "last words");
  EXPECT_THAT(*clients_.at(0)->closed, HasSubstr("closed by the other side"));
}

TEST_F(TlsNetworkTest, APausedConnectionGetsTheRestLater) {
  listen();
  const std::string large(3'000'000, 'x');
  when_accepted_ = [&](End& server) {
    server.when_bytes = [&] {
      if (server.received.size() == large.size()) return loop_.stop();
      const std::size_t so_far = server.received.size();
      server.connection->pause_reading(true);
      clock_.after(milliseconds(5), [&server, so_far] {
        EXPECT_EQ(server.received.size(), so_far);
        server.connection->pause_reading(false);
      });
    };
  };
  connect(*network_, listener_->address(),
          [&](End& client) { client.connection->send(Bytes(large)); });
  loop_.run();
  EXPECT_EQ(servers_.at(0)->received, large);
}

TEST_F(TlsNetworkTest, AHandlerMayDestroyItsConnection) {
  listen();
  when_accepted_ = [&](End& server) {
    server.when_bytes = [&] {
      server.connection.reset();
      clock_.after(milliseconds(20), [this] { loop_.stop(); });
    };
  };
  connect(*network_, listener_->address(),
          [&](End& client) { client.connection->send("anything"); });
  loop_.run();
}

TEST_F(TlsNetworkTest, WhoIsNotToBeTrustedIsRefused) {
  listen();
  files_["other"] = TestAuthority().pem();
  options_.files.trusted_ca = "other";
  TlsNetwork& stranger = *others_.emplace_back(network(options_));
  expect_refused(stranger, listener_->address(), "its certificate (m1) is refused");
  EXPECT_THAT(logged(), AllOf(HasSubstr("refused a peer connection in the TLS handshake: 127."),
                              HasSubstr("alert")));
  EXPECT_TRUE(servers_.empty());
}

TEST_F(TlsNetworkTest, TheNameThatWasDialledHasToFit) {
  const KeyPair pair = authority_.issue({.common_name = "m1", .alternative_names = "IP:10.0.0.1"});
  files_["cert"] = pair.certificate;
  files_["key"] = pair.key;
  TlsNetwork& renamed = *others_.emplace_back(network(options_));
  auto other = renamed.listen({"127.0.0.1", 0, true}, [](auto) { FAIL() << "it was accepted"; });
  expect_refused(*network_, (*other)->address(), "IP address mismatch");
}

TEST_F(TlsNetworkTest, AServerWithoutTlsIsToldApart) {
  const auto plain = posix_.listen({"127.0.0.1", 0}, [this](auto connection) {
    servers_.push_back(std::make_unique<End>(std::move(connection)));
    servers_.back()->connection->send("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  Address address = (*plain)->address();
  address.tls = true;
  expect_refused(*network_, address, "does not speak TLS");
}

TEST_F(TlsNetworkTest, PlainHttpIsToldWhatIsWrong) {
  listen();
  connect_plainly([&](End& client) {
    client.connection->send("GET /health HTTP/1.1\r\n\r\n");
    client.when_closed = [this] { loop_.stop(); };
  });
  loop_.run();
  EXPECT_THAT(clients_.at(0)->received, HasSubstr("Client sent an HTTP request to an HTTPS"));
  EXPECT_THAT(logged(), HasSubstr("the other side does not speak TLS"));
}

TEST_F(TlsNetworkTest, TheOldestHandshakeGoesWhenThereAreTooMany) {
  listen();
  connect_plainly([&](End& first) {
    first.when_closed = [this] { loop_.stop(); };
    for (std::size_t i = 1; i <= kMost; ++i) connect_plainly([](End&) {});
  });
  loop_.run();
  EXPECT_TRUE(clients_.front()->closed);
  EXPECT_LE(network_->handshakes(), kMost);
  EXPECT_THAT(logged(), HasSubstr("too many others connect"));
}

TEST_F(TlsNetworkTest, ThoseWhoStallHoldNobodyUp) {
  listen();
  for (int i = 0; i < 500; ++i) {
    connect_plainly([](End& idle) { idle.connection->send("\x16\x03\x01"); });
  }
  clock_.after(milliseconds(200), [&] {
    connect(*network_, listener_->address(), [&](End& client) { client.connection->send("x"); });
  });
  when_accepted_ = [&](End& server) { server.when_bytes = [this] { loop_.stop(); }; };
  loop_.run();
  EXPECT_EQ(servers_.at(0)->received, "x");
  EXPECT_EQ(network_->handshakes(), 500);
}

TEST_F(TlsNetworkTest, AListenerTakesItsHandshakesAlong) {
  listen();
  connect_plainly([&](End& client) { client.when_closed = [this] { loop_.stop(); }; });
  clock_.after(milliseconds(50), [&] {
    EXPECT_EQ(network_->handshakes(), 1);
    listener_.reset();
  });
  loop_.run();
  EXPECT_EQ(network_->handshakes(), 0);
}

TEST_F(TlsNetworkTest, AConnectorThatGoesIsNotCalled) {
  auto silent = posix_.listen({"127.0.0.1", 0}, [this](auto connection) {
    servers_.push_back(std::make_unique<End>(std::move(connection)));
    connectors_.clear();  // in the middle of the handshake
    clock_.after(milliseconds(50), [this] { loop_.stop(); });
  });
  Address address = (*silent)->address();
  address.tls = true;
  connectors_.push_back(network_->connect(address, [](auto) { FAIL() << "called"; }));
  loop_.run();
}

}  // namespace
}  // namespace conclave::io
