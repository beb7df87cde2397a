#include "store/znode_import.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/zookeeper_limits.h"
#include "store/znode_acl.h"
#include "store/znode_path.h"
#include "store/znode_tree.h"
#include "store/znodes.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using zk::Code;

BytesView mark_of(const Mvcc& mvcc) {
  const Record* record = mvcc.find(Keyspace::kEtcd, zk::kImportMark, mvcc.revision());
  return record == nullptr ? BytesView() : record->value();
}

bool is_within_limits(const zk::TreeNode& node) {
  return is_valid_path(node.path) && node.path.size() <= limits::kMaxZnodePathBytes &&
         node.data.size() <= limits::kMaxZooKeeperPacketBytes;
}

// As they come from a ZooKeeper, of whatever schemes.
bool is_within_limits(const AclList& acl) {
  std::size_t bytes = 0;
  for (const zk::Acl& each : acl) {
    bytes += sizeof(std::int64_t) + each.id.scheme.size() + each.id.id.size();
  }
  return !acl.empty() && acl.size() <= limits::kMaxZnodeAcl && bytes <= limits::kMaxZnodeAclBytes;
}

// Whether a client has written what is there, and not an import: each step changes the mark at the
// revision at which it writes. Of what was compacted since that is not known. ACLs have no revision
// of their own. The root, which nobody creates, is nobody's until it is written.
bool is_of_client(const Mvcc& mvcc, BytesView path, const Znode& node) {
  if (path == kRootPath && node.version == 0) return false;
  if (node.mzxid < mvcc.compacted()) return false;
  const Record* mark = mvcc.find(Keyspace::kEtcd, zk::kImportMark, node.mzxid);
  return mark == nullptr || mark->mod != node.mzxid;
}

// Whether what is there may be overwritten or removed.
Code check(const Mvcc& mvcc, BytesView path, const ZnodeTree::Node& node, bool merge) {
  if (node.znode.is_ephemeral()) return Code::kNodeExists;
  return !merge && is_of_client(mvcc, path, node.znode) ? Code::kBadVersion : Code::kOk;
}

Code remove(const Mvcc& mvcc, ZnodeTree& tree, const Bytes& path, bool merge) {
  if (!is_valid_path(path) || path == kRootPath || is_within(path, kZooKeepersOwn)) {
    return Code::kBadArguments;
  }
  const ZnodeTree::Node* node = tree.find(path);
  if (node == nullptr) return Code::kOk;
  if (const Code code = check(mvcc, path, *node, merge); code != Code::kOk) return code;
  if (node->has_children()) return Code::kNotEmpty;
  tree.remove(path);
  return Code::kOk;
}

Code put(const Mvcc& mvcc, ZnodeTree& tree, const zk::TreeNode& from, bool merge) {
  if (!is_within_limits(from) || is_within(from.path, kZooKeepersOwn)) return Code::kBadArguments;
  if (!is_within_limits(from.acl)) return Code::kInvalidAcl;
  const auto split = split_path(from.path);
  CHECK(split.has_value());
  const ZnodeTree::Node* parent = tree.find(split->parent);
  if (parent == nullptr) return Code::kNoNode;
  if (parent->znode.is_ephemeral()) return Code::kNoChildrenForEphemerals;
  Znode node;
  node.ctime_ms = from.ctime_ms;
  node.mtime_ms = from.mtime_ms;
  node.version = from.version;
  node.aversion = from.aversion;
  node.acl = encode_acl(from.acl);
  node.data = from.data;
  std::int32_t created = from.created;
  const ZnodeTree::Node* before = tree.find(from.path);
  if (before != nullptr) {
    if (const Code code = check(mvcc, from.path, *before, merge); code != Code::kOk) return code;
  }
  if (merge && before != nullptr && before->children) {
    created = std::max(created, before->children->created);
  }
  tree.import(from.path, node, created);
  return Code::kOk;
}

zk::TreeNode exported(Bytes path, const ZnodeTree::Node& node) {
  auto acl = decode_acl(node.znode.acl);
  CHECK(acl.has_value());
  return {
      .path = std::move(path),
      .data = Bytes(node.znode.data),
      .acl = *std::move(acl),
      .ctime_ms = node.znode.ctime_ms,
      .mtime_ms = node.znode.mtime_ms,
      .version = node.znode.version,
      .aversion = node.znode.aversion,
      .created = node.children ? node.children->created : 0,
      .is_plain = node.znode.kind == Znode::Kind::kPlain,
  };
}

}  // namespace

api::Answer import_znodes(StoreState& state, const zk::ImportRequest& step) {
  const BytesView mark = mark_of(state.mvcc);
  zk::Reply reply;
  reply.zxid = state.mvcc.revision();
  if (mark == step.after) return reply;
  if (mark != step.before) {
    return api::Error{api::ErrorCode::kFenced, "another import was begun, or this one was ended"};
  }
  {
    Mvcc::Write founding(state.mvcc);
    found_tree(state.mvcc, founding);
  }
  Mvcc::Write write(state.mvcc);
  ZnodeTree tree(state, write.revision());
  const auto refused = [&](Code code, const Bytes& path) {
    reply.code = code;
    reply.result = zk::Names{.names = {path}, .stat = {}};
    return reply;
  };
  for (const Bytes& path : step.removed) {
    if (const Code code = remove(state.mvcc, tree, path, step.merge); code != Code::kOk)
      return refused(code, path);
  }
  for (const zk::TreeNode& node : step.nodes) {
    const Code code = put(state.mvcc, tree, node, step.merge);
    if (code != Code::kOk) return refused(code, node.path);
  }
  // At first: it has a history, and the nodes have none.
  if (step.after.empty()) {
    write.erase(Keyspace::kEtcd, KeyRange::one(zk::kImportMark));
  } else {
    write.put(Keyspace::kEtcd, zk::kImportMark, step.after, 0);
  }
  tree.commit(write);
  reply.zxid = state.mvcc.revision();
  return reply;
}

zk::Reply export_znodes(const StoreState& state, const zk::ExportRequest& request) {
  const Mvcc& mvcc = state.mvcc;
  zk::Tree tree{.mark = Bytes(mark_of(mvcc)), .nodes = {}, .next = {}};
  std::size_t bytes = 0;
  Bytes from = request.from;
  bool is_end = false;
  for (std::size_t looks = 0; !is_end && looks < limits::kExportedZnodes; ++looks) {
    if (bytes > limits::kExportedZnodeBytes) break;
    const KeyRange rest = KeyRange::of(from, BytesView("\0", 1));
    is_end =
        mvcc.scan_some(Keyspace::kZnode, rest, mvcc.revision(), from, 1, [&](const Record& record) {
          Bytes path = znode_path(record.key());
          const auto node = stored_node(mvcc, path);
          CHECK(node.has_value());
          bytes += path.size() + node->znode.data.size() + node->znode.acl.size();
          if (node->znode.is_ephemeral()) return;
          tree.nodes.push_back(exported(std::move(path), *node));
        });
  }
  if (!is_end) tree.next = from;
  return {zk::Code::kOk, mvcc.revision(), std::move(tree)};
}

}  // namespace conclave::store
