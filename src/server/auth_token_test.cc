#include "server/auth_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace conclave::server {
namespace {

using ::testing::HasSubstr;

TEST(AuthToken, IsReadAsEtcds) {
  const auto options =
      parse_auth_token("jwt,pub-key=a.pub,priv-key=a.key,sign-method=RS512,ttl=10m");
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->method, "RS512");
  EXPECT_EQ(options->public_key_file, "a.pub");
  EXPECT_EQ(options->private_key_file, "a.key");
  EXPECT_EQ(options->ttl, seconds(600));
}

TEST(AuthToken, SaysWhatIsWrong) {
  const auto refused = [](const std::string& text) {
    return parse_auth_token(text).error().message;
  };
  EXPECT_THAT(refused("jwx"), HasSubstr("simple or jwt"));
  EXPECT_THAT(refused("jwt"), HasSubstr("sign-method"));
  EXPECT_THAT(refused("jwt,sign-method=none,priv-key=k"), HasSubstr("sign-method"));
  EXPECT_THAT(refused("jwt,sign-method=RS256"), HasSubstr("no key"));
  EXPECT_THAT(refused("jwt,sign-method=HS256,pub-key=k"), HasSubstr("priv-key"));
  EXPECT_THAT(refused("jwt,sign-method=HS256,priv-key=k,ttl=soon"), HasSubstr("ttl"));
  EXPECT_THAT(refused("jwt,sign-method=HS256,priv-key=k,colour=red"), HasSubstr("colour"));
}

}  // namespace
}  // namespace conclave::server
