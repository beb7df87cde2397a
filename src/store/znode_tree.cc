#include "store/znode_tree.h"

#include <utility>

#include "base/check.h"
#include "store/znode_path.h"
#include "store/znode_quota.h"

namespace conclave::store {
namespace {

using api::zk::EventType;

bool is_timed(const Znode& znode) { return znode.kind != Znode::Kind::kPlain; }

// As Java's: a client may have put any numbers there.
std::int64_t wrapping_sum(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

std::int32_t next(std::int32_t counter) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(counter) + 1);
}

Znode znode_of(const Record& record) {
  auto znode = decode_znode(record);
  CHECK(znode.has_value(), "a znode's record cannot be decoded");
  return *std::move(znode);
}

ZnodeChildren children_of(const Record& record) {
  const auto children = decode_children(record.value());
  CHECK(children.has_value(), "what is known of a znode's children cannot be decoded");
  return *children;
}

}  // namespace

std::optional<ZnodeTree::Node> stored_node(const Mvcc& mvcc, BytesView path) {
  const auto key = znode_key(path);
  if (!key) return std::nullopt;
  const Record* record = mvcc.find(Keyspace::kZnode, *key, mvcc.revision());
  if (record == nullptr) return std::nullopt;
  ZnodeTree::Node node{znode_of(*record), std::nullopt};
  if (node.znode.is_ephemeral()) return node;  // has none, ever
  const Record* children =
      mvcc.find(Keyspace::kZnodeChildren, canonical_path(path), mvcc.revision());
  if (children != nullptr) node.children = children_of(*children);
  return node;
}

std::optional<ZnodeSession> stored_session(const Mvcc& mvcc, api::zk::SessionId id) {
  const Record* record = mvcc.find(Keyspace::kZnodeSession, session_key(id), mvcc.revision());
  if (record == nullptr) return std::nullopt;
  auto session = decode_session(record->value());
  CHECK(session.has_value(), "a session's record cannot be decoded");
  return session;
}

std::span<char> ZnodeTree::room_for(std::size_t bytes) {
  return {static_cast<char*>(memory_.allocate(bytes, 1)), bytes};
}

ZnodeTree::Entry& ZnodeTree::load(BytesView path) {
  path = canonical_path(path);
  for (Entries::value_type* each : recent_) {
    if (each != nullptr && each->first == path) return each->second;
  }
  auto found = entries_.lower_bound(path);
  if (found == entries_.end() || found->first != path) {
    const std::span<char> own_path = room_for(path.size());
    path.copy(own_path.data(), path.size());
    path = {own_path.data(), own_path.size()};
    found = entries_.try_emplace(found, path);
    load(found->second, path);
  }
  recent_[1] = std::exchange(recent_[0], &*found);
  return found->second;
}

// What stored_node() says, and where it is.
void ZnodeTree::load(Entry& entry, BytesView path) {
  const auto key = znode_key(path, room_for(path.size() + 1));
  if (!key) return;
  entry.key = *key;
  entry.place = state_.mvcc.locate(Keyspace::kZnode, entry.key);
  const Record* record = Mvcc::current(entry.place);
  if (record == nullptr) return;
  entry.is_there = entry.was_there = true;
  entry.node.znode = znode_of(*record);
  entry.was_timed = is_timed(entry.node.znode);
  if (entry.node.znode.is_ephemeral()) return;
  entry.place_of_children = state_.mvcc.locate(Keyspace::kZnodeChildren, path);
  const Record* children = Mvcc::current(entry.place_of_children);
  if (children == nullptr) return;
  entry.node.children = children_of(*children);
  entry.had_children = true;
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

void ZnodeTree::note(EventType type, BytesView path, const Node& node) {
  if (!state_.wants_znode_news || !state_.wants_znode_changes) return;
  path = canonical_path(path);
  ZnodeChange& change = changes_.emplace_back(type, Bytes(path), node.znode.acl);
  if (type == EventType::kDataChanged) return;
  const auto split = split_path(path);
  CHECK(split.has_value());
  change.parent_acl = existing(split->parent).node.znode.acl;
}

const ZnodeTree::Node& ZnodeTree::create(BytesView path, Znode znode) {
  ZnodeChildren& children = children_of_parent(path);
  children.created = next(children.created);
  ++children.present;
  Entry& entry = load(path);
  CHECK(!entry.is_there);
  entry.node = Node{std::move(znode), std::nullopt};
  entry.is_there = entry.is_new = entry.is_changed = true;
  entry.has_new_children = false;  // those were another node's
  note(EventType::kCreated, path, entry.node);
  const auto bytes = static_cast<std::int64_t>(entry.node.znode.data.size());
  if (begins_quotas_) begin_quota(path);
  count(path, {1, bytes});
  return entry.node;
}

void ZnodeTree::remove(BytesView path) {
  Entry& entry = existing(path);
  CHECK(!entry.node.has_children());
  entry.is_there = false;
  entry.is_changed = true;
  note(EventType::kDeleted, path, entry.node);
  ZnodeChildren& children = children_of_parent(path);
  CHECK(children.present > 0);
  --children.present;
  const auto limits_of = path_of_limits(path);
  if (limits_of && has_quota(*limits_of)) quotas_.insert_or_assign(Bytes(*limits_of), false);
  count(path, {-1, -static_cast<std::int64_t>(entry.node.znode.data.size())});
}

const ZnodeTree::Node& ZnodeTree::set_data(BytesView path, BytesView data, std::int64_t time_ms) {
  Entry& entry = existing(path);
  Znode& znode = entry.node.znode;
  const auto before = static_cast<std::int64_t>(znode.data.size());
  znode.data = data;
  znode.version = next(znode.version);
  znode.mzxid = zxid_;
  znode.mtime_ms = time_ms;
  znode.touched = state_.stamp;
  entry.is_changed = true;
  note(EventType::kDataChanged, path, entry.node);
  count(canonical_path(path), {0, static_cast<std::int64_t>(data.size()) - before});
  return entry.node;
}

const ZnodeTree::Node& ZnodeTree::set_acl(BytesView path, Bytes acl) {
  Entry& entry = existing(path);
  entry.node.znode.acl = std::move(acl);
  entry.node.znode.aversion = next(entry.node.znode.aversion);
  entry.is_changed = true;
  return entry.node;
}

void ZnodeTree::import(BytesView path, const Znode& znode, std::int32_t created) {
  Entry& entry = load(path);
  Node& node = entry.node;
  const Znode before = node.znode;
  const bool was_there = entry.is_there;
  if (!was_there) {
    ++children_of_parent(path).present;
    node = Node{};
    entry.is_there = entry.is_new = true;
    entry.has_new_children = false;
  }
  node.znode = znode;
  node.znode.czxid = was_there ? before.czxid : zxid_;
  node.znode.mzxid = zxid_;
  entry.is_changed = true;
  if (created != (node.children ? node.children->created : 0)) {
    if (!node.children) node.children.emplace(ZnodeChildren{.pzxid = node.znode.czxid});
    node.children->created = created;
    entry.has_new_children = true;
  }
  note(was_there ? EventType::kDataChanged : EventType::kCreated, path, node);
  const auto bytes_before = was_there ? static_cast<std::int64_t>(before.data.size()) : 0;
  const auto bytes = static_cast<std::int64_t>(znode.data.size());
  count(path, {was_there ? 0 : 1, bytes - bytes_before});
}

// --- quotas -------------------------------------------------------------------------

bool ZnodeTree::has_quota(BytesView path) const {
  const auto changed = quotas_.find(path);
  if (changed != quotas_.end()) return changed->second;
  return state_.mvcc.find(Keyspace::kZnodeQuota, path, state_.mvcc.revision()) != nullptr;
}

// The nearest one, at or above the path.
std::optional<BytesView> ZnodeTree::quota_over(BytesView path) const {
  if (quotas_.empty() && state_.mvcc.sizes(Keyspace::kZnodeQuota).keys == 0) return std::nullopt;
  while (path != kRootPath) {
    if (has_quota(path)) return path;
    const auto split = split_path(path);
    CHECK(split.has_value());
    path = split->parent;
  }
  return std::nullopt;
}

void ZnodeTree::begin_quota(BytesView path) {
  if (const auto of = path_of_limits(path)) quotas_.insert_or_assign(Bytes(*of), true);
  const auto of = path_of_stats(path);
  if (!of) return;
  CHECK(!has_begun_quota_);
  has_begun_quota_ = true;
  const Extent extent = extent_of(*of);
  QuotaNumbers stats;
  stats.set(kQuotaCount, extent.nodes);
  stats.set(kQuotaBytes, extent.bytes);
  set_stats(path, stats.text());
}

// Looks at each node at and below `path`.
ZnodeTree::Extent ZnodeTree::extent_of(BytesView path) const {
  Extent extent;
  const auto add = [&extent](const Record* record, std::int64_t sign) {
    if (record == nullptr) return;
    const auto znode = decode_znode(*record);
    CHECK(znode.has_value());
    extent.nodes += sign;
    extent.bytes += sign * static_cast<std::int64_t>(znode->data.size());
  };
  const Mvcc& mvcc = state_.mvcc;
  const auto find = [&](BytesView of) {
    const auto key = znode_key(of);
    return key ? mvcc.find(Keyspace::kZnode, *key, mvcc.revision()) : nullptr;
  };
  add(find(path), 1);
  for (const auto& [first, end] : {children_keys(path), deeper_keys(path)}) {
    mvcc.scan(Keyspace::kZnode, KeyRange::of(first, end), mvcc.revision(),
              [&add](const Record& record) {
                add(&record, 1);
                return true;
              });
  }
  // What this operation has done already is not in the store.
  for (const auto& [at, entry] : entries_) {
    if (!is_within(at, path) || !entry.is_changed) continue;
    add(find(at), -1);
    if (!entry.is_there) continue;
    extent.nodes += 1;
    extent.bytes += static_cast<std::int64_t>(entry.node.znode.data.size());
  }
  return extent;
}

void ZnodeTree::count(BytesView path, Extent more) {
  const auto over = quota_over(path);
  if (!over) return;
  const Bytes stats_path = quota_stats_path(*over);
  const Node* node = find(stats_path);
  if (node == nullptr) return;
  auto stats = QuotaNumbers::parse(node->znode.data);
  if (!stats) return;
  stats->set(kQuotaCount, wrapping_sum(stats->get(kQuotaCount), more.nodes));
  stats->set(kQuotaBytes, wrapping_sum(stats->get(kQuotaBytes), more.bytes));
  set_stats(stats_path, stats->text());
}

// As in ZooKeeper the node gets no new version by it, and nobody is told.
void ZnodeTree::set_stats(BytesView path, Bytes stats) {
  Entry& entry = existing(path);
  entry.own_data = std::move(stats);
  entry.node.znode.data = entry.own_data;
  entry.is_changed = true;
}

bool ZnodeTree::exceeds_quota(BytesView path, std::int64_t nodes, std::int64_t bytes) {
  const auto over = quota_over(path);
  if (!over) return false;
  const auto numbers_of = [this](BytesView at) {
    const Node* node = find(at);
    return node == nullptr ? std::nullopt : QuotaNumbers::parse(node->znode.data);
  };
  const auto limits = numbers_of(quota_limits_path(*over));
  const auto stats = numbers_of(quota_stats_path(*over));
  if (!limits || !stats) return false;
  const auto is_beyond = [&](BytesView limit_name, BytesView name, std::int64_t more) {
    const std::int64_t limit = limits->get(limit_name);
    return more != 0 && limit >= 0 && wrapping_sum(stats->get(name), more) > limit;
  };
  return is_beyond(kQuotaCountHardLimit, kQuotaCount, nodes) ||
         is_beyond(kQuotaByteHardLimit, kQuotaBytes, bytes);
}

// --- the end ------------------------------------------------------------------------

void ZnodeTree::commit(Mvcc::Write& write) {
  CHECK(write.revision() == zxid_);
  for (const auto& [path, entry] : entries_) {
    if (entry.is_changed) write_node(write, path, entry);
    write_children(write, path, entry);
  }
  for (const auto& [path, is_there] : quotas_) {
    if (is_there) {
      write.put(Keyspace::kZnodeQuota, path, {}, 0);
    } else {
      write.erase(Keyspace::kZnodeQuota, KeyRange::one(path));
    }
  }
  for (ZnodeChange& change : changes_) {
    state_.znode_news.push_back({.outcome = 0, .zxid = zxid_, .what = std::move(change)});
  }
}

void ZnodeTree::write_node(Mvcc::Write& write, BytesView path, const Entry& entry) const {
  CHECK(!entry.key.empty());
  if (!entry.is_there) {
    if (entry.was_there) write.erase(Keyspace::kZnode, entry.key, entry.place);
    if (entry.was_timed) write.erase(Keyspace::kZnodeTimed, KeyRange::one(path));
    return;
  }
  const Znode& znode = entry.node.znode;
  const ZnodeNumbers numbers = encode_numbers(znode);
  const BytesView pieces[] = {numbers.view(), znode.acl, znode.data};
  write.put(Keyspace::kZnode, entry.key, pieces, znode.owner, entry.place);
  const bool timed = is_timed(znode);
  if (timed && !entry.was_timed) write.put(Keyspace::kZnodeTimed, path, {}, 0);
  if (!timed && entry.was_timed) write.erase(Keyspace::kZnodeTimed, KeyRange::one(path));
}

void ZnodeTree::write_children(Mvcc::Write& write, BytesView path, const Entry& entry) const {
  if (entry.is_there && entry.has_new_children) {
    const auto bytes = encode(*entry.node.children);
    const BytesView value = bytes.view();
    write.put(Keyspace::kZnodeChildren, path, Pieces(&value, 1), 0, entry.place_of_children);
  } else if (entry.had_children && (!entry.is_there || entry.is_new)) {
    write.erase(Keyspace::kZnodeChildren, path, entry.place_of_children);
  }
}

}  // namespace conclave::store
