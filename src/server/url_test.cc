#include "server/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/text.h"

namespace conclave::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string normal(std::string_view text) {
  const auto url = parse_url(text);
  return url ? url->to_string() : url.error().message;
}

TEST(Url, IsSchemeHostAndPort) {
  EXPECT_EQ(*parse_url("http://127.0.0.1:2379"), (Url{"http", "127.0.0.1", 2379}));
  EXPECT_EQ(*parse_url("http://[::1]:2379"), (Url{"http", "::1", 2379}));
  EXPECT_EQ(*parse_url("http://:80"), (Url{"http", "", 80}));
  EXPECT_EQ(*parse_url("https://a:1"), (Url{"https", "a", 1}));
  EXPECT_EQ(parse_url("https://a:1")->address(), (io::Address{"a", 1, true}));
  EXPECT_EQ(normal("HTTP://Node-1.Example:1/"), "http://node-1.example:1");
  EXPECT_EQ(normal("http://[FE80::1%eth0]:5"), "http://[fe80::1%eth0]:5");
}

TEST(Url, SaysWhatIsWrongAndWithWhat) {
  EXPECT_THAT(normal("127.0.0.1:2379"), HasSubstr("not a URL like"));
  EXPECT_THAT(normal("unix:///tmp/x"), HasSubstr("unix sockets"));
  EXPECT_THAT(normal("ftp://a:1"), HasSubstr("scheme must be http"));
  EXPECT_THAT(normal("http://a"), HasSubstr("port is missing"));
  EXPECT_THAT(normal("http://[::1]"), HasSubstr("port is missing"));
  EXPECT_THAT(normal("http://a:"), HasSubstr("port must be a number"));
  EXPECT_THAT(normal("http://a:65536"), HasSubstr("port must be a number"));
  EXPECT_THAT(normal("http://a:-1"), HasSubstr("port must be a number"));
  EXPECT_THAT(normal("http://::1:2379"), HasSubstr("brackets"));
  EXPECT_THAT(normal("http://[]:1"), HasSubstr("missing"));
  EXPECT_THAT(normal("http://a/b:1"), HasSubstr("path"));
  EXPECT_THAT(normal("http://a:1/v3"), HasSubstr("path"));
  EXPECT_THAT(normal("http://u:p@a:1"), HasSubstr("user name"));
  EXPECT_THAT(normal("http://a b:1"), HasSubstr("character"));
  EXPECT_THAT(normal("http://a b:1"), HasSubstr("\"http://a b:1\""));
}

TEST(Url, ListsAreSortedAndNotEmpty) {
  EXPECT_THAT(*parse_urls(" http://b:1 ,http://a:1"),
              ElementsAre(Url{"http", "a", 1}, Url{"http", "b", 1}));
  EXPECT_EQ(join(*parse_urls("http://b:1,http://a:1")), "http://a:1,http://b:1");
  EXPECT_FALSE(parse_urls(""));
  EXPECT_FALSE(parse_urls("http://a:1,"));
}

TEST(Text, DurationsAreGos) {
  EXPECT_EQ(*parse_duration("90s"), seconds(90));
  EXPECT_EQ(*parse_duration("1h30m"), seconds(5400));
  EXPECT_EQ(*parse_duration("1.5h"), seconds(5400));
  EXPECT_EQ(*parse_duration("100ms"), milliseconds(100));
  EXPECT_EQ(*parse_duration("0"), Duration{});
  for (const auto* bad : {"", "5", "h", "5x", "-5s", "1e3s", "nans", "infs", "9999999999h"}) {
    EXPECT_FALSE(parse_duration(bad)) << bad;
  }
}

TEST(Text, NumbersAreDigits) {
  EXPECT_EQ(*parse_number("18446744073709551615"), 18446744073709551615U);
  for (const auto* bad : {"", "-1", "+1", "1x", "18446744073709551616", " 1"}) {
    EXPECT_FALSE(parse_number(bad)) << bad;
  }
}

TEST(Text, BytesHaveTwoDigits) {
  EXPECT_EQ(in_hex(""), "");
  EXPECT_EQ(in_hex(BytesView("\0a\n\xff", 4)), "00610aff");
}

TEST(Text, SplitTrimsAndKeepsEmptyPieces) {
  EXPECT_THAT(split(" a , b,,c ", ','), ElementsAre("a", "b", "", "c"));
  EXPECT_TRUE(split("  ", ',').empty());
}

}  // namespace
}  // namespace conclave::server
