#pragma once
// `conclave import zookeeper`: copies a live ZooKeeper's tree into a Conclave cluster.
//
// It reads the tree as a client does, pass after pass, and writes what the cluster does not have,
// until a pass finds everything as the one before did (server/znode_book.h says what that proves).
// What it remembers in the cluster is one key, api::zk::kImportMark, which is gone at the end. A
// repeated import compares everything with what is there, so it writes only what is missing.

#include <string>
#include <vector>

namespace conclave::server {

// `arguments` are those after `conclave import zookeeper`. Returns the exit code: 0 copied and
// compared, 1 failed, 2 wrong arguments, 3 source and target differ, 130 stopped.
int run_import_zookeeper(const std::vector<std::string>& arguments);

}  // namespace conclave::server
