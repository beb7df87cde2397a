// What an import of znodes knows, pass by pass.

#include "server/znode_book.h"

#include <gtest/gtest.h>

namespace conclave::server {
namespace {

v1::Znode znode(const std::string& path, const std::string& data = "", std::int32_t created = 0) {
  v1::Znode node;
  node.set_path(path);
  node.set_data(data);
  node.set_created(created);
  return node;
}

const SourceStamp kFirst{1, 1, 0, 0};
const SourceStamp kSecond{1, 2, 0, 0};

using Paths = std::vector<std::string>;

// A pass over these, all of which are read if they are wanted.
void look(ZnodeBook& book, const std::vector<std::pair<std::string, SourceStamp>>& nodes) {
  book.begin_pass();
  for (const auto& [path, stamp] : nodes) {
    if (book.wants(path, stamp)) {
      book.read(znode(path, std::to_string(stamp.mzxid), stamp.created), stamp);
    }
  }
}

TEST(ZnodeBook, CountersAreWhatAStatSays) {
  // Ten were created, three are left: 10 + 7 changes.
  EXPECT_EQ(children_created({.cversion = 17, .num_children = 3}), 10);
  EXPECT_EQ(children_created({.cversion = -1, .num_children = 1}), 0);
  // 2 * 2'000'000'000 - 1 does not fit into the Stat's number.
  const auto wrapped = static_cast<std::int32_t>(3'999'999'999U);
  EXPECT_EQ(children_created({.cversion = wrapped, .num_children = 1}), 2'000'000'000);
}

TEST(ZnodeBook, PlacesInTheTarget) {
  EXPECT_EQ(target_path("/", "", "/"), "/");
  EXPECT_EQ(target_path("/a/b", "", "/"), "/a/b");
  EXPECT_EQ(target_path("/app", "/app", "/app"), "/app");
  EXPECT_EQ(target_path("/app/a", "/app", "/app"), "/app/a");
  EXPECT_EQ(target_path("/app", "/app", "/"), "/");
  EXPECT_EQ(target_path("/app/a", "/app", "/"), "/a");
  EXPECT_EQ(target_path("/", "", "/x"), "/x");
  EXPECT_EQ(target_path("/a", "", "/x/y"), "/x/y/a");
}

TEST(ZnodeBook, MaskedPasswordsAreSeen) {
  EXPECT_TRUE(is_masked({{31, {"world", "anyone"}}, {1, {"digest", "ann:x"}}}));
  EXPECT_FALSE(is_masked({{31, {"digest", "ann:OR0M57y4y2oSKW7eZBcRfYFAVnQ="}}}));
  EXPECT_FALSE(is_masked({{31, {"x509", "CN=:x"}}}));
}

TEST(ZnodeBook, APassWithoutChangesIsTheLast) {
  ZnodeBook book(false);
  look(book, {{"/", kFirst}, {"/a", kFirst}, {"/a/b", kFirst}});
  EXPECT_EQ(book.changes(), 3U);
  EXPECT_EQ(book.take_gone(), Paths());
  look(book, {{"/", kFirst}, {"/a", kSecond}, {"/a/b", kFirst}});
  EXPECT_EQ(book.changes(), 1U);
  EXPECT_EQ(book.seen(), 3U);
  look(book, {{"/", kFirst}, {"/a", kSecond}, {"/a/b", kFirst}});
  EXPECT_EQ(book.take_gone(), Paths());
  EXPECT_EQ(book.changes(), 0U);
}

TEST(ZnodeBook, WhatIsGoneIsRemovedFromBelow) {
  ZnodeBook book(false);
  look(book, {{"/", kFirst}, {"/a", kFirst}, {"/a/b", kFirst}, {"/a/b/c", kFirst}, {"/d", kFirst}});
  look(book, {{"/", kFirst}, {"/d", kFirst}});
  EXPECT_EQ(book.take_gone(), (Paths{"/a/b/c", "/a/b", "/a"}));
  EXPECT_EQ(book.changes(), 3U);
  EXPECT_EQ(book.size(), 2U);
}

TEST(ZnodeBook, WhatTheTargetHasIsNotWrittenAgain) {
  ZnodeBook book(false);
  book.there(znode("/a", "same", 3));
  book.there(znode("/b", "other"));
  book.there(znode("/old"));
  book.begin_pass();
  EXPECT_TRUE(book.wants("/a", kFirst));
  EXPECT_FALSE(book.read(znode("/a", "same", 3), kFirst));
  EXPECT_TRUE(book.wants("/b", kFirst));
  EXPECT_TRUE(book.read(znode("/b", "new"), kFirst));
  EXPECT_EQ(book.take_gone(), Paths{"/old"});
}

TEST(ZnodeBook, ACounterAloneIsAChange) {
  ZnodeBook book(false);
  book.there(znode("/a", "same", 3));
  book.begin_pass();
  EXPECT_TRUE(book.read(znode("/a", "same", 4), kFirst));
}

TEST(ZnodeBook, WhatChangedWhileItWasReadIsReadAgain) {
  ZnodeBook book(false);
  book.begin_pass();
  EXPECT_TRUE(book.wants("/a", kFirst));
  book.read(znode("/a", "torn"), std::nullopt);
  book.begin_pass();
  EXPECT_TRUE(book.wants("/a", kFirst));
  EXPECT_EQ(book.changes(), 1U);
}

TEST(ZnodeBook, WhatCannotBeReadStaysAsItIs) {
  ZnodeBook book(false);
  for (const char* path : {"/a", "/a/b", "/ab"}) book.there(znode(path));
  book.begin_pass();
  book.skip("/a");
  EXPECT_TRUE(book.is_skipped("/a/b/c"));
  EXPECT_FALSE(book.is_skipped("/ab"));
  EXPECT_EQ(book.take_gone(), Paths{"/ab"});
  book.begin_pass();
  EXPECT_FALSE(book.is_skipped("/a"));
}

TEST(ZnodeBook, WhatCannotBeReadIsNoChangeTheSecondTime) {
  ZnodeBook book(false);
  for (const std::uint64_t changes : {1U, 0U}) {
    book.begin_pass();
    EXPECT_TRUE(book.wants("/a", kFirst));
    EXPECT_EQ(book.changes(), changes);
  }
  book.begin_pass();
  EXPECT_TRUE(book.wants("/a", kSecond));
  EXPECT_EQ(book.changes(), 1U);
  // What was torn is one.
  book.read(znode("/a"), std::nullopt);
  book.begin_pass();
  EXPECT_TRUE(book.wants("/a", kSecond));
  EXPECT_EQ(book.changes(), 1U);
}

TEST(ZnodeBook, AMergeKeepsTheTargetsOwn) {
  ZnodeBook book(true);
  book.there(znode("/own"));
  book.there(znode("/a", "1", 9));
  look(book, {{"/a", kFirst}, {"/b", kFirst}});
  EXPECT_EQ(book.take_gone(), Paths());
  look(book, {{"/a", kFirst}});
  EXPECT_EQ(book.take_gone(), Paths{"/b"});
  ZnodeBook target(true);
  for (const auto& node : {znode("/own"), znode("/a", "1", 9)}) target.there(node);
  const auto verdict = book.compare(target);
  EXPECT_EQ(verdict.path, "");
  EXPECT_EQ(verdict.nodes, 1U);
  EXPECT_EQ(verdict.others, 1U);
}

TEST(ZnodeBook, DifferencesAreFound) {
  ZnodeBook book(false);
  look(book, {{"/", kFirst}, {"/a", kFirst}});
  const auto differs = [&book](const std::vector<v1::Znode>& nodes) {
    ZnodeBook target(false);
    for (const v1::Znode& node : nodes) target.there(node);
    const auto verdict = book.compare(target);
    return verdict.path.empty() ? "same" : verdict.path + " " + verdict.how;
  };
  EXPECT_EQ(differs({znode("/", "1"), znode("/a", "1")}), "same");
  EXPECT_EQ(differs({znode("/", "1")}), "/a is not in the target");
  EXPECT_EQ(differs({znode("/", "1"), znode("/a", "2")}), "/a is another one in the target");
  EXPECT_EQ(differs({znode("/", "1"), znode("/a", "1", 1)}),
            "/a has another counter in the target");
  EXPECT_EQ(differs({znode("/", "1"), znode("/a", "1"), znode("/b")}), "/b is in the target only");
}

TEST(ZnodeBook, WhatHasNodesOfTheTargetsOwnBelowStays) {
  ZnodeBook book(true);
  book.there(znode("/"));
  book.there(znode("/a/own"));
  book.there(znode("/a-b"));
  look(book, {{"/", kFirst}, {"/a", kFirst}, {"/a/x", kFirst}, {"/b", kFirst}});
  EXPECT_EQ(book.take_gone(), Paths{});
  look(book, {{"/", kFirst}});
  EXPECT_EQ(book.take_gone(), (Paths{"/b", "/a/x"}));
  EXPECT_EQ(book.kept(), Paths{"/a"});
  // It is one of the target's own now.
  look(book, {{"/", kFirst}});
  EXPECT_EQ(book.take_gone(), Paths{});
  EXPECT_EQ(book.kept(), Paths{});
  EXPECT_EQ(book.changes(), 0U);
  ZnodeBook target(true);
  for (const char* path : {"/", "/a", "/a/own", "/a-b"}) target.there(znode(path));
  target.there(znode("/", "1"));
  const ZnodeBook::Verdict verdict = book.compare(target);
  EXPECT_EQ(verdict.path, "");
  EXPECT_EQ(verdict.others, 3U);
}

TEST(ZnodeBook, AParentThatWentUnderTheWalkWaitsForTheNextPass) {
  ZnodeBook book(false);
  look(book, {{"/", kFirst}, {"/a", kFirst}, {"/a/b", kFirst}});
  EXPECT_TRUE(book.has_parent("/a/b"));
  EXPECT_TRUE(book.has_parent("/new"));
  EXPECT_FALSE(book.has_parent("/new/x"));
  look(book, {{"/", kFirst}, {"/a/b", kFirst}});
  EXPECT_EQ(book.take_gone(), Paths{});
  EXPECT_EQ(book.kept(), Paths{}) << "nothing of it is the target's own";
  EXPECT_EQ(book.changes(), 1U);
  look(book, {{"/", kFirst}});
  EXPECT_EQ(book.take_gone(), (Paths{"/a/b", "/a"}));
}

}  // namespace
}  // namespace conclave::server
