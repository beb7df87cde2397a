#include "sim/workloads/zookeeper_mirror.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "sim/finding.h"

namespace conclave::sim {
namespace {

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }
std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

ZkMirror::ZkMirror(Way way, std::string top, std::vector<std::string> watched)
    : way_(way), top_(std::move(top)), watched_(std::move(watched)) {}

void ZkMirror::wrong(const std::string& what) const { found("znode watches", what); }

std::vector<std::string> ZkMirror::to_add() const {
  if (way_ == Way::kRecursive) return {top_};
  return way_ == Way::kPersistent ? watched_ : std::vector<std::string>();
}

std::optional<Bytes> ZkMirror::to_set(std::int64_t last_zxid) const {
  std::vector<std::string> there, missing, children;
  for (const auto& [path, stat] : data_) (stat ? there : missing).push_back(path);
  for (const auto& [path, pzxid] : children_) children.push_back(path);
  JuteWriter out;
  out.large(last_zxid).list(there).list(missing).list(children);
  if (way_ == Way::kOnce) {
    const bool is_empty = data_.empty() && children_.empty();
    return is_empty ? std::nullopt : std::optional(out.written());
  }
  const bool is_recursive = way_ == Way::kRecursive;
  out.list(is_recursive ? std::vector<std::string>() : to_add());
  return out.list(is_recursive ? to_add() : std::vector<std::string>()).written();
}

void ZkMirror::reconnected() {
  versions_.clear();
  cversions_.clear();
  listings_.clear();
}

// --- events -------------------------------------------------------------------------

void ZkMirror::on_event(const ZkEvent& event) { way_ == Way::kOnce ? once(event) : always(event); }

void ZkMirror::once(const ZkEvent& event) {
  const auto data = data_.find(event.path);
  const auto children = children_.find(event.path);
  const bool is_of_children = event.type == ZkEventType::kChildren;
  const bool is_deletion = event.type == ZkEventType::kDeleted;
  const bool by_data = !is_of_children && data != data_.end();
  const bool by_children = (is_of_children || is_deletion) && children != children_.end();
  if (!by_data && !by_children) wrong(describe(event) + ", which is not watched");
  if (by_data) {
    const bool was_there = data->second.has_value();
    if (was_there == (event.type == ZkEventType::kCreated))
      wrong(describe(event) + (was_there ? ", which was there" : ", which was not there"));
    if (was_there && !is_deletion) told_[event.path] = data->second->mzxid;
    data_.erase(data);
  }
  if (by_children) children_.erase(children);
}

bool ZkMirror::is_watched(const std::string& path) const {
  if (way_ == Way::kRecursive) return path == top_ || path.starts_with(top_ + "/");
  return std::ranges::find(watched_, path) != watched_.end();
}

void ZkMirror::always(const ZkEvent& event) {
  if (!is_watched(event.path)) wrong(describe(event) + ", which is not watched");
  if (event.type == ZkEventType::kChildren) {
    if (way_ == Way::kRecursive) wrong(describe(event) + ", to a watch of the whole tree");
    const auto known = cversions_.find(event.path);
    if (known != cversions_.end()) ++known->second;
    return;
  }
  const auto version = versions_.find(event.path);
  const auto siblings = listings_.find(parent_of(event.path));
  if (event.type == ZkEventType::kChanged) {
    if (version != versions_.end()) ++version->second;
  } else if (event.type == ZkEventType::kCreated) {
    if (version != versions_.end()) wrong(describe(event) + ", which was there");
    versions_[event.path] = 0;
  } else if (version != versions_.end()) {
    versions_.erase(version);
  }
  if (siblings == listings_.end()) return;
  const std::string name = name_of(event.path);
  const bool is_there = siblings->second.contains(name);
  if (event.type == ZkEventType::kCreated ? is_there : !is_there)
    wrong(describe(event) + (is_there ? ", which was there" : ", which was not there"));
  if (event.type == ZkEventType::kCreated) siblings->second.insert(name);
  if (event.type == ZkEventType::kDeleted) siblings->second.erase(name);
}

// --- answers ------------------------------------------------------------------------

void ZkMirror::on_node(const std::string& path, const ZkStat* stat, bool arms) {
  if (way_ != Way::kOnce) {
    if (!is_watched(path)) return;
    const auto known = versions_.find(path);
    if (stat == nullptr) {
      if (known != versions_.end()) wrong(path + " is not there, and was not said to be deleted");
      return;
    }
    if (known == versions_.end()) {
      versions_[path] = stat->version;
    } else if (known->second != stat->version) {
      wrong(fmt::format("{} has version {}, and by the events {}", path, stat->version,
                        known->second));
    }
    return;
  }
  if (const auto told = told_.find(path); told != told_.end()) {
    if (stat != nullptr && stat->mzxid <= told->second)
      wrong(fmt::format("{} was said to change, and is still of zxid {}", path, stat->mzxid));
    told_.erase(told);
  }
  const auto armed = data_.find(path);
  if (armed != data_.end()) {
    const Armed& was = armed->second;
    const bool is_same = stat == nullptr ? !was : was && was->mzxid == stat->mzxid;
    if (!is_same)
      wrong(fmt::format("{} is shown as of zxid {}, was of {}, and no event came before", path,
                        stat == nullptr ? 0 : stat->mzxid, was ? was->mzxid : 0));
  } else if (arms) {
    data_[path] = stat == nullptr ? Armed() : Armed(*stat);
  }
}

void ZkMirror::on_children(const std::string& path, const std::vector<std::string>& names,
                           const ZkStat& stat, bool arms) {
  std::set<std::string> there(names.begin(), names.end());
  if (static_cast<std::size_t>(stat.children) != there.size())
    wrong(fmt::format("{} has {} children, and is told to have {}", path, there.size(),
                      stat.children));
  if (way_ == Way::kRecursive) {
    const auto known = listings_.find(path);
    if (known != listings_.end() && known->second != there)
      wrong(fmt::format("{} has {} children, and by the events others, {}", path, there.size(),
                        known->second.size()));
    listings_[path] = std::move(there);
    return;
  }
  if (way_ == Way::kPersistent) {
    if (!is_watched(path)) return;
    const auto known = cversions_.find(path);
    if (known != cversions_.end() && known->second != stat.cversion)
      wrong(fmt::format("the children of {} have version {}, and by the events {}", path,
                        stat.cversion, known->second));
    cversions_[path] = stat.cversion;
    return;
  }
  const auto armed = children_.find(path);
  if (armed != children_.end()) {
    if (armed->second != stat.pzxid)
      wrong(
          fmt::format("the children of {} are shown as of zxid {}, were of {}, and no event came "
                      "before",
                      path, stat.pzxid, armed->second));
  } else if (arms) {
    children_[path] = stat.pzxid;
  }
}

void ZkMirror::on_own_child(const std::string& parent, const std::string& name,
                            bool is_there) const {
  if (children_.contains(parent))
    wrong(fmt::format("{} changed in {}, and no event came before the answer", name, parent));
  const auto known = listings_.find(parent);
  if (known != listings_.end() && known->second.contains(name) != is_there)
    wrong(fmt::format("{} is {} in {}, and the events said nothing of it", name,
                      is_there ? "new" : "gone", parent));
}

void ZkMirror::on_answer(const ZkLedger& ledger, std::int64_t zxid) const {
  for (const auto& [path, was] : data_) {
    if (!was) continue;
    const auto changed = ledger.changed_after(path, was->version);
    if (changed && *changed <= zxid)
      wrong(fmt::format("{} has changed at zxid {}, an answer is of {}, and no event came before",
                        path, *changed, zxid));
  }
}

}  // namespace conclave::sim
