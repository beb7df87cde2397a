#include "store/znode_watches.h"

#include <bit>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "store/znode_acl.h"
#include "store/znode_path.h"

namespace conclave::store {

using api::zk::EventType;
using api::zk::WatcherType;

ZnodeWatches::Kinds ZnodeWatches::bits_of(Kind kind) {
  switch (kind) {
    case Kind::kData:
      return kOnce;
    case Kind::kChildren:
      return kOnceChildren;
    case Kind::kPersistent:
      return kAlways | kAlwaysChildren;
    case Kind::kRecursive:
      return kBelow;
  }
  return 0;
}

ZnodeWatches::Kinds ZnodeWatches::bits_of(WatcherType type) {
  constexpr Kinds kOfData = kOnce | kAlways | kBelow;
  constexpr Kinds kOfChildren = kOnceChildren | kAlwaysChildren;
  switch (type) {
    case WatcherType::kChildren:
      return kOfChildren;
    case WatcherType::kData:
      return kOfData;
    case WatcherType::kAny:
      break;
  }
  return kOfData | kOfChildren;
}

bool ZnodeWatches::is_full(const Connection* client, std::size_t path_bytes) const {
  if (watches_ >= limits_.watches || bytes_ + path_bytes > limits_.bytes) return true;
  return client != nullptr && (client->watches >= limits_.connection_watches ||
                               client->bytes + path_bytes > limits_.connection_bytes);
}

bool ZnodeWatches::add(std::uint64_t connection, BytesView path, Kind kind,
                       const std::vector<api::zk::Id>& ids) {
  if (path.size() > limits::kMaxZnodePathBytes) return false;
  path = canonical_path(path);
  const auto known = connections_.find(connection);
  const auto found = paths_.find(path);
  Kinds new_kinds = bits_of(kind);
  bool is_new_path = true;
  if (found != paths_.end()) {
    const auto own = found->second.find(connection);
    is_new_path = own == found->second.end();
    if (!is_new_path) new_kinds = static_cast<Kinds>(new_kinds & ~own->second);
  }
  if (new_kinds == 0) return true;
  const std::size_t bytes = is_new_path ? path.size() : 0;
  if (is_full(known == connections_.end() ? nullptr : &known->second, bytes)) return false;
  const auto at = found != paths_.end() ? found : paths_.emplace(path, Watchers()).first;
  Connection& client = connections_[connection];
  at->second[connection] |= new_kinds;
  const auto count = static_cast<std::size_t>(std::popcount(new_kinds));
  if (client.ids.size() < ids.size()) client.ids = ids;
  client.paths.insert(&*at);
  client.watches += count;
  client.bytes += bytes;
  watches_ += count;
  bytes_ += bytes;
  if ((new_kinds & kBelow) != 0) ++recursive_;
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
  if ((dropped & kBelow) != 0) --recursive_;
  watcher->second = static_cast<Kinds>(watcher->second & ~dropped);
  if (watcher->second != 0) return;
  client->second.paths.erase(&*path);
  client->second.bytes -= path->first.size();
  bytes_ -= path->first.size();
  if (client->second.paths.empty()) connections_.erase(client);
  path->second.erase(watcher);
  if (path->second.empty()) paths_.erase(path);
}

bool ZnodeWatches::has(std::uint64_t connection, BytesView path, WatcherType type) const {
  const auto found = paths_.find(canonical_path(path));
  if (found == paths_.end()) return false;
  const auto own = found->second.find(connection);
  return own != found->second.end() && (own->second & bits_of(type)) != 0;
}

bool ZnodeWatches::remove(std::uint64_t connection, BytesView path, WatcherType type) {
  if (!has(connection, path, type)) return false;
  const auto found = paths_.find(canonical_path(path));
  drop(found, found->second.find(connection), bits_of(type));
  return true;
}

void ZnodeWatches::close_connection(std::uint64_t connection) {
  const auto client = connections_.find(connection);
  if (client == connections_.end()) return;
  const auto paths = client->second.paths;
  for (const Paths::value_type* path : paths) remove(connection, path->first, WatcherType::kAny);
  CHECK(!connections_.contains(connection));
}

void ZnodeWatches::identify(std::uint64_t connection, const std::vector<api::zk::Id>& ids) {
  const auto client = connections_.find(connection);
  if (client != connections_.end() && client->second.ids.size() < ids.size()) {
    client->second.ids = ids;
  }
}

bool ZnodeWatches::may_read(std::uint64_t connection, BytesView acl) const {
  return is_allowed(acl, api::zk::kRead, connections_.at(connection).ids);
}

// Who watches `path`, which has this list, by one of the kinds `once`, which end with it, or
// `always`.
void ZnodeWatches::take(BytesView path, BytesView acl, Kinds once, Kinds always, Told& told) {
  const auto found = paths_.find(path);
  if (found == paths_.end()) return;
  std::vector<std::uint64_t> ended;
  for (const auto& [connection, kinds] : found->second) {
    if ((kinds & (once | always)) != 0 && may_read(connection, acl)) told.insert(connection);
    if ((kinds & once) != 0) ended.push_back(connection);
  }
  // The last one may take the path with it.
  for (const std::uint64_t each : ended) drop(found, found->second.find(each), once);
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
      if ((kinds & kBelow) != 0 && may_read(connection, change.acl)) told.insert(connection);
    }
  }
}

void ZnodeWatches::on_change(const ZnodeChange& change, api::zk::Zxid zxid) {
  if (empty()) return;
  const bool is_deletion = change.type == EventType::kDeleted;
  const Kinds once = is_deletion ? kOnce | kOnceChildren : kOnce;
  const Kinds always = is_deletion ? kAlways | kAlwaysChildren | kBelow : kAlways | kBelow;
  Told told;
  add_from_above(change, told);
  take(change.path, change.acl, once, always, told);
  for (const std::uint64_t connection : told) {
    tell_(connection, {change.type, change.path, zxid});
  }
  if (change.type == EventType::kDataChanged) return;
  const auto split = split_path(change.path);
  CHECK(split.has_value());
  told.clear();
  take(split->parent, change.parent_acl, kOnceChildren, kAlwaysChildren, told);
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
