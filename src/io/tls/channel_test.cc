#include "io/tls/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"
#include "io/tls/test_certificates.h"

namespace conclave::io {
namespace {

using testing::HasSubstr;
using State = TlsChannel::State;

// Two channels with nothing but memory between them.
class ChannelTest : public testing::Test {
 protected:
  ChannelTest() {
    files_["ca"] = authority_.pem();
    put("server", {.common_name = "m1", .alternative_names = "DNS:m1.example,IP:10.0.0.1"});
    put("client", {.common_name = "alice"});
    server_ = side("server");
    server_.require_certificate = true;
    server_.protocols = {"h2", "http/1.1"};
    client_ = side("client");
  }

  static TlsOptions side(const std::string& name) {
    TlsOptions options;
    options.who = "client";
    options.files.certificate = name;
    options.files.key = name + "-key";
    options.files.trusted_ca = "ca";
    return options;
  }

  void put(const std::string& name, const TestRequest& request) {
    const KeyPair made = authority_.issue(request);
    files_[name] = made.certificate;
    files_[name + "-key"] = made.key;
  }

  Result<std::unique_ptr<TlsCredentials>> load(const TlsOptions& options) {
    return TlsCredentials::load(options, [this](const std::string& path) -> Result<Bytes> {
      const auto found = files_.find(path);
      if (found == files_.end()) return fail(ErrorCode::kNotFound, path + " is not there");
      return found->second;
    });
  }

  TlsChannel channel(const TlsOptions& options, TlsRole role, const std::string& host = "") {
    auto credentials = load(options);
    CHECK(credentials, "{}", credentials.error().message);
    return TlsChannel((*credentials)->context(role, Instant{}), role, host);
  }

  // What came out of a channel goes into the other, `piece` bytes at a time; returns what it reads.
  static std::string move(TlsChannel& from, TlsChannel& to, std::size_t piece = 1 << 20) {
    const Bytes bytes = from.take_output();
    std::string plain;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      if (to.state() == State::kFailed || to.state() == State::kEnded) break;
      to.feed(BytesView(bytes).substr(at, piece));
      to.handshake();
      std::array<char, 20'000> buffer;
      while (const std::size_t got = to.read(buffer)) plain.append(buffer.data(), got);
    }
    return plain;
  }

  static void shake(TlsChannel& client, TlsChannel& server, std::size_t piece = 1 << 20) {
    client.handshake();
    for (int i = 0; i < 5; ++i) {
      move(client, server, piece);
      move(server, client, piece);
    }
  }

  // How a connection between the two ends.
  std::pair<TlsChannel, TlsChannel> connect(const std::string& host = "m1.example") {
    auto client = channel(client_, TlsRole::kClient, host);
    auto server = channel(server_, TlsRole::kServer);
    shake(client, server);
    return {std::move(client), std::move(server)};
  }

  TestAuthority authority_;
  std::map<std::string, Bytes> files_;
  TlsOptions server_, client_;
};

TEST_F(ChannelTest, CarriesBytesBothWays) {
  auto [client, server] = connect();
  ASSERT_EQ(client.state(), State::kOpen) << client.failure();
  ASSERT_EQ(server.state(), State::kOpen) << server.failure();
  EXPECT_EQ(server.common_name(), "alice");
  EXPECT_EQ(client.common_name(), "m1");
  const std::string large(3'000'000, 'x');
  client.write("hello");
  client.write(large);
  EXPECT_EQ(move(client, server), "hello" + large);
  server.write(large);
  EXPECT_EQ(move(server, client), large);
}

TEST_F(ChannelTest, ByteByByte) {
  auto client = channel(client_, TlsRole::kClient, "10.0.0.1");
  auto server = channel(server_, TlsRole::kServer);
  shake(client, server, 1);
  ASSERT_EQ(server.state(), State::kOpen) << server.failure();
  client.write("a request");
  EXPECT_EQ(move(client, server, 1), "a request");
}

TEST_F(ChannelTest, WhatComesWithTheLastOfTheHandshakeIsNotLost) {
  auto client = channel(client_, TlsRole::kClient, "m1.example");
  auto server = channel(server_, TlsRole::kServer);
  client.handshake();
  move(client, server);
  move(server, client);
  ASSERT_EQ(client.state(), State::kOpen) << client.failure();
  client.write("early");
  EXPECT_EQ(move(client, server), "early");
}

TEST_F(ChannelTest, SaysThatItEnds) {
  auto [client, server] = connect();
  client.write("bye");
  client.close();
  EXPECT_EQ(move(client, server), "bye");
  EXPECT_EQ(server.state(), State::kEnded);
}

TEST_F(ChannelTest, TheHostHasToBeInTheCertificate) {
  for (const char* host : {"m2.example", "10.0.0.2", "m1"}) {
    auto [client, server] = connect(host);
    EXPECT_EQ(client.state(), State::kFailed) << host;
    EXPECT_THAT(client.failure(), HasSubstr("its certificate (m1) is refused: "));
    EXPECT_EQ(server.state(), State::kFailed) << host;
  }
}

TEST_F(ChannelTest, AnotherAuthorityIsNotBelieved) {
  files_["other"] = TestAuthority().pem();
  client_.files.trusted_ca = "other";
  auto [client, server] = connect();
  EXPECT_EQ(client.state(), State::kFailed);
  EXPECT_EQ(server.state(), State::kFailed);
  EXPECT_THAT(server.failure(), HasSubstr("alert"));
}

TEST_F(ChannelTest, AClientWithoutCertificateIsRefused) {
  client_.files.certificate = client_.files.key = "";
  auto [client, server] = connect();
  EXPECT_EQ(server.state(), State::kFailed);
  EXPECT_THAT(server.failure(), HasSubstr("did not return a certificate"));
  EXPECT_EQ(client.state(), State::kFailed);
  server_.require_certificate = false;
  auto [again, relaxed] = connect();
  EXPECT_EQ(relaxed.state(), State::kOpen);
  EXPECT_EQ(relaxed.common_name(), "");
}

TEST_F(ChannelTest, ACertificateThatNobodyAskedForIsNoIdentity) {
  server_.require_certificate = false;
  auto [client, server] = connect();
  EXPECT_EQ(server.state(), State::kOpen);
  EXPECT_EQ(server.common_name(), "");
}

TEST_F(ChannelTest, AnExpiredCertificateIsRefused) {
  put("client", {.common_name = "late", .valid_seconds = -60});
  auto [client, server] = connect();
  EXPECT_EQ(server.state(), State::kFailed);
  EXPECT_EQ(server.failure(), "its certificate (late) is refused: certificate has expired");
}

TEST_F(ChannelTest, OnlyAllowedNames) {
  server_.allowed_common_name = "alice";
  EXPECT_EQ(connect().second.state(), State::kOpen);
  server_.allowed_common_name = "bob";
  const auto refused = connect();
  EXPECT_EQ(refused.second.state(), State::kFailed);
  EXPECT_EQ(refused.second.failure(),
            "its certificate (alice) is refused: not a name that is allowed");
  server_.allowed_common_name = "";
  server_.allowed_hostname = "alice.example";
  EXPECT_EQ(connect().second.state(), State::kFailed);
  put("client", {.common_name = "alice", .alternative_names = "DNS:alice.example"});
  EXPECT_EQ(connect().second.state(), State::kOpen);
}

TEST_F(ChannelTest, ARevokedCertificateIsRefused) {
  server_.files.crl = "crl";
  files_["crl"] = authority_.revoke(files_["server"]);
  EXPECT_EQ(connect().second.state(), State::kOpen);
  files_["crl"] = authority_.revoke(files_["client"]);
  const auto refused = connect();
  EXPECT_EQ(refused.second.state(), State::kFailed);
  EXPECT_THAT(refused.second.failure(), HasSubstr("revoked"));
}

TEST_F(ChannelTest, OldVersionsAreRefused) {
  auto credentials = load(client_);
  const auto context = (*credentials)->context(TlsRole::kClient, Instant{});
  SSL_CTX_set_min_proto_version(context->context.get(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context->context.get(), TLS1_1_VERSION);
  SSL_CTX_set_security_level(context->context.get(), 0);
  SSL_CTX_set_cipher_list(context->context.get(), "ALL");
  TlsChannel client(context, TlsRole::kClient, "m1.example");
  auto server = channel(server_, TlsRole::kServer);
  shake(client, server);
  EXPECT_EQ(server.state(), State::kFailed);
  EXPECT_THAT(server.failure(), HasSubstr("unsupported protocol"));
}

TEST_F(ChannelTest, CipherSuitesHaveGosNames) {
  server_.cipher_suites = {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
                           "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"};
  EXPECT_EQ(connect().second.state(), State::kOpen);
  server_.cipher_suites = {"TLS_MADE_UP"};
  EXPECT_THAT(load(server_).error().message, HasSubstr("\"TLS_MADE_UP\""));
}

TEST_F(ChannelTest, PlainTextIsToldApart) {
  auto server = channel(server_, TlsRole::kServer);
  server.feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  server.handshake();
  EXPECT_EQ(server.state(), State::kFailed);
  EXPECT_EQ(server.failure(), "the other side does not speak TLS");
}

TEST_F(ChannelTest, ADamagedRecordEndsIt) {
  auto [client, server] = connect();
  client.write("payload");
  Bytes bytes = client.take_output();
  bytes.back() ^= 1;
  server.feed(bytes);
  std::array<char, 100> buffer;
  EXPECT_EQ(server.read(buffer), 0);
  EXPECT_EQ(server.state(), State::kFailed);
  EXPECT_THAT(server.failure(), HasSubstr("bad record mac"));
}

// Handshakes with bytes flipped, cut, repeated and made up: refused or stalled, and never more.
TEST_F(ChannelTest, GarbageNeverOpensAChannel) {
  Rng rng(7);
  auto server_credentials = load(server_);
  auto client_credentials = load(client_);
  int failed = 0;
  for (int i = 0; i < 500; ++i) {
    TlsChannel client((*client_credentials)->context(TlsRole::kClient, Instant{}), TlsRole::kClient,
                      "m1.example");
    TlsChannel server((*server_credentials)->context(TlsRole::kServer, Instant{}), TlsRole::kServer,
                      "");
    client.handshake();
    Bytes hello = client.take_output();
    const std::size_t at = rng.below(hello.size());
    switch (rng.below(4)) {
      case 0:
        hello[at] = static_cast<char>(hello[at] ^ static_cast<char>(1 + rng.below(255)));
        break;
      case 1:
        hello.resize(at + 1);
        break;
      case 2:
        hello += hello.substr(at);
        break;
      default:
        for (char& each : hello) each = static_cast<char>(rng.below(256));
        hello[0] = 0x16;
    }
    server.feed(hello);
    server.handshake();
    EXPECT_NE(server.state(), State::kOpen);
    failed += server.state() == State::kFailed ? 1 : 0;
  }
  EXPECT_GT(failed, 100);
}

// Credentials.

TEST_F(ChannelTest, FilesThatMakeNoSenseAreNamed) {
  const auto message = [this](auto&& change) {
    TlsOptions options = server_;
    change(options);
    return load(options).error().message;
  };
  EXPECT_THAT(message([](auto& o) { o.files.key = "nowhere"; }), HasSubstr("nowhere is not there"));
  EXPECT_THAT(message([](auto& o) { o.files.key = "client-key"; }),
              HasSubstr("client-key: it does not fit the certificate in server"));
  EXPECT_THAT(message([](auto& o) { o.files.certificate = "server-key"; }),
              HasSubstr("server-key: no PEM certificate"));
  EXPECT_THAT(message([](auto& o) { o.files.trusted_ca = "client-key"; }),
              HasSubstr("client-key: no PEM certificate"));
  EXPECT_THAT(message([](auto& o) { o.files.crl = "ca"; }), HasSubstr("ca: no certificate revo"));
}

class ReloadTest : public ChannelTest {
 protected:
  ReloadTest() { credentials_ = std::move(*load(server_)); }

  // The name in the certificate that is shown to somebody who connects then.
  std::string shown_at(Duration time) {
    auto client = channel(client_, TlsRole::kClient, "m1.example");
    TlsChannel server(credentials_->context(TlsRole::kServer, Instant{} + time), TlsRole::kServer,
                      "");
    shake(client, server);
    return client.common_name();
  }

  std::unique_ptr<TlsCredentials> credentials_;
};

TEST_F(ReloadTest, NewFilesCountForTheNextHandshake) {
  EXPECT_EQ(shown_at(seconds(0)), "m1");
  put("server", {.common_name = "renewed", .alternative_names = "DNS:m1.example"});
  EXPECT_EQ(shown_at(milliseconds(900)), "m1");  // looked at once a second at most
  EXPECT_EQ(shown_at(milliseconds(1'000)), "renewed");
}

TEST_F(ReloadTest, ABrokenFileLeavesTheOldOneInForce) {
  EXPECT_EQ(shown_at(seconds(0)), "m1");
  const Bytes certificate = files_["server"];
  files_["server"] = certificate.substr(0, certificate.size() / 2);
  EXPECT_EQ(shown_at(seconds(1)), "m1");
  files_.erase("server");
  EXPECT_EQ(shown_at(seconds(2)), "m1");
  put("server", {.common_name = "renewed", .alternative_names = "DNS:m1.example"});
  const Bytes key = std::exchange(files_["server-key"], files_["client-key"]);
  EXPECT_EQ(shown_at(seconds(3)), "m1");  // one of the two files was replaced so far
  files_["server-key"] = key;
  EXPECT_EQ(shown_at(seconds(4)), "renewed");
}

TEST_F(ReloadTest, ANewRevocationCountsAtOnce) {
  server_.files.crl = "crl";
  files_["crl"] = authority_.revoke(files_["server"]);
  credentials_ = std::move(*load(server_));
  EXPECT_EQ(shown_at(seconds(0)), "m1");
  files_["crl"] = authority_.revoke(files_["client"]);
  auto client = channel(client_, TlsRole::kClient, "m1.example");
  TlsChannel server(credentials_->context(TlsRole::kServer, Instant{} + seconds(1)),
                    TlsRole::kServer, "");
  shake(client, server);
  EXPECT_EQ(server.state(), State::kFailed);
}

}  // namespace
}  // namespace conclave::io
