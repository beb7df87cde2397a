// Random operations on znodes beside a tree as one would write it without a thought for speed, at
// members that write snapshots and reclaim at different times.

#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"
#include "store/replica.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using zk::Code;
using zk::Mode;

const std::vector<zk::Acl> kEverybody{{zk::kAllPermissions, {"world", "anyone"}}};

// Every step copies the whole tree.
class NaiveTree {
 public:
  struct Node {
    Bytes data;
    std::int32_t version = 0;
    std::int32_t created = 0;
    zk::SessionId owner = 0;
    zk::Zxid czxid = 0;
    zk::Zxid mzxid = 0;
    zk::Zxid pzxid = 0;

    bool operator==(const Node&) const = default;
  };
  using Nodes = std::map<Bytes, Node>;

  // The code of each operation; those of none but the first failed one count.
  std::vector<Code> run(const std::vector<zk::Operation>& operations, zk::SessionId session,
                        zk::Zxid zxid) {
    Nodes before = nodes;
    std::vector<Code> codes;
    for (const zk::Operation& each : operations) {
      codes.push_back(std::visit([&](const auto& op) { return one(op, session, zxid); }, each));
      if (codes.back() == Code::kOk) continue;
      nodes = std::move(before);
      break;
    }
    return codes;
  }

  void end(zk::SessionId session, zk::Zxid zxid) {
    for (auto it = nodes.begin(); it != nodes.end();) {
      if (it->second.owner == session) {
        nodes[parent_of(it->first)].pzxid = zxid;
        it = nodes.erase(it);
      } else {
        ++it;
      }
    }
  }

  std::vector<Bytes> children(const Bytes& path) const {
    std::vector<Bytes> names;
    for (const auto& [each, node] : nodes) {
      if (each != "/" && parent_of(each) == path) names.push_back(each.substr(each.rfind('/') + 1));
    }
    std::ranges::sort(names);
    return names;
  }

  static Bytes parent_of(const Bytes& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
  }

  Nodes nodes;

 private:
  Code one(const zk::Create& op, zk::SessionId session, zk::Zxid zxid) {
    const auto parent = nodes.find(parent_of(op.path));
    if (parent == nodes.end()) return Code::kNoNode;
    const bool is_sequential = op.mode == Mode::kPersistentSequential;
    const Bytes path =
        is_sequential ? fmt::format("{}{:010d}", op.path, parent->second.created) : op.path;
    if (nodes.contains(path)) return Code::kNodeExists;
    if (parent->second.owner != 0) return Code::kNoChildrenForEphemerals;
    ++parent->second.created;
    parent->second.pzxid = zxid;
    const zk::SessionId owner = op.mode == Mode::kEphemeral ? session : 0;
    Node& node = nodes[path];
    node.data = op.data;
    node.owner = owner;
    node.czxid = node.mzxid = node.pzxid = zxid;
    return Code::kOk;
  }
  Code one(const zk::Delete& op, zk::SessionId, zk::Zxid zxid) {
    if (!nodes.contains(parent_of(op.path))) return Code::kNoNode;
    const auto found = nodes.find(op.path);
    if (found == nodes.end()) return Code::kNoNode;
    if (op.version != -1 && op.version != found->second.version) return Code::kBadVersion;
    if (!children(op.path).empty()) return Code::kNotEmpty;
    nodes.erase(found);
    nodes[parent_of(op.path)].pzxid = zxid;
    return Code::kOk;
  }
  Code one(const zk::SetData& op, zk::SessionId, zk::Zxid zxid) {
    const auto found = nodes.find(op.path);
    if (found == nodes.end()) return Code::kNoNode;
    if (op.version != -1 && op.version != found->second.version) return Code::kBadVersion;
    found->second.data = op.data;
    ++found->second.version;
    found->second.mzxid = zxid;
    return Code::kOk;
  }
  Code one(const zk::Check& op, zk::SessionId, zk::Zxid) {
    const auto found = nodes.find(op.path);
    if (found == nodes.end()) return Code::kNoNode;
    const bool fits = op.version == -1 || op.version == found->second.version;
    return fits ? Code::kOk : Code::kBadVersion;
  }
};

class RandomZnodes : public testing::TestWithParam<std::uint64_t> {
 protected:
  static constexpr zk::SessionId kSessions = 3;

  zk::Reply write(decltype(zk::WriteRequest::op) op, zk::SessionId session) {
    api::Request request;
    request.body = zk::WriteRequest{{session, 1, {}}, 1, std::move(op)};
    return std::get<zk::Reply>(replica_.run(request).answer);
  }
  zk::Reply read(decltype(zk::ReadRequest::op) op) {
    api::Request request;
    request.body = zk::ReadRequest{{kSessions + 1, 1, {}}, false, std::move(op)};
    return std::get<zk::Reply>(replica_.run(request).answer);
  }
  void open(zk::SessionId id) { write(zk::OpenSession{1'000, 100, id, Bytes(16, 'p')}, 0); }

  // One of a few, three levels deep, so that they meet.
  Bytes path() {
    Bytes made;
    const std::uint64_t levels = 1 + rng_.below(3);
    for (std::uint64_t i = 0; i < levels; ++i) made += fmt::format("/{}", rng_.below(3));
    return made;
  }
  std::int32_t version() { return static_cast<std::int32_t>(rng_.below(4)) - 1; }

  zk::Operation operation() {
    switch (rng_.below(8)) {
      case 0:
      case 1:
      case 2:
        return zk::Create{path(), "c", kEverybody};
      case 3:
        return zk::Create{path(), "e", kEverybody, Mode::kEphemeral};
      case 4:
        return zk::Create{path(), "", kEverybody, Mode::kPersistentSequential};
      case 5:
        return zk::SetData{path(), Bytes(rng_.below(30), 'x'), version()};
      case 6:
        return zk::Check{path(), version()};
      default:
        return zk::Delete{path(), version()};
    }
  }

  void step() {
    const auto session = static_cast<zk::SessionId>(1 + rng_.below(kSessions));
    const zk::Zxid zxid = replica_.store.revision() + 1;
    if (rng_.below(40) == 0) {
      ASSERT_EQ(write(zk::CloseSession{}, session).code, Code::kOk);
      naive_.end(session, zxid);
      open(session);
      return;
    }
    zk::Multi multi;
    for (std::uint64_t i = 0; i < 1 + rng_.below(4); ++i) multi.operations.push_back(operation());
    const std::vector<Code> expected = naive_.run(multi.operations, session, zxid);
    if (multi.operations.size() == 1 && rng_.below(2) == 0) {
      const Code code = std::visit([&](auto op) { return write(std::move(op), session).code; },
                                   multi.operations[0]);
      ASSERT_EQ(code, expected[0]);
      return;
    }
    const zk::Reply reply = write(multi, session);
    const auto& results = std::get<zk::Results>(reply.result).results;
    ASSERT_EQ(results.size(), multi.operations.size());
    const bool failed = expected.back() != Code::kOk;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const Code wanted = !failed || i + 1 < expected.size() ? Code::kOk
                          : i + 1 == expected.size()         ? expected.back()
                                                             : Code::kRuntimeInconsistency;
      ASSERT_EQ(results[i].code, wanted) << i;
    }
  }

  void expect_equal_to_naive() {
    EXPECT_EQ(replica_.store.znode_counts().nodes, naive_.nodes.size());
    for (const auto& [path, node] : naive_.nodes) {
      const zk::Reply reply = read(zk::GetChildren{path});
      ASSERT_EQ(reply.code, Code::kOk) << path;
      const auto& names = std::get<zk::Names>(reply.result);
      const std::vector<Bytes> children = naive_.children(path);
      EXPECT_EQ(names.names, children) << path;
      const auto present = static_cast<std::int32_t>(children.size());
      EXPECT_EQ(names.stat.num_children, present);
      EXPECT_EQ(names.stat.cversion, 2 * node.created - present) << path;
      EXPECT_EQ(names.stat.version, node.version) << path;
      EXPECT_EQ(names.stat.ephemeral_owner, node.owner) << path;
      EXPECT_EQ(names.stat.czxid, node.czxid) << path;
      EXPECT_EQ(names.stat.mzxid, node.mzxid) << path;
      EXPECT_EQ(names.stat.pzxid, node.pzxid) << path;
      EXPECT_EQ(std::get<zk::Data>(read(zk::GetData{path}).result).data, node.data) << path;
    }
  }

  Replica replica_;
  NaiveTree naive_;
  Rng rng_{GetParam()};
};

TEST_P(RandomZnodes, AreAsInANaiveTree) {
  for (zk::SessionId id = 1; id <= kSessions + 1; ++id) open(id);
  for (const char* path : {"/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"}) {
    naive_.nodes[path];
  }
  std::unique_ptr<SnapshotWriter> writer;
  std::unique_ptr<SnapshotLoader> loader;
  std::uint64_t hash = 0;
  for (int i = 0; i < 1'500; ++i) {
    step();
    if (HasFatalFailure()) return;
    if (writer == nullptr && rng_.below(60) == 0) {
      hash = replica_.store.hash();
      writer = replica_.store.begin_snapshot();
      loader = std::make_unique<SnapshotLoader>(Limits{});
    } else if (writer != nullptr && rng_.below(3) == 0) {
      const Bytes piece = writer->next(1 + rng_.below(500));
      const auto fed = loader->feed(piece);
      ASSERT_TRUE(fed.has_value()) << fed.error().message;
      if (piece.empty()) {
        auto loaded = loader->finish();
        ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
        EXPECT_EQ(loaded->hash(), hash);
        writer.reset();
      }
    }
    if (rng_.below(4) == 0) replica_.store.reclaim(rng_.below(5));
    if (i % 100 == 0) expect_equal_to_naive();
  }
  writer.reset();
  while (replica_.store.reclaim(100)) {
  }
  expect_equal_to_naive();
  Replica other;
  for (const Bytes& entry : replica_.log) other.apply(entry);
  EXPECT_EQ(other.store.hash(), replica_.store.hash());
  EXPECT_EQ(other.store.size_bytes(), replica_.store.size_bytes())
      << "nothing that was kept for a snapshot is left";
  EXPECT_EQ(replica_.elsewhere().hash(), replica_.store.hash());
  EXPECT_EQ(replica_.elsewhere().size_bytes(), replica_.store.size_bytes());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomZnodes, testing::Range<std::uint64_t>(1, 9));

}  // namespace
}  // namespace conclave::store
