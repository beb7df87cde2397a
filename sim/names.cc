#include "sim/names.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::sim {

std::string Names::parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

void Names::apply(const Change& change, State& state) {
  switch (change.kind) {
    case Kind::kLink:
      state.files[change.path] = change.file;
      return;
    case Kind::kRename: {
      const auto old = state.files.find(change.path);
      if (old != state.files.end() && old->second == change.file) state.files.erase(old);
      state.files[change.to] = change.file;
      return;
    }
    case Kind::kUnlink: {
      const auto old = state.files.find(change.path);
      if (old != state.files.end() && old->second == change.file) state.files.erase(old);
      return;
    }
    case Kind::kMakeDirectory:
      state.directories.insert(change.path);
      return;
    case Kind::kRemoveDirectory:
      state.directories.erase(change.path);
      return;
  }
}

void Names::change(Change change) {
  apply(change, shown_);
  unsynced_.push_back(std::move(change));
}

void Names::make_directories(const std::string& path) {
  if (path.empty() || is_directory(path)) return;
  const auto parent = parent_of(path);
  make_directories(parent);
  change({.kind = Kind::kMakeDirectory, .path = path, .to = {}, .file = {}});
  if (parent.empty()) sync_directory(parent);
}

bool Names::is_directory(const std::string& path) const {
  return path.empty() || shown_.directories.contains(path);
}

Names::File Names::find(const std::string& path) const {
  const auto found = shown_.files.find(path);
  return found == shown_.files.end() ? nullptr : found->second;
}

Names::File Names::create(const std::string& path) {
  CHECK(is_directory(parent_of(path)), "{}", path);
  auto file = std::make_shared<Medium>();
  change({.kind = Kind::kLink, .path = path, .to = {}, .file = file});
  return file;
}

bool Names::rename(const std::string& from, const std::string& to) {
  auto file = find(from);
  if (file == nullptr || !is_directory(parent_of(to))) return false;
  change({.kind = Kind::kRename, .path = from, .to = to, .file = std::move(file)});
  return true;
}

bool Names::remove(const std::string& path) {
  if (auto file = find(path)) {
    change({.kind = Kind::kUnlink, .path = path, .to = {}, .file = std::move(file)});
    return true;
  }
  if (!shown_.directories.contains(path) || !list(path).empty()) return false;
  change({.kind = Kind::kRemoveDirectory, .path = path, .to = {}, .file = {}});
  return true;
}

std::vector<std::string> Names::list(const std::string& directory) const {
  std::vector<std::string> names;
  const auto add = [&](const std::string& path) {
    if (parent_of(path) == directory) names.push_back(path.substr(path.rfind('/') + 1));
  };
  for (const auto& [path, file] : shown_.files) add(path);
  for (const auto& path : shown_.directories) add(path);
  std::ranges::sort(names);
  return names;
}

void Names::sync_directory(const std::string& directory) {
  std::erase_if(unsynced_, [&](const Change& change) {
    const bool here = parent_of(change.path) == directory ||
                      (change.kind == Kind::kRename && parent_of(change.to) == directory);
    if (here) apply(change, durable_);
    return here;
  });
}

std::uint64_t Names::lose_power(Rng& rng) {
  // A journal keeps changes in order; a file system that promises nothing keeps any of them.
  const bool in_order = rng.one_in(2);
  const auto kept_of_4 = rng.below(5);
  for (const auto& change : unsynced_) {
    const bool kept = rng.below(4) < kept_of_4;
    if (kept) apply(change, durable_);
    if (!kept && in_order) break;
  }
  unsynced_.clear();
  shown_ = durable_;
  drop_unreachable();
  durable_ = shown_;
  std::set<File> media;
  std::uint64_t lost = 0;
  for (const auto& [path, file] : shown_.files)
    if (media.insert(file).second) lost += file->lose_power(rng);
  return lost;
}

void Names::drop_unreachable() {
  // Sorted, so that a parent is judged before what is in it.
  std::erase_if(shown_.directories, [this](const std::string& path) {
    const auto parent = parent_of(path);
    return !parent.empty() && !shown_.directories.contains(parent);
  });
  std::erase_if(shown_.files,
                [this](const auto& named) { return !is_directory(parent_of(named.first)); });
}

}  // namespace conclave::sim
