// The texts of a reconfig: what can be read, and what cannot.

#include "frontends/zookeeper/reconfig.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/zookeeper_limits.h"

namespace conclave::zookeeper {
namespace {

// "- 3 -4 + 5 a:1 observer b:2", "= ..." for all that are to be there; or the code.
std::string read(const Reconfig& asked) {
  const auto parsed = parse_reconfig(asked);
  if (!parsed) return fmt::format("{}", static_cast<int>(parsed.error()));
  std::string text = parsed->is_whole ? "=" : "";
  const auto add = [&text](const std::string& word) { text += (text.empty() ? "" : " ") + word; };
  if (!parsed->leaving.empty()) add("-");
  for (const NodeId id : parsed->leaving) add(std::to_string(static_cast<std::int64_t>(id.value)));
  if (!parsed->joining.empty() && !parsed->is_whole) add("+");
  for (const api::zk::Server& server : parsed->joining) {
    add(std::to_string(static_cast<std::int64_t>(server.id.value)) + " " + server.peer);
    if (server.is_observer) add("observer");
    if (!server.client.empty()) add(server.client);
  }
  return text;
}

std::string joining(const Bytes& text) {
  return read({.joining = text, .leaving = {}, .members = {}});
}
std::string leaving(const Bytes& text) {
  return read({.joining = {}, .leaving = text, .members = {}});
}
std::string members(const Bytes& text) {
  return read({.joining = {}, .leaving = {}, .members = text});
}

TEST(Reconfig, WhoJoins) {
  EXPECT_EQ(joining("server.4=h:2888:3888;2181"), "+ 4 h:2888 0.0.0.0:2181");
  EXPECT_EQ(joining("server.4=h:2888:3888:participant;h:2181"), "+ 4 h:2888 h:2181");
  EXPECT_EQ(joining("server.4=h:2888:3888:OBSERVER;2181"), "+ 4 h:2888 observer 0.0.0.0:2181");
  EXPECT_EQ(joining(" server.4 = h:1:2;3 , server.-5=i:1:2;3,"),
            "+ 4 h:1 0.0.0.0:3 -5 i:1 0.0.0.0:3");
  EXPECT_EQ(joining("server.4=[::1]:2888:3888:observer;[::]:2181"),
            "+ 4 [::1]:2888 observer [::]:2181");
  EXPECT_EQ(joining("server.4=h:1:2;3,server.4=i:1:2;3"), "+ 4 i:1 0.0.0.0:3") << "the last counts";
  EXPECT_EQ(joining("4=h:1:2;3"), "+ 4 h:1 0.0.0.0:3") << "as in ZooKeeper";
  EXPECT_EQ(joining("server.9223372036854775807=h:1:2;3"), "+ 9223372036854775807 h:1 0.0.0.0:3");
}

TEST(Reconfig, WhoCannotJoin) {
  for (const char* wrong : {"server.4",
                            "server.4=",
                            "server.4=h:1:2;3=4",
                            "server.4=h;2181",
                            "server.4=h:1;2181",
                            "server.4=h:1:2",
                            "server.4=h:1:2;",
                            "server.4=h:1:1;2181",
                            "server.4=h:x:2;2181",
                            "server.4=h:1:x;2181",
                            "server.4=h:1:2:leader;2181",
                            "server.4=h:1:2:observer:x;2181",
                            "server.4=h:1:2;x",
                            "server.4=h:1:2;h:x",
                            "server.4=h:1:2;h:2:3",
                            "server.4=h:1:2;3;4",
                            "server.4=:1:2;3",
                            "server.4=h:0:2;3",
                            "server.4=h:1:65536;3",
                            "server.4=h:1:2|i:1:2;3",
                            "server.4=h i:1:2;3",
                            "server.4=[::1:1:2;3",
                            "server.4=[]:1:2;3",
                            "server.4=h\"x:1:2;3",
                            "server.4=::1:1:2;3"}) {
    EXPECT_EQ(joining(wrong), "-8") << wrong;
  }
  EXPECT_EQ(joining("server.x=h:1:2;3"), "-5");
  EXPECT_EQ(joining("server.=h:1:2;3"), "-5");
  EXPECT_EQ(joining("server.9223372036854775808=h:1:2;3"), "-5");
}

TEST(Reconfig, WhoLeaves) {
  EXPECT_EQ(leaving("3"), "- 3");
  EXPECT_EQ(leaving("3, -4 ,+5,"), "- 3 -4 5");
  EXPECT_EQ(leaving("three"), "-5");
  EXPECT_EQ(leaving("server.3"), "-5");
  EXPECT_EQ(leaving("+-3"), "-5");
  EXPECT_EQ(read({.joining = "server.4=h:1:2;3", .leaving = "3", .members = {}}),
            "- 3 + 4 h:1 0.0.0.0:3");
  EXPECT_EQ(read({}), "") << "nothing changes";
}

TEST(Reconfig, WhoAllAreToBe) {
  const std::string all = "= 1 a:1 a:3 2 b:1 observer";
  EXPECT_EQ(members("server.1=a:1:2:participant;a:3,server.2=b:1:2:observer"), all);
  EXPECT_EQ(members("# of today\nserver.1=a:1:2:participant;a:3\n\n! and\nserver.2=b:1:2:observer\n"
                    "version=10000002a"),
            all);
  EXPECT_EQ(members("\n"), "-8");
  EXPECT_EQ(members("version=1"), "-8");
  EXPECT_EQ(members("server.1=a:1:2\ngroup.1=1:2"), "-8");
  EXPECT_EQ(members("server.1=a:1:2\nweight.1=2"), "-8");
  EXPECT_EQ(members("server.1"), "-8");
  EXPECT_EQ(members("server.x=a:1:2"), "-5");
  EXPECT_EQ(read({.joining = {}, .leaving = "1", .members = "server.1=a:1:2"}), "-8");
  EXPECT_EQ(read({.joining = "server.1=a:1:2;3", .leaving = {}, .members = "server.1=a:1:2"}),
            "-8");
}

TEST(Reconfig, IsBounded) {
  Bytes ids;
  for (std::size_t i = 0; i < limits::kMaxReconfiguredServers; ++i) ids += std::to_string(i) + ",";
  EXPECT_EQ(leaving(ids).substr(0, 5), "- 0 1");
  EXPECT_EQ(leaving(ids + "1000"), "-8");
  EXPECT_EQ(joining("server.4=" + Bytes(limits::kMaxServerAddressBytes, 'h') + ":1:2;3"), "-8");
}

}  // namespace
}  // namespace conclave::zookeeper
