// The tree as a whole: an import's steps, and what is exported.

#include "store/znode_import.h"

#include <gtest/gtest.h>

#include "base/zookeeper_limits.h"
#include "store/command_codec.h"
#include "store/replica.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using zk::Code;

const std::vector<zk::Acl> kForAll{{zk::kAllPermissions, {"world", "anyone"}}};
const std::vector<zk::Acl> kForeign{{zk::kRead, {"sasl", "ann"}}, {zk::kAdmin, {"digest", "a:b"}}};

zk::TreeNode node(BytesView path, BytesView data, std::int32_t created = 0) {
  return {Bytes(path), Bytes(data), kForeign, 11, 22, 3, 4, created};
}

class ZnodeImport : public testing::Test {
 protected:
  api::Answer run(auto body) {
    api::Request request;
    request.body = std::move(body);
    return replica_.run(request).answer;
  }
  zk::Reply step(zk::ImportRequest request) { return std::get<zk::Reply>(run(std::move(request))); }
  // Makes the mark "2" of "1", "1" of none.
  zk::Reply first(std::vector<zk::TreeNode> nodes) {
    return step({.before = "", .after = "1", .removed = {}, .nodes = std::move(nodes)});
  }
  zk::Reply second(std::vector<Bytes> removed, std::vector<zk::TreeNode> nodes,
                   bool merge = false) {
    return step({"1", "2", merge, std::move(removed), std::move(nodes)});
  }
  zk::Tree exported(BytesView from = {}) {
    return std::get<zk::Tree>(std::get<zk::Reply>(run(zk::ExportRequest{Bytes(from)})).result);
  }
  // Those that ZooKeeper does not have of itself.
  std::vector<zk::TreeNode> nodes() {
    std::vector<zk::TreeNode> found;
    for (zk::TreeNode& each : exported().nodes) {
      const bool is_own = each.path == "/" || each.path.starts_with("/zookeeper");
      if (!is_own) found.push_back(std::move(each));
    }
    return found;
  }
  void open() {
    const zk::WriteRequest request{{}, 1, zk::OpenSession{10'000, 10, 7, Bytes(16, 'p')}};
    ASSERT_EQ(std::get<zk::Reply>(run(request)).code, Code::kOk);
  }
  zk::Reply write(decltype(zk::WriteRequest::op) op) {
    return std::get<zk::Reply>(run(zk::WriteRequest{{7, 1, {}}, 5, std::move(op)}));
  }
  Bytes create(BytesView path, zk::Mode mode = zk::Mode::kPersistent) {
    const zk::Reply reply = write(zk::Create{Bytes(path), "d", kForAll, mode});
    if (reply.code != Code::kOk) return fmt::format("{}", static_cast<int>(reply.code));
    return std::get<zk::Created>(reply.result).path;
  }
  zk::Stat stat(BytesView path) {
    const zk::Reply reply =
        std::get<zk::Reply>(run(zk::ReadRequest{{7, 1, {}}, false, zk::Exists{Bytes(path)}}));
    return std::get<zk::Changed>(reply.result).stat;
  }
  // Another member that applies the same log, and one that was loaded from a snapshot.
  void expect_members_equal() {
    Replica other;
    for (const Bytes& entry : replica_.log) other.apply(entry);
    EXPECT_EQ(other.store.hash(), replica_.store.hash());
    SnapshotLoader loader(Limits{});
    const auto writer = replica_.store.begin_snapshot();
    for (Bytes piece = writer->next(100); !piece.empty(); piece = writer->next(100)) {
      const auto fed = loader.feed(piece);
      ASSERT_TRUE(fed.has_value()) << fed.error().message;
    }
    const auto loaded = loader.finish();
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    EXPECT_EQ(loaded->hash(), replica_.store.hash());
  }
  static Bytes wrong_path(const zk::Reply& reply) {
    return std::get<zk::Names>(reply.result).names.at(0);
  }

  Replica replica_;
};

TEST_F(ZnodeImport, NodesBecomeWhatTheyWere) {
  std::vector<zk::TreeNode> all{node("/", "root", 9), node("/a", "A", 5), node("/c", ""),
                                node("/a/b", "B")};
  ASSERT_EQ(first(all).code, Code::kOk);
  all.erase(all.begin());
  EXPECT_EQ(nodes(), all);
  const zk::TreeNode root = exported().nodes.at(0);
  EXPECT_EQ(root, node("/", "root", 9));
  EXPECT_EQ(exported().mark, "1");
  open();
  const zk::Stat a = stat("/a");
  EXPECT_EQ(a.version, 3);
  EXPECT_EQ(a.aversion, 4);
  EXPECT_EQ(a.ctime_ms, 11);
  EXPECT_EQ(a.mtime_ms, 22);
  EXPECT_EQ(a.num_children, 1);
  EXPECT_EQ(a.cversion, 2 * 5 - 1);
  EXPECT_EQ(a.czxid, a.mzxid);
}

TEST_F(ZnodeImport, SequentialNamesGoOn) {
  zk::TreeNode parent = node("/a", "", 41);
  parent.acl = kForAll;
  ASSERT_EQ(first({parent, node("/a/s-0000000040", "")}).code, Code::kOk);
  open();
  EXPECT_EQ(create("/a/s-", zk::Mode::kPersistentSequential), "/a/s-0000000041");
  // The import's word stands, but with `merge` a counter never goes back.
  ASSERT_EQ(second({}, {parent}, true).code, Code::kOk);
  EXPECT_EQ(create("/a/s-", zk::Mode::kPersistentSequential), "/a/s-0000000042");
}

TEST_F(ZnodeImport, AStepIsDoneOnceAndInItsTurn) {
  ASSERT_EQ(first({node("/a", "A")}).code, Code::kOk);
  ASSERT_EQ(first({node("/b", "B")}).code, Code::kOk);  // the same step: done already
  EXPECT_EQ(nodes().size(), 1U);
  const auto other = run(zk::ImportRequest{"0", "5", false, {}, {node("/b", "B")}});
  EXPECT_EQ(std::get<api::Error>(other).code, api::ErrorCode::kFenced);
  EXPECT_EQ(nodes().size(), 1U);
  const auto none = run(zk::ImportRequest{"1", "1", false, {}, {node("/b", "B")}});
  EXPECT_EQ(std::get<api::Error>(none).code, api::ErrorCode::kInvalidRequestId);
  ASSERT_EQ(step({"1", "", false, {}, {node("/b", "B")}}).code, Code::kOk);
  EXPECT_EQ(exported().mark, "");
  EXPECT_EQ(nodes().size(), 2U);
}

TEST_F(ZnodeImport, WhatIsRemovedGoesAndEverythingOrNothingIsDone) {
  ASSERT_EQ(first({node("/a", "A"), node("/a/b", "B"), node("/c", "C")}).code, Code::kOk);
  zk::Reply reply = second({"/c", "/a"}, {node("/d", "D")});
  EXPECT_EQ(reply.code, Code::kNotEmpty);
  EXPECT_EQ(wrong_path(reply), "/a");
  EXPECT_EQ(nodes().size(), 3U);
  EXPECT_EQ(exported().mark, "1");
  reply = second({"/c"}, {node("/x/y", "")});
  EXPECT_EQ(reply.code, Code::kNoNode);
  EXPECT_EQ(wrong_path(reply), "/x/y");
  EXPECT_EQ(nodes().size(), 3U);
  ASSERT_EQ(second({"/a/b", "/a", "/gone"}, {node("/c", "new", 3)}).code, Code::kOk);
  EXPECT_EQ(nodes(), std::vector{node("/c", "new", 3)});
  expect_members_equal();
}

TEST_F(ZnodeImport, WhatNoZnodeCanBeIsRefused) {
  EXPECT_EQ(first({node("/zookeeper/quota", "")}).code, Code::kBadArguments);
  EXPECT_EQ(first({node("/a//b", "")}).code, Code::kBadArguments);
  zk::TreeNode bare = node("/a", "");
  bare.acl.clear();
  EXPECT_EQ(first({bare}).code, Code::kInvalidAcl);
  EXPECT_EQ(step({"", "1", false, {"/"}, {}}).code, Code::kBadArguments);
  EXPECT_EQ(step({"", "1", false, {"/zookeeper"}, {}}).code, Code::kBadArguments);
  EXPECT_EQ(nodes().size(), 0U);
}

TEST_F(ZnodeImport, EphemeralNodesAreNotExportedAndStay) {
  open();
  ASSERT_EQ(create("/e", zk::Mode::kEphemeral), "/e");
  ASSERT_EQ(create("/box", zk::Mode::kContainer), "/box");
  ASSERT_EQ(nodes().size(), 1U);
  EXPECT_FALSE(nodes()[0].is_plain);
  EXPECT_EQ(first({node("/e/x", "")}).code, Code::kNoChildrenForEphemerals);
  for (const bool merge : {false, true}) {
    zk::Reply reply = step({"", "1", merge, {}, {node("/e", "")}});
    EXPECT_EQ(reply.code, Code::kNodeExists);
    EXPECT_EQ(wrong_path(reply), "/e");
    reply = step({"", "1", merge, {"/e"}, {}});
    EXPECT_EQ(reply.code, Code::kNodeExists);
    EXPECT_EQ(wrong_path(reply), "/e");
  }
  ASSERT_EQ(write(zk::CloseSession{}).code, Code::kOk);
  ASSERT_EQ(step({"", "1", true, {}, {node("/e", ""), node("/box", "")}}).code, Code::kOk);
  EXPECT_EQ(nodes(), (std::vector{node("/box", ""), node("/e", "")}));
  expect_members_equal();
}

TEST_F(ZnodeImport, WhatClientsWroteStaysUnlessItMerges) {
  open();
  zk::TreeNode a = node("/a", "A");
  zk::TreeNode b = node("/b", "B");
  zk::TreeNode root = node("/", "root");
  a.acl = b.acl = root.acl = kForAll;
  ASSERT_EQ(first({root, a, b}).code, Code::kOk);
  ASSERT_EQ(create("/own"), "/own");
  ASSERT_EQ(write(zk::SetData{"/a", "theirs", -1}).code, Code::kOk);
  const auto before = nodes();
  for (const char* path : {"/own", "/a"}) {
    zk::Reply reply = second({path}, {});
    EXPECT_EQ(reply.code, Code::kBadVersion);
    EXPECT_EQ(wrong_path(reply), path);
    reply = second({}, {node("/b", "new"), node(path, "new")});
    EXPECT_EQ(reply.code, Code::kBadVersion);
    EXPECT_EQ(wrong_path(reply), path);
  }
  EXPECT_EQ(nodes(), before);
  // What an import wrote, in whichever step, it may write again.
  ASSERT_EQ(second({}, {node("/", "again"), node("/b", "new")}).code, Code::kOk);
  ASSERT_EQ(step({"2", "3", false, {}, {node("/b", "newer")}}).code, Code::kOk);
  a.data = "merged";
  ASSERT_EQ(step({"3", "4", true, {"/own"}, {a}}).code, Code::kOk);
  EXPECT_EQ(nodes(), (std::vector{a, node("/b", "newer")}));
  // Who wrote what was compacted is forgotten.
  ASSERT_EQ(write(zk::SetData{"/a", "theirs", -1}).code, Code::kOk);
  EXPECT_EQ(step({"4", "5", false, {}, {a}}).code, Code::kBadVersion);
  ASSERT_EQ(step({"4", "5", false, {"/b"}, {}}).code, Code::kOk);
  api::CompactRequest compact;
  compact.revision = replica_.store.revision();
  ASSERT_FALSE(std::holds_alternative<api::Error>(run(compact)));
  ASSERT_EQ(step({"5", "6", false, {}, {a}}).code, Code::kOk);
  EXPECT_EQ(nodes(), std::vector{a});
  expect_members_equal();
}

TEST_F(ZnodeImport, TimesAndTheNumberOfNodesAreBounded) {
  zk::TreeNode wrong = node("/a", "");
  for (const std::int64_t ms : {std::int64_t{-1}, limits::kMaxZnodeTimeMs + 1}) {
    wrong.mtime_ms = ms;
    EXPECT_TRUE(
        std::holds_alternative<api::Error>(run(zk::ImportRequest{"", "1", false, {}, {wrong}})));
    wrong.mtime_ms = 0;
    wrong.ctime_ms = ms;
    EXPECT_TRUE(
        std::holds_alternative<api::Error>(run(zk::ImportRequest{"", "1", false, {}, {wrong}})));
    wrong.ctime_ms = limits::kMaxZnodeTimeMs;
  }
  std::vector<Bytes> removed(limits::kMaxZnodeOperations, "/x");
  EXPECT_FALSE(
      std::holds_alternative<api::Error>(run(zk::ImportRequest{"", "1", false, removed, {}})));
  const auto many = run(zk::ImportRequest{"", "1", false, removed, {node("/a", "")}});
  ASSERT_TRUE(std::holds_alternative<api::Error>(many));
  EXPECT_EQ(std::get<api::Error>(many).code, api::ErrorCode::kRequestTooLarge);
}

TEST_F(ZnodeImport, AnExportComesInParts) {
  std::vector<zk::TreeNode> all;
  for (int i = 0; i < 2'500; ++i) all.push_back(node(fmt::format("/n{:04}", i), "x"));
  ASSERT_EQ(first(all).code, Code::kOk);
  std::vector<zk::TreeNode> found;
  Bytes from;
  int parts = 0;
  do {
    zk::Tree part = exported(from);
    ++parts;
    for (zk::TreeNode& each : part.nodes) {
      if (each.path.starts_with("/n")) found.push_back(std::move(each));
    }
    from = part.next;
  } while (!from.empty());
  EXPECT_EQ(found, all);
  EXPECT_EQ(parts, 3);
}

// Whether somebody says who asks or not, and cut off anywhere.
TEST(ZnodeImportCodec, AStepAsBytes) {
  api::Request request;
  const zk::ImportRequest step{
      "1", "2", true, {"/x", "/y"}, {node("/", "root", -1), node("/a", "")}};
  request.body = step;
  for (const api::Identity& who : {api::Identity{}, api::Identity{"root", 7}}) {
    request.identity = who;
    const Bytes bytes = encode_command({NodeId{2}, 3, 4}, request);
    EXPECT_EQ(bytes[0], 8);
    EXPECT_EQ(bytes[1], 19);
    const auto command = decode_command(bytes);
    ASSERT_TRUE(command.has_value());
    EXPECT_EQ(std::get<zk::ImportRequest>(command->body), step);
    EXPECT_EQ(command->identity, who);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(decode_command(BytesView(bytes).substr(0, size)).has_value()) << size;
    }
    Bytes other = bytes;
    other[0] = 7;
    EXPECT_FALSE(decode_command(other).has_value());
  }
}

}  // namespace
}  // namespace conclave::store
