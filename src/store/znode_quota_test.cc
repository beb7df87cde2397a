// The lines of quotas, and where they are.

#include "store/znode_quota.h"

#include <gtest/gtest.h>

namespace conclave::store {
namespace {

namespace zk = api::zk;

std::string as_read(BytesView line) {
  const auto numbers = QuotaNumbers::parse(line);
  return numbers ? numbers->text() : "not a line";
}

TEST(QuotaNumbers, AreReadAndWrittenAsByZooKeeper) {
  EXPECT_EQ(as_read(""), "count=-1,bytes=-1");
  EXPECT_EQ(as_read("count=3,bytes=5"), "count=3,bytes=5");
  EXPECT_EQ(as_read("bytes=5;;,count=+3"), "count=3,bytes=5");
  const BytesView all = "count=4,bytes=5=;byteHardLimit=10;countHardLimit=-9223372036854775808";
  EXPECT_EQ(as_read(all), all);
  EXPECT_EQ(QuotaNumbers::parse(all)->get(kQuotaByteHardLimit), 10);
  EXPECT_EQ(QuotaNumbers::parse(all)->get("x"), -1);
  EXPECT_EQ(as_read("count=;x==7"), "count=-1,bytes=-1=;x=-1");
}

TEST(QuotaNumbers, WhatIsNoLine) {
  for (const BytesView line : {"=5", ",count=1", "count=x", "count=1x", "count= 1", "count=--1",
                               "count=9223372036854775808", "\xff"}) {
    EXPECT_EQ(as_read(line), line == "\xff" ? "count=-1,bytes=-1=;\xff=-1" : "not a line") << line;
  }
}

TEST(Quotas, AreKnownByTheirPaths) {
  EXPECT_EQ(quota_limits_path("/a/b"), "/zookeeper/quota/a/b/zookeeper_limits");
  EXPECT_EQ(path_of_limits("/zookeeper/quota/a/b/zookeeper_limits"), "/a/b");
  EXPECT_EQ(path_of_stats("/zookeeper/quota/a/zookeeper_stats"), "/a");
  for (const BytesView path : {"/zookeeper/quota/zookeeper_limits", "/zookeeper/quotas/a",
                               "/zookeeper/quotaX/zookeeper_limits", "/a/zookeeper_limits",
                               "/zookeeper/quota/a/zookeeper_stats", "/zookeeper/quota", ""}) {
    EXPECT_EQ(path_of_limits(path), std::nullopt) << path;
  }
  const zk::Create limits{.path = "/zookeeper/quota/a/zookeeper_limits", .data = {}, .acl = {}};
  const auto creates = [](auto op) { return creates_quota({{}, 0, std::move(op)}); };
  EXPECT_TRUE(creates(limits));
  EXPECT_TRUE(creates(zk::Multi{{zk::Check{"/a"}, limits}}));
  EXPECT_FALSE(creates(zk::Delete{limits.path}));
  EXPECT_FALSE(creates(zk::Multi{{zk::Delete{limits.path}}}));
}

TEST(Quotas, WhatIsTooLongIsNoLine) {
  EXPECT_TRUE(QuotaNumbers::parse("count=1" + Bytes(kMaxQuotaBytes - 7, ',')));
  EXPECT_FALSE(QuotaNumbers::parse("count=1" + Bytes(kMaxQuotaBytes - 6, ',')));
}

TEST(Quotas, WhatIsZooKeepersOwnHasNone) {
  EXPECT_FALSE(path_of_stats(quota_stats_path("/zookeeper")));
  EXPECT_FALSE(path_of_limits(quota_limits_path("/zookeeper/quota/a")));
  EXPECT_EQ(path_of_stats(quota_stats_path("/zookeepers")), "/zookeepers");
}

}  // namespace
}  // namespace conclave::store
