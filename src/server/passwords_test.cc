#include "server/passwords.h"

#include <gtest/gtest.h>

namespace conclave::server {
namespace {

TEST(Passwords, MatchTheirHashAlone) {
  const Bytes hash = hash_password("secret", kMinBcryptCost);
  EXPECT_EQ(hash.substr(0, 7), "$2b$04$");
  EXPECT_TRUE(password_matches("secret", hash));
  EXPECT_FALSE(password_matches("secreT", hash));
  EXPECT_FALSE(password_matches("", hash));
  EXPECT_FALSE(password_matches("secret", ""));
  EXPECT_FALSE(password_matches("secret", "*0"));
}

TEST(Passwords, HaveASaltEach) {
  EXPECT_NE(hash_password("secret", kMinBcryptCost), hash_password("secret", kMinBcryptCost));
}

TEST(Passwords, AreReadToTheirEnd) {
  const Bytes hash = hash_password(Bytes("a\0b", 3), kMinBcryptCost);
  EXPECT_TRUE(password_matches(Bytes("a\0b", 3), hash));
  EXPECT_FALSE(password_matches("a", hash));
  const Bytes longer = hash_password(Bytes(100, 'l'), kMinBcryptCost);
  EXPECT_TRUE(password_matches(Bytes(100, 'l'), longer));
  EXPECT_FALSE(password_matches(Bytes(99, 'l'), longer));
}

// As etcd writes them: the first one is of Go's own tests.
TEST(Passwords, MatchHashesOfGo) {
  const Bytes known = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
  EXPECT_TRUE(password_matches("allmine", known));
  EXPECT_FALSE(password_matches("notmine", known));
  // Of this one libcrypt's own $2a$ makes something else.
  Bytes hash = hash_password("\xff\xff\xa3", kMinBcryptCost);
  hash[2] = 'a';
  EXPECT_TRUE(password_matches("\xff\xff\xa3", hash));
}

TEST(Passwords, OfGosHashesCountTo72Bytes) {
  Bytes hash = hash_password(Bytes(72, 'l'), kMinBcryptCost);
  hash[2] = 'a';
  EXPECT_TRUE(password_matches(Bytes(100, 'l'), hash));
  EXPECT_FALSE(password_matches(Bytes(71, 'l'), hash));
  hash = hash_password("a", kMinBcryptCost);
  hash[2] = 'a';
  EXPECT_FALSE(password_matches(Bytes("a\0b", 3), hash));
}

}  // namespace
}  // namespace conclave::server
