#include "store/znode_watches.h"

#include <bit>
#include <utility>

#include "base/check.h"
#include "store/znode_acl.h"
#include "store/znode_path.h"

namespace conclave::store {

using api::zk::EventType;
using api::zk::WatcherType;

ZnodeWatches::Kinds ZnodeWatches::kinds_of(WatcherType type) {
  switch (type) {
    case WatcherType::kChildren:
      return bit(Kind::kChildren);
    case WatcherType::kData:
      return bit(Kind::kData);
    case WatcherType::kAny:
      break;
  }
  return bit(Kind::kData) | bit(Kind::kChildren) | bit(Kind::kPersistent) | bit(Kind::kRecursive);
}

bool ZnodeWatches::add(std::uint64_t connection, BytesView path, Kind kind,
                       const std::vector<api::zk::Id>& ids) {
  path = canonical_path(path);
  const auto known = connections_.find(connection);
  const bool is_full =
      watches_ >= limits_.watches ||
      (known != connections_.end() && known->second.watches >= limits_.connection_watches);
  const auto found = paths_.find(path);
  if (found != paths_.end()) {
    const auto own = found->second.find(connection);
    if (own != found->second.end() && (own->second & bit(kind)) != 0) return true;
  }
  if (is_full) return false;
  const auto at = found != paths_.end() ? found : paths_.emplace(path, Watchers()).first;
  Connection& client = connections_[connection];
  at->second[connection] |= bit(kind);
  client.ids = ids;
  client.paths.insert(&*at);
  ++client.watches;
  ++watches_;
  if (kind == Kind::kRecursive) ++recursive_;
  return true;
}

// Takes those of a watcher's kinds away, and what is left of it without any.
void ZnodeWatches::drop(Paths::iterator path, Watchers::iterator watcher, Kinds kinds) {
  const Kinds dropped = watcher->second & kinds;
  const auto count = static_cast<std::size_t>(std::popcount(dropped));
  const auto client = connections_.find(watcher->first);
  CHECK(client != connections_.end());
  client->second.watches -= count;
  watches_ -= count;
  if ((dropped & bit(Kind::kRecursive)) != 0) --recursive_;
  watcher->second = static_cast<Kinds>(watcher->second & ~dropped);
  if (watcher->second != 0) return;
  client->second.paths.erase(&*path);
  if (client->second.paths.empty()) connections_.erase(client);
  path->second.erase(watcher);
  if (path->second.empty()) paths_.erase(path);
}

bool ZnodeWatches::has(std::uint64_t connection, BytesView path, WatcherType type) const {
  const auto found = paths_.find(canonical_path(path));
  if (found == paths_.end()) return false;
  const auto own = found->second.find(connection);
  return own != found->second.end() && (own->second & kinds_of(type)) != 0;
}

bool ZnodeWatches::remove(std::uint64_t connection, BytesView path, WatcherType type) {
  if (!has(connection, path, type)) return false;
  const auto found = paths_.find(canonical_path(path));
  drop(found, found->second.find(connection), kinds_of(type));
  return true;
}

void ZnodeWatches::close_connection(std::uint64_t connection) {
  const auto client = connections_.find(connection);
  if (client == connections_.end()) return;
  const auto paths = client->second.paths;
  for (const Paths::value_type* path : paths) remove(connection, path->first, WatcherType::kAny);
  CHECK(!connections_.contains(connection));
}

// Who watches `path` by one of the kinds `once`, which end with it, or `always`.
void ZnodeWatches::take(BytesView path, Kinds once, Kinds always, Told& told) {
  const auto found = paths_.find(path);
  if (found == paths_.end()) return;
  std::vector<std::uint64_t> ended;
  for (const auto& [connection, kinds] : found->second) {
    if ((kinds & (once | always)) != 0) told.insert(connection);
    if ((kinds & once) != 0) ended.push_back(connection);
  }
  for (std::size_t i = 0; i < ended.size(); ++i) {
    // The last one may take the path with it.
    const auto watcher = found->second.find(ended[i]);
    drop(found, watcher, once);
  }
}

// Who watches all that is below a node above this one.
void ZnodeWatches::add_from_above(const ZnodeChange& change, Told& told) const {
  if (recursive_ == 0) return;
  BytesView path = change.path;
  while (path != kRootPath) {
    const auto split = split_path(path);
    CHECK(split.has_value());
    path = split->parent;
    const auto found = paths_.find(path);
    if (found == paths_.end()) continue;
    for (const auto& [connection, kinds] : found->second) {
      if ((kinds & bit(Kind::kRecursive)) == 0) continue;
      const auto& ids = connections_.at(connection).ids;
      if (is_allowed(change.acl, api::zk::kRead, ids)) told.insert(connection);
    }
  }
}

void ZnodeWatches::on_change(const ZnodeChange& change, api::zk::Zxid zxid) {
  if (empty()) return;
  const Kinds always = bit(Kind::kPersistent) | bit(Kind::kRecursive);
  Kinds once = bit(Kind::kData);
  if (change.type == EventType::kDeleted) once |= bit(Kind::kChildren);
  Told told;
  add_from_above(change, told);
  take(change.path, once, always, told);
  for (const std::uint64_t connection : told) {
    tell_(connection, {change.type, change.path, zxid});
  }
  if (change.type == EventType::kDataChanged) return;
  const auto split = split_path(change.path);
  CHECK(split.has_value());
  told.clear();
  take(split->parent, bit(Kind::kChildren), bit(Kind::kPersistent), told);
  for (const std::uint64_t connection : told) {
    tell_(connection, {EventType::kChildrenChanged, Bytes(split->parent), zxid});
  }
}

void ZnodeWatches::for_each(const std::function<void(const Bytes&, std::uint64_t)>& visit) const {
  for (const auto& [path, watchers] : paths_) {
    for (const auto& [connection, kinds] : watchers) visit(path, connection);
  }
}

}  // namespace conclave::store
