// Watches of ZooKeeper's clients: who is told what, and once.

#include "store/znode_watches.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "store/znode_acl.h"

namespace conclave::store {
namespace {

using api::zk::EventType;
using api::zk::WatcherType;
using Kind = ZnodeWatches::Kind;

class ZnodeWatchesTest : public testing::Test {
 protected:
  bool add(std::uint64_t connection, BytesView path, Kind kind) {
    return watches_.add(connection, path, kind, ids_);
  }
  // "2 created /a; ..."
  std::string change(EventType type, BytesView path, Bytes acl = {}, Bytes parent_acl = {}) {
    told_.clear();
    watches_.on_change({type, Bytes(path), std::move(acl), std::move(parent_acl)}, 7);
    return told_;
  }
  std::string created(BytesView path) { return change(EventType::kCreated, path); }
  std::string deleted(BytesView path) { return change(EventType::kDeleted, path); }
  std::string changed(BytesView path) { return change(EventType::kDataChanged, path); }

  std::string told_;
  std::vector<api::zk::Id> ids_;
  ZnodeWatches watches_{
      {.watches = 8, .connection_watches = 5},
      [this](std::uint64_t connection, const api::zk::Event& event) {
        constexpr const char* kNames[] = {"", "created", "deleted", "changed", "children"};
        told_ +=
            fmt::format("{} {} {}; ", connection, kNames[static_cast<int>(event.type)], event.path);
        EXPECT_EQ(event.zxid, 7);
      }};
};

TEST_F(ZnodeWatchesTest, AOneShotWatchIsToldOnce) {
  add(2, "/a", Kind::kData);
  add(1, "/a", Kind::kData);
  add(1, "/a", Kind::kData);
  EXPECT_EQ(watches_.watches(), 2u);
  EXPECT_EQ(changed("/b"), "");
  EXPECT_EQ(changed("/a"), "1 changed /a; 2 changed /a; ");
  EXPECT_EQ(changed("/a"), "");
  EXPECT_TRUE(watches_.empty());
  EXPECT_EQ(watches_.paths(), 0u);
  EXPECT_EQ(watches_.connections(), 0u);
}

TEST_F(ZnodeWatchesTest, ChildrenAreWatchedApart) {
  add(1, "/a", Kind::kChildren);
  add(1, "/", Kind::kChildren);
  EXPECT_EQ(changed("/a"), "");
  EXPECT_EQ(changed("/a/b"), "");
  EXPECT_EQ(created("/a/b/c"), "");
  EXPECT_EQ(created("/a/b"), "1 children /a; ");
  EXPECT_EQ(created("/a/c"), "");
  EXPECT_EQ(deleted("/x"), "1 children /; ");
}

TEST_F(ZnodeWatchesTest, ADeletionIsToldToEachOnce) {
  add(1, "/a", Kind::kData);
  add(1, "/a", Kind::kChildren);
  add(2, "/a", Kind::kChildren);
  add(1, "/", Kind::kChildren);
  EXPECT_EQ(deleted("/a"), "1 deleted /a; 2 deleted /a; 1 children /; ");
  EXPECT_TRUE(watches_.empty());
}

TEST_F(ZnodeWatchesTest, PersistentOnesStay) {
  add(1, "/a", Kind::kPersistent);
  add(1, "/a", Kind::kData);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(created("/a"), "1 created /a; ");
    EXPECT_EQ(changed("/a"), "1 changed /a; ");
    EXPECT_EQ(created("/a/b"), "1 children /a; ");
    EXPECT_EQ(changed("/a/b"), "");
    EXPECT_EQ(deleted("/a"), "1 deleted /a; ");
  }
}

TEST_F(ZnodeWatchesTest, RecursiveOnesSeeAllBelow) {
  add(1, "/a", Kind::kRecursive);
  EXPECT_EQ(created("/a"), "1 created /a; ");
  EXPECT_EQ(created("/a/b"), "1 created /a/b; ") << "and not that the children changed";
  EXPECT_EQ(changed("/a/b/c"), "1 changed /a/b/c; ");
  EXPECT_EQ(created("/ab"), "");
  add(1, "/a/b", Kind::kData);
  add(2, "", Kind::kRecursive);
  EXPECT_EQ(changed("/a/b"), "1 changed /a/b; 2 changed /a/b; ");
}

TEST_F(ZnodeWatchesTest, NobodyLearnsOfNodesThatHeMayNotRead) {
  const Bytes anns = encode_acl({{api::zk::kAllPermissions, {"digest", "ann:x"}}});
  add(1, "/", Kind::kRecursive);
  ids_ = {{"digest", "ann:x"}};
  add(2, "/", Kind::kRecursive);
  EXPECT_EQ(change(EventType::kCreated, "/secret", anns), "2 created /secret; ");
}

// As in ZooKeeper since CVE-2024-23944: they were left when it could be read, or did not exist.
TEST_F(ZnodeWatchesTest, WhoMayNotReadANodeAnyMoreIsNotToldOfIt) {
  const Bytes anns = encode_acl({{api::zk::kAllPermissions, {"digest", "ann:x"}}});
  for (const EventType type : {EventType::kCreated, EventType::kDataChanged, EventType::kDeleted}) {
    add(1, "/a", Kind::kData);
    EXPECT_EQ(change(type, "/a", anns), "");
    EXPECT_TRUE(watches_.empty()) << "it has ended all the same";
  }
  add(1, "/a", Kind::kChildren);
  EXPECT_EQ(change(EventType::kCreated, "/a/b", {}, anns), "");
  EXPECT_TRUE(watches_.empty());
  add(1, "/a", Kind::kPersistent);
  EXPECT_EQ(change(EventType::kDataChanged, "/a", anns), "");
  EXPECT_EQ(change(EventType::kDeleted, "/a", anns), "");
  EXPECT_EQ(change(EventType::kDeleted, "/a/b", {}, anns), "");
  EXPECT_EQ(change(EventType::kCreated, "/a/b", anns), "1 children /a; ")
      << "whose children may be listed";
}

TEST_F(ZnodeWatchesTest, WhatAClientHasProvedLaterCounts) {
  const Bytes anns = encode_acl({{api::zk::kAllPermissions, {"digest", "ann:x"}}});
  add(1, "/a", Kind::kData);
  watches_.identify(2, {{"digest", "ann:x"}});
  watches_.identify(1, {{"digest", "ann:x"}});
  watches_.identify(1, {});
  EXPECT_EQ(change(EventType::kCreated, "/a", anns), "1 created /a; ");
}

TEST_F(ZnodeWatchesTest, AreRemovedByKind) {
  add(1, "/a", Kind::kData);
  add(1, "/a", Kind::kChildren);
  EXPECT_FALSE(watches_.has(2, "/a", WatcherType::kAny));
  EXPECT_TRUE(watches_.remove(1, "/a", WatcherType::kData));
  EXPECT_FALSE(watches_.remove(1, "/a", WatcherType::kData));
  EXPECT_TRUE(watches_.has(1, "/a", WatcherType::kChildren));
  add(1, "/a", Kind::kRecursive);
  EXPECT_TRUE(watches_.remove(1, "/a", WatcherType::kAny));
  EXPECT_TRUE(watches_.empty());
  EXPECT_EQ(changed("/a/b"), "");
}

TEST_F(ZnodeWatchesTest, GoWithTheirConnection) {
  add(1, "/a", Kind::kData);
  add(1, "/b", Kind::kRecursive);
  add(2, "/a", Kind::kData);
  watches_.close_connection(1);
  watches_.close_connection(3);
  EXPECT_EQ(watches_.watches(), 1u);
  EXPECT_EQ(changed("/b"), "");
  EXPECT_EQ(changed("/a"), "2 changed /a; ");
}

TEST_F(ZnodeWatchesTest, AreBounded) {
  for (const char* path : {"/1", "/2", "/3", "/4", "/5"}) EXPECT_TRUE(add(1, path, Kind::kData));
  EXPECT_FALSE(add(1, "/6", Kind::kData));
  EXPECT_TRUE(add(1, "/5", Kind::kData)) << "that is there";
  for (const char* path : {"/1", "/2", "/3"}) EXPECT_TRUE(add(2, path, Kind::kData));
  EXPECT_FALSE(add(2, "/4", Kind::kData));
  changed("/5");
  EXPECT_TRUE(add(2, "/4", Kind::kData));
  EXPECT_FALSE(add(2, "/" + Bytes(limits::kMaxZnodePathBytes, 'x'), Kind::kData));
}

TEST_F(ZnodeWatchesTest, TheBytesOfTheirPathsAreBounded) {
  ZnodeWatches small(
      {.watches = 100, .connection_watches = 100, .bytes = 10, .connection_bytes = 6},
      [](std::uint64_t, const api::zk::Event&) {});
  EXPECT_TRUE(small.add(1, "/12345", Kind::kData, ids_));
  EXPECT_TRUE(small.add(1, "/12345", Kind::kChildren, ids_));
  EXPECT_FALSE(small.add(1, "/", Kind::kData, ids_));
  EXPECT_TRUE(small.add(2, "/123", Kind::kData, ids_));
  EXPECT_FALSE(small.add(3, "/", Kind::kData, ids_));
  small.close_connection(1);
  EXPECT_TRUE(small.add(3, "/12345", Kind::kPersistent, ids_));
}

// As in ZooKeeper, where one persistent watch is two.
TEST_F(ZnodeWatchesTest, APersistentOneIsRemovedInHalves) {
  add(1, "/a", Kind::kPersistent);
  EXPECT_TRUE(watches_.remove(1, "/a", WatcherType::kData));
  EXPECT_FALSE(watches_.has(1, "/a", WatcherType::kData));
  EXPECT_TRUE(watches_.has(1, "/a", WatcherType::kChildren));
  EXPECT_EQ(changed("/a"), "");
  EXPECT_EQ(created("/a/b"), "1 children /a; ");
}

}  // namespace
}  // namespace conclave::store
