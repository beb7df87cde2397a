#pragma once
// The names of a simulated disk: directories and files, as shown and as they would be found after a
// power cut. Creating, renaming and removing become durable with a sync of the directory; before
// that, any of them may survive.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "sim/medium.h"

namespace conclave::sim {

class Names {
 public:
  using File = std::shared_ptr<Medium>;

  static std::string parent_of(const std::string& path);

  // The topmost directory of a path is durable at once.
  void make_directories(const std::string& path);
  bool is_directory(const std::string& path) const;
  // nullptr if there is none.
  File find(const std::string& path) const;
  // REQUIRES: the parent is a directory.
  File create(const std::string& path);
  // False if `from` does not exist.
  bool rename(const std::string& from, const std::string& to);
  bool remove(const std::string& path);
  std::vector<std::string> list(const std::string& directory) const;  // sorted
  const std::map<std::string, File>& files() const { return shown_.files; }

  void sync_directory(const std::string& directory);
  // How many unsynced sectors were lost.
  std::uint64_t lose_power(Rng& rng);

 private:
  struct State {
    std::map<std::string, File> files;
    std::set<std::string> directories;
  };
  enum class Kind { kLink, kRename, kUnlink, kMakeDirectory, kRemoveDirectory };
  struct Change {
    Kind kind = Kind::kLink;
    std::string path;
    std::string to;  // of a renaming
    File file;
  };

  static void apply(const Change& change, State& state);
  void change(Change change);
  void drop_unreachable();

  State shown_;
  State durable_;
  std::vector<Change> unsynced_;
};

}  // namespace conclave::sim
