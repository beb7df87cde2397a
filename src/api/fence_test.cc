#include "api/fence.h"

#include <gtest/gtest.h>

#include "api/request.h"
#include "base/limits.h"

namespace conclave::api {
namespace {

std::string why(BytesView text) {
  const auto fence = parse_fence(text);
  return fence ? fence->key + "@" + std::to_string(fence->token) : fence.error();
}

TEST(Fence, TheKeyEndsAtTheLastSlash) {
  EXPECT_EQ(why("jobs/12"), "jobs@12");
  EXPECT_EQ(why("a/b/9223372036854775807"), "a/b@9223372036854775807");
  EXPECT_EQ(why("jobs/694d7a/12"), "jobs/694d7a@12");
  EXPECT_EQ(why("//1"), "/@1");
}

TEST(Fence, WhatIsNone) {
  EXPECT_EQ(why(""), "expected <key>/<token>");
  EXPECT_EQ(why("jobs"), "expected <key>/<token>");
  EXPECT_EQ(why("/1"), "the key is empty");
  EXPECT_EQ(why("j\xc3\xb6/1"), "the key is not printable ASCII");
  EXPECT_EQ(why(Bytes(limits::kMaxFenceKeyBytes + 1, 'k') + "/1"), "the key is too long");
  for (const BytesView text :
       {"k/", "k/0", "k/-1", "k/1x", "k/ 1", "k/+1", "k/9223372036854775808"})
    EXPECT_EQ(why(text), "the token is not a revision") << text;
}

TEST(Fence, AsText) {
  EXPECT_EQ(to_text({"a/b", 12}), "a/b/12");
  EXPECT_EQ(to_text({Bytes(limits::kMaxFenceKeyBytes, 'k'), 1})->size(),
            limits::kMaxFenceKeyBytes + 2);
  EXPECT_EQ(to_text({Bytes(limits::kMaxFenceKeyBytes + 1, 'k'), 1}), std::nullopt);
  EXPECT_EQ(to_text({"a\r\nb", 1}), std::nullopt) << "it would be another header";
  EXPECT_EQ(to_text({" a", 1}), std::nullopt) << "it would arrive as another key";
  EXPECT_EQ(to_text({"", 1}), std::nullopt) << "it would be refused";
}

TEST(Fence, WhatMayBeFencedChangesSomething) {
  Request read{TxnRequest{}, std::nullopt, std::nullopt};
  EXPECT_EQ(route_of(read), Route::kLinearizableRead);
  read.fence = Fence{"k", 1};
  EXPECT_EQ(route_of(read), Route::kWrite) << "the log says when it is";
  EXPECT_TRUE(may_be_fenced(read.body));
  EXPECT_TRUE(may_be_fenced(LockRequest{}));
  EXPECT_FALSE(may_be_fenced(RangeRequest{}));
  EXPECT_FALSE(may_be_fenced(LeaseKeepAliveRequest{}));
  EXPECT_FALSE(may_be_fenced(AlarmRequest{}));
}

}  // namespace
}  // namespace conclave::api
