#include "store/znode_tree.h"

#include <utility>

#include "base/check.h"
#include "store/znode_path.h"

namespace conclave::store {
namespace {

using api::zk::EventType;

bool is_timed(const Znode& znode) { return znode.kind != Znode::Kind::kPlain; }

std::int32_t next(std::int32_t counter) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(counter) + 1);
}

}  // namespace

std::optional<ZnodeTree::Node> stored_node(const Mvcc& mvcc, BytesView path) {
  const auto key = znode_key(path);
  if (!key) return std::nullopt;
  const Record* record = mvcc.find(Keyspace::kZnode, *key, mvcc.revision());
  if (record == nullptr) return std::nullopt;
  auto znode = decode_znode(*record);
  CHECK(znode.has_value(), "a znode's record cannot be decoded");
  ZnodeTree::Node node{Bytes(canonical_path(path)), *std::move(znode), std::nullopt};
  if (node.znode.is_ephemeral()) return node;  // has none, ever
  const Record* children = mvcc.find(Keyspace::kZnodeChildren, node.path, mvcc.revision());
  if (children == nullptr) return node;
  node.children = decode_children(children->value());
  CHECK(node.children.has_value(), "what is known of a znode's children cannot be decoded");
  return node;
}

std::optional<ZnodeSession> stored_session(const Mvcc& mvcc, api::zk::SessionId id) {
  const Record* record = mvcc.find(Keyspace::kZnodeSession, session_key(id), mvcc.revision());
  if (record == nullptr) return std::nullopt;
  auto session = decode_session(record->value());
  CHECK(session.has_value(), "a session's record cannot be decoded");
  return session;
}

ZnodeTree::Entry& ZnodeTree::load(BytesView path) {
  path = canonical_path(path);
  const auto found = entries_.lower_bound(path);
  if (found != entries_.end() && found->first == path) return found->second;
  Entry entry;
  if (auto node = stored_node(state_.mvcc, path)) {
    entry.node = *std::move(node);
    entry.is_there = entry.was_there = true;
    entry.had_children = entry.node.children.has_value();
    entry.was_timed = is_timed(entry.node.znode);
  }
  return entries_.emplace_hint(found, path, std::move(entry))->second;
}

ZnodeTree::Entry& ZnodeTree::existing(BytesView path) {
  Entry& entry = load(path);
  CHECK(entry.is_there);
  return entry;
}

const ZnodeTree::Node* ZnodeTree::find(BytesView path) {
  const Entry& entry = load(path);
  return entry.is_there ? &entry.node : nullptr;
}

ZnodeChildren& ZnodeTree::children_of_parent(BytesView path) {
  const auto split = split_path(path);
  CHECK(split.has_value());
  Entry& parent = existing(split->parent);
  parent.has_new_children = true;
  if (!parent.node.children) {
    parent.node.children.emplace(ZnodeChildren{.pzxid = parent.node.znode.czxid});
  }
  parent.node.children->pzxid = zxid_;
  return *parent.node.children;
}

void ZnodeTree::note(EventType type, const Node& node) {
  if (!state_.wants_znode_news) return;
  ZnodeChange& change = changes_.emplace_back(type, node.path, node.znode.acl);
  if (type == EventType::kDataChanged) return;
  const auto split = split_path(node.path);
  CHECK(split.has_value());
  change.parent_acl = existing(split->parent).node.znode.acl;
}

void ZnodeTree::create(BytesView path, const Znode& znode) {
  ZnodeChildren& children = children_of_parent(path);
  children.created = next(children.created);
  ++children.present;
  Entry& entry = load(path);
  CHECK(!entry.is_there);
  entry.node = Node{Bytes(path), znode, std::nullopt};
  entry.is_there = entry.is_new = entry.is_changed = true;
  note(EventType::kCreated, entry.node);
}

void ZnodeTree::remove(BytesView path) {
  Entry& entry = existing(path);
  CHECK(!entry.node.has_children());
  entry.is_there = false;
  entry.is_changed = true;
  note(EventType::kDeleted, entry.node);
  ZnodeChildren& children = children_of_parent(path);
  CHECK(children.present > 0);
  --children.present;
}

void ZnodeTree::set_data(BytesView path, BytesView data, std::int64_t time_ms) {
  Entry& entry = existing(path);
  Znode& znode = entry.node.znode;
  znode.data = data;
  znode.version = next(znode.version);
  znode.mzxid = zxid_;
  znode.mtime_ms = time_ms;
  znode.touched = state_.stamp;
  entry.is_changed = true;
  note(EventType::kDataChanged, entry.node);
}

void ZnodeTree::set_acl(BytesView path, Bytes acl) {
  Entry& entry = existing(path);
  entry.node.znode.acl = std::move(acl);
  entry.node.znode.aversion = next(entry.node.znode.aversion);
  entry.is_changed = true;
}

void ZnodeTree::commit(Mvcc::Write& write) {
  CHECK(write.revision() == zxid_);
  for (const auto& [path, entry] : entries_) {
    if (entry.is_changed) {
      const auto key = znode_key(path);
      CHECK(key.has_value());
      write_node(write, entry, *key);
    }
    if (!entry.is_there) {
      if (entry.had_children) write.erase(Keyspace::kZnodeChildren, KeyRange::one(path));
      continue;
    }
    if (entry.has_new_children) {
      write.put(Keyspace::kZnodeChildren, path, encode(*entry.node.children), 0);
    } else if (entry.is_new && entry.had_children) {
      write.erase(Keyspace::kZnodeChildren, KeyRange::one(path));
    }
  }
  for (ZnodeChange& change : changes_) {
    state_.znode_news.push_back({.outcome = 0, .zxid = zxid_, .what = std::move(change)});
  }
}

void ZnodeTree::write_node(Mvcc::Write& write, const Entry& entry, BytesView key) const {
  const Node& node = entry.node;
  if (!entry.is_there) {
    if (entry.was_there) write.erase(Keyspace::kZnode, KeyRange::one(key));
    if (entry.was_timed) write.erase(Keyspace::kZnodeTimed, KeyRange::one(node.path));
    return;
  }
  write.put(Keyspace::kZnode, key, encode(node.znode), node.znode.owner);
  const bool timed = is_timed(node.znode);
  if (timed && !entry.was_timed) write.put(Keyspace::kZnodeTimed, node.path, {}, 0);
  if (!timed && entry.was_timed) write.erase(Keyspace::kZnodeTimed, KeyRange::one(node.path));
}

}  // namespace conclave::store
