#pragma once
// Where a bit may rot on a member's disk so that its loss can be told from a power cut: what the
// log wrote last may always be missing, but not what it wrote long ago, nor a whole snapshot
// (docs/formats/log.md). Which members may lose something is the fault plan's business.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "sim/disk.h"

namespace conclave::sim {

// The log's segments but for the two newest, of which one is written and one may be prepared, and
// the snapshot files; by path.
std::vector<FileInfo> rot_places(const Disk& disk);

struct RotPlace {
  std::string path;
  std::uint64_t offset = 0;  // below used_bytes: not in what is only reserved
};

// For Disk::rot(). nullopt if there is no such file.
std::optional<RotPlace> pick_rot_place(const Disk& disk, Rng& rng);

}  // namespace conclave::sim
