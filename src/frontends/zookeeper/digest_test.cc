#include "frontends/zookeeper/digest.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace conclave::zookeeper {
namespace {

Bytes hex_sha1(BytesView bytes) {
  Bytes text;
  for (const unsigned char byte : sha1(bytes)) text += fmt::format("{:02x}", byte);
  return text;
}

// FIPS 180-4's examples, and lengths around a block's end (as sha1sum computes them).
TEST(Digest, Sha1) {
  EXPECT_EQ(hex_sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(hex_sha1(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(hex_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(hex_sha1(Bytes(55, 'a')), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
  EXPECT_EQ(hex_sha1(Bytes(64, 'a')), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
  EXPECT_EQ(hex_sha1(Bytes(1'000'000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

// The first is the id that a real ZooKeeper gives bob.
TEST(Digest, OfAUser) {
  EXPECT_EQ(digest_id("bob:pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
  EXPECT_TRUE(digest_id("bob:p:w").starts_with("bob:"));
  EXPECT_TRUE(digest_id("bob").starts_with("bob:"));
  EXPECT_TRUE(digest_id(":pw").starts_with(":"));
}

TEST(Digest, WhatLooksLikeOne) {
  EXPECT_TRUE(is_digest_id(digest_id("super:secret")));
  for (const BytesView id : {"", "super", "super:secret",
                             ":ikIaKsbtGweaHnb/jKn7OHqbunM=", "a:ikIaKsbtGweaHnb/jKn7OHqbunM",
                             "a:aaaa", "a:b:ikIaKsbtGweaHnb/jKn7OHqbunM="}) {
    EXPECT_FALSE(is_digest_id(id)) << id;
  }
}

}  // namespace
}  // namespace conclave::zookeeper
