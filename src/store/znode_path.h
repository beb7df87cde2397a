#pragma once
// Paths of znodes, and the keys under which nodes are stored. "" is another name of the root, as it
// is in ZooKeeper.

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "base/bytes.h"

namespace conclave::store {

inline constexpr BytesView kRootPath = "/";
inline BytesView canonical_path(BytesView path) { return path.empty() ? kRootPath : path; }

// What is there and below it is not imported, and has no quota.
inline constexpr BytesView kZooKeepersOwn = "/zookeeper";
// Whether `path` is `top` or below it. REQUIRES: `top` is not the root.
inline bool is_within(BytesView path, BytesView top) {
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

// Whether ZooKeeper takes it for a path: absolute, no empty, "." or ".." part, no slash at the end,
// and no character that Java's clients cannot show, nor one outside of Unicode's first plane.
bool is_valid_path(BytesView path);

// Parent and last part of "/a/b", "//" or "/": what is before and after the last slash, the root
// being "/". nullopt: there is no slash.
struct SplitPath {
  BytesView parent;
  BytesView name;
};
std::optional<SplitPath> split_path(BytesView path);

// The key of a node in Keyspace::kZnode: `<parent>\0<name>`, so that the children of a node are one
// range of keys, and what is below it two. nullopt: nothing can have this path.
std::optional<Bytes> znode_key(BytesView path);
// The same in `room`, of which it needs up to path.size() + 1 bytes.
std::optional<BytesView> znode_key(BytesView path, std::span<char> room);
// The path of the node that has this key.
Bytes znode_path(BytesView key);
// Children of `path`: keys from `first` up to, and without, `second`.
std::pair<Bytes, Bytes> children_keys(BytesView path);
// The same for all that is deeper.
std::pair<Bytes, Bytes> deeper_keys(BytesView path);

// "/a/b" and 7: "/a/b0000000007", as Java's %010d.
Bytes sequential_path(BytesView path, std::int32_t counter);

}  // namespace conclave::store
