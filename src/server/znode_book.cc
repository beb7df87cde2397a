#include "server/znode_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "server/text.h"
#include "wire/sha256.h"

namespace conclave::server {

namespace {

// REQUIRES: a path, not the root's.
std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Text and its length: no two lists of them look alike.
void add(wire::Sha256& hash, BytesView bytes) {
  hash.add(fmt::format("{}:", bytes.size()));
  hash.add(bytes);
}

}  // namespace

std::int32_t children_created(const api::zk::Stat& stat) {
  const auto changes = static_cast<std::uint32_t>(stat.cversion);
  const auto children = static_cast<std::uint32_t>(stat.num_children);
  return static_cast<std::int32_t>((changes + children) / 2);
}

bool is_masked(const std::vector<api::zk::Acl>& acl) {
  return std::ranges::any_of(acl, [](const api::zk::Acl& each) {
    return each.id.scheme == "digest" && each.id.id.ends_with(":x");
  });
}

std::string target_path(const std::string& path, const std::string& chroot,
                        const std::string& root) {
  CHECK(path.starts_with(chroot));
  const std::string rest = path == "/" ? "" : path.substr(chroot.size());
  const std::string above = root == "/" ? "" : root;
  return above + rest == "" ? "/" : above + rest;
}

ZnodeBook::Digest ZnodeBook::digest_of(const v1::Znode& node) {
  wire::Sha256 hash;
  add(hash, node.data());
  for (const v1::Znode::Acl& acl : node.acl()) {
    hash.add(fmt::format("{} ", acl.permissions()));
    add(hash, acl.scheme());
    add(hash, acl.id());
  }
  hash.add(fmt::format("{} {} {} {} {}", node.ctime(), node.mtime(), node.version(),
                       node.aversion(), node.timed()));
  const Bytes all = hash.finish();
  Digest digest;
  std::copy_n(all.begin(), digest.size(), digest.begin());
  return digest;
}

bool ZnodeBook::is_same(const Entry& entry, const Digest& digest, std::int32_t created) const {
  const bool has_counter = entry.created == created || (merge_ && entry.created > created);
  return entry.digest == digest && has_counter;
}

void ZnodeBook::there(const v1::Znode& node) {
  entries_[node.path()] = {digest_of(node), node.created(), std::nullopt, 0};
}

void ZnodeBook::begin_pass() {
  ++pass_;
  changes_ = 0;
  seen_ = 0;
  skipped_.clear();
  unread_before_ = std::exchange(unread_, {});
}

bool ZnodeBook::wants(const std::string& path, const SourceStamp& stamp) {
  const auto found = entries_.find(path);
  const bool is_known = found != entries_.end() && found->second.stamp == stamp;
  if (!is_known) {
    const auto before = unread_before_.find(path);
    if (before == unread_before_.end() || before->second != stamp) ++changes_;
    unread_[path] = stamp;
    return true;
  }
  found->second.pass = pass_;
  ++seen_;
  return false;
}

bool ZnodeBook::read(const v1::Znode& node, const std::optional<SourceStamp>& stamp) {
  unread_.erase(node.path());
  const auto [at, is_new] = entries_.try_emplace(node.path());
  Entry& entry = at->second;
  if (entry.pass != pass_) ++seen_;
  const Digest digest = digest_of(node);
  const bool is_there = !is_new && is_same(entry, digest, node.created());
  if (!is_there) {
    entry.digest = digest;
    entry.created = merge_ ? std::max(entry.created, node.created()) : node.created();
  }
  entry.stamp = stamp;
  entry.pass = pass_;
  return !is_there;
}

bool ZnodeBook::is_skipped(const std::string& path) const {
  if (skipped_.empty()) return false;
  for (std::size_t end = path.size(); end != std::string::npos && end > 0;
       end = path.rfind('/', end - 1)) {
    if (skipped_.contains(path.substr(0, end))) return true;
  }
  return skipped_.contains("/");
}

bool ZnodeBook::has_parent(const std::string& path) const {
  return entries_.contains(parent_of(path));
}

// Backwards, so that what is below a node has been seen before it.
std::vector<std::string> ZnodeBook::take_gone() {
  std::vector<std::string> gone;
  std::map<std::string, bool> above;  // what stays: whether the target's own
  kept_.clear();
  for (auto at = entries_.end(); at != entries_.begin();) {
    --at;
    const std::string& path = at->first;
    Entry& entry = at->second;
    const auto below = above.extract(path);
    const bool is_seen = entry.pass == pass_ || is_skipped(path);
    const bool is_own = merge_ && entry.pass == 0;
    if (!is_seen && !is_own && below.empty()) {
      gone.push_back(path);
      at = entries_.erase(at);
      continue;
    }
    bool stays_own = is_own;
    if (!is_seen && !is_own) {
      stays_own = below.mapped();
      if (stays_own) {
        kept_.push_back(path);
        entry.pass = 0;
        entry.stamp = std::nullopt;
      } else {
        disturbed();
      }
    }
    if (path != "/") {
      bool& is_all_own = above.try_emplace(parent_of(path), true).first->second;
      is_all_own = is_all_own && stays_own;
    }
  }
  changes_ += gone.size();
  return gone;
}

ZnodeBook::Verdict ZnodeBook::compare(const ZnodeBook& target) const {
  Verdict verdict;
  const auto differs = [&verdict](const std::string& path, const char* how) {
    verdict.path = path;
    verdict.how = how;
    return verdict;
  };
  wire::Sha256 hash;
  for (const auto& [path, entry] : entries_) {
    if (entry.pass == 0) continue;
    const auto found = target.entries_.find(path);
    if (found == target.entries_.end()) return differs(path, "is not in the target");
    const Entry& there = found->second;
    if (there.digest != entry.digest) return differs(path, "is another one in the target");
    if (!is_same(there, entry.digest, entry.created)) {
      return differs(path, "has another counter in the target");
    }
    ++verdict.nodes;
    add(hash, path);
    hash.add(BytesView(entry.digest.data(), entry.digest.size()));
    hash.add(fmt::format("{} ", entry.created));
  }
  for (const auto& [path, entry] : target.entries_) {
    const auto known = entries_.find(path);
    if (known != entries_.end() && known->second.pass != 0) continue;
    if (!merge_ && !is_skipped(path)) return differs(path, "is in the target only");
    ++verdict.others;
  }
  verdict.hash = in_hex(hash.finish());
  return verdict;
}

}  // namespace conclave::server
