#include "io/tls/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/tls/test_certificates.h"

namespace conclave::io {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

OwnedCertificate only(const KeyPair& pair) {
  auto parsed = parse_certificates(pair.certificate);
  return std::move(parsed->front());
}

TEST(Certificates, AreReadFromPemInOrder) {
  TestAuthority authority;
  const Bytes leaf = authority.issue({.common_name = "leaf"}).certificate;
  const auto chain = parse_certificates("words before\n" + leaf + authority.pem());
  ASSERT_TRUE(chain);
  ASSERT_THAT(*chain, SizeIs(2));
  EXPECT_EQ(common_name_of(*(*chain)[0]), "leaf");
  EXPECT_EQ(common_name_of(*(*chain)[1]), "ca");
}

TEST(Certificates, WhatIsNoneIsRefused) {
  EXPECT_THAT(parse_certificates("").error().message, HasSubstr("no PEM certificate"));
  EXPECT_THAT(parse_certificates("garbage").error().message, HasSubstr("no PEM certificate"));
  TestAuthority authority;
  Bytes damaged = authority.pem();
  damaged.replace(damaged.size() / 2, 4, "!!!!");
  EXPECT_THAT(parse_certificates(authority.pem() + damaged).error().message, HasSubstr("damaged"));
  EXPECT_THAT(parse_private_key("garbage").error().message, HasSubstr("no PEM key"));
  EXPECT_THAT(parse_private_key(authority.pem()).error().message, HasSubstr("no PEM key"));
  EXPECT_THAT(parse_crls(authority.pem()).error().message, HasSubstr("revocation"));
}

TEST(Certificates, NamesAreTheAlternativeOnes) {
  TestAuthority authority;
  const auto shown = only(authority.issue(
      {.common_name = "cn.example",
       .alternative_names = "DNS:m1.example,DNS:*.pool.example,IP:10.0.0.1,IP:::1"}));
  for (const char* host : {"m1.example", "M1.EXAMPLE", "a.pool.example", "10.0.0.1", "::1"}) {
    EXPECT_TRUE(is_valid_for(*shown, host)) << host;
  }
  for (const char* host : {"cn.example", "m2.example", "pool.example", "a.b.pool.example",
                           "10.0.0.2", "::2", "x.m1.example", ""}) {
    EXPECT_FALSE(is_valid_for(*shown, host)) << host;
  }
}

TEST(Certificates, ACommonNameIsNoHostName) {
  TestAuthority authority;
  const auto shown = only(authority.issue({.common_name = "m1.example"}));
  EXPECT_EQ(common_name_of(*shown), "m1.example");
  EXPECT_FALSE(is_valid_for(*shown, "m1.example"));
}

TEST(Certificates, AWildcardStandsForAWholeLabel) {
  TestAuthority authority;
  const auto shown = only(authority.issue({.alternative_names = "DNS:m*.example"}));
  EXPECT_FALSE(is_valid_for(*shown, "m1.example"));
}

TEST(Certificates, RevokedOnesAreFoundOfTheListsIssuerOnly) {
  TestAuthority authority;
  TestAuthority other;
  const auto bad = authority.issue({.common_name = "bad"});
  const auto good = authority.issue({.common_name = "good"});
  const auto lists = parse_crls(authority.revoke(bad.certificate));
  ASSERT_TRUE(lists);
  EXPECT_TRUE(is_revoked(*only(bad), *lists));
  EXPECT_FALSE(is_revoked(*only(good), *lists));
}

TEST(Certificates, AllListsOfAFileCount) {
  TestAuthority authority;
  const auto first = authority.issue({.common_name = "first"});
  const auto second = authority.issue({.common_name = "second"});
  const Bytes text = authority.revoke(first.certificate) + authority.revoke(second.certificate);
  const auto lists = parse_crls(text);
  ASSERT_TRUE(lists);
  EXPECT_TRUE(is_revoked(*only(first), *lists));
  EXPECT_TRUE(is_revoked(*only(second), *lists));
  Bytes damaged = text;
  damaged.erase(text.size() - 60, 8);
  EXPECT_THAT(parse_crls(damaged).error().message, HasSubstr("damaged"));
}

TEST(Certificates, ASelfSignedOneIsForItsHosts) {
  const auto made = make_self_signed({"localhost", "127.0.0.1", "::1"});
  ASSERT_TRUE(made) << made.error().message;
  const auto shown = only(*made);
  EXPECT_TRUE(is_valid_for(*shown, "localhost"));
  EXPECT_TRUE(is_valid_for(*shown, "127.0.0.1"));
  EXPECT_TRUE(is_valid_for(*shown, "::1"));
  EXPECT_FALSE(is_valid_for(*shown, "127.0.0.2"));
  EXPECT_TRUE(parse_private_key(made->key));
}

}  // namespace
}  // namespace conclave::io
