#pragma once
// The data directory of one of the first members of a new cluster that begins with what another
// cluster's snapshot holds.

#include "base/result.h"
#include "io/disk.h"
#include "node/options.h"
#include "store/store.h"

namespace conclave::node {

// Writes it; the member starts from it as from its own newest snapshot. All members of the new
// cluster are to be restored from the same snapshot, with options that name the same cluster, which
// is to be no other's. Blocks. Errors: kMismatch if the directory is not empty; those of the disk,
// after which it is of no use.
Result<void> restore(Options options, store::Store store, io::Disk& disk);

}  // namespace conclave::node
