#include "node/tokens.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace conclave::node {
namespace {

store::Auth with_users() {
  store::Auth auth;
  const auto change = [&auth](auto op) {
    EXPECT_FALSE(std::holds_alternative<api::Error>(auth.change({std::move(op)})));
  };
  change(api::UserAdd{"root", false, "", "hash"});
  change(api::UserGrantRole{"root", "root"});
  change(api::UserAdd{"ann", false, "", "hash"});
  change(api::AuthEnable{"secret"});
  return auth;
}

class TokensTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kIssued = 1'000'000;

  std::optional<std::string> user_of(BytesView token, std::int64_t after_s = 1) {
    const auto wall_s = kIssued + static_cast<std::uint64_t>(after_s);
    return tokens.user_of(token, auth, {Instant{} + seconds(after_s), wall_s});
  }

  store::Auth auth = with_users();
  Tokens tokens{seconds(300)};
  Bytes ann = Tokens::issue(auth, "ann", kIssued, "nonce");
};

// RFC 4231, test cases 2 and 6.
TEST(Hmac, IsThatOfTheRfc) {
  const auto hex = [](BytesView bytes) {
    std::string text;
    for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return text;
  };
  EXPECT_EQ(hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(hmac_sha256(Bytes(131, '\xaa'),
                            "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST_F(TokensTest, SayWhoseTheyAre) {
  EXPECT_EQ(user_of(ann), "ann");
  EXPECT_EQ(user_of(ann, 2), "ann");
  EXPECT_EQ(user_of(""), std::nullopt);
  EXPECT_EQ(user_of("."), std::nullopt);
  EXPECT_EQ(user_of("garbage.78"), std::nullopt);
}

TEST_F(TokensTest, NoBitOfThemCanBeChanged) {
  for (std::size_t i = 0; i < ann.size(); ++i) {
    Bytes forged = ann;
    forged[i] = forged[i] == '0' ? '1' : '0';
    EXPECT_EQ(user_of(forged), std::nullopt) << i;
  }
}

TEST_F(TokensTest, LastFromTheirLastUseOn) {
  EXPECT_EQ(user_of(ann, 250), "ann");
  EXPECT_EQ(user_of(ann, 500), "ann") << "used 250 s before";
  EXPECT_EQ(user_of(ann, 801), std::nullopt);
}

TEST_F(TokensTest, AnOldOneIsNotKnownWhereItWasNotUsed) {
  EXPECT_EQ(user_of(ann, 301), std::nullopt);
}

TEST_F(TokensTest, AreForgottenWhenTheyAreTooOld) {
  EXPECT_EQ(user_of(ann, 1), "ann");
  tokens.expire(Instant{} + seconds(302));
  EXPECT_EQ(user_of(ann, 302), std::nullopt);
}

TEST_F(TokensTest, EndWithThePasswordAndTheUser) {
  EXPECT_EQ(user_of(ann), "ann");
  auth.change({api::UserChangePassword{"ann", "", "other"}});
  EXPECT_EQ(user_of(ann), std::nullopt);
  const Bytes second = Tokens::issue(auth, "ann", kIssued, "nonce");
  EXPECT_EQ(user_of(second), "ann");
  auth.change({api::UserDelete{"ann"}});
  auth.change({api::UserAdd{"ann", false, "", "hash"}});
  EXPECT_EQ(user_of(second), std::nullopt);
}

TEST_F(TokensTest, EndWhenAuthenticationIsDisabled) {
  EXPECT_EQ(user_of(ann), "ann");
  auth.change({api::AuthDisable{}});
  EXPECT_EQ(user_of(ann), std::nullopt);
  auth.change({api::AuthEnable{"another secret"}});
  EXPECT_EQ(user_of(ann), std::nullopt);
}

}  // namespace
}  // namespace conclave::node
