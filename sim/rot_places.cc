#include "sim/rot_places.h"

#include <algorithm>

namespace conclave::sim {
namespace {

constexpr std::size_t kNewest = 2;

bool is_segment(const FileInfo& file) {
  return file.path.find("/wal/") != std::string::npos && file.path.ends_with(".log");
}

bool is_snapshot(const FileInfo& file) { return file.path.ends_with(".snap"); }

}  // namespace

// Names of segments sort by age.
std::vector<FileInfo> rot_places(const Disk& disk) {
  std::vector<FileInfo> places = disk.files();
  auto newer = static_cast<std::size_t>(std::ranges::count_if(places, is_segment));
  std::erase_if(places, [&newer](const FileInfo& file) {
    if (is_segment(file)) return newer-- <= kNewest || file.used_bytes == 0;
    return !is_snapshot(file) || file.used_bytes == 0;
  });
  return places;
}

std::optional<RotPlace> pick_rot_place(const Disk& disk, Rng& rng) {
  const std::vector<FileInfo> places = rot_places(disk);
  if (places.empty()) return std::nullopt;
  const FileInfo& file = places[rng.below(places.size())];
  return RotPlace{.path = file.path, .offset = rng.below(file.used_bytes)};
}

}  // namespace conclave::sim
